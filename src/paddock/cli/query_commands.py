"""Sealing the result of a query: what `paddock seal --query` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from paddock.cli.options import open_party
from paddock.cli.output import counter, notice, plain, say, say_json, table
from paddock.contract.asset import AssetKind
from paddock.query import PostgresSource, QueryResult, QuerySettings, ResultFile, Source, open_query, parse_sources
from paddock.query.settings import parse_size
from paddock.query.sources import query_text
from paddock.seal.padding import Padding


@dataclass(frozen=True)
class Asked:
    """A query as the command line gives it."""

    query: str
    sources: tuple[str, ...]
    csv: tuple[str, ...]
    columns: tuple[str, ...]
    file: str
    memory: str
    threads: int


def seal_query(asked: Asked, name: str, kind: AssetKind, home: Path, *, padding: Padding, json_output: bool) -> None:
    """Run the query and seal its result."""
    sources = _sources(asked)
    with open_party(home) as party, _opened(asked, sources) as result:
        notices = [*_notices(result, sources), *_reading(result, kind)]
        with counter(f"sealing {name}", quiet=json_output) as report:
            own = party.seal_query(result, name, kind, padding=padding, progress=report).own
    if json_output:
        stored = {"name": own.name, "kind": own.kind, "asset": own.asset, "stored_bytes": own.stored_bytes}
        say_json({**stored, "file": result.file.path, **_facts(result), "notices": notices})
        return
    _say_columns(result)
    say(f"Sealed [bold]{plain(own.name)}[/] ({own.kind}, {own.stored_bytes:,} bytes stored): {own.asset}")
    say(f"It holds {result.rows:,} rows as {plain(result.file.path)}. The query is noted in your home alone.")
    for text in notices:
        notice(escape(text))


def show_query(asked: Asked, rows: int, *, json_output: bool) -> None:
    """Run the query, and show what its result would be."""
    sources = _sources(asked)
    with _opened(asked, sources) as result:
        notices = _notices(result, sources)
        with counter("running", quiet=json_output) as report:
            shown = result.first_rows(rows, report)
    if json_output:
        values = {"first_rows": [[_json(value) for value in row] for row in shown]} if rows else {}
        say_json({**_facts(result), **values, "notices": notices})
        return
    _say_columns(result)
    if rows:
        table("", [plain(column.name) for column in result.columns], [[str(value) for value in row] for row in shown])
    say(f"{result.rows:,} rows. Nothing was sealed.")
    for text in notices:
        notice(escape(text))


def say_origin(origin: dict[str, Any]) -> None:
    """Print from which query and sources an asset was sealed."""
    say(f"Sealed from a query: {origin.get('rows', 0):,} rows as {plain(origin.get('file', ''))}.")
    say(plain(origin.get("query", "")))
    for name, facts in dict(origin.get("sources", {})).items():
        say(f"  {plain(name)}: {plain(facts.get('path') or facts.get('address', ''))}")


def _sources(asked: Asked) -> tuple[Source, ...]:
    return parse_sources(asked.sources, csv=asked.csv, columns=asked.columns)


def _opened(asked: Asked, sources: tuple[Source, ...]) -> QueryResult:
    settings = QuerySettings(parse_size(asked.memory), asked.threads)
    return open_query(query_text(asked.query), sources, file=ResultFile(asked.file), settings=settings)


def _notices(result: QueryResult, sources: tuple[Source, ...]) -> list[str]:
    said = []
    if not result.statement.ordered:
        said.append(
            "The query ends without ORDER BY: another version of the engine may give its rows in another order."
        )
    if result.statement.changing:
        said.append(f"The query gives another result each time: {', '.join(result.statement.changing)}.")
    said += [
        f"Source '{source.name}': its server does not prove who it is. Add sslmode=verify-full to its address."
        for source in sources
        if isinstance(source, PostgresSource) and not source.host_is_proven()
    ]
    return said


def _reading(result: QueryResult, kind: AssetKind) -> list[str]:
    if kind is AssetKind.DATASET and result.file.form == "parquet":
        return ["The built-in jobs read tables as CSV: for them, seal it --as table.csv."]
    return []


def _facts(result: QueryResult) -> dict[str, Any]:
    return {"rows": result.rows, "columns": [{"name": each.name, "type": each.type} for each in result.columns]}


def _say_columns(result: QueryResult) -> None:
    table("", ["column", "type"], [(column.name, column.type) for column in result.columns])


def _json(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
