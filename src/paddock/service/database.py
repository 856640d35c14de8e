"""One database of one service: durable, migrated on opening, writers queued.

SQLite by default; any SQLAlchemy address by configuration.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from paddock.errors import DatabaseInvalid, DatabaseNewer, DatabaseUnavailable

BUSY_SECONDS = 10.0
_WRITER = "paddock_writer"


class Database:
    """An open database whose schema is that of this version.

    Every transaction is either `read` or `write`; a `write` has the database to itself from its first statement, so
    that what it reads is still so when it commits.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Threads of this process wait here, in turn; SQLite's own waiting for other processes is a poll.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @classmethod
    def open(cls, url: str, migrations: Path) -> Database:
        """Open the database and bring its schema up to date.

        Args:
            url: SQLAlchemy address, e.g. `sqlite:////var/lib/paddock/hub.db`.
            migrations: folder with the service's Alembic environment, shipped inside its package.

        Raises:
            DatabaseInvalid: no such driver or folder, or not a database.
            DatabaseNewer: a newer version wrote it.
            DatabaseUnavailable: it does not answer.
        """
        try:
            parsed = make_url(url)
            _create_private_file(parsed)
            engine = create_engine(parsed, **_engine_options(parsed))
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise DatabaseInvalid("Its address is not understood, or the driver for it is not installed.") from error
        except OSError as error:
            raise DatabaseInvalid(f"The system says: {error.strerror}.") from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        database = cls(engine)
        try:
            database._migrate(migrations)
        except BaseException:
            engine.dispose()
            raise
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database and changes nothing.

        Raises:
            DatabaseUnavailable: it does not answer.
        """
        with _translated(), self.engine.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed when the block ends and undone when it raises.

        Raises:
            DatabaseUnavailable: it does not answer, is full, or another process holds it too long.
        """
        with _translated(), self._turn, self.engine.connect() as connection:
            writer = connection.execution_options(**{_WRITER: True})
            with writer.begin():
                yield writer

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _migrate(self, migrations: Path) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrations).replace("%", "%%"))
        script = ScriptDirectory.from_config(config)
        known = {revision.revision for revision in script.walk_revisions()}
        try:
            with self.write() as connection:
                heads = set(MigrationContext.configure(connection).get_current_heads())
                if not heads <= known:
                    raise DatabaseNewer
                if heads != set(script.get_heads()):
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseInvalid("Its migrations are not in order.") from error
        except IntegrityError as error:
            raise DatabaseInvalid("It holds tables of something else.") from error


def _create_private_file(url: URL) -> None:
    # SQLite would create the file for everybody to read; -wal and -shm take over its mode.
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine_options(url: URL) -> dict[str, object]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}
    return {"pool_pre_ping": True, "isolation_level": "SERIALIZABLE"}


def _configure_sqlite(connection: object, _record: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN comes too late and is never IMMEDIATE: `_begin_sqlite` sends ours.
    connection.isolation_level = None  # type: ignore[attr-defined]
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in (
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",  # a commit that was acknowledged survives loss of power
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writer = connection.get_execution_options().get(_WRITER, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        words = str(error.orig).lower()
        reason = "Its disk is full." if "full" in words else "It is busy or cannot be reached."
        raise DatabaseUnavailable(reason) from error
    except IntegrityError:
        raise
    except DBAPIError as error:
        if "not a database" in str(error.orig).lower():
            raise DatabaseInvalid("The file is not a database.") from error
        raise
