"""Reading a query before it runs: one statement, which only reads, and only what was named.

This is the first of two walls. It gives clear refusals and knows every form of node that it lets pass; what it does not
know it refuses. The second is the locked connection (`engine`), which has no files, settings or extensions to give.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paddock.errors import QueryInvalid, QueryKindRefused, QueryReachesOut
from paddock.query.faults import duckdb, first_line
from paddock.query.sources import MAX_QUERY_BYTES

# Nodes of the parse tree that read. Expressions bear a `class`; those without are listed here, all others are refused,
# among them those of WITH x AS (DELETE … RETURNING …) and SHOW.
_NODES = {
    "SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE",
    "BASE_TABLE", "SUBQUERY", "JOIN", "EXPRESSION_LIST", "EMPTY", "PIVOT", "TABLE_FUNCTION",
    "ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
    "ORDER_DEFAULT", "ASCENDING", "DESCENDING",
}  # fmt: skip
# Table functions that make rows from their arguments. Others open files, speak of the engine, or take SQL as text.
_TABLE_FUNCTIONS = {"unnest", "range", "generate_series", "json_each", "json_tree"}
# Functions that look at the process, write to its log, or carry state from one call to the next.
_FUNCTIONS = {"getenv", "current_setting", "getvariable", "which_secret", "write_log", "nextval", "currval", "setseed"}
_CHANGING = {
    "random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "now", "today", "transaction_timestamp",
    "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "get_current_time",
    "get_current_timestamp", "get_current_date",
}  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """A query that may run.

    Args:
        text: the statement, as it was given.
        ordered: whether its last word on the result is an ORDER BY.
        changing: functions in it that give another value each time, and `TABLESAMPLE`.
    """

    text: str
    ordered: bool
    changing: tuple[str, ...]


def read_statement(text: str, tables: set[str]) -> Statement:
    """Return the query if it may run.

    Args:
        text: SQL.
        tables: what it may read, as `NAME` or `SCHEMA.NAME`; compared without regard to case.

    Raises:
        QueryKindRefused: not one SELECT.
        QueryReachesOut: a table, function or form that was not named or is not known to only compute.
        QueryInvalid: not SQL, too long, or nested too deep.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_QUERY_BYTES or "\0" in text:
        raise QueryInvalid(f"It is longer than {MAX_QUERY_BYTES >> 10} KiB, or holds a zero byte.")
    try:
        statements = duckdb().extract_statements(text)
    except duckdb().Error as error:
        raise QueryInvalid(first_line(error)) from None
    if len(statements) != 1:
        raise QueryKindRefused(f"It holds {len(statements)} statements.")
    kind = str(statements[0].type).rpartition(".")[2]
    if kind != "SELECT":
        raise QueryKindRefused(f"It is of the kind {kind}.")
    root = _tree(statements[0].query)
    known = {name.lower() for name in tables}
    nodes = list(_walk(root))
    common = {str(name).lower() for node in nodes for name in _common_names(node)}
    for node in nodes:
        _check(node, known, common)
    changing = sorted({name for node in nodes if (name := _changing(node))})
    modifiers = root.get("modifiers") or []
    ordered = any(isinstance(each, dict) and each.get("type") == "ORDER_MODIFIER" for each in modifiers)
    return Statement(statements[0].query, ordered, tuple(changing))


def _tree(text: str) -> dict[str, Any]:
    connection = duckdb().connect(":memory:")
    said: dict[str, Any]
    try:
        row = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
        said = json.loads(row[0]) if row else {"error": True}
    except (duckdb().Error, ValueError, RecursionError):
        raise QueryInvalid("It is nested too deep.") from None
    finally:
        connection.close()
    if said.get("error"):
        raise QueryKindRefused(str(said.get("error_message", "It cannot be read."))[:200])
    statements = said["statements"]
    if len(statements) != 1 or not isinstance(statements[0].get("node"), dict):
        raise QueryKindRefused("It is not one SELECT.")
    root: dict[str, Any] = statements[0]["node"]
    return root


def _walk(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _common_names(node: dict[str, Any]) -> Iterator[object]:
    """Names that a WITH gives to its own parts."""
    table = node.get("cte_map")
    if isinstance(table, dict):
        for entry in table.get("map") or []:
            if isinstance(entry, dict):
                yield entry.get("key")
    if node.get("type") in ("RECURSIVE_CTE_NODE", "CTE_NODE"):
        yield node.get("cte_name")


def _check(node: dict[str, Any], tables: set[str], common: set[str]) -> None:
    kind = node.get("type")
    if not isinstance(kind, str):
        return
    if "class" not in node and kind not in _NODES:
        raise QueryKindRefused(f"It holds a part of the kind {kind}.")
    if kind == "BASE_TABLE":
        _check_table(node, tables, common)
    elif kind == "TABLE_FUNCTION":
        name = str((node.get("function") or {}).get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise QueryReachesOut(f"It calls {name}(…) as a table.")
    elif node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _FUNCTIONS:
        raise QueryReachesOut(f"It calls {str(node['function_name']).lower()}(…).")
    elif kind == "VALUE_PARAMETER":
        raise QueryKindRefused("It has a parameter ($ or ?), and nothing gives it a value.")


def _check_table(node: dict[str, Any], tables: set[str], common: set[str]) -> None:
    catalog, schema, table = (str(node.get(part) or "") for part in ("catalog_name", "schema_name", "table_name"))
    name = ".".join(part for part in (catalog, schema, table) if part).lower()
    if name in tables or (not catalog and not schema and name in common):
        return
    raise QueryReachesOut(f"It reads '{name[:80]}'; its sources are: {', '.join(sorted(tables))[:300] or 'none'}.")


def _changing(node: dict[str, Any]) -> str:
    if node.get("class") == "FUNCTION":
        name = str(node.get("function_name", "")).lower()
        return name if name in _CHANGING else ""
    if node.get("class") == "COLUMN_REF":
        names = node.get("column_names") or []
        name = str(names[0]).lower() if len(names) == 1 else ""
        return (
            name if name in {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"} else ""
        )
    sample = node.get("sample")
    return "TABLESAMPLE" if isinstance(sample, dict) and not sample.get("repeatable") else ""
