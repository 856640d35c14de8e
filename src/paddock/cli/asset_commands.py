"""The commands about own assets: seal, list, deposit."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import plain, say, say_json, table, transfer
from paddock.cli.query_commands import Asked, say_origin, seal_query, show_query
from paddock.contract.asset import AssetKind
from paddock.party.party import SealOutcome


class PaddingChoice(enum.StrEnum):
    """How lengths are hidden from the store."""

    PADME = "padme"
    NONE = "none"


def seal(
    path: Annotated[Path | None, typer.Argument(help="A file, or a folder with everything in it.")] = None,
    *,
    name: Annotated[str, typer.Option(help="Name of the asset; the hub and its readers see it.")],
    kind: Annotated[
        AssetKind | None,
        typer.Option(help="What it is. The result of a query is a dataset unless this says otherwise."),
    ] = None,
    query: Annotated[
        str,
        typer.Option("--query", help="In place of a path: seal the result of this SELECT; @FILE for a file's text."),
    ] = "",
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="What the query may read, as NAME=FILE.csv, NAME=FILE.parquet ('NAME=folder/*.csv' for several) or "
            "'NAME=postgresql://USER@HOST/DATABASE?table=TABLE' (or ?query=SELECT…). May be repeated."
        ),
    ] = None,
    result_file: Annotated[
        str, typer.Option("--as", help="The file that the result becomes, .parquet or .csv.")
    ] = "table.parquet",
    column: Annotated[
        list[str] | None,
        typer.Option(help="Type of a source's column, as [SOURCE.]COLUMN=TYPE: price=DECIMAL(10,2). May be repeated."),
    ] = None,
    csv: Annotated[
        list[str] | None,
        typer.Option(
            help="How CSV sources are read, as [SOURCE.]OPTION=VALUE: encoding, delimiter, quote, header, null, decimal, "
            "date_format, timestamp_format, skip, detect. May be repeated."
        ),
    ] = None,
    memory: Annotated[
        str, typer.Option(help="What the query may hold while it computes; more is refused, nothing goes to a disk.")
    ] = "2GiB",
    threads: Annotated[
        int, typer.Option(help="What the query computes with. Only 1 gives the same bytes each time for all queries.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run the query, show columns and number of rows, seal nothing.")
    ] = False,
    show: Annotated[int, typer.Option(min=0, help="With --dry-run: print this many rows, values and all.")] = 0,
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

    Example: paddock seal --name adults --query 'SELECT * FROM p WHERE age > 17 ORDER BY id' --source p=patients.csv
    --as adults.csv --home north
    """
    if (path is None) == (not query):
        raise typer.BadParameter("Give either a PATH or a --query.")
    if query:
        asked = Asked(query, tuple(source or ()), tuple(csv or ()), tuple(column or ()), result_file, memory, threads)
        if dry_run:
            show_query(asked, show, json_output=json_output)
        else:
            seal_query(asked, name, kind or AssetKind.DATASET, home, padding=padding.value, json_output=json_output)
        return
    if source or csv or column or dry_run or show:
        raise typer.BadParameter("--source, --csv, --column, --dry-run and --show go with a --query.")
    if path is None or kind is None:
        raise typer.BadParameter("Say what it is.", param_hint="--kind")
    with open_party(home) as party, transfer(f"sealing {name}", quiet=json_output) as report:
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
    what = f"writing {name} again" if fresh else f"new key for {name}"
    with open_party(home) as party, transfer(what, quiet=json_output) as report:
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


def assets(
    name: Annotated[str, typer.Argument(help="One of them: how it was made, too.")] = "",
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """List what you sealed; of one asset also the query and sources that it was sealed from.

    Example: paddock assets --home north
    """
    party = open_party(home)
    own = [party.assets.find(name)] if name else party.assets.all()
    rows = [{"name": a.name, "kind": a.kind, "asset": a.asset, "sealed": a.sealed} for a in own]
    origin = party.origin(own[0]) if name else {}
    if json_output:
        say_json({**rows[0], "origin": origin or None} if name else rows)
        return
    table("", ["name", "kind", "sealed", "asset"], [(a.name, a.kind, a.sealed, a.asset) for a in own])
    if origin:
        say_origin(origin)
    elif name:
        say("It was sealed from files.")


def deposit(
    name: Annotated[str, typer.Argument(help="Name of an asset of yours.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Deposit an asset's key with your keeper (again) and publish its record.

    Example: paddock keeper deposit records --home north
    """
    with open_party(home) as party:
        own = party.assets.find(name)
        party.deposit(own)
    if json_output:
        say_json({"name": own.name, "asset": own.asset})
        return
    say(f"Your keeper holds the key of [bold]{own.name}[/].")
