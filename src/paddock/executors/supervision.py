"""One started program from its launch line to its final event: what every executor promises, whatever it starts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from paddock.errors import (
    ExecutorFailed,
    PaddockError,
    RunCancelled,
    RunEndedSilently,
    RunKilled,
    RunOutOfMemory,
    RunOverdue,
    RunSpokeBadly,
)
from paddock.executors.executor import EVENTS, FINAL_EVENTS, Json, OnEvent
from paddock.store.memory import remove_left

_LAUNCHER = Path(__file__).with_name("launcher.py")
_START_SECONDS = 30
_POLL_SECONDS = 0.5
_LEAVE_SECONDS = 0.1
_SIGNALLED = 128
_log = logging.getLogger("paddock.executors")


@dataclass(frozen=True)
class Limits:
    """What is read of one enclave at most; more ends it.

    Args:
        line_bytes: of one event.
        events: number of them.
        grace_seconds: between asking it to end and killing it.
        log_bytes: of what it writes for the operator; more is dropped.
        beside_seconds: how long a run may take beside what its contract allows its work: emulated machines start for minutes.
    """

    line_bytes: int = 8 << 20
    events: int = 100_000
    grace_seconds: float = 5.0
    log_bytes: int = 4 << 20
    beside_seconds: float = 3600.0


@dataclass
class Execution:
    """One process from its start to its final event.

    One thread starts it and reads it to its end: the kernel ties PR_SET_PDEATHSIG to the starting thread, so that
    thread must live as long as the process.

    One that is started without a launch waits for it, and serves that one (the warm pool).

    Args:
        line: the launch; None: it is given later.
        on_event: takes events, one at a time.
        limits: of what is read.
        log: the file that gets its stderr; None drops it.
        clear: called once after its end, before the final event.
        folder: where it runs.
        seconds: from its launch to its end at most, whatever it says or does not say; None: as long as it likes.
    """

    line: bytes | None
    on_event: OnEvent
    limits: Limits
    log: Path | None
    clear: Callable[[], None]
    folder: Path = Path("/")
    seconds: float | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    _started: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _gone: threading.Event = field(default_factory=threading.Event)
    _launched: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[bytes] | None = None
    _reaped: bool = False
    _overdue: bool = False
    _failure: BaseException | None = None

    def start(self, command: Sequence[str], env: dict[str, str]) -> None:
        """Start the program; return once it runs.

        Raises:
            ExecutorFailed: it could not be started.
        """
        name = f"execution-{os.urandom(3).hex()}"
        threading.Thread(target=self._supervise, args=(command, env), name=name, daemon=True).start()
        self._started.wait(_START_SECONDS)
        if self._failure is not None:
            raise ExecutorFailed("The process could not be started.") from self._failure

    def __post_init__(self) -> None:
        if self.line is not None:
            self._launched.set()

    @property
    def pid(self) -> int | None:
        """The started process; None before it is."""
        return None if self._process is None else self._process.pid

    def launch(
        self,
        line: bytes,
        on_event: OnEvent,
        log: Path | None,
        clear: Callable[[], None],
        seconds: float | None = None,
    ) -> bool:
        """Give a waiting process its one launch.

        Returns:
            Whether it was there to take it.
        """
        with self._lock:
            if self._launched.is_set():
                raise RuntimeError("a process serves one launch")
            if self._gone.is_set() or self._stopped.is_set():
                return False
            self.line, self.on_event, self.log, self.clear, self.seconds = line, on_event, log, clear, seconds
            self._launched.set()
        return True

    def discard(self) -> None:
        """End one that waits, if it was not launched meanwhile."""
        with self._lock:
            if self._launched.is_set():
                return
            self._stopped.set()
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, then end it."""
        self._stopped.set()
        if self._signal(signal.SIGTERM) and not self.ended.wait(self.limits.grace_seconds):
            self._signal(signal.SIGKILL)

    def _supervise(self, command: Sequence[str], env: dict[str, str]) -> None:
        try:
            process = self._spawn(command, env)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._failure = error
            self._clear()
            self.ended.set()
            self._started.set()
            return
        self._process = process
        self._started.set()
        if self._stopped.is_set():  # before there was anything to signal
            self._signal(signal.SIGKILL)
        reaper = threading.Thread(target=self._reap, args=(process,), name="reaper", daemon=True)
        reaper.start()
        if not self._wait_for_launch():
            reaper.join()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            self.ended.set()
            return
        kills_before = _out_of_memory_kills()
        threading.Thread(target=self._tell, args=(process,), name="launch", daemon=True).start()
        log = threading.Thread(target=self._keep_log, args=(process,), name="log", daemon=True)
        log.start()
        overdue = threading.Timer(min(self.seconds or 0.0, threading.TIMEOUT_MAX), self._end_overdue)
        overdue.daemon = True
        if self.seconds is not None:
            overdue.start()
        final = self._read(process)
        overdue.cancel()
        # Without a last word, how it ends is the only thing that it tells: a wrapper may follow what it started.
        self._finish(_LEAVE_SECONDS if final is not None else self.limits.grace_seconds)
        reaper.join()
        log.join(_POLL_SECONDS)
        if final is None:
            final = _failed(self._reason(process.returncode, kills_before))
        self._clear()
        self.ended.set()
        self._deliver(final)

    def _end_overdue(self) -> None:
        # The enclave keeps to its time itself; one that nothing is heard of any more, or what stands for it here, does not.
        if not self._stopped.is_set():
            self._overdue = True
            self.stop()

    def _wait_for_launch(self) -> bool:
        """Whether it was launched; False: it ended, or was discarded, before anybody needed it."""
        while not self._launched.wait(_POLL_SECONDS):
            if self._gone.is_set():
                with self._lock:
                    self._stopped.set()
                    return self._launched.is_set()
        return True

    def _clear(self) -> None:
        try:
            self.clear()
        except Exception as error:  # noqa: BLE001 - as in _deliver
            _log.error("what a run left could not be cleared away: %s", type(error).__name__)

    def _deliver(self, event: Json) -> None:
        try:
            self.on_event(event)
        except Exception as error:  # noqa: BLE001 - this thread holds the process; whoever listens must not end it
            _log.error("an event of a run was not taken: %s", type(error).__name__)

    def _spawn(self, command: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=self.folder,
            start_new_session=True,
            close_fds=True,
        )

    def _tell(self, process: subprocess.Popen[bytes]) -> None:
        # On its own thread: a process that never reads must not keep its events from being read.
        if process.stdin is not None and self.line is not None:
            with contextlib.suppress(OSError):
                process.stdin.write(self.line)
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _keep_log(self, process: subprocess.Popen[bytes]) -> None:
        if process.stderr is None:
            return
        left = self.limits.log_bytes
        with contextlib.ExitStack() as stack:
            stack.enter_context(process.stderr)
            sink = stack.enter_context(_private_file(self.log)) if self.log is not None else None
            while part := process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
                if sink is not None and left > 0:
                    with contextlib.suppress(OSError):  # a full disk must not end the run
                        sink.write(part[:left])
                        sink.flush()
                    left -= len(part)

    def _read(self, process: subprocess.Popen[bytes]) -> Json | None:
        """Pass events on until the final one, which is returned; None when the process ended without one."""
        if process.stdout is None:
            return None
        with process.stdout as pipe:
            source = _Lines(pipe.fileno(), self.limits, self._gone)
            for _ in range(self.limits.events):
                line = source.next()
                if not line:
                    return None
                event = _understood(line, self.limits.line_bytes)
                if event is None:
                    return _failed(RunSpokeBadly())
                if event["event"] in FINAL_EVENTS:
                    return event
                self._deliver(event)
        return _failed(RunSpokeBadly("It sent too many events."))

    def _finish(self, seconds: float) -> None:
        # What it promised is done before its last word, so it gets a moment to leave and no more.
        self._gone.wait(seconds)
        self._signal(signal.SIGKILL)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        # Seen dead, but not yet reaped: its number cannot have been given to another, so its group can be killed.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        try:
            # Inputs that it had staged in memory: what a killed process leaves of plaintext goes with it.
            remove_left(ended=process.pid)
            with self._lock:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                self._reaped = True
                process.wait()
        finally:
            self._gone.set()

    def _signal(self, number: signal.Signals) -> bool:
        with self._lock:
            if self._process is None or self._reaped:
                return False
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            return True

    def _reason(self, code: int, kills_before: int) -> PaddockError:
        if self._overdue:
            return RunOverdue()
        if self._stopped.is_set():
            return RunCancelled()
        # Shells, and what starts a program inside an environment, tell of a signal as 128 and its number.
        number = -code if code < 0 else code - _SIGNALLED if _SIGNALLED < code <= _SIGNALLED + signal.SIGRTMAX else 0
        if number == signal.SIGKILL and _out_of_memory_kills() > kills_before:
            return RunOutOfMemory()
        if number:
            return RunKilled(f"It was ended by {_signal_name(number)}.")
        return RunEndedSilently(f"Its exit status was {code}.")


class _Lines:
    """Lines of a pipe, each of bounded length; ends a while after the process did, whoever still holds the pipe."""

    def __init__(self, pipe: int, limits: Limits, gone: threading.Event) -> None:
        self._pipe = pipe
        self._limits = limits
        self._gone = gone
        self._buffer = bytearray()
        self._searched = 0
        os.set_blocking(pipe, False)

    def next(self) -> bytes:
        """The next line with its end; longer than allowed or without end when something is wrong; empty at the end."""
        while True:
            found = self._buffer.find(b"\n", self._searched)
            self._searched = len(self._buffer)
            cut = found + 1 if found >= 0 else len(self._buffer)
            if found >= 0 or cut > self._limits.line_bytes or not self._more():
                line = bytes(self._buffer[:cut])
                del self._buffer[:cut]
                self._searched = 0
                return line

    def _more(self) -> bool:
        while True:
            was_gone = self._gone.is_set()
            readable, _, _ = select.select([self._pipe], [], [], _POLL_SECONDS)
            if readable:
                part = os.read(self._pipe, 1 << 16)
                self._buffer += part
                return bool(part)
            if was_gone:
                return False


def _understood(line: bytes, limit: int) -> Json | None:
    if len(line) > limit or not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    name = event.get("event") if isinstance(event, dict) else None
    return event if isinstance(name, str) and name in EVENTS else None


def _failed(error: PaddockError) -> Json:
    return {"event": "failed", "error": error.as_dict()}


def _private_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _out_of_memory_kills() -> int:
    # proc(5): how often the kernel killed something for want of memory since boot.
    try:
        for row in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if row.startswith("oom_kill "):
                return int(row.split()[1])
    except (OSError, ValueError):
        pass
    return 0
