"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paddock.party.home import Home
from paddock.party.party import Party

HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="PADDOCK_HOME", help="Home folder of the party.", show_default="~/.paddock"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
DEFAULT_HOME = Path("~/.paddock")


def open_party(home: Path) -> Party:
    """The party that lives in a home folder."""
    return Party(Home.load(home.expanduser()))
