"""Taking one check away while a block lasts: what the code would be if that check had been forgotten.

Nothing of this can be done to a product that runs: it rewrites functions of the test's own process.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import CodeType, FunctionType
from typing import Any
from unittest import mock


@contextmanager
def without(function: Callable[..., Any], *checks: str) -> Iterator[None]:
    """Run with a function from which statements were removed.

    Args:
        function: of the product; every reference to it sees the change.
        checks: how the source of each statement begins, e.g. `if facts.revoked is not None:`.

    Raises:
        LookupError: not exactly one statement begins like that: the check has moved.
    """
    plain = _plain(function)
    original = plain.__code__
    plain.__code__ = _cut(plain, checks)
    _forget(function)
    try:
        yield
    finally:
        plain.__code__ = original
        _forget(function)


@contextmanager
def instead(owner: object, name: str, value: object) -> Iterator[None]:
    """Run with another value in the place of an attribute that is there."""
    with mock.patch.object(owner, name, value):
        yield


@contextmanager
def both(*switches: Callable[[], Any]) -> Iterator[None]:
    """Run with several defences taken away: those of which each alone stops the attack."""
    with ExitStack() as stack:
        for switch in switches:
            stack.enter_context(switch())
        yield


def _plain(function: Callable[..., Any]) -> FunctionType:
    found = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(found, FunctionType):
        raise TypeError(f"{function!r} is not a function of Python")
    return found


def _forget(function: Callable[..., Any]) -> None:
    clear = getattr(function, "cache_clear", None)
    if clear is not None:
        clear()


def _cut(function: FunctionType, checks: tuple[str, ...]) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(source)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError(f"{function.__qualname__} is not defined by def")
    definition.decorator_list = []
    for check in checks:
        remover = _Remover(source, check)
        remover.visit(tree)
        if remover.found != 1:
            raise LookupError(f"{remover.found} statements of {function.__qualname__} begin with {check!r}")
    ast.fix_missing_locations(tree)
    flags = __future__.annotations.compiler_flag
    module = compile(tree, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    return next(each for each in module.co_consts if isinstance(each, CodeType) and each.co_name == function.__name__)


class _Remover(ast.NodeTransformer):
    def __init__(self, source: str, check: str) -> None:
        self._source = source
        self._check = check
        self.found = 0

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
            segment = ast.get_source_segment(self._source, node) or ""
            if segment.startswith(self._check):
                self.found += 1
                return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)
