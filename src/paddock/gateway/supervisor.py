"""The supervisor's end: it answers the job's reads and takes what it hands out. Whatever a job sends may be hostile.

Anything out of form, out of order or out of bounds ends the job. Source: docs/spec/gateway.md.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from paddock.errors import CATALOGUE, GatewayBreached, JobRefused, ProgramRefused
from paddock.gateway.frames import PIECE_BYTES, TASK_BYTES, Kind, Link, write_json
from paddock.gateway.messages import (
    Bounds,
    FailedMessage,
    FileMessage,
    Hello,
    OutputMessage,
    ProgressMessage,
    Task,
    VolumeEntry,
    read,
)
from paddock.gateway.receiving import Budget, Intake, Made, Outputs
from paddock.jobs.api import Checkpoints, Files, NoCheckpoints, Progress

_LIST = struct.Struct(">IQ")
_READ = struct.Struct(">IQQI")
_PAGE_FILES = 5_000
_STREAMS = 8
_BURST, _PER_SECOND = 200.0, 20.0
"""How many progress messages a job may send at once, and how many go on to be allowed each second."""
_DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class Volume:
    """An input: its files, and where the job finds them if it takes paths."""

    files: Files
    path: PurePosixPath | None = None


@dataclass(frozen=True)
class Work:
    """What a job is given, and what may be taken from it.

    Args:
        kind: of job.
        parameters: as signed.
        inputs: role to volumes, in the signed order.
        outputs: the outputs that somebody takes, each with the bytes that its files may have together.
        budgets: of each of these outputs, what it shares with others of the run.
        memory_bytes: what data and tensors may take together; a state that it keeps is no larger.
        checkpoints: where its state is kept.
        progress: takes news.
        bounds: what the worker lowers its limits to; None: it has those that it needs.
    """

    kind: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Sequence[Volume]]
    outputs: Mapping[str, int]
    budgets: Mapping[str, Budget]
    memory_bytes: int
    checkpoints: Checkpoints
    progress: Callable[[Progress], None]
    bounds: Bounds | None = None


class Supervisor:
    """Gives a worker its task and serves it to its end.

    Args:
        link: to the worker; its `idle` calls what may end the work.
        work: the task.
    """

    def __init__(self, link: Link, work: Work) -> None:
        self._link = link
        self._work = work
        self._volumes: list[Files] = []
        self._names: dict[int, list[str]] = {}
        self._streams: OrderedDict[tuple[int, int], BinaryIO] = OrderedDict()
        self._outputs = Outputs(work.outputs, work.budgets)
        self._intake: Intake | None = None
        self._keeping = False
        self._allowed = _BURST
        self._counted = time.monotonic()

    @property
    def made(self) -> Made:
        """What was handed out so far, by output; of a job that failed, its log at most counts."""
        return self._outputs.made

    def run(self) -> Made:
        """Output's name to its files: not one that was not asked for, not one twice.

        Raises:
            GatewayBreached: the job sent what no job may send. Kill it.
            OutputTooLarge: it handed out more than is allowed. Kill it.
            JobRefused, ProgramRefused: it says that it could not do its work.
            JobEnded: its process is gone.
            PaddockError: what `idle` raised, or reading an input: the run is over. Kill it.
        """
        try:
            self._greet()
            return self._serve()
        finally:
            for stream in self._streams.values():
                with contextlib.suppress(OSError):
                    stream.close()

    def _greet(self) -> None:
        kind, content = self._link.receive()
        if kind is not Kind.HELLO:  # W-17
            raise GatewayBreached("It did not greet first.")
        read(Hello, content)
        self._link.send(Kind.TASK, write_json(self._task().model_dump(mode="json")))

    def _serve(self) -> Made:
        takes: dict[Kind, Callable[[bytearray], None]] = {
            Kind.LIST: self._list,
            Kind.READ: self._read,
            Kind.PROGRESS: self._progress,
            Kind.DUE: self._due,
            Kind.OUTPUT: self._output,
            Kind.STATE: self._state,
            Kind.FILE: self._file,
            Kind.PIECE: self._piece,
            Kind.CLOSE: self._close,
            Kind.FAILED: self._failed,
        }
        while True:
            kind, content = self._link.receive()
            self._check_order(kind)
            if kind is Kind.END:
                return self._outputs.made
            if kind not in takes:  # W-17: what only a supervisor sends, or a second greeting
                raise GatewayBreached(f"{kind.name} from a job.")
            takes[kind](content)

    def _check_order(self, kind: Kind) -> None:
        # W-17: while a file lacks pieces nothing else may come; while an output is open, only its files.
        if self._intake is None:
            allowed = kind not in {Kind.FILE, Kind.PIECE, Kind.CLOSE}
        elif self._intake.is_open:
            allowed = kind is Kind.PIECE
        else:
            allowed = kind in {Kind.FILE, Kind.CLOSE}
        if not allowed:
            raise GatewayBreached(f"{kind.name} where none may come.")

    def _task(self) -> Task:
        work = self._work
        roles = {role: [self._numbered(each) for each in volumes] for role, volumes in work.inputs.items()}
        state = work.checkpoints.latest()
        return Task(
            kind=work.kind,
            parameters=dict(work.parameters),
            roles=roles,
            outputs=dict(work.outputs),
            memory_bytes=work.memory_bytes,
            checkpoints=not isinstance(work.checkpoints, NoCheckpoints),
            state=None if state is None else self._numbered(Volume(state)).number,
            bounds=work.bounds,
        )

    def _numbered(self, volume: Volume) -> VolumeEntry:
        self._volumes.append(volume.files)
        return VolumeEntry(number=len(self._volumes) - 1, path=None if volume.path is None else str(volume.path))

    # --- what the job asks for

    def _listed(self, number: int) -> list[str]:
        if number >= len(self._volumes):  # W-18
            raise GatewayBreached("A volume that it was not given.")
        if number not in self._names:
            self._names[number] = self._volumes[number].names()
        return self._names[number]

    def _list(self, content: bytearray) -> None:
        number, first = _unpacked(_LIST, content)
        names = self._listed(number)
        volume = self._volumes[number]
        files, room = [], TASK_BYTES - 1024
        for name in names[first : first + _PAGE_FILES]:
            row = [name, volume.size(name)]
            room -= len(write_json(row)) + 1
            if room < 0:
                break
            files.append(row)
        more = first + len(files) < len(names)
        self._link.send(Kind.LISTED, write_json({"files": files, "more": more}))

    def _read(self, content: bytearray) -> None:
        number, file, offset, length = _unpacked(_READ, content)
        names = self._listed(number)
        if file >= len(names) or length > PIECE_BYTES:  # W-18
            raise GatewayBreached("A file that it was not given, or too much at once.")
        size = self._volumes[number].size(names[file])
        length = min(length, max(0, size - offset))
        taken = b""
        if length:
            stream = self._stream(number, file, names[file])
            stream.seek(offset)
            taken = stream.read(length)
        self._link.send(Kind.CONTENT, taken)

    def _stream(self, number: int, file: int, name: str) -> BinaryIO:
        stream = self._streams.pop((number, file), None)
        if stream is None:
            if len(self._streams) >= _STREAMS:
                self._streams.popitem(last=False)[1].close()
            stream = self._volumes[number].open(name)
        self._streams[number, file] = stream
        return stream

    def _due(self, _content: bytearray) -> None:
        self._link.send(Kind.ANSWER, bytes([self._work.checkpoints.due()]))

    # --- what the job says

    def _progress(self, content: bytearray) -> None:
        now = time.monotonic()
        self._allowed = min(_BURST, self._allowed + (now - self._counted) * _PER_SECOND) - 1
        self._counted = now
        if self._allowed < 0:  # W-19
            raise GatewayBreached("It tells of its progress too often.")
        message = read(ProgressMessage, content)
        self._work.progress(Progress(message.step, message.total, message.values))

    def _failed(self, content: bytearray) -> None:
        message = read(FailedMessage, content)
        error = CATALOGUE.get(message.code)
        # W-20: a job speaks for itself, not for a keeper, the store or the enclave.
        if error is None or not issubclass(error, JobRefused | ProgramRefused):
            raise GatewayBreached("It failed with a code that is no job's.")
        detail = "".join(sign for sign in message.detail[:_DETAIL_CHARACTERS] if sign.isprintable())
        raise error(detail)

    # --- what the job hands out

    def _output(self, content: bytearray) -> None:
        self._intake = self._outputs.begin(read(OutputMessage, content).name)

    def _state(self, _content: bytearray) -> None:
        if isinstance(self._work.checkpoints, NoCheckpoints):
            raise GatewayBreached("A state, and none is kept.")
        if not self._work.checkpoints.due():  # W-19
            raise GatewayBreached("A state before one is due.")
        self._keeping, self._intake = True, Intake("state", self._work.memory_bytes, None)

    def _file(self, content: bytearray) -> None:
        self._inside().begin(read(FileMessage, content))

    def _piece(self, content: bytearray) -> None:
        self._inside().piece(content)

    def _close(self, _content: bytearray) -> None:
        files, self._intake = self._inside().files, None
        if self._keeping:
            self._keeping = False
            self._work.checkpoints.save(files)
        self._link.send(Kind.ANSWER, b"\x01")

    def _inside(self) -> Intake:
        if self._intake is None:
            raise RuntimeError("no output is open; _check_order let it pass")
        return self._intake


def _unpacked(form: struct.Struct, content: bytearray) -> tuple[int, ...]:
    if len(content) != form.size:  # W-13
        raise GatewayBreached("A request of another length.")
    return form.unpack(content)
