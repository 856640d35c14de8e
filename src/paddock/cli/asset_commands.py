"""The commands about own assets: seal, list, deposit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import say, say_json, table, transfer
from paddock.contract.asset import AssetKind


def seal(
    path: Annotated[Path, typer.Argument(help="A file, or a folder with everything in it.")],
    name: Annotated[str, typer.Option(help="Name of the asset; the hub and its readers see it.")],
    kind: Annotated[AssetKind, typer.Option(help="What it is.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Encrypt on this machine, store the ciphertext, deposit the key with your keeper.

    Example: paddock seal records/ --name records --kind dataset --home north
    """
    party = open_party(home)
    with transfer(f"sealing {name}", quiet=json_output) as report:
        own = party.seal(path, name, kind, progress=lambda p: report(p.done_bytes, p.total_bytes))
    if json_output:
        say_json({"name": own.name, "kind": own.kind, "asset": own.asset, "stored_bytes": own.stored_bytes})
        return
    say(f"Sealed [bold]{own.name}[/] ({own.kind}, {own.stored_bytes:,} bytes stored): {own.asset}")
    say("The store holds ciphertext only; names, sizes and tree of your files are inside it.")


def assets(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """List what you sealed.

    Example: paddock assets --home north
    """
    own = open_party(home).assets.all()
    if json_output:
        say_json([{"name": a.name, "kind": a.kind, "asset": a.asset, "sealed": a.sealed} for a in own])
        return
    table("", ["name", "kind", "sealed", "asset"], [(a.name, a.kind, a.sealed, a.asset) for a in own])


def deposit(
    name: Annotated[str, typer.Argument(help="Name of an asset of yours.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Deposit an asset's key with your keeper (again) and publish its record.

    Example: paddock keeper deposit records --home north
    """
    party = open_party(home)
    own = party.assets.find(name)
    party.deposit(own)
    if json_output:
        say_json({"name": own.name, "asset": own.asset})
        return
    say(f"Your keeper holds the key of [bold]{own.name}[/].")
