"""Looking into own assets: list, print, write out, verify. What is read is verified before any of it is shown."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import say, say_json, table, transfer
from paddock.views import write_folder

NameArgument = Annotated[str, typer.Argument(help="Name of an asset of yours (paddock assets).")]
_PIECE_BYTES = 1 << 20


def volume_list(name: NameArgument, home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """List the files of an asset of yours, with their sizes.

    Example: paddock ls records --home north
    """
    with open_party(home) as party:
        reader = party.open_volume(name)
        rows = [(path, reader.size(path)) for path in reader.iter_paths()]
    if json_output:
        say_json([{"path": path, "bytes": size} for path, size in rows])
        return
    table("", ["bytes", "file"], [(f"{size:,}", path) for path, size in rows])
    say(f"{len(rows):,} files, {sum(size for _, size in rows):,} bytes")


def volume_cat(
    name: NameArgument,
    path: Annotated[str, typer.Argument(help="A file of the asset (paddock ls).")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write one file of an asset of yours to standard output, as it is.

    Example: paddock cat records patients.csv --home north
    """
    with open_party(home) as party, party.open_volume(name).open_file(path) as source:
        shutil.copyfileobj(source, sys.stdout.buffer, _PIECE_BYTES)
    sys.stdout.buffer.flush()


def volume_open(
    name: NameArgument,
    output: Annotated[Path, typer.Option(help="Folder for the files; made when it is missing.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Write the files of an asset of yours to a folder, readable by you alone. From here on they are plain files.

    Example: paddock open records --output records-again --home north
    """
    with open_party(home) as party:
        reader = party.open_volume(name)
        with transfer(f"opening {name}", quiet=json_output) as report:
            written = write_folder(
                reader, output, overwrite=overwrite, progress=lambda done: report(done, reader.content_bytes)
            )
        count = reader.content_bytes
    if json_output:
        say_json({"output": str(output), "files": len(written), "bytes": count})
        return
    say(f"{len(written):,} files, {count:,} bytes written to {output}. They are not sealed there.")


def volume_verify(name: NameArgument, home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Read everything that the store holds of an asset of yours, and hold it against the asset's id.

    Example: paddock verify records --home north
    """
    with open_party(home) as party:
        reader = party.open_volume(name)
        with transfer(f"verifying {name}", quiet=json_output) as report:
            reader.verify(lambda done: report(done, max(done, reader.content_bytes)))
        files, count = len(reader), reader.content_bytes
    if json_output:
        say_json({"name": name, "files": files, "bytes": count, "whole": True})
        return
    say(f"The store holds all of [bold]{name}[/], unchanged: {files:,} files, {count:,} bytes.")
