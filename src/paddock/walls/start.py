"""Starting a module behind all walls, and ending it with everything it started."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddock.errors import WallsUnavailable
from paddock.walls.ceilings import Ceilings, limits
from paddock.walls.cgroups import ControlGroup, make_group
from paddock.walls.defences import ALL, Defence, Defences
from paddock.walls.image import Binding, Image, installed_image
from paddock.walls.seccomp import compiled_filter
from paddock.walls.users import job_user
from paddock.walls.watch import may_look, memory_of

_HERE = Path(__file__).parent
_INSIDE, _OUTSIDE = _HERE / "inside.py", _HERE / "outside.py"
WHERE_PROGRAMS_ARE = "/usr/bin:/bin:/usr/local/bin"
_USER_INSIDE = "1000"
_FREE_DESCRIPTOR = 10
_START_SECONDS = 30.0
_WATCH_SECONDS = 0.25
_DEVICES = ("null", "zero", "full", "random", "urandom")
_WRITABLE = ("/tmp", "/outputs", "/dev/shm")  # noqa: S108 - inside
_PROCESSES = "/proc"
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/tmp",  # noqa: S108 - inside
    "TMPDIR": "/tmp",  # noqa: S108 - inside
    # The host does not choose how sums are split: the same contract gives the same bits wherever it runs.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass
class Walled:
    """A started job. Whoever started it waits for it; the job dies with the thread that started it.

    Args:
        pid: of bubblewrap; everything of the job is below it.
    """

    pid: int
    _process: subprocess.Popen[bytes]
    _first: int
    _group: ControlGroup | None
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _status: int | None = field(default=None, init=False)
    _memory_ran_out: bool = field(default=False, init=False)

    def watch(self, memory_bytes: int) -> None:
        """Look at its memory from now on, and end it above this."""
        own = os.dup(self._first)
        try:
            threading.Thread(target=self._watch, args=(own, memory_bytes), name="walls", daemon=True).start()
        except BaseException:
            os.close(own)
            raise

    def _watch(self, first: int, memory_bytes: int) -> None:
        over = False
        try:
            while not over and not _readable_within(first, _WATCH_SECONDS):
                over = memory_of(self.pid, _WRITABLE) > memory_bytes
        except Exception:  # noqa: BLE001 - W-7: whatever keeps it from being looked at, it does not run on unseen
            over = True
        finally:
            os.close(first)
        if over:
            self._memory_ran_out = True
            self.kill()

    def kill(self) -> None:
        """End every process of the job, now. `wait` returns after that."""
        with self._lock:
            if self._status is not None:
                return
            try:
                # W-10: with the first process of its process namespace the kernel ends all others (pid_namespaces(7)).
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:
                # It dies with bubblewrap outside as well. Whether it did, `wait` tells.
                with contextlib.suppress(PermissionError):
                    self._process.kill()

    def wait(self, timeout: float) -> int:
        """Wait until no process of the job is left.

        Args:
            timeout: seconds, at most.

        Returns:
            The module's exit status; 128 + N after signal N.

        Raises:
            TimeoutError: something of the job still runs.
        """
        if self._status is not None:
            return self._status
        until = time.monotonic() + timeout
        if not _readable_within(self._first, timeout):
            raise TimeoutError("the job still runs")
        try:
            status = self._process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError("the job still runs") from error
        with self._lock:
            self._status = status if status >= 0 else 128 - status
            os.close(self._first)
        if self._group is not None:
            self._memory_ran_out = self._group.memory_ran_out()
            self._group.remove()
        return self._status

    def memory_ran_out(self) -> bool:
        """After `wait`: whether the ceiling of memory of the whole job ended a process of it, or all."""
        return self._memory_ran_out


def start_walled(
    module: str,
    arguments: Sequence[str],
    *,
    channel: socket.socket,
    bindings: Sequence[Binding],
    ceilings: Ceilings,
    log: int | None = None,
    defences: Defences = ALL,
) -> Walled:
    """Run `python -I -m MODULE ARGUMENT…` of this installation behind walls.

    Args:
        module: what runs; it and all it imports is of the image.
        arguments: for the module. Others on this machine can read them.
        channel: its only way out, descriptor 3 inside. The caller keeps and closes its own.
        bindings: shown inside, read-only. Root's files are readable inside also where root alone may read them.
        ceilings: what the job may use.
        log: a descriptor that takes its standard output and error; None drops both.
        defences: all, always; the attack suite alone asks for fewer.

    Raises:
        WallsUnavailable: a wall cannot be built; nothing of the module ran.
    """
    group = make_group(ceilings) if Defence.CGROUP in defences else None
    with contextlib.ExitStack() as undone, contextlib.ExitStack() as held:
        if group is not None:
            undone.callback(group.remove)
        filter_ = held.enter_context(_readable(compiled_filter())) if Defence.SECCOMP in defences else None
        told, telling = os.pipe()
        held.callback(os.close, told)
        far = [_far(channel.fileno()), _far(telling), *([] if filter_ is None else [_far(filter_)])]
        os.close(telling)
        try:
            plan = _plan(
                module,
                arguments=arguments,
                bindings=bindings,
                ceilings=ceilings,
                defences=defences,
                group=group,
                descriptors=far,
            )
            process = _spawn(plan, far, log, defences)
        finally:
            for descriptor in far:
                os.close(descriptor)
        undone.callback(_end, process)
        first = _first_process(told)
        undone.callback(os.close, first)
        watched = group is None and Defence.WATCH in defences
        if watched and not may_look(process.pid):  # W-7
            raise WallsUnavailable(
                "A job's memory can be neither limited nor looked at: let the service make control groups, or run as an ordinary user."
            )
        walled = Walled(process.pid, process, first, group)
        if watched:
            walled.watch(ceilings.memory_bytes)
        undone.pop_all()
        return walled


def _spawn(plan: dict[str, Any], passed: list[int], log: int | None, defences: Defences) -> subprocess.Popen[bytes]:
    environment = dict(ENVIRONMENT)
    if Defence.ENVIRONMENT not in defences:
        environment = {**os.environ, **environment}
    close = Defence.DESCRIPTORS in defences
    for descriptor in () if close else passed:
        os.set_inheritable(descriptor, True)
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and file, no shell
            [sys.executable, "-I", "-S", str(_OUTSIDE), json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if log is None else log,
            stderr=subprocess.DEVNULL if log is None else log,
            env=environment,  # W-4
            cwd="/",
            close_fds=close,
            pass_fds=passed if close else (),
        )
    except OSError as error:
        raise WallsUnavailable(f"No process could be started: {error.strerror}.") from error


def _plan(
    module: str,
    *,
    arguments: Sequence[str],
    bindings: Sequence[Binding],
    ceilings: Ceilings,
    defences: Defences,
    group: ControlGroup | None,
    descriptors: Sequence[int],
) -> dict[str, Any]:
    channel, telling, *filter_ = descriptors
    image = installed_image()
    bwrap = shutil.which("bwrap", path=WHERE_PROGRAMS_ARE)
    if bwrap is None:
        raise WallsUnavailable("bubblewrap is not installed (Debian: apt-get install bubblewrap).")
    inner = {
        "module": module,
        "arguments": list(arguments),
        "close": Defence.DESCRIPTORS in defences,
        "dumps": Defence.DUMPS in defences,
        "limits": sorted(limits(ceilings).items()) if Defence.RLIMITS in defences else [],
        "landlock": _landlock(image, bindings) if Defence.LANDLOCK in defences else None,
    }
    flags = [bwrap, *_namespaces(defences), "--info-fd", str(telling)]
    for descriptor in filter_:
        flags += ["--seccomp", str(descriptor)]
    mounts = _image_mounts(image, defences)
    flag = "--ro-bind" if Defence.READ_ONLY in defences else "--bind"
    mounts += [[flag, str(each.source), str(each.target), True] for each in bindings]
    return {
        "parent": os.getpid(),
        "cgroups": [] if group is None else group.joined_by(),
        "dumps": Defence.DUMPS in defences,
        "user": job_user() if os.geteuid() == 0 and Defence.ORDINARY_USER in defences else None,
        "channel": channel,
        "before": flags,
        "mounts": mounts,
        "after": [
            *_inner_mounts(image, ceilings, defences),
            "--",
            image.python,
            "-I",
            "-B",
            str(_INSIDE),
            json.dumps(inner),
        ],
    }


def _namespaces(defences: Defences) -> Iterator[str]:
    """W-1: one namespace of each kind, no way to another one, nobody's capabilities."""
    yield from ("--unshare-user", "--uid", _USER_INSIDE, "--gid", _USER_INSIDE, "--die-with-parent")
    for defence, flag in (
        (Defence.NETWORK_NAMESPACE, "--unshare-net"),
        (Defence.PID_NAMESPACE, "--unshare-pid"),
        (Defence.IPC_NAMESPACE, "--unshare-ipc"),
        (Defence.CGROUP_NAMESPACE, "--unshare-cgroup"),
        (Defence.NESTED_NAMESPACES, "--disable-userns"),
        (Defence.SESSION, "--new-session"),
    ):
        if defence in defences:
            yield flag
    if Defence.UTS_NAMESPACE in defences:
        yield from ("--unshare-uts", "--hostname", "paddock")
    yield from ("--cap-drop", "ALL") if Defence.CAPABILITIES in defences else ("--cap-add", "ALL")


def _image_mounts(image: Image, defences: Defences) -> list[list[Any]]:
    flag = "--ro-bind" if Defence.READ_ONLY in defences else "--bind"
    mounts = [[flag, str(each.source), str(each.target), False] for each in image.bindings]
    return mounts if Defence.IMAGE in defences else [*mounts, [flag, "/", "/host", False]]


def _inner_mounts(image: Image, ceilings: Ceilings, defences: Defences) -> Iterator[str]:
    """W-2: what is inside beside the image and the inputs, and where alone a job writes."""
    size = ("--size", str(ceilings.scratch_bytes)) if Defence.SCRATCH_SIZE in defences else ()
    for link in image.links:
        yield from ("--symlink", link.leads_to, str(link.target))
    yield from ("--proc", _PROCESSES)
    if Defence.DEVICES in defences:
        yield from ("--perms", "0755", "--size", "65536", "--tmpfs", "/dev")
        for name in _DEVICES:
            yield from ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
        yield from ("--symlink", "/proc/self/fd", "/dev/fd")
    else:
        yield from ("--dev-bind", "/dev", "/dev")
    for folder in _WRITABLE:
        yield from (*size, "--perms", "0700", "--tmpfs", folder)
    if Defence.READ_ONLY in defences:
        if Defence.DEVICES in defences:
            yield from ("--remount-ro", "/dev")
        yield from ("--remount-ro", "/")
    yield from ("--chdir", "/tmp")  # noqa: S108 - inside


def _landlock(image: Image, bindings: Sequence[Binding]) -> dict[str, list[str]]:
    return {
        "list": ["/"],
        "execute": [str(each.target) for each in image.bindings],
        "read": [_PROCESSES, *(str(each.target) for each in bindings)],
        "write": [*_WRITABLE, *(f"/dev/{name}" for name in _DEVICES)],
    }


@contextlib.contextmanager
def _readable(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("walls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _far(descriptor: int) -> int:
    """A copy with a number that the channel's place inside cannot clash with."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FREE_DESCRIPTOR)


def _first_process(told: int) -> int:
    """The first process inside, held by a descriptor, as bubblewrap names it; it does so once all namespaces exist."""
    text = b""
    until = time.monotonic() + _START_SECONDS
    while not text.rstrip().endswith(b"}"):
        part = os.read(told, 4096) if _readable_within(told, until - time.monotonic()) else b""
        if not part:
            raise WallsUnavailable("bubblewrap could not build them.")
        text += part
    try:
        return os.pidfd_open(int(json.loads(text)["child-pid"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WallsUnavailable("What bubblewrap started ended at once.") from error


def _readable_within(descriptor: int, seconds: float) -> bool:
    asked = select.poll()
    asked.register(descriptor, select.POLLIN)
    return bool(asked.poll(max(0.0, seconds) * 1000))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
