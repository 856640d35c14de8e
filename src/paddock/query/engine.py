"""The engine with its sources, locked: from then on it opens nothing, learns nothing and changes no setting.

Files are opened here, and handed to the engine as descriptors: it reads these very files whatever their paths come to
mean, and may open nothing beside them. (It could write to them, if it were asked to: `statement` lets nothing through
that asks.) What it needs beyond its memory it does not get: nothing is put on a disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from paddock.errors import QueryReachesOut, SourceChanged, SourceInvalid, ValueRefused
from paddock.query.faults import duckdb, refusal, told
from paddock.query.postgres import Database
from paddock.query.settings import QuerySettings, show_size
from paddock.query.sources import CsvOptions, FileSource, PostgresSource, Source

_MAX_FILES = 512
_STREAM_BYTES = 1 << 20
# Rows that decide on a column's type: more find a late value sooner, and are read once more before the query begins.
_GUESSED_ROWS = 200_000


@dataclass(frozen=True)
class _Opened:
    name: str
    path: Path
    place: str
    target: str
    facts: tuple[int, int, int, int]

    def changed(self) -> bool:
        """Whether it is not what and where it was when it was opened."""
        found = os.fstat(int(self.place.rpartition("/")[2]))
        return _facts(found) != self.facts or str(Path(self.place).readlink()) != self.target


class Engine:
    """An engine that can read its sources and nothing else.

    Args:
        sources: what the query may read.
        settings: what it may use.

    Raises:
        SourceInvalid: a source cannot be opened, or an option of it does not fit.
        SourceUnavailable: a database does not answer.
        ValueRefused: the form of a CSV source cannot be told.
    """

    def __init__(self, sources: tuple[Source, ...], settings: QuerySettings) -> None:
        self.memory = show_size(settings.memory_bytes)
        self.tables: set[str] = set()
        self._open = ExitStack()
        self._files: list[_Opened] = []
        self._databases: list[Database] = []
        try:
            self.connection = self._connect(settings)
            self._open.callback(self.connection.close)
            with self.telling():
                self._attach(sources)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the engine, files and connections."""
        self._open.close()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Around every use of the connection: the engine's errors become ours."""
        try:
            with told(self.memory, self._places()):
                yield
        except ValueRefused:
            # Of a stream that broke off the engine only knows that it did.
            fault = next((database.fault for database in self._databases if database.fault), None)
            if fault is not None:
                raise fault from None
            raise
        except QueryReachesOut:
            # The engine knows its files by where they are: one that was moved is foreign to it.
            self.check_unchanged()
            raise

    def broken(self, text: str) -> NoReturn:
        """Raise what a stream that ended badly with these words means."""
        with self.telling():
            raise refusal(text, self.memory, self._places())

    def interrupt(self) -> None:
        """End what the engine computes, from another thread; nothing can be asked of it afterwards."""
        self.connection.interrupt()

    def check_unchanged(self) -> None:
        """Return if every file is what it was when it was opened.

        Raises:
            SourceChanged: one is not.
        """
        for file in self._files:
            if file.changed():
                raise SourceChanged(f"Source '{file.name}': {file.path}.")

    def files(self) -> list[tuple[str, Path, int]]:
        """Source, path and size of every file."""
        return [(file.name, file.path, file.facts[2]) for file in self._files]

    # --- inside ---

    def _connect(self, settings: QuerySettings) -> Any:
        connection = duckdb().connect(
            ":memory:",
            config={
                # Nothing spills: plaintext never meets a disk.
                "temp_directory": "",
                "max_temp_directory_size": "0KiB",
                "memory_limit": f"{settings.memory_bytes >> 20}MiB",
                "threads": str(settings.threads),
                "preserve_insertion_order": "true",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "allow_persistent_secrets": "false",
                # Otherwise a query could name variables of this process.
                "python_enable_replacements": "false",
                "enable_external_file_cache": "false",
            },
        )
        connection.execute("SET TimeZone = 'UTC'")
        # It would be drawn on standard output, amid what a script reads.
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SET streaming_buffer_size = '{_STREAM_BYTES >> 10}KiB'")
        return connection

    def _attach(self, sources: tuple[Source, ...]) -> None:
        for source in sources:
            if isinstance(source, FileSource):
                self._open_files(source)
        run = self.connection.execute
        run(f"SET allowed_paths = [{', '.join(_text(file.place) for file in self._files)}]")
        run("SET enable_external_access = false")
        for source in sources:
            if isinstance(source, FileSource):
                run(f"CREATE VIEW {_name(source.name)} AS SELECT * FROM {self._reader(source)}")  # noqa: S608 - all quoted
                self.tables.add(source.name)
            else:
                self._attach_database(source)
        run("SET lock_configuration = true")

    def _open_files(self, source: FileSource) -> None:
        for path in source.paths():
            if len(self._files) >= _MAX_FILES:
                raise SourceInvalid(f"The sources are more than {_MAX_FILES} files.")
            try:
                # O_NONBLOCK: a pipe is not waited for.
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise SourceInvalid(f"Source '{source.name}': {path}: {error.strerror}.") from None
            self._open.callback(os.close, descriptor)
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise SourceInvalid(f"Source '{source.name}': {path} is not a regular file.")
            place = f"/proc/self/fd/{descriptor}"
            self._files.append(_Opened(source.name, path, place, str(Path(place).readlink()), _facts(facts)))

    def _reader(self, source: FileSource) -> str:
        places = ", ".join(_text(file.place) for file in self._files if file.name == source.name)
        if source.form == "parquet":
            return f"read_parquet([{places}])"
        options = [f"compression={_text(source.packing())}", *_csv(source.csv)]
        if source.columns:
            types = ", ".join(f"{_text(column)}: {_text(kind)}" for column, kind in source.columns.items())
            options.append(f"types={{{types}}}")
        return f"read_csv([{places}], {', '.join(options)})"

    def _attach_database(self, source: PostgresSource) -> None:
        database = Database(source)
        self._databases.append(database)
        self._open.callback(database.close)
        run = self.connection.execute
        if source.tables:
            run(f"CREATE SCHEMA {_name(source.name)}")
        for number, table in enumerate(database.tables):
            stream = f"paddock stream {len(self._databases)} {number}"
            self.connection.register(stream, database.stream(table))
            columns = ", ".join(
                f"CAST({_name(column)} AS {table.casts[column]}) AS {_name(column)}" if column in table.casts
                else _name(column) for column in table.columns
            )  # fmt: skip
            select = f"AS SELECT {columns} FROM {_name(stream)}"  # noqa: S608 - names are quoted, types of a strict form
            if source.tables:
                run(f"CREATE VIEW {_name(source.name)}.{_name(table.name)} {select}")
                self.tables.add(f"{source.name}.{table.name}")
            if len(database.tables) == 1:
                run(f"CREATE VIEW {_name(source.name)} {select}")
                self.tables.add(source.name)

    def _places(self) -> dict[str, str]:
        return {file.place: file.name for file in self._files}


def _csv(options: CsvOptions) -> list[str]:
    texts = {
        "encoding": options.encoding,
        "delim": options.delimiter,
        "quote": options.quote,
        "decimal_separator": options.decimal,
        "dateformat": options.date_format,
        "timestampformat": options.timestamp_format,
    }
    made = [f"{key}={_text(value)}" for key, value in texts.items() if value is not None]
    if options.header is not None:
        made.append(f"header={str(options.header).lower()}")
    if options.skip is not None:
        made.append(f"skip={options.skip}")
    if options.null:
        made.append(f"nullstr=[{', '.join(map(_text, options.null))}]")
    made.append(f"sample_size={_GUESSED_ROWS}" if options.detect else "all_varchar=true")
    return made


def _facts(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
