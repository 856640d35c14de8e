"""Commands that are loaded when they are called: the command line answers before most of Paddock is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


@dataclass(frozen=True)
class Later:
    """A command or a group of commands that is not loaded yet.

    Args:
        name: the word that calls it.
        place: `module:attribute` of its function or its `typer.Typer`, below `paddock.cli`.
        about: the first sentence of its help; a test holds it against the command's own.
        panel: the heading that it stands under.
        also: modules below `paddock.cli` that add further commands to the group.
    """

    name: str
    place: str
    about: str
    panel: str
    also: tuple[str, ...] = ()

    def load(self) -> Any:
        """The command itself."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(f"paddock.cli.{module}"), attribute)
        for other in self.also:
            import_module(f"paddock.cli.{other}")
        holder = typer.Typer(pretty_exceptions_enable=False)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name, rich_help_panel=self.panel)
        else:
            holder.command(self.name, rich_help_panel=self.panel)(found)
        return get_group(holder).commands[self.name]

    def stand_in(self) -> Any:
        """What a list of commands shows of it."""
        return TyperCommand(self.name, help=self.about, rich_help_panel=self.panel)


class _Commands(Mapping[str, Any]):
    """Commands by name, each loaded when it is looked up."""

    def __init__(self, later: Sequence[Later]) -> None:
        self.later = {each.name: each for each in later}
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self.later[name].load()
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.later

    def __iter__(self) -> Iterator[str]:
        return iter(self.later)

    def __len__(self) -> int:
        return len(self.later)


class LazyGroup(TyperGroup):
    """A group of commands of which only the one that is called is loaded; its list is written from `later`."""

    later: ClassVar[Sequence[Later]] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._known = _Commands(self.later)
        self.commands: Any = self._known
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is Typer's
        """Names in the order of the table."""
        return list(self._known)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as above
        """The command of a name; while help or completions are written, a stand-in that can be listed."""
        if self._listing and cmd_name in self._known:
            return self._known.later[cmd_name].stand_in()
        return self._known.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without loading what it lists."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete a word without loading what might be meant."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False
