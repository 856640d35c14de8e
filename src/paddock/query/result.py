"""The result of a query as the bytes of one file, made while the query runs: never whole in memory, never on a disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from paddock.errors import ResultRefused, SourceInvalid
from paddock.query.engine import Engine
from paddock.query.faults import tool
from paddock.query.settings import QuerySettings
from paddock.query.sources import Source
from paddock.query.statement import Statement, read_statement

Progress = Callable[[int, int], None]
# Fewer take more time, more take more memory where rows are wide.
_ROWS_AT_ONCE = 1024
_GROUP_ROWS = 122_880
_GROUP_BYTES = 32 << 20
# Types of the engine that Parquet holds without loss; a list or struct holds what its parts are.
_TYPES = {
    "boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "hugeint",
    "uhugeint", "float", "double", "decimal", "varchar", "blob", "date", "time", "timestamp", "timestamp_s",
    "timestamp_ms", "timestamp_ns", "timestamp with time zone", "uuid", "enum", "list", "array", "struct", "map",
}  # fmt: skip
_NOT_IN_CSV = {"blob", "list", "array", "struct", "map"}


@dataclass(frozen=True)
class Column:
    """A column of the result: its name, and its type in the engine's words."""

    name: str
    type: str


@dataclass(frozen=True)
class ResultFile:
    """The file that the result becomes.

    Args:
        path: in the volume; ends in .parquet or .csv.

    Raises:
        SourceInvalid: it ends in something else.
    """

    path: str = "table.parquet"
    form: str = field(init=False)

    def __post_init__(self) -> None:
        stem, _, form = self.path.lower().rpartition("/")[2].rpartition(".")
        if form not in {"parquet", "csv"} or not stem:
            raise SourceInvalid(f"--as {self.path}: the name of the result ends in .parquet or .csv.")
        object.__setattr__(self, "form", form)


class QueryResult:
    """A query that is ready to run. To be used as a context, and read once.

    Args:
        engine: with the sources; closed with this.
        statement: what may run.
        sources: what the engine was opened with.
        file: what the result becomes.
    """

    def __init__(self, engine: Engine, statement: Statement, sources: tuple[Source, ...], file: ResultFile) -> None:
        self._engine = engine
        self._sources = sources
        self.statement = statement
        self.file = file
        self.rows = 0
        with engine.telling():
            self._relation = engine.connection.sql(statement.text)
            types = list(self._relation.types)
            self.columns = [
                Column(str(name), str(kind)) for name, kind in zip(self._relation.columns, types, strict=True)
            ]
        self._check_columns(types)
        with engine.telling():
            self._relation = self._with_decimals(types)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the engine, its files and connections."""
        self._relation = None
        self._engine.close()

    def origin(self) -> dict[str, Any]:
        """What the owner's own records keep of the query: its text, sources, columns and rows; never a value or password."""
        return {
            "query": self.statement.text,
            "sources": {source.name: source.described() for source in self._sources},
            "files": [
                {"source": name, "path": _printable(str(path.absolute())), "bytes": size}
                for name, path, size in self._engine.files()
            ],
            "file": self.file.path,
            "columns": [{"name": column.name, "type": column.type} for column in self.columns],
            "rows": self.rows,
            "engine": f"duckdb {tool('duckdb').__version__}",
        }

    def content(self, progress: Progress | None = None) -> Iterator[memoryview]:
        """The file's bytes, in pieces; `rows` counts while they are made.

        Args:
            progress: told rows and bytes so far.

        Raises:
            QueryNeedsMemory: the query needs more than it may use.
            ValueRefused: a value does not fit its type.
            SourceUnavailable, SourceChanged: a source broke off, or was changed meanwhile.
        """
        done = 0
        for piece in self._pieces():
            done += len(piece)
            if progress is not None:
                progress(self.rows, done)
            yield piece
        self._engine.check_unchanged()

    def files(self, progress: Progress | None = None) -> Iterator[tuple[str, Iterator[memoryview]]]:
        """The one file, as a volume's writer takes it; see `content`."""
        yield self.file.path, self.content(progress)

    def first_rows(self, count: int, progress: Progress | None = None) -> list[tuple[Any, ...]]:
        """Run the query without keeping its result.

        Args:
            count: how many rows to return; `rows` counts all.
            progress: told rows, and 0 for bytes.

        Raises:
            QueryNeedsMemory, ValueRefused, SourceUnavailable, SourceChanged: see `content`.
        """
        shown: list[tuple[Any, ...]] = []
        for batch in self._batches():
            wanted = batch.slice(0, max(0, count - len(shown))).to_pylist()
            shown += [tuple(row[column.name] for column in self.columns) for row in wanted]
            if progress is not None:
                progress(self.rows, 0)
        self._engine.check_unchanged()
        return shown

    # --- inside ---

    def _check_columns(self, types: list[Any]) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ResultRefused(f"Several columns are named '{twice[0]}'.")
        for column, kind in zip(self.columns, types, strict=True):
            unfit = _unfit(kind)
            if unfit or (self.file.form == "csv" and kind.id in _NOT_IN_CSV):
                raise ResultRefused(f"Column '{column.name}' is of type {unfit or kind.id.upper()}.")

    def _with_decimals(self, types: list[Any]) -> Any:
        # 128-bit integers, such as sums, travel as decimals of 38 digits: cast here, so that a larger one is refused.
        if not any(kind.id in {"hugeint", "uhugeint"} for kind in types):
            return self._relation
        shown = []
        for column, kind in zip(self.columns, types, strict=True):
            name = '"' + column.name.replace('"', '""') + '"'
            shown.append(f"CAST({name} AS DECIMAL(38,0)) AS {name}" if kind.id in {"hugeint", "uhugeint"} else name)
        return self._relation.project(", ".join(shown))

    def _batches(self) -> Iterator[Any]:
        with self._engine.telling():
            reader = self._relation.to_arrow_reader(_ROWS_AT_ONCE)
        try:
            while (batch := self._next(reader)) is not None:
                self.rows += batch.num_rows
                yield batch
        finally:
            reader.close()

    def _next(self, reader: Any) -> Any:
        arrow = tool("pyarrow")
        try:
            with self._engine.telling():
                return reader.read_next_batch()
        except StopIteration:
            return None
        except (arrow.ArrowException, OSError) as error:
            self._engine.broken(str(error))

    def _groups(self) -> Generator[Any, None, None]:
        """Rows in groups: of a fixed number, so that the bytes do not depend on how the engine cuts its batches."""
        arrow = tool("pyarrow")
        kept: list[Any] = []
        rows = size = 0
        for batch in self._batches():
            start = 0
            while start < batch.num_rows:
                part = batch.slice(start, min(_GROUP_ROWS - rows, batch.num_rows - start))
                start += part.num_rows
                kept.append(part)
                rows += part.num_rows
                size += part.get_total_buffer_size() if start == batch.num_rows else 0
                if rows == _GROUP_ROWS or size >= _GROUP_BYTES:
                    yield arrow.Table.from_batches(kept)
                    kept, rows, size = [], 0, 0
        if kept:
            yield arrow.Table.from_batches(kept)

    def _ahead(self, groups: Generator[Any, None, None]) -> Iterator[Any]:
        """The groups, each computed while the one before it is written, encrypted and stored."""
        with ThreadPoolExecutor(1, thread_name_prefix="query") as pool:
            waiting = pool.submit(next, groups, None)
            try:
                while (group := waiting.result()) is not None:
                    waiting = pool.submit(next, groups, None)
                    yield group
            finally:
                if not waiting.done():
                    # Nobody wants the rest: let go of what computes it, or leaving would wait for it.
                    self._engine.interrupt()
                    wait([waiting])
                pool.submit(groups.close).result()

    def _pieces(self) -> Iterator[memoryview]:
        sink = _Sink()
        writer: Any = None
        try:
            for group in self._ahead(self._groups()):
                if writer is None:
                    writer = self._writer(sink, group.schema)
                writer.write_table(group)
                yield from sink.taken()
            if writer is None:
                with self._engine.telling():
                    schema = self._relation.limit(0).to_arrow_table().schema
                writer = self._writer(sink, schema)
            writer.close()
            writer = None
            yield from sink.taken()
        finally:
            sink.let_go = True
            if writer is not None:
                writer.close()

    def _writer(self, sink: _Sink, schema: Any) -> Any:
        if self.file.form == "parquet":
            return tool("pyarrow.parquet").ParquetWriter(sink, schema, compression="zstd", version="2.6")
        csv = tool("pyarrow.csv")
        return csv.CSVWriter(sink, schema, write_options=csv.WriteOptions(quoting_style="needed"))


class _Sink:
    """A file that only grows; what was written is taken out at once."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0
        self.let_go = False

    def write(self, data: Any) -> int:
        """Keep a copy: the writer uses its buffer again."""
        piece = bytes(data)
        if not self.let_go:
            self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def taken(self) -> Iterator[memoryview]:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield memoryview(piece)

    def tell(self) -> int:
        """Bytes so far."""
        return self._at

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The writer is done."""

    def readable(self) -> bool:
        """It is not."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is not."""
        return False


def _unfit(kind: Any) -> str:
    """A type inside this one that the file cannot hold; empty if there is none."""
    if kind.id not in _TYPES:
        return str(kind).upper().strip('"')
    if kind.id in {"list", "array", "struct", "map"}:
        for _, part in kind.children:
            if hasattr(part, "id") and (unfit := _unfit(part)):
                return unfit
    return ""


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def open_query(
    text: str,
    sources: tuple[Source, ...],
    *,
    file: ResultFile | None = None,
    settings: QuerySettings | None = None,
) -> QueryResult:
    """Read a query, open its sources, lock the engine, and make the query ready.

    Args:
        text: one SELECT.
        sources: all that it may read.
        file: what the result becomes; None for `table.parquet`.
        settings: what it may use; None for the defaults.

    Raises:
        QueryKindRefused, QueryReachesOut, QueryInvalid: the query is not one that may run over these sources.
        ResultRefused: a column cannot be kept in the file.
        SourceInvalid, SourceUnavailable, ValueRefused, QueryNeedsMemory: a source cannot be read.
        QueryToolsMissing: `paddock[sql]` is not installed.
    """
    file = file or ResultFile()
    engine = Engine(sources, settings or QuerySettings())
    try:
        return QueryResult(engine, read_statement(text, engine.tables), sources, file)
    except BaseException:
        engine.close()
        raise
