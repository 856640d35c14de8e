"""The walls between rooms, as one table that import-linter holds.

import-linter's own contract kinds say what a package may *not* import, so that the room table would have to be written
inside out, once per room. This kind reads the table as it stands in ARCHITECTURE.md: what each room may import.
The settings are in pyproject.toml, `[tool.importlinter]`.
"""

from __future__ import annotations

from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_Table = dict[str, frozenset[str]]


class Rooms(Contract):
    """Who may import whom, directly and by way of others.

    Every field is a list of lines `ROOM: NAME NAME…`; `root` is the package that the rooms are in.

    Args:
        rooms: what a room may import of ours. What those may import it may import too. A name with a dot
            (`service.client`) opens that one module and not its room. A room that is not in the table may not exist.
        never: what a room may not reach even by way of others.
        only: an installed package, and the rooms that may import it.
        outside: what is not to be imported by these rooms: `seal contract: socket time`.

    There is no list of exceptions, by intention.
    """

    type_name = "rooms"

    root = fields.StringField()
    rooms = fields.ListField(subfield=fields.StringField())
    never = fields.ListField(subfield=fields.StringField())
    only = fields.ListField(subfield=fields.StringField())
    outside = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's signature
        """Collect every import that crosses a wall."""
        walls = _Walls(graph, str(self.root), _table(self.rooms))
        broken = sorted(
            {
                *walls.unknown_rooms(),
                *walls.direct(),
                *walls.reached(_table(self.never)),
                *walls.only(_table(self.only)),
                *walls.outside(_table(self.outside)),
            }
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import that crosses a wall."""
        for line in check.metadata["broken"]:
            output.print_error(line)


class _Walls:
    def __init__(self, graph: ImportGraph, root: str, rooms: _Table) -> None:
        self._graph = graph
        self._root = root
        self._rooms = rooms
        self._allowed = {room: _closure(rooms, room) for room in rooms}
        self._ours = sorted(m for m in graph.modules if m == root or m.startswith(f"{root}."))

    def unknown_rooms(self) -> Iterator[str]:
        for child in self._graph.find_children(self._root):
            if self._room(child) not in self._rooms:
                yield f"{child} is not in the room table"

    def direct(self) -> Iterator[str]:
        for importer, imported in self._imports():
            room, other = self._room(importer), self._room(imported)
            if imported == self._root:
                yield self._told(
                    importer,
                    imported,
                    "nothing imports the package root (or the module named does not exist)",
                )
            elif not self._is_ours(imported) or room in {other, ""} or room not in self._rooms:
                continue
            elif not {other, self._below_root(imported)} & self._allowed[room]:
                yield self._told(importer, imported, f"{room} may import {_listed(self._rooms[room])}")

    def reached(self, never: _Table) -> Iterator[str]:
        for room, others in never.items():
            for other in sorted(others):
                ends = (f"{self._root}.{room}", f"{self._root}.{other}")
                if not all(end in self._graph.modules for end in ends):
                    continue
                if chain := self._graph.find_shortest_chain(*ends, as_packages=True):
                    yield f"{room} reaches {other}: {' -> '.join(chain)}"

    def only(self, only: _Table) -> Iterator[str]:
        for importer, imported in self._imports():
            rooms = only.get(_top(imported))
            if rooms is not None and self._room(importer) not in rooms:
                yield self._told(importer, imported, f"only {_listed(rooms)} may")

    def outside(self, outside: _Table) -> Iterator[str]:
        for importer, imported in self._imports():
            if imported in (names := outside.get(self._room(importer), frozenset())) or _top(imported) in names:
                yield self._told(importer, imported, f"{self._room(importer)} is pure")

    def _imports(self) -> Iterator[tuple[str, str]]:
        for importer in self._ours:
            for imported in sorted(self._graph.find_modules_directly_imported_by(importer)):
                yield importer, imported

    def _told(self, importer: str, imported: str, why: str) -> str:
        details = self._graph.get_import_details(importer=importer, imported=imported)
        lines = ", ".join(str(detail["line_number"]) for detail in details)
        return f"{importer} imports {imported} (line {lines}): {why}"

    def _is_ours(self, module: str) -> bool:
        return _top(module) == self._root

    def _below_root(self, module: str) -> str:
        return module.removeprefix(self._root).removeprefix(".")

    def _room(self, module: str) -> str:
        return self._below_root(module).split(".")[0] if self._is_ours(module) else ""


def _table(lines: object) -> _Table:
    """Read `LEFT LEFT: RIGHT RIGHT` lines; each name on the left gets its own row."""
    table: _Table = {}
    for line in lines if isinstance(lines, list) else []:
        left, colon, right = str(line).partition(":")
        names = left.split()
        if not colon or not names or any(name in table for name in names):
            raise ValueError(f"not 'ROOM: NAME NAME', or a room twice: {line!r}")
        table |= dict.fromkeys(names, frozenset(right.split()))
    return table


def _closure(rooms: _Table, room: str) -> frozenset[str]:
    reached: set[str] = set()
    todo = set(rooms[room])
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        if name.split(".")[0] not in rooms:
            raise ValueError(f"the room table names {name!r}, which has no row")
        reached.add(name)
        todo |= rooms[name.split(".")[0]]
    if room in reached:
        raise ValueError(f"the room table goes in a circle at {room!r}")
    return frozenset(reached)


def _top(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing of ours"
