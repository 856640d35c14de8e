"""Tools of environments, run to their end: `occlum build`, `scone session create`, and the like."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from paddock.errors import ExecutorFailed
from paddock.executors.command import environment
from paddock.executors.executor import Launch
from paddock.executors.texts import RUN

BUILD_SECONDS = 3600
ASK_SECONDS = 120
_MAX_SAID = 400


def find_tool(named: str, default: str, package: str) -> str:
    """The path of a tool that can be run.

    Args:
        named: what the operator's settings say: a path; empty where they say nothing.
        default: its name, looked for along PATH, or its usual path.
        package: what brings it, for the error.

    Raises:
        ExecutorFailed: there is none.
    """
    found = shutil.which(named or default)
    if found is None:
        raise ExecutorFailed(f"'{named or default}' is not there: it comes with {package}.")
    return str(Path(found).resolve())


def run_tool(
    arguments: Sequence[str], *, folder: Path, seconds: float, variables: Mapping[str, str] | None = None
) -> str:
    """Run a tool to its end; what it wrote to its standard output.

    Args:
        arguments: the tool and its arguments; no shell reads them.
        folder: where it runs.
        seconds: after which it is ended, with all that it started.
        variables: added to the environment, of which it otherwise gets the little that an enclave gets.

    Raises:
        ExecutorFailed: it cannot be started, takes too long, or ends with another status than 0.
    """
    name = Path(arguments[0]).name
    try:
        with subprocess.Popen(  # noqa: S603 - settings name the tool, no shell is wanted
            list(arguments),
            env={**environment(None), **(variables or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as started:
            try:
                said, complained = started.communicate(timeout=seconds)
            except BaseException:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(started.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired as error:
        raise ExecutorFailed(f"'{name}' did not end within {seconds:.0f} s.") from error
    except OSError as error:
        raise ExecutorFailed(f"'{name}' cannot be run: {error.strerror}.") from error
    if started.returncode != 0:
        words = " ".join((complained or said).decode("utf-8", "replace").split())[-_MAX_SAID:]
        raise ExecutorFailed(f"'{name}' ended with status {started.returncode}: {words or 'it said nothing'}.")
    return said.decode("utf-8", "replace")


@contextlib.contextmanager
def unfinished(folder: Path) -> Iterator[None]:
    """What is built in an empty or new folder is removed if the block fails.

    Raises:
        ExecutorFailed: there is something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ExecutorFailed(f"{folder} is not an empty or new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def run_folder(parent: Path, launch: Launch) -> Path:
    """A fresh private folder for one run; what an earlier attempt left there is removed.

    Raises:
        ExecutorFailed: the run's id is none, or the folder cannot be made.
    """
    if not RUN.fullmatch(launch.run):  # it becomes a part of a path
        raise ExecutorFailed("The run's id is not 32 hex digits.")
    folder = parent / launch.run
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ExecutorFailed(f"The run's folder cannot be made: {error.strerror}.") from error
    return folder


def read_object(file: Path) -> dict[str, object]:
    """A JSON object of a built image.

    Raises:
        ExecutorFailed: the file is not there, or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExecutorFailed(f"{file.name}: {error.strerror}. Build it first: paddock executor build.") from error
    except ValueError as error:
        raise ExecutorFailed(f"{file.name} is damaged.") from error
    if not isinstance(value, dict):
        raise ExecutorFailed(f"{file.name} is damaged.")
    return value
