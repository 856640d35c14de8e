"""Keepers that others run, and what servers must prove before anything is sent to them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.collateral_commands import read_collateral
from paddock.cli.identity_commands import party
from paddock.cli.keeper_commands import keeper
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from paddock.cli.output import plain, say, say_json
from paddock.cli.policy_commands import read_policy_file
from paddock.cli.service_commands import hub
from paddock.contract.levels import Level
from paddock.crypto.canonical import canonical, parse
from paddock.crypto.identity import PublicKeys
from paddock.errors import CryptoRefused, HomeInvalid, PeerRefused
from paddock.keeper.home import DATABASE, KeeperHome
from paddock.party.files import write_bytes
from paddock.party.home import Home
from paddock.party.servers import Server, demand_evidence, demand_no_evidence

PolicyOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A trust policy as a keeper's (keeper policy explain --template)."),
]
MeasurementOption = Annotated[
    list[str] | None, typer.Option(help="Measurement that it must show, as you computed it yourself; can be repeated.")
]
CollateralOption = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="What vendors published about its platform (keeper collateral show --output)."
    ),
]
LevelOption = Annotated[Level, typer.Option(help="Whose pieces of evidence the policy demands.")]
NothingOption = Annotated[bool, typer.Option("--nothing", help="Demand no evidence any more.")]
_MAX_KEYS_BYTES = 1 << 16


@party.command("keys")
def party_keys(
    output: Annotated[Path, typer.Option(help="File for your public keys.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Write your public keys to a file, for somebody who shall run your keeper.

    Example: paddock party keys --output north.json --home north
    """
    own = Home.load(home.expanduser())
    write_bytes(output, canonical(own.keys.public().to_dict()))
    say_json({"output": str(output), "fingerprint": own.fingerprint}) if json_output else say(
        plain(f"Written to {output}: {own.fingerprint}")
    )


@keeper.command("create")
def keeper_create(
    folder: Annotated[Path, typer.Option(help="A new folder for the keeper: inside the environment that protects it.")],
    party_file: Annotated[
        Path, typer.Option("--party", exists=True, dir_okay=False, help="The party's public keys (party keys).")
    ],
    output: Annotated[Path, typer.Option(help="File for the keeper's public keys, for the party.")],
    json_output: JsonOption = False,
) -> None:
    """Make a keeper for another party; its private keys are made here and never leave the folder.

    Example: paddock keeper create --folder keepers/north --party north.json --output north-keeper.json
    """
    made = KeeperHome.create(folder.expanduser(), _read_keys(party_file))
    public = made.keys.public()
    write_bytes(output, canonical(public.to_dict()))
    facts = {"folder": str(folder), "keeper": public.fingerprint(), "party": made.party.fingerprint()}
    if json_output:
        say_json(facts)
        return
    say(
        plain(f"Made for {facts['party']}. Give {output} to that party; the keeper's fingerprint:\n  {facts['keeper']}")
    )


@keeper.command("adopt")
def keeper_adopt(
    keys: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="The keeper's public keys, from whoever runs it.")
    ],
    url: Annotated[str, typer.Option(help="Where it answers, e.g. https://keepers.example:7301.")],
    fingerprint: Annotated[str, typer.Option(help="Its fingerprint, as it was told you on another way.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Have your keys kept by a keeper that others run. Say next what it must prove: keeper trust.

    Example: paddock keeper adopt north-keeper.json --url https://keepers.example:7301 --fingerprint ABCD-… --home north
    """
    own = Home.load(home.expanduser())
    public = _read_keys(keys)
    if public.fingerprint() != fingerprint.upper():
        raise PeerRefused(f"The keys are of {public.fingerprint()}, not of {fingerprint}.")
    if not url.startswith("https://") and not url.startswith("http://127.0.0.1:"):
        raise typer.BadParameter("a keeper elsewhere is reached over https", param_hint="--url")
    if (own.keeper_folder / DATABASE).exists():
        raise HomeInvalid(f"{own.keeper_folder} is a keeper that has worked already: contracts name it.")
    shutil.rmtree(own.keeper_folder, ignore_errors=True)
    KeeperHome.adopt(own.keeper_folder, public, own.keys.public())
    own.with_addresses(keeper=url)
    if json_output:
        say_json({"keeper": public.fingerprint(), "url": url})
        return
    say(plain(f"Your keeper is {public.fingerprint()} at {url}."))
    say("Before you seal anything, say what it must prove: paddock keeper trust --policy FILE --measurement sha256:…")


@keeper.command("trust")
def keeper_trust(
    *,
    policy: PolicyOption = None,
    measurement: MeasurementOption = None,
    collateral: CollateralOption = None,
    level: LevelOption = Level.L5,
    nothing: NothingOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Send your keeper nothing from now on before it proved by evidence what it is.

    Example: paddock keeper trust --policy tdx.toml --measurement sha256:… --home north
    """
    _trust("keeper", home, None if nothing else _Demand(policy, measurement, collateral, level), as_json=json_output)


@hub.command("trust")
def hub_trust(
    *,
    policy: PolicyOption = None,
    measurement: MeasurementOption = None,
    collateral: CollateralOption = None,
    level: LevelOption = Level.L5,
    nothing: NothingOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Send your hub nothing from now on before it proved by evidence what it is.

    Example: paddock hub trust --policy tdx.toml --measurement sha256:… --home north
    """
    _trust("hub", home, None if nothing else _Demand(policy, measurement, collateral, level), as_json=json_output)


@dataclass(frozen=True)
class _Demand:
    policy: Path | None
    measurements: list[str] | None
    collateral: Path | None
    level: Level


def _trust(server: Server, home: Path, demand: _Demand | None, *, as_json: bool) -> None:
    own = Home.load(home.expanduser())
    if demand is None:
        known = demand_no_evidence(own, server)
        say_json({"server": server, "demanded": False, "was_demanded": known}) if as_json else say(
            f"No evidence is demanded of your {server} any more."
        )
        return
    if demand.policy is None or not demand.measurements:
        raise typer.BadParameter("say what it must prove: --policy and --measurement, or --nothing")
    read_policy_file(demand.policy)
    demand_evidence(
        own,
        server,
        policy=demand.policy.read_text("utf-8"),
        measurements=demand.measurements,
        level=demand.level,
        collateral=None if demand.collateral is None else read_collateral(demand.collateral),
    )
    if as_json:
        say_json({"server": server, "demanded": True, "measurements": demand.measurements, "level": demand.level})
        return
    say(plain(f"Your {server} must show evidence of {', '.join(demand.measurements)} before anything is sent to it."))


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEYS_BYTES)
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror}.") from error


def _read_keys(path: Path) -> PublicKeys:
    try:
        return PublicKeys.from_dict(parse(_bounded(path)))
    except CryptoRefused as error:
        raise HomeInvalid(f"{path} holds no public keys.") from error
