"""Running a script: a process of its own, plain files in, plain files out, what it prints kept up to a limit.

The worker that runs this is in the script's own walls, and no more trusted than it: that an output is what it should be, and
not too large, is judged at the other side of the gateway. Here mistakes are told in words.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

from paddock.errors import OutputRefused, PackagesMissing, ScriptFailed, StepInputRefused
from paddock.jobs.api import Files, JobContext, Outputs, Role
from paddock.jobs.inputs import check_roles, only
from paddock.jobs.script_parameters import LOG, ScriptParameters

OUTPUTS = Path("/outputs")
LOG_FILE = "log.txt"
_SCRATCH = "/tmp"  # noqa: S108 - in the walls it is the job's own and in memory
_UNSEEN_BYTES = 8 << 10
"""Of what a script prints whose log nobody receives; it is thrown away."""
_LONGEST_NOTE = 100
_POLL_SECONDS = 0.2


def run(context: JobContext, parameters: ScriptParameters, roles: Mapping[str, Role]) -> Outputs:
    """Everything that can be refused is refused before the script starts."""
    check_roles(context, roles)
    if context.hand_out is None:
        raise StepInputRefused("A script runs in a process of its own, and this is none.")
    entry = _entry(only(context, "script"), parameters.entry)
    _check_packages(parameters.packages)
    for name in parameters.outputs:
        (OUTPUTS / name).mkdir(mode=0o700, exist_ok=True)
    words = _Words(context.outputs.get(LOG, _UNSEEN_BYTES))
    code = _run([sys.executable, "-B", "-s", "-u", entry, *parameters.arguments], words)
    log = Path(_SCRATCH) / LOG_FILE
    log.write_bytes(words.content())
    context.hand_out(LOG, {LOG_FILE: log})
    if code:
        raise ScriptFailed(_ended(code))
    for name in _declared(parameters):
        context.hand_out(name, _files(OUTPUTS / name))
    return {}


def _entry(volume: Files, name: str) -> str:
    path = getattr(volume, "path", None)
    if path is None:
        raise StepInputRefused("The script is not there as files.")
    if name not in volume.names():
        raise StepInputRefused(f"The script's volume holds no {name}.")
    return str(path / name)


def _check_packages(wanted: list[str]) -> None:
    missing = []
    for text in wanted:
        requirement = Requirement(text)
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            missing.append(f"{text} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            missing.append(f"{text} is wanted and {found} is installed")
    if missing:
        raise PackagesMissing("; ".join(missing) + ".")


class _Words:
    """The first and the last of what is printed, together no more than so many bytes."""

    def __init__(self, most: int) -> None:
        self._first_bytes = most // 2
        self._last_bytes = max(0, most - self._first_bytes - _LONGEST_NOTE)
        self._first = bytearray()
        self._last = bytearray()
        self._lost = 0

    def take(self, part: bytes) -> None:
        room = self._first_bytes - len(self._first)
        self._first += part[:room]
        self._last += part[room:]
        over = len(self._last) - self._last_bytes
        if over > 0:
            del self._last[:over]
            self._lost += over

    def content(self) -> bytes:
        """As text: what is no UTF-8 and no sign of plain text is replaced."""
        note = f"\n[… {self._lost} bytes were left out …]\n".encode() if self._lost else b""
        text = b"".join((self._first, note, self._last)).decode("utf-8", "replace")
        plain = "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text.replace("\r\n", "\n"))
        content = plain.encode("utf-8", "replace")
        most = self._first_bytes + self._last_bytes + _LONGEST_NOTE
        # A replaced byte takes three.
        return content if len(content) <= most else plain.encode("ascii", "replace")[:most]


def _run(command: list[str], words: _Words) -> int:
    environment = {**os.environ, "HOME": _SCRATCH, "TMPDIR": _SCRATCH}
    process = subprocess.Popen(  # noqa: S603 - the script that all signed
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=_SCRATCH,
        env=environment,
        start_new_session=True,
    )
    if process.stdout is None:
        raise RuntimeError("there is no pipe")
    with process.stdout as pipe:
        _pump(pipe, process, words)
    return process.wait()


def _pump(pipe: IO[bytes], process: subprocess.Popen[bytes], words: _Words) -> None:
    gone = threading.Event()

    def reap() -> None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        gone.set()

    threading.Thread(target=reap, name="reaper", daemon=True).start()
    while True:
        was_gone = gone.is_set()
        readable, _, _ = select.select([pipe], [], [], _POLL_SECONDS)
        part = os.read(pipe.fileno(), 1 << 16) if readable else b""
        words.take(part)
        # What it started and left behind may hold the pipe for ever: the script's own end is the end.
        if not part and (readable or was_gone):
            return


def _ended(code: int) -> str:
    if code > 0:
        return f"Its exit status was {code}."
    with contextlib.suppress(ValueError):
        return f"It was ended by {signal.Signals(-code).name}."
    return f"It was ended by signal {-code}."


def _declared(parameters: ScriptParameters) -> list[str]:
    strange = sorted(each.name for each in os.scandir(OUTPUTS) if each.name not in parameters.outputs)
    if strange:
        raise OutputRefused(f"It wrote {len(strange)} things in /outputs that are no declared output.")
    return parameters.outputs


def _files(folder: Path) -> dict[str, Path]:
    if folder.is_symlink():
        raise OutputRefused(f"'{folder.name}' is a link.")
    found: dict[str, Path] = {}
    todo = [folder]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    found[Path(entry.path).relative_to(folder).as_posix()] = Path(entry.path)
                else:
                    raise OutputRefused(f"'{folder.name}' holds a link, a device or a pipe.")
    return found
