"""The engine's faults in our words. Its own texts hold values of the data; ours hold names, lines and types only."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from paddock.errors import (
    PaddockError,
    QueryInvalid,
    QueryNeedsMemory,
    QueryReachesOut,
    QueryToolsMissing,
    SourceInvalid,
    ValueRefused,
)

_LINE = re.compile(r"CSV Error on Line: (\d{1,18})")
_COLUMN = re.compile(r'converting column "([^"\n]{1,200})"')
_TYPE = re.compile(r"to '?([A-Z][A-Z0-9_]*(?:\(\d+(?:, ?\d+)?\))?)'?\s*$", re.MULTILINE)
_MISSING = re.compile(r'Columns with names: "([^\n]{1,300})" do not exist')


def tool(name: str) -> ModuleType:
    """An optional library, imported when it is needed.

    Raises:
        QueryToolsMissing: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise QueryToolsMissing(f"There is no {name.partition('.')[0]}.") from error


def duckdb() -> Any:
    """The engine."""
    return tool("duckdb")


def first_line(error: Exception) -> str:
    """What the engine says of the query's own words, cut and made printable."""
    text = str(error).partition("\n\n")[0]
    return "".join(sign if sign.isprintable() else " " for sign in text)[:300]


@contextmanager
def told(memory: str, sources: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn the engine's errors into ours.

    Args:
        memory: how much the query may use, for the sentence that says so.
        sources: what the engine calls a source's file, and the source's name.
    """
    engine = duckdb()
    try:
        yield
    except (engine.OutOfMemoryException, MemoryError):
        raise QueryNeedsMemory(f"It may use {memory}.") from None
    except engine.PermissionException:
        raise QueryReachesOut("It names a file or folder.") from None
    except (engine.ParserException, engine.BinderException, engine.CatalogException) as error:
        match = _MISSING.search(str(error))
        if match:
            raise SourceInvalid(f"There is no column named {match[1]} to declare a type of.") from None
        raise QueryInvalid(first_line(error)) from None
    except engine.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        # What the library makes of Ctrl-C while it waits for the engine; its other errors of this kind are faults.
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        raise
    except engine.Error as error:
        raise refusal(str(error), memory, sources or {}) from None


def refusal(text: str, memory: str, sources: Mapping[str, str]) -> PaddockError:
    """What a fault that the engine met while it computed means, by its text alone.

    Args:
        text: the engine's words, which hold values of the data.
        memory: how much the query may use.
        sources: what the engine calls a source's file, and the source's name.
    """
    if text.startswith("INTERRUPT Error"):
        raise KeyboardInterrupt
    if "Out of Memory Error" in text:
        return QueryNeedsMemory(f"It may use {memory}.")
    return ValueRefused(_without_values(text, sources))


def _without_values(text: str, sources: Mapping[str, str]) -> str:
    source = next((name for file, name in sources.items() if file in text), "")
    line, column, kind = _LINE.search(text), _COLUMN.search(text), _TYPE.search(text)
    where = [
        f"source '{source}'" if source else "",
        f"line {line[1]}" if line else "",
        f"column '{column[1]}'" if column else "",
    ]
    place = ", ".join(part for part in where if part)
    if "not utf-8" in text or "unicode" in text.lower():
        what = "The text is not in the encoding that is expected: try --csv encoding=latin-1 or utf-16."
    elif kind:
        what = f"A value does not fit the type {kind[1]}."
    elif "sniff" in text.lower():
        what = "Its form cannot be told: give --csv delimiter=, quote=, header=, skip=."
    else:
        what = f"The engine says: {text.partition(':')[0].strip()[:60]}."
    return f"In {place}: {what}" if place else what
