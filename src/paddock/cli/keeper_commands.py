"""The commands below `paddock keeper`, for its owner: what it accepts, released, and shall refuse."""

from __future__ import annotations

import re
from typing import Annotated

import tomlkit
import typer

from paddock.cli.asset_commands import deposit
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import SIMULATED, say, say_json, short, table
from paddock.errors import TrustPolicyInvalid
from paddock.evidence.trust import read_trust_policy
from paddock.keeper.home import KeeperHome
from paddock.party.files import write_bytes
from paddock.party.home import Home
from paddock.release.statements import ReleaseStatement

keeper = typer.Typer(no_args_is_help=True, help="Your keeper: the one that holds your data keys.")
policy = typer.Typer(no_args_is_help=True, help="What evidence your keeper accepts.")
keeper.add_typer(policy, name="policy")
keeper.command("deposit")(deposit)
_KEY = re.compile(r"[0-9a-f]{64}")


def keeper_home(home: Home) -> KeeperHome:
    """The keeper that lives in a party's home."""
    return KeeperHome.load(home.keeper_folder)


@policy.command("show")
def policy_show(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Show the trust policy: with nothing configured, everything is refused.

    Example: paddock keeper policy show --home north
    """
    own = keeper_home(Home.load(home.expanduser()))
    trust = own.policy()
    if json_output:
        say_json(trust.model_dump(mode="json"))
        return
    if trust.accepts_nothing():
        say("This keeper accepts no evidence at all, so it releases no key (level L1 aside).")
    for key in trust.simulated.keys if trust.simulated else []:
        say(f"accepts the simulator {key}\n{SIMULATED}")
    say(f"evidence is accepted for {trust.max_age_seconds} s   file: {own.trust_file()}")


@policy.command("allow-simulator")
def policy_allow_simulator(
    key: Annotated[str, typer.Argument(help="The simulator's public key: 64 hex digits, from its operator.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Accept a simulator in place of hardware. It protects nobody from the machine's operator.

    Example: paddock keeper policy allow-simulator 0f1e… --home north
    """
    allow_simulator(keeper_home(Home.load(home.expanduser())), key)
    say_json({"allowed": key}) if json_output else say(f"Your keeper accepts that simulator from now on.\n{SIMULATED}")


def allow_simulator(own: KeeperHome, key: str) -> None:
    """Add a simulator's key to the trust policy, keeping the file's comments.

    Raises:
        TrustPolicyInvalid: not such a key, or the file cannot be read.
    """
    if not _KEY.fullmatch(key):
        raise TrustPolicyInvalid("A simulator's key has 64 lower-case hex digits.")
    own.policy()
    document = tomlkit.parse(own.trust_file().read_text(encoding="utf-8"))
    section = document.setdefault("simulated", tomlkit.table())
    keys = section.setdefault("keys", tomlkit.array())
    if key not in list(keys):
        keys.append(key)
    text = tomlkit.dumps(document)
    read_trust_policy(text)
    write_bytes(own.trust_file(), text.encode("utf-8"))


@keeper.command("releases")
def keeper_releases(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Show what your keeper released, keeps and refuses.

    Example: paddock keeper releases --home north
    """
    account = open_party(home).keeper_account()
    released = [ReleaseStatement.model_validate_json(text) for text in account["releases"]]
    if json_output:
        say_json({**account, "releases": [statement.model_dump(mode="json") for statement in released]})
        return
    rows = []
    for one in released:
        proof = "SIMULATED" if one.simulated else "evidence" if one.evidence else "none"
        rows.append((one.at, one.run, short(one.contract), str(len(one.assets)), proof, str(one.ledger_index)))
    table("Released", ["at", "run", "contract", "keys", "proof", "ledger entry"], rows)
    kept = [(row["asset"], row["kind"], row["deposited"]) for row in account["deposits"]]
    table("Kept", ["asset", "kind", "deposited"], kept)
    refused = [(row["subject"], row["reason"], row["at"]) for row in account["revocations"]]
    table("Refused from now on", ["contract or asset", "reason", "since"], refused)


@keeper.command("revoke")
def keeper_revoke(
    subject: Annotated[str, typer.Argument(help="Id of a contract or of an asset of yours.")],
    reason: Annotated[str, typer.Option(help="Why; a refused run is told.")] = "revoked by its owner",
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Forbid your keeper any release and lease for a contract or an asset; a run under way stops.

    Example: paddock keeper revoke sha256:… --reason "consent withdrawn" --home north
    """
    party = open_party(home)
    party.revoke(subject, reason)
    say_json({"revoked": subject}) if json_output else say("Revoked: your keeper refuses it from now on.")
