"""The commands below `paddock keeper`, for its owner: what it accepts, released, and shall refuse."""

from __future__ import annotations

from typing import Annotated

import typer

from paddock.cli.asset_commands import deposit
from paddock.cli.collateral_commands import collateral
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import say, say_json, short, table
from paddock.cli.policy_commands import policy
from paddock.release.statements import ReleaseStatement

keeper = typer.Typer(no_args_is_help=True, help="Your keeper: the one that holds your data keys.")
keeper.add_typer(policy, name="policy")
keeper.add_typer(collateral, name="collateral")
keeper.command("deposit")(deposit)


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
