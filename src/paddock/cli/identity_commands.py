"""The commands `paddock init` and `paddock party`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paddock.channel import split_address
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import plain, say, say_json, table
from paddock.keeper.home import KeeperHome
from paddock.party.home import DEFAULT_HUB, DEFAULT_KEEPER, Home

party = typer.Typer(no_args_is_help=True, help="Who you are, and whose keys you accepted.")


def init(
    name: Annotated[str, typer.Argument(help="Your name: lower-case letters, digits, - and _.")],
    home: HomeOption = DEFAULT_HOME,
    hub: Annotated[str, typer.Option(help="Address of the hub.")] = DEFAULT_HUB,
    keeper: Annotated[str, typer.Option(help="Address under which your keeper will answer.")] = DEFAULT_KEEPER,
    json_output: JsonOption = False,
) -> None:
    """Make a home: your keys, your keeper's keys, nothing sent to anybody.

    Example: paddock init north --home north
    """
    created = create_home(name, home, hub=hub, keeper=keeper)
    if json_output:
        say_json({"name": name, "home": str(home), "fingerprint": created.fingerprint})
        return
    say(f"Home of [bold]{name}[/] made in {home}. Its private keys never leave it: keep a copy somewhere safe.")
    say(f"Your fingerprint, to tell others by telephone or in person:\n  [bold]{created.fingerprint}[/]")


def create_home(name: str, folder: Path, *, hub: str, keeper: str) -> Home:
    """A new home with its keeper's folder."""
    home = Home.create(folder.expanduser(), name, hub=hub, keeper=keeper)
    KeeperHome.create(home.keeper_folder, home.keys.public())
    return home


@party.command("show")
def party_show(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Show your name, fingerprint and addresses.

    Example: paddock party show --home north
    """
    own = Home.load(home.expanduser())
    facts = {"name": own.name, "fingerprint": own.fingerprint, "hub": own.hub, "keeper": own.keeper}
    if json_output:
        say_json(facts)
        return
    table("", ["", ""], facts.items())


@party.command("addresses")
def party_addresses(
    home: HomeOption = DEFAULT_HOME,
    hub: Annotated[str | None, typer.Option(help="Address of the hub, as whoever runs it told you.")] = None,
    keeper: Annotated[str | None, typer.Option(help="Address under which your keeper answers.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Change the addresses of your hub and your keeper. Publish your record again after another keeper's address.

    Example: paddock party addresses --hub https://hub.example:7300#ABCD-… --home north
    """
    for address in (hub, keeper):
        if address is not None:
            split_address(address)
    own = Home.load(home.expanduser()).with_addresses(hub=hub, keeper=keeper)
    say_json({"hub": own.hub, "keeper": own.keeper}) if json_output else say(
        plain(f"hub {own.hub}\nkeeper {own.keeper}")
    )


@party.command("fingerprint")
def party_fingerprint(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Print your fingerprint alone.

    Example: paddock party fingerprint --home north
    """
    fingerprint = Home.load(home.expanduser()).fingerprint
    say_json({"fingerprint": fingerprint}) if json_output else say(fingerprint)


@party.command("publish")
def party_publish(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Post your signed record to the hub, so that others can add you by fingerprint.

    Example: paddock party publish --home north
    """
    own = open_party(home)
    own.publish()
    if json_output:
        say_json({"published": own.home.name, "fingerprint": own.home.fingerprint})
        return
    say(f"Published. Others add you with:\n  paddock party add {own.home.name} {own.home.fingerprint}")


@party.command("add")
def party_add(
    name: Annotated[str, typer.Argument(help="The name that the party published.")],
    fingerprint: Annotated[str, typer.Argument(help="Its fingerprint, as it told you itself, not as a server says.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Accept another party's keys by fingerprint.

    Example: paddock party add modelco ABCD-EFGH-… --home north
    """
    peer = open_party(home).add_peer(name, fingerprint)
    if json_output:
        say_json({"name": peer.name, "fingerprint": peer.fingerprint})
        return
    say(f"Accepted [bold]{peer.name}[/]: the hub's record has exactly that fingerprint.")


@party.command("list")
def party_list(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """List the parties that you accepted.

    Example: paddock party list --home north
    """
    peers = open_party(home).peers.all()
    if json_output:
        say_json([{"name": p.name, "fingerprint": p.fingerprint, "keeper": p.record.keeper.url} for p in peers])
        return
    table("", ["name", "fingerprint", "keeper"], [(p.name, p.fingerprint, p.record.keeper.url) for p in peers])
