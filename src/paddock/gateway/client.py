"""The job's end: inputs as files, progress, state and outputs, each one a message to the supervisor.

Source: docs/spec/gateway.md.
"""

from __future__ import annotations

import io
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from paddock.errors import GatewayBreached, PaddockError
from paddock.gateway.frames import PIECE_BYTES, Kind, Link, write_json
from paddock.gateway.messages import VERSION, Page, Task, read
from paddock.gateway.strict import Buffer
from paddock.jobs.api import Content, Progress

_LIST = struct.Struct(">IQ")
_READ = struct.Struct(">IQQI")
_ASK_SECONDS = 0.25
"""How often it is asked whether a checkpoint is due: a question costs more than a small training step may."""
_PIECE_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20


class Client:
    """Speaks for a job. Safe to use from several threads.

    Args:
        link: to the supervisor.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()

    def task(self) -> Task:
        """Greet, and take the task."""
        self._link.send(Kind.HELLO, write_json({"version": VERSION}))
        return read(Task, self._answer(Kind.TASK))

    def page(self, volume: int, first: int) -> Page:
        """A part of a volume's file list."""
        return read(Page, self._ask(Kind.LIST, _LIST.pack(volume, first), Kind.LISTED))

    def read(self, volume: int, file: int, offset: int, length: int) -> Buffer:
        """Bytes of a file; fewer at its end."""
        return self._ask(Kind.READ, _READ.pack(volume, file, offset, length), Kind.CONTENT)

    def progress(self, news: Progress) -> None:
        """Tell how far the job is."""
        message = {"step": news.step, "total": news.total, "values": dict(news.values)}
        with self._lock:
            self._link.send(Kind.PROGRESS, write_json(message))

    def due(self) -> bool:
        """Whether a checkpoint is due."""
        return self._ask(Kind.DUE, b"", Kind.ANSWER) == b"\x01"

    def save(self, files: Mapping[str, Content]) -> None:
        """Have a state kept."""
        with self._lock:
            self._link.send(Kind.STATE)
            self._files(files)

    def output(self, name: str, files: Mapping[str, Content]) -> None:
        """Hand out an output."""
        with self._lock:
            self._link.send(Kind.OUTPUT, write_json({"name": name}))
            self._files(files)

    def end(self) -> None:
        """All is handed out."""
        with self._lock:
            self._link.send(Kind.END)

    def failed(self, error: PaddockError) -> None:
        """The job could not do its work."""
        detail = error.detail[:500].encode("utf-8", "replace").decode("utf-8")
        with self._lock:
            self._link.send(Kind.FAILED, write_json({"code": error.code, "detail": detail}))

    def _files(self, files: Mapping[str, Content]) -> None:
        for path, content in sorted(files.items()):
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            self._link.send(Kind.FILE, write_json({"path": path, "size": size}))
            for piece in _pieces(content, size):
                self._link.send(Kind.PIECE, piece)
        self._link.send(Kind.CLOSE)
        self._answer(Kind.ANSWER)

    def _ask(self, kind: Kind, question: bytes, answer: Kind) -> bytearray:
        with self._lock:
            self._link.send(kind, question)
            return self._answer(answer)

    def _answer(self, wanted: Kind) -> bytearray:
        kind, content = self._link.receive()
        if kind is not wanted:
            raise GatewayBreached("The supervisor answered something else.")
        return content


def _pieces(content: Content, size: int) -> Iterator[Buffer]:
    if not isinstance(content, Path):
        view = memoryview(content)
        yield from (view[at : at + _PIECE_BYTES] for at in range(0, size, _PIECE_BYTES))
        return
    with content.open("rb") as stream:
        left = size
        while left:
            piece = stream.read(min(left, _PIECE_BYTES))
            if not piece:
                raise GatewayBreached("A file that became shorter while it was handed out.")
            left -= len(piece)
            yield piece


class GatewayFiles:
    """The files of one volume, read through the gateway.

    Args:
        client: who asks.
        number: of the volume.
        path: where the job finds the same files, if it takes paths.
    """

    def __init__(self, client: Client, number: int, path: str | None = None) -> None:
        self._client = client
        self._number = number
        self._found: dict[str, tuple[int, int]] | None = None
        self.path = None if path is None else PurePosixPath(path)

    def names(self) -> list[str]:
        """See `paddock.jobs.api.Files`."""
        return list(self._files())

    def size(self, name: str) -> int:
        """See `paddock.jobs.api.Files`."""
        return self._files()[name][1]

    def open(self, name: str) -> BinaryIO:
        """See `paddock.jobs.api.Files`."""
        number, size = self._files()[name]
        return cast("BinaryIO", io.BufferedReader(_Stream(self._client, self._number, number, size), _BUFFER_BYTES))

    def _files(self) -> dict[str, tuple[int, int]]:
        if self._found is None:
            found: dict[str, tuple[int, int]] = {}
            more = True
            while more:
                page = self._client.page(self._number, len(found))
                found.update({name: (number, size) for number, (name, size) in enumerate(page.files, len(found))})
                more = page.more
            self._found = found
        return self._found


class _Stream(io.RawIOBase):
    def __init__(self, client: Client, volume: int, file: int, size: int) -> None:
        super().__init__()
        self._client = client
        self._volume = volume
        self._file = file
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        length = min(len(view), PIECE_BYTES, max(0, self._size - self._at))
        if not length:
            return 0
        content = self._client.read(self._volume, self._file, self._at, length)
        view[: len(content)] = content
        self._at += len(content)
        return len(content)

    def readall(self) -> bytes:
        content = bytearray(max(0, self._size - self._at))
        view = memoryview(content)
        while view and (count := self.readinto(view)):
            view = view[count:]
        return bytes(content)


class GatewayCheckpoints:
    """Where a job keeps its state.

    Args:
        client: who asks.
        state: the volume with what an earlier attempt kept, or None.
    """

    def __init__(self, client: Client, state: GatewayFiles | None) -> None:
        self._client = client
        self._state = state
        self._asked = time.monotonic()

    def due(self) -> bool:
        """See `paddock.jobs.api.Checkpoints`."""
        now = time.monotonic()
        if now - self._asked < _ASK_SECONDS:
            return False
        self._asked = now
        return self._client.due()

    def save(self, files: Mapping[str, bytes]) -> None:
        """See `paddock.jobs.api.Checkpoints`."""
        self._client.save(files)

    def latest(self) -> GatewayFiles | None:
        """See `paddock.jobs.api.Checkpoints`."""
        return self._state
