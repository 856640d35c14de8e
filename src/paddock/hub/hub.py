"""The hub itself: database, blobs, engine, and the transactions between them."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from paddock.crypto.digest import b64, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.signing import SigningKey
from paddock.engines.engine import STARTED, Engine, OnRunEvent
from paddock.errors import (
    EncodingRefused,
    Misconfigured,
    NoSuchObject,
    PaddockError,
    RunStillEnding,
    Unavailable,
)
from paddock.executors.executor import FINAL_EVENTS, Launch
from paddock.hub import contracts, runs
from paddock.hub.grants import Grants
from paddock.hub.waiting import Waiting
from paddock.service.database import Database
from paddock.store import open_store

MIGRATIONS = Path(__file__).with_name("migrations")
MAX_UPLOADS = 16
GIB = 1 << 30
_FINISH_PAUSES = (0.1, 1.0, 5.0, *[15.0] * 40)
_ENDING_SECONDS = 10.0
_log = logging.getLogger("paddock.hub")
Json = dict[str, Any]


def _system_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class HubConfig:
    """Settings of one hub.

    Args:
        database: SQLAlchemy address.
        store: address of the blobs: `folder:/…`, `s3://…`.
        gateway: where enclaves reach this hub, if they are not given the store's own address: then each run gets a way
            through the hub that reads objects, adds new ones, and ends with it. Credentials of a cloud stay here.
        ledger_key: signs the ledger's checkpoints; see `load_ledger_key`.
        origin: the ledger's name, without white space or plus sign, e.g. `hub.example/ledger`.
        engine: makes the engine, given where it must report.
        simulated: whether runs are attested by a simulator; shown to everybody, decides nothing.
        max_blob_bytes: the largest object that may be uploaded.
        clock: the hub's time.
    """

    database: str
    store: str
    ledger_key: SigningKey
    origin: str
    engine: Callable[[OnRunEvent], Engine]
    simulated: bool
    gateway: str | None = None
    max_blob_bytes: int = 64 * GIB
    clock: Callable[[], datetime] = _system_clock


class Hub:
    """An open hub. Runs that a crash left under way are ended when it opens."""

    def __init__(self, config: HubConfig) -> None:
        self.config = config
        self.waiting = Waiting()
        self._closing = threading.Event()
        self.uploads = anyio.CapacityLimiter(MAX_UPLOADS)
        self.blobs = open_store(config.store)
        self.grants = Grants()
        # Runs that the engine has, until their final event was taken: a later attempt waits for that.
        self._placed: set[str] = set()
        self._left = threading.Condition()
        self.database = Database.open(config.database, MIGRATIONS)
        try:
            with self.database.write() as connection:
                runs.recover(connection, self.now())
            self._sweep()
            self.engine = config.engine(self._on_run_event)
        except BaseException:
            self.database.close()
            raise

    def now(self) -> datetime:
        """The hub's time; judges nothing that keys depend on."""
        return self.config.clock()

    def request_run(self, envelope: Envelope) -> str:
        """Accept and place a run; its id. Raises as `runs.ask`, and EngineBusy."""
        now = self.now()
        with self.database.write() as connection:
            run, contract, keepers = runs.ask(connection, envelope, now)
        with self._left:
            self._placed.add(run)
        self._place(Launch(run, contract, self._store_of(run), keepers))
        return run

    def resume_run(self, run: str, envelope: Envelope) -> Json:
        """Go on with a run that failed or was cancelled. Raises as `runs.resume`, RunStillEnding and EngineBusy."""
        end = time.monotonic() + _ENDING_SECONDS
        while True:
            try:
                contract, keepers, checkpoints = self._begin_again(run, envelope)
                break
            except RunStillEnding:
                with self._left:
                    left = end - time.monotonic()
                    if left <= 0 or not self._left.wait_for(lambda: run not in self._placed, left):
                        raise
        self._place(Launch(run, contract, self._store_of(run), keepers, checkpoints))
        self.waiting.tell(run)
        with self.database.read() as connection:
            return runs.show(connection, run)

    def _begin_again(self, run: str, envelope: Envelope) -> tuple[Json, dict[str, str], list[Json]]:
        taken = False
        try:
            with self.database.write() as connection:
                found = runs.resume(connection, run, envelope, self.now())
                with self._left:
                    # The end of the attempt before is noted, and its final event may still be on its way: it would end
                    # this one. Nothing is written then, so that the same request can be asked again.
                    if run in self._placed:
                        raise RunStillEnding
                    self._placed.add(run)
                    taken = True
        except BaseException:
            if taken:
                self._has_left(run)
            raise
        return found

    def _place(self, launch: Launch) -> None:
        """Hand a run to the engine that is already listed as placed."""
        try:
            # After the commit: the engine's first event must find the run.
            self.engine.submit(launch)
        except PaddockError as error:
            self.grants.end(launch.run)
            with self.database.write() as connection:
                runs.never_began(connection, launch.run)
                runs.finish(connection, launch.run, {"event": "failed", "error": error.as_dict()}, self.now())
            self.waiting.tell(launch.run)
            self._has_left(launch.run)
            raise
        with self.database.read() as connection:
            ended = runs.show(connection, launch.run)["state"] in runs.ENDED
        if ended:  # cancelled between the commit and the engine's knowing of it
            self.engine.cancel(launch.run)

    def _has_left(self, run: str) -> None:
        with self._left:
            self._placed.discard(run)
            self._left.notify_all()

    def _store_of(self, run: str) -> str:
        if self.config.gateway is None:
            return self.config.store
        url, mark, whom = self.config.gateway.partition("#")
        return f"{url.rstrip('/')}/v1/grants/{self.grants.give(run)}{mark}{whom}"

    def cancel_run(self, run: str, envelope: Envelope) -> Json:
        """Cancel a run. Raises as `runs.may_cancel`."""
        with self.database.write() as connection:
            runs.may_cancel(connection, run, envelope, self.now())
        self._stop([run])
        with self.database.read() as connection:
            return runs.show(connection, run)

    def cancel_contract(self, contract: str, envelope: Envelope) -> Json:
        """Cancel a contract and its runs. Raises as `contracts.cancel`."""
        with self.database.write() as connection:
            shown = contracts.cancel(connection, contract, envelope, self.now())
            left = runs.under_way(connection, contract)
        self._stop(left)
        self._sweep()
        return shown

    def close(self) -> None:
        """End all runs and close the database."""
        self._closing.set()
        self.engine.shutdown()
        self.database.close()

    def _stop(self, stopped: list[str]) -> None:
        for run in stopped:
            self.engine.cancel(run)
            self.waiting.tell(run)

    def _on_run_event(self, run: str, event: Json) -> None:
        name = event.get("event")
        if name in FINAL_EVENTS:
            try:
                self._finish_surely(run, event)
            finally:
                self._has_left(run)
            return
        with self.database.write() as connection:
            if name == STARTED:
                runs.started(connection, run, self.now())
            elif name == "checkpoint":
                runs.add_checkpoint(connection, run, event)
            else:
                runs.add_event(connection, run, event)
        self.waiting.tell(run)
        if name == "checkpoint":
            self._sweep()

    def _finish_surely(self, run: str, event: Json) -> None:
        # A receipt exists once: while the database is full or busy, the engine's thread waits here with it.
        for pause in _FINISH_PAUSES:
            try:
                self._finish(run, event)
            except Unavailable:
                _log.error("the end of run %s could not be written yet", run)
                if self._closing.wait(pause):
                    break
            else:
                return
        self._finish(run, event)

    def _finish(self, run: str, event: Json) -> None:
        self.grants.end(run)
        with self.database.write() as connection:
            runs.finish(connection, run, event, self.now())
        self.waiting.tell(run)
        self._sweep()

    def _sweep(self) -> None:
        """Delete the checkpoints that nothing will go on from; what cannot be deleted now is tried again next time."""
        try:
            with self.database.read() as connection:
                stale = runs.stale_checkpoints(connection, self.now())
            gone = [number for number, objects in stale.items() if self._delete_all(objects)]
            if gone:
                with self.database.write() as connection:
                    runs.forget_checkpoints(connection, gone)
        except Unavailable as error:
            _log.warning("old checkpoints could not be looked for: %s", error.code)

    def _delete_all(self, objects: list[str]) -> bool:
        for name in objects:
            try:
                self.blobs.delete(name)
            except NoSuchObject:
                continue
            except PaddockError as error:
                _log.warning("a checkpoint that is no longer needed could not be deleted: %s", error.code)
                return False
        return True


def load_ledger_key(path: Path) -> SigningKey:
    """The ledger's key from its file; made on first use, readable by this user alone.

    Raises:
        Misconfigured: the file cannot be read or written, or holds something else.
    """
    try:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(b64(SigningKey.generate().seed()) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return SigningKey(unb64(path.read_text(encoding="ascii").strip(), 32))
    except (OSError, UnicodeDecodeError, EncodingRefused) as error:
        raise Misconfigured("The ledger's key file cannot be used.") from error
