"""Which of our modules an entry point can reach, and which foreign packages those name: read from the source, not run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reached:
    """What can be imported from an entry point.

    Args:
        modules: our own, by full name.
        foreign: top-level names of everything else that is not in the standard library.
    """

    modules: frozenset[str]
    foreign: frozenset[str]


def reach(package: Path, entries: Iterable[str]) -> Reached:
    """Follow imports, also those inside functions, and those by name: a text that is the name of a module of ours.

    Args:
        package: folder of our package.
        entries: full names of the modules to begin with.

    Raises:
        ValueError: an entry is not a module of the package.
    """
    root = package.name
    todo, modules, foreign = list(entries), set[str](), set[str]()
    for name in todo:
        if find_module(package, name) is None:
            raise ValueError(f"{name} is not a module of {root}")
    while todo:
        name = todo.pop()
        file = find_module(package, name)
        if name in modules or file is None:
            continue
        modules.add(name)
        todo.extend(_parents(name))
        for imported in _imported(ast.parse(file.read_bytes()), root):
            if imported.partition(".")[0] == root:
                todo.append(imported)
            else:
                foreign.add(imported.partition(".")[0])
    return Reached(frozenset(modules), frozenset(foreign - sys.stdlib_module_names))


def find_module(package: Path, name: str) -> Path | None:
    """The file of a module of ours, if there is one of that name."""
    parts = name.split(".")
    if parts[0] != package.name or not all(part.isidentifier() for part in parts):
        return None
    stem = package.joinpath(*parts[1:])
    for file in (stem / "__init__.py", stem.with_suffix(".py") if len(parts) > 1 else stem / "__init__.py"):
        if file.is_file():
            return file
    return None


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imported(tree: ast.AST, root: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{root}."):
            yield node.value.partition(":")[0]
