"""What commands print: tables and sentences for people, one JSON value for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from paddock.errors import PaddockError

console = Console(highlight=False, soft_wrap=False)
notices = Console(stderr=True, highlight=False)
SIMULATED = "[bold white on red] SIMULATED [/] no hardware protects this from the machine's operator"
UNPROVEN = (
    "[bold white on red] NO EVIDENCE [/] level L1: nothing was proved, and nothing is protected from the operator"
)


def say(text: str) -> None:
    """Print a sentence (rich markup). Lines are not broken: what is copied from them stays whole."""
    console.print(text, soft_wrap=True)


def notice(text: str) -> None:
    """Print a sentence about the work to standard error (rich markup)."""
    notices.print(text, soft_wrap=True)


def say_json(value: Any) -> None:
    """Print one JSON value, at once: who serves goes on for long after."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(text: object) -> str:
    """Somebody else's words, fit to be shown: no markup, no control or direction characters."""
    return escape("".join(ch if ch.isprintable() or ch == "\n" else "�" for ch in str(text)))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; cells are plain text."""
    shown = Table(title=title or None, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(plain(cell) for cell in row))
    console.print(shown)


def short(digest: str) -> str:
    """The first twelve digits of an id: enough to name it in a command."""
    return digest.removeprefix("sha256:")[:12]


def amount(count: int) -> str:
    """A number of bytes, exactly: in the largest binary unit that it is a whole number of, else in bytes."""
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count and count % size == 0:
            return f"{count // size:,} {unit}"
    return f"{count:,} bytes"


def say_error(error: PaddockError, *, as_json: bool) -> None:
    """Print an error: to standard error for people, to standard output for scripts."""
    if as_json:
        say_json({"error": error.as_dict()})
        return
    notice(f"[bold red]{error.code}[/] {escape(error.summary())}")
    if error.detail:
        notice(f"  {plain(error.detail)}")
    if error.action:
        notice(f"  [bold]What to do:[/] {escape(error.action)}")


@contextmanager
def working(text: str, *, quiet: bool) -> Iterator[None]:
    """A spinner while something takes its time."""
    if quiet:
        yield
        return
    with notices.status(text):
        yield


@contextmanager
def transfer(text: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over bytes; yields a function that takes done and total."""
    if quiet:
        yield lambda _done, _total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=notices, transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def counter(text: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A spinner that counts what has no known end; yields a function that takes rows and bytes so far."""
    if quiet:
        yield lambda _rows, _count: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=notices, transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda rows, count: progress.update(task, completed=count, description=f"{text}: {rows:,} rows")
