"""Whether this machine can build the walls: by building them once, around a process that tells what it sees."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from paddock.errors import WallsUnavailable
from paddock.walls.ceilings import Ceilings
from paddock.walls.cgroups import make_group
from paddock.walls.seccomp import compiled_filter, library
from paddock.walls.start import WHERE_PROGRAMS_ARE, start_walled

_LANDLOCK_CREATE_RULESET, _LANDLOCK_VERSION = 444, 1
_TRIAL = Ceilings(memory_bytes=1 << 30, processes=16, file_bytes=1 << 20, scratch_bytes=1 << 20, cpu_seconds=30)
_SECONDS = 30.0
_ANSWER_BYTES = 1 << 16
_NEWEST_NEEDED = "0.8.0"
_INSIDE_ROOT = {"tmp", "outputs", "proc", "dev"}


@dataclass(frozen=True)
class WallsReport:
    """What the walls of this machine are made of.

    Args:
        bubblewrap: its version.
        seccomp: libseccomp's version.
        landlock: the kernel's version of Landlock's interface: from 4 on it keeps from TCP, from 6 on from signals.
        memory: who holds the ceiling of memory of all processes of a job together: the kernel (`control group`), or the
            supervisor, which looks at it a few times a second (`supervisor`).
    """

    bubblewrap: str
    seccomp: str
    landlock: int
    memory: str


def check_walls() -> WallsReport:
    """Return if the walls can be built here, and what they are made of.

    Raises:
        WallsUnavailable: they cannot, and what is missing.
    """
    if not sys.platform.startswith("linux"):
        raise WallsUnavailable("They need Linux.")
    version = _bubblewrap()
    compiled_filter()
    landlock = _landlock()
    _judge(_seen_inside())
    group = make_group(_TRIAL)
    if group is not None:
        group.remove()
    return WallsReport(version, _seccomp(), landlock, "supervisor" if group is None else "control group")


def _bubblewrap() -> str:
    program = shutil.which("bwrap", path=WHERE_PROGRAMS_ARE)
    if program is None:
        raise WallsUnavailable("bubblewrap is not installed (Debian: apt-get install bubblewrap).")
    try:
        told = subprocess.run(  # noqa: S603 - found where programs of the system are
            [program, "--version"], env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise WallsUnavailable("bubblewrap does not run.") from error
    version = told.stdout.decode("ascii", "replace").split()[-1]
    if _numbers(version) < _numbers(_NEWEST_NEEDED):
        raise WallsUnavailable(f"bubblewrap {_NEWEST_NEEDED} or newer is needed; here is {version}.")
    return version


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _landlock() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    abi: int = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION))
    if abi < 1:
        raise WallsUnavailable(
            "The kernel has no Landlock: Linux 5.13 or newer with landlock among its lsm= is needed."
        )
    return abi


def _seccomp() -> str:
    class Version(ctypes.Structure):
        _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))

    asked = library().seccomp_version
    asked.restype = ctypes.POINTER(Version)
    told = asked().contents
    return f"{told.major}.{told.minor}.{told.micro}"


def _seen_inside() -> dict[str, Any]:
    ours, theirs = socket.socketpair()
    words_out, words_in = os.pipe()
    try:
        with ours, theirs:
            ours.settimeout(_SECONDS)
            try:
                walled = start_walled(
                    "paddock.walls.trial", [], channel=theirs, bindings=[], ceilings=_TRIAL, log=words_in
                )
            finally:
                os.close(words_in)
                theirs.close()
            told = _line(ours)
            walled.kill()
            walled.wait(_SECONDS)
        facts = json.loads(told)
    except (OSError, ValueError, WallsUnavailable) as error:
        raise WallsUnavailable(_reason(words_out, error)) from error
    finally:
        os.close(words_out)
    return dict(facts)


def _line(channel: socket.socket) -> bytes:
    told = b""
    while not told.endswith(b"\n") and len(told) < _ANSWER_BYTES:
        part = channel.recv(_ANSWER_BYTES)
        if not part:
            break
        told += part
    return told


def _reason(words: int, error: Exception) -> str:
    """The last line that bubblewrap or a step of ours wrote, or else the error itself."""
    os.set_blocking(words, False)
    try:
        rows = os.read(words, _ANSWER_BYTES).decode("utf-8", "replace").splitlines()
    except BlockingIOError:
        rows = []
    said = "".join(ch for ch in (rows[-1] if rows else "")[:200] if ch.isprintable())
    if not said:
        return error.detail if isinstance(error, WallsUnavailable) else "A trial of them gave no answer."
    return f"A trial of them said: {said}. Are user namespaces allowed for this user?"


def _judge(facts: dict[str, Any]) -> None:
    """W-9: what the trial sees is what the walls promise."""
    wrong = [
        name
        for name, holds in {
            "capabilities": set(str(facts.get("capabilities"))) == {"0"} == set(str(facts.get("bounding"))),
            "no_new_privileges": facts.get("no_new_privileges") == "1",
            "seccomp": facts.get("seccomp") == "2",
            "processes": facts.get("processes") == 2,  # bubblewrap's first process and the trial
            "interfaces": facts.get("interfaces") == ["lo"],
            "root": set(facts.get("root", ())) >= _INSIDE_ROOT and "home" not in facts.get("root", ()),
            "socket": facts.get("socket") == "EPERM",
            "image": facts.get("image_written") is False,
            "landlock": facts.get("own_program_ran") is False,
            "descriptors": facts.get("descriptors") == [0, 1, 2, 3],
        }.items()
        if not holds
    ]
    if wrong:
        raise WallsUnavailable(f"A trial of them saw what it should not: {', '.join(wrong)}.")
