"""What awaits a job that gets out: listeners, files, queues and a process of the machine, for it to reach or not."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECRET = "a secret of the machine"
_IPC_CREAT, _IPC_RMID, _IPC_NOWAIT = 0o1000, 0, 0o4000
_SHMGET, _SHMCTL, _MSGGET, _MSGSND, _MSGCTL, _MQ_OPEN, _MQ_UNLINK, _MQ_SEND = 29, 31, 68, 69, 71, 240, 241, 242
_ADD_KEY, _KEYCTL, _JOIN_SESSION, _SESSION = 248, 250, 1, -3
_libc = ctypes.CDLL(None, use_errno=True)


class Allies:
    """Everything outside that attacks are aimed at. `setting` is what a job is told of it."""

    def __init__(self) -> None:
        self._end = contextlib.ExitStack()
        # Readable for every user: a job's user is another one.
        self.folder = Path(tempfile.mkdtemp(prefix="paddock-allies-"))
        self._end.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        name = f"paddock-allies-{os.getpid()}"
        self._victim = subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(900)", f"--password={SECRET}"],
            start_new_session=True,
        )
        self._end.callback(self._victim.wait)
        self._end.callback(self._victim.kill)
        self.setting: dict[str, Any] = {
            "secret": SECRET,
            "tcp": self._serve(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1],
            "udp": self._serve_datagrams(),
            "unix": str(self.folder / "socket"),
            "abstract": name,
            "datagrams": f"{name}-datagrams",
            "supervisor": self._victim.pid,
            "victim": self._victim.pid,
            "argument": SECRET,
            "host": socket.gethostname(),
            "packages": sysconfig.get_paths()["purelib"],
            "file": self._file("file", 0o644),
            "private": self._file("private", 0o600),
            "writable": self._file("writable", 0o666),
            "shared": self._shared(name),
            "keyring": name,
            **self._queues(f"/{name}"),
        }
        self._serve(socket.AF_UNIX, self.setting["unix"])
        Path(self.setting["unix"]).chmod(0o777)
        self._serve(socket.AF_UNIX, f"\0{name}")
        self._listen_to_datagrams(f"\0{name}-datagrams")

    def close(self) -> None:
        """Take all of it away."""
        self._end.close()

    @contextlib.contextmanager
    def temptations(self) -> Iterator[None]:
        """A secret in the environment, in an open file and in the session's keyring while the block lasts."""
        number = os.open(self.folder / "file", os.O_RDONLY)
        os.set_inheritable(number, True)
        os.environ["PADDOCK_ATTACK_SECRET"] = SECRET
        _call(_KEYCTL, _JOIN_SESSION, None)
        _call(_ADD_KEY, b"user", self.setting["keyring"].encode(), SECRET.encode(), len(SECRET), _SESSION)
        try:
            yield
        finally:
            del os.environ["PADDOCK_ATTACK_SECRET"]
            os.close(number)

    def _file(self, name: str, mode: int) -> str:
        path = self.folder / name
        path.write_text(SECRET, encoding="ascii")
        path.chmod(mode)
        return str(path)

    def _shared(self, name: str) -> str:
        path = Path("/dev/shm") / name
        path.write_text(SECRET, encoding="ascii")
        path.chmod(0o644)
        self._end.callback(path.unlink, missing_ok=True)
        return str(path)

    def _queues(self, name: str) -> dict[str, Any]:
        key = 0x70000000 + os.getpid()
        old = os.umask(0)
        try:
            shared = _call(_SHMGET, key, 4096, _IPC_CREAT | 0o666)
            self._end.callback(_call, _SHMCTL, shared, _IPC_RMID, None)
            _libc.shmat.restype = ctypes.c_void_p
            address = _libc.shmat(shared, None, 0)
            ctypes.memmove(address, SECRET.encode(), len(SECRET))
            queue = _call(_MSGGET, key, _IPC_CREAT | 0o666)
            self._end.callback(_call, _MSGCTL, queue, _IPC_RMID, None)
            for _ in range(4):  # each that is read is gone
                _call(_MSGSND, queue, (1).to_bytes(8, "little") + SECRET.encode(), len(SECRET), _IPC_NOWAIT)
            limits = (ctypes.c_long * 8)(0, 4, 8192)
            posix = _call(_MQ_OPEN, name[1:].encode(), os.O_RDWR | os.O_CREAT, 0o666, limits)
            self._end.callback(_call, _MQ_UNLINK, name[1:].encode())
            for _ in range(4):
                _call(_MQ_SEND, posix, SECRET.encode(), len(SECRET), 0, None)
            self._end.callback(os.close, posix)
        finally:
            os.umask(old)
        return {"key": key, "queue": name[1:]}

    def _serve(self, family: socket.AddressFamily, address: Any) -> socket.socket:
        door = socket.socket(family, socket.SOCK_STREAM)
        door.bind(address)
        door.listen()
        self._end.callback(door.close)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    each, _ = door.accept()
                    with each:
                        each.sendall(b"welcome outside")

        threading.Thread(target=answer, daemon=True).start()
        return door

    def _serve_datagrams(self) -> int:
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind(("127.0.0.1", 0))
        self._end.callback(door.close)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    _, back = door.recvfrom(1000)
                    door.sendto(b"welcome outside", back)

        threading.Thread(target=answer, daemon=True).start()
        return int(door.getsockname()[1])

    def _listen_to_datagrams(self, address: str) -> None:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        door.bind(address)
        self._end.callback(door.close)


@functools.cache
def allies() -> Allies:
    """One set for all attacks of this process, taken away at its end."""
    made = Allies()
    atexit.register(made.close)
    return made


def _call(number: int, *arguments: object) -> int:
    ctypes.set_errno(0)
    words = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return result
