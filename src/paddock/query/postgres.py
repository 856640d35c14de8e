"""Tables of a PostgreSQL database as streams of Arrow batches, all from one snapshot, by transactions that cannot write.

One connection takes the snapshot and stays open; every scan is a connection of its own that joins it. So a query may
read a table twice, or several at once, and sees one state of the database. The password comes from where libpq looks
for it (PGPASSWORD, ~/.pgpass, a service file) and never through here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from paddock.errors import PaddockError, SourceInvalid, SourceUnavailable
from paddock.query.faults import tool
from paddock.query.sources import PostgresSource

_READ = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# How the driver gives these is what the engine expects. Everything else comes as the database's own text.
_PLAIN = {
    "boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "date", "bytea",
    "timestamp without time zone", "timestamp with time zone", "time without time zone",
}  # fmt: skip
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_STATE = re.compile(r"SQLSTATE:? ?'?([0-9A-Z]{5})\b")
_VALUES = re.compile(r"(?s)\n.*")
_TABLE = re.compile(r"(?:[^.\0\"]{1,63}\.)?[^.\0\"]{1,63}")


@dataclass(frozen=True)
class RemoteTable:
    """A table as the query sees it.

    Args:
        name: in the query, without the source's.
        select: what the database is asked for.
        casts: columns that come as text, and the type that they are turned into.
        columns: all columns, in order.
    """

    name: str
    select: str
    casts: dict[str, str]
    columns: tuple[str, ...]


class Database:
    """One snapshot of a database.

    Args:
        source: where it is and what is read.

    Raises:
        SourceUnavailable: it does not answer, or refuses.
        SourceInvalid: it has no such table or column.
    """

    def __init__(self, source: PostgresSource) -> None:
        self.source = source
        self.fault: PaddockError | None = None
        self._open = ExitStack()
        self._dbapi = tool("adbc_driver_postgresql.dbapi")
        try:
            self._leader = self._connect()
            # The snapshot lives as long as this transaction, however long the scans take.
            self._do(self._leader, "SET LOCAL idle_in_transaction_session_timeout = 0")
            self._snapshot = str(self._rows(self._leader, "SELECT pg_export_snapshot()")[0][0])
            if not re.fullmatch(r"[0-9A-F-]{1,64}", self._snapshot):
                raise SourceUnavailable(f"Source '{source.name}': the server's snapshot is not understood.")
            self._used: set[str] = set()
            self.tables = [self._table(name) for name in source.tables] or [self._query(source.query or "")]
            unknown = sorted(set(source.columns) - self._used)
            if unknown:
                raise SourceInvalid(f"Source '{source.name}' has no column '{unknown[0]}' to declare a type of.")
        except BaseException:
            self._open.close()
            raise

    def close(self) -> None:
        """End all transactions."""
        self._open.close()

    def stream(self, table: RemoteTable) -> RemoteStream:
        """What the engine scans; each scan asks the database anew."""
        return RemoteStream(self, table, self._schema(table.select))

    def batches(self, table: RemoteTable) -> Iterator[Any]:
        """One scan."""
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(self._scan_connection())
                cursor = stack.enter_context(connection.cursor())
                # Batches of this many bytes: what is held at a time.
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(4 << 20)})
                cursor.execute(table.select)
                yield from cursor.fetch_record_batch()
            except (self._dbapi.Error, tool("pyarrow").ArrowException, OSError) as error:
                # Its words can hold values of the data; its number cannot.
                number = _STATE.search(str(error))
                told = f"with SQLSTATE {number[1]}" if number else "while it was read; the server's log says why"
                self.fault = SourceUnavailable(f"Source '{self.source.name}' broke off {told}.")
                raise self.fault from None
            except PaddockError as error:
                self.fault = error
                raise

    # --- inside ---

    def _connect(self) -> Any:
        try:
            connection = self._open.enter_context(self._dbapi.connect(self._uri()))
        except self._dbapi.Error as error:
            raise self._refusal(error) from None
        self._do(connection, _READ)
        return connection

    def _scan_connection(self) -> Any:
        connection = self._dbapi.connect(self._uri())
        try:
            self._do(connection, _READ)
            self._do(connection, f"SET TRANSACTION SNAPSHOT '{self._snapshot}'")
        except BaseException:
            connection.close()
            raise
        return connection

    def _uri(self) -> str:
        # Defaults; what the address says itself comes later and counts.
        address, _, options = self.source.uri.partition("?")
        given = {text.partition("=")[0] for text in options.split("&")}
        added = [f"{key}={value}" for key, value in _DEFAULTS.items() if key not in given]
        return f"{address}?{'&'.join([*added, *([options] if options else [])])}"

    def _do(self, connection: Any, statement: str) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        except self._dbapi.Error as error:
            raise self._refusal(error) from None

    def _rows(self, connection: Any, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return list(cursor.fetchall())
        except self._dbapi.Error as error:
            raise self._refusal(error) from None

    def _schema(self, select: str) -> Any:
        try:
            with self._leader.cursor() as cursor:
                return cursor.adbc_execute_schema(select)
        except self._dbapi.Error as error:
            raise self._refusal(error) from None

    def _table(self, name: str) -> RemoteTable:
        if not _TABLE.fullmatch(name):
            raise SourceInvalid(f"Source '{self.source.name}': '{name[:80]}' is no name of a table.")
        quoted = ".".join(_quoted(part) for part in name.split("."))
        rows = self._rows(
            self._leader,
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
            " WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            (quoted,),
        )
        if not rows:
            raise SourceInvalid(f"Source '{self.source.name}': the database has no table {name}, or it has no columns.")
        shown = name.rpartition(".")[2]
        types = {str(column): str(kind) for column, kind in rows}
        select = f"SELECT {', '.join(_selected(column, kind) for column, kind in types.items())} FROM {quoted}"  # noqa: S608 - all quoted
        casts = {column: cast for column, kind in types.items() if (cast := _cast(kind))}
        return RemoteTable(shown, select, casts | self._declared(shown, types), tuple(types))

    def _query(self, text: str) -> RemoteTable:
        schema = self._schema(text)
        if not schema.names:
            raise SourceInvalid(f"Source '{self.source.name}': its query gives no columns.")
        return RemoteTable(self.source.name, text, self._declared("", schema.names), tuple(schema.names))

    def _declared(self, table: str, known: Collection[str]) -> dict[str, str]:
        found = {}
        for column, kind in self.source.columns.items():
            before, _, after = column.partition(".")
            if column in known:
                found[column] = kind
            elif before == table and after in known:
                found[after] = kind
            else:
                continue
            self._used.add(column)
        return found

    def _refusal(self, error: Exception) -> PaddockError:
        # The first line of the server's words; the lines after it can hold values (DETAIL, CONTEXT).
        said = _VALUES.sub("", str(error)).replace("[libpq]", "").strip()
        return SourceUnavailable(f"Source '{self.source.name}': {said[:300]}")


_DEFAULTS = {"connect_timeout": "15", "application_name": "paddock"}


class RemoteStream:
    """A table that the engine can scan as often as it wants (Arrow's PyCapsule interface)."""

    def __init__(self, database: Database, table: RemoteTable, schema: Any) -> None:
        self._database = database
        self._table = table
        self._known = schema

    def __arrow_c_schema__(self) -> object:
        """The columns."""
        return self._known.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A new scan, begun when its first batch is asked for."""
        reader = tool("pyarrow").RecordBatchReader.from_batches(self._known, self._database.batches(self._table))
        return reader.__arrow_c_stream__(requested_schema)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _selected(column: str, kind: str) -> str:
    quoted = _quoted(column)
    if kind in _PLAIN:
        return quoted
    return f"{quoted}::text AS {quoted}"


def _cast(kind: str) -> str:
    match = _NUMERIC.fullmatch(kind)
    if match and 0 <= int(match[2]) <= int(match[1]) <= 38:
        return f"DECIMAL({match[1]},{match[2]})"
    return ""
