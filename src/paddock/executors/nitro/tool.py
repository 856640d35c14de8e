"""`nitro-cli`: starting, finding and ending enclaves. What it prints is read strictly.

Source: aws/aws-nitro-enclaves-cli 1.5, src/lib.rs (arguments), src/common/json_output.rs (what is printed),
src/enclave_proc/resource_manager.rs and utils.rs (states, flags, port 9000).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import ExecutorFailed
from paddock.executors.nitro.settings import TOOL, Size
from paddock.executors.tools import ASK_SECONDS, find_tool, run_tool

RATIO = 4
"""How many times the image an enclave's memory must be at least."""
_RUNNING, _NO_FLAGS = "RUNNING", "NONE"
_START_SECONDS = 600
_TURN_SECONDS, _POLL_SECONDS = 1800.0, 0.2
_TURN = "paddock-nitro.lock"
_WELL_KNOWN = 3


@dataclass(frozen=True)
class Running:
    """An enclave.

    Args:
        id: by which it is ended.
        cid: its number among sockets.
    """

    id: str
    cid: int


def find_nitro_cli(named: str) -> str:
    """Where it is.

    Raises:
        ExecutorFailed: it is not there.
    """
    return find_tool(named, TOOL, "AWS Nitro Enclaves CLI (docs/executors/nitro.md)")


def run_enclave(tool: str, image: Path, size: Size, name: str, turns: Path) -> Running:
    """Start an enclave; return once its first program runs.

    It gets no number from us: the driver gives one that is free. Enclaves are started one after the other, since each waits
    for its first sign at the same port of the instance.

    Args:
        tool: `nitro-cli`.
        image: of the enclave.
        size: of the enclave.
        name: of the enclave.
        turns: the folder of `turn`.

    Raises:
        ExecutorFailed: it does not start, or is one that can be looked into (debug mode): its registers would be zeros, and
            keepers refuse it (A-5).
    """
    arguments = [tool, "run-enclave", "--eif-path", str(image)]
    arguments += ["--cpu-count", str(size.cores), "--memory", str(size.memory_mib), "--enclave-name", name]
    try:
        with turn(turns):
            told = _object(run_tool(arguments, folder=image.parent, seconds=_START_SECONDS))
        running = Running(_text(told, "EnclaveID"), _number(told, "EnclaveCID"))
        if running.cid <= _WELL_KNOWN:
            raise ExecutorFailed(f"'{TOOL}' tells a number that no enclave has.")
        found = [each for each in _named(tool, name) if each.get("EnclaveID") == running.id]
        if [(each.get("State"), each.get("Flags")) for each in found] != [(_RUNNING, _NO_FLAGS)]:
            raise ExecutorFailed("The enclave does not run, or runs in debug mode, in which it can be looked into.")
    except TurnNotTaken:
        raise  # nothing was started
    except BaseException:
        end_enclaves(tool, name)
        raise
    return running


class TurnNotTaken(ExecutorFailed):
    """Others of this user went first for too long, or nobody can say whose turn it is."""


def own_folder() -> Path:
    """This user's folder for what lasts as long as the instance runs; it need not be there yet."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(given) if given.startswith("/") else Path(os.path.expanduser("~")) / ".paddock"  # noqa: PTH111 - never raises


@contextlib.contextmanager
def turn(folder: Path, seconds: float = _TURN_SECONDS) -> Iterator[None]:
    """Have one's turn among all of this user's services. The lock is a file that nobody else can open, in a folder that nobody else can write
    to: whoever can open it can hold it.

    Args:
        folder: private to this user; made if it is not there.
        seconds: to wait at most.

    Raises:
        TurnNotTaken: it took too long, or folder or file are not this user's alone.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(folder.lstat(), stat.S_ISDIR, 0o022, folder)
        found = os.open(folder / _TURN, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise TurnNotTaken(f"{folder / _TURN}: {error.strerror}. XDG_RUNTIME_DIR names another folder.") from error
    with os.fdopen(found, "rb") as lock:
        _check_own(os.fstat(found), stat.S_ISREG, 0o077, folder / _TURN)
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if not isinstance(error, BlockingIOError) or time.monotonic() >= end:
                    raise TurnNotTaken(
                        f"Other enclaves of this user were being started for {seconds:.0f} s."
                    ) from error
            time.sleep(_POLL_SECONDS)
        yield


def _check_own(found: os.stat_result, kind: Callable[[int], bool], others: int, place: Path) -> None:
    if not kind(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & others:
        raise TurnNotTaken(f"{place} must belong to this user alone: others could keep its enclaves from starting.")


def end_enclaves(tool: str, name: str) -> None:
    """End every enclave of that name; nothing happens where there is none.

    Raises:
        ExecutorFailed: one could not be ended.
    """
    for each in _named(tool, name):
        told = _object(
            run_tool(
                [tool, "terminate-enclave", "--enclave-id", _text(each, "EnclaveID")],
                folder=Path("/"),
                seconds=ASK_SECONDS,
            )
        )
        if told.get("Terminated") is not True:
            raise ExecutorFailed(f"'{TOOL}' could not end an enclave.")


def _named(tool: str, name: str) -> list[dict[str, Any]]:
    text = run_tool([tool, "describe-enclaves"], folder=Path("/"), seconds=ASK_SECONDS)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unread() from error
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _unread()
    return [each for each in value if each.get("EnclaveName") == name]


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unread() from error
    if not isinstance(value, dict):
        raise _unread()
    return value


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found.startswith("i-") or not found.replace("-", "").isalnum():
        raise _unread()
    return found


def _number(value: Mapping[str, Any], name: str) -> int:
    found = value.get(name)
    if type(found) is not int or not 0 <= found < (1 << 32) - 1:
        raise _unread()
    return found


def _unread() -> ExecutorFailed:
    return ExecutorFailed(f"What '{TOOL}' prints is not understood.")
