"""The commands about own assets: seal, list, deposit."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import plain, say, say_json, table, transfer
from paddock.contract.asset import AssetKind
from paddock.party.party import SealOutcome


class PaddingChoice(enum.StrEnum):
    """How lengths are hidden from the store."""

    PADME = "padme"
    NONE = "none"


def seal(
    path: Annotated[Path, typer.Argument(help="A file, or a folder with everything in it.")],
    name: Annotated[str, typer.Option(help="Name of the asset; the hub and its readers see it.")],
    kind: Annotated[AssetKind, typer.Option(help="What it is.")],
    *,
    padding: Annotated[
        PaddingChoice, typer.Option(help="none shows exact lengths to the store; level L5 refuses such inputs.")
    ] = PaddingChoice.PADME,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Write everything, also what is stored already, under new keys.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Encrypt on this machine, store the ciphertext, deposit the key with your keeper.

    Under a name that is sealed already it makes a new version: what did not change is not written again. A sealing
    that broke off goes on where it was when the same command is given again.

    Example: paddock seal records/ --name records --kind dataset --home north
    """
    party = open_party(home)
    with transfer(f"sealing {name}", quiet=json_output) as report:
        outcome = party.seal(
            path, name, kind, padding=padding.value, fresh=fresh,
            progress=lambda p: report(p.done_bytes, p.total_bytes),
        )  # fmt: skip
    _say_sealed("Sealed", outcome, json_output=json_output)
    if not json_output:
        say("The store holds ciphertext only; names, sizes and tree of your files are inside it.")


def rekey(
    name: Annotated[str, typer.Argument(help="Name of an asset of yours.")],
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Encrypt all contents again: old keys open nothing of the new version.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Give an asset of yours a new data key, without storing its contents again.

    The new version has another id: contracts over the old one go on naming the old one. Another keeper gets the key of
    what is sealed without a new version: paddock keeper deposit.

    Example: paddock rekey records --home north
    """
    party = open_party(home)
    with transfer(f"writing {name} again" if fresh else f"new key for {name}", quiet=json_output) as report:
        outcome = party.rekey(name, fresh=fresh, progress=lambda p: report(p.done_bytes, p.total_bytes))
    _say_sealed("New key for", outcome, json_output=json_output)
    if not json_output and not fresh:
        say(
            "The contents were not written again: whoever holds an old key [bold]and[/] the ciphertext can still read"
            f" what they held. If that may have happened: paddock rekey {plain(name)} --fresh"
        )


def _say_sealed(what: str, outcome: SealOutcome, *, json_output: bool) -> None:
    own, volume = outcome.own, outcome.volume
    if json_output:
        say_json(
            {
                "name": own.name,
                "kind": own.kind,
                "asset": own.asset,
                "files": volume.files,
                "bytes": volume.file_bytes,
                "stored_bytes": volume.stored_bytes,
                "written_bytes": volume.written_bytes,
            }
        )
        return
    again = volume.stored_bytes - volume.written_bytes
    there = f", {again:,} bytes were there already" if again else ""
    say(f"{what} [bold]{own.name}[/] ({own.kind}, {volume.files:,} files, {volume.file_bytes:,} bytes): {own.asset}")
    say(f"{volume.written_bytes:,} bytes written to the store{there}.")


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
