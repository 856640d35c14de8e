"""Checkpoints of a run: what its finished steps made, and the state of the step that is at work, sealed.

Each is a sealed volume below `checkpoints/RUN/ID/` of the store, under a key that takes a secret of every party's keeper.
Whoever stores them can lose them or show an older one. That costs time: what goes on from any of them gives the results
of a run that was never interrupted.

Source: docs/spec/checkpoint.md (K-1 to K-6).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.contract.levels import LEVELS
from paddock.contract.signing import SignedContract
from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.streaming import Buffer, derive
from paddock.enclave.events import EventWriter, Pace
from paddock.enclave.files import MadeFiles
from paddock.enclave.launch import CheckpointHint
from paddock.errors import (
    CryptoRefused,
    NoSuchObject,
    ObjectNameRefused,
    PaddockError,
    RunCheckpointRefused,
    SealRefused,
    StoreMisbehaved,
    VolumeIncomplete,
)
from paddock.jobs.api import Files
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, write_volume
from paddock.seal.blobs import BlobSink, BlobSource

_ABOUT, _MADE, _STATE = "checkpoint.json", "made/", "state/"
_MAX_ABOUT_BYTES = 1 << 20
_LABEL = b"paddock/checkpoint/v1\0"
_PASSED_OVER = (
    CryptoRefused,
    NoSuchObject,
    ObjectNameRefused,
    RunCheckpointRefused,
    SealRefused,
    StoreMisbehaved,
    VolumeIncomplete,
)
"""What a checkpoint that is damaged, another's or gone is found out by."""

Made = Mapping[str, Mapping[str, bytes]]
"""`step.output` to the files of that output."""


class Objects(BlobSink, BlobSource, Protocol):
    """A store, as far as checkpoints need one."""


class _About(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/checkpoint/v1"]
    contract: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    run: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    number: Annotated[int, Field(ge=1, lt=1 << 53)]
    step: str
    kept: bool
    made: dict[str, list[str]]


@dataclass(frozen=True)
class Resumed:
    """The checkpoint that a run goes on from.

    Args:
        asset: id of its volume.
        number: which one of the run's it is, from 1.
        step: the step that was at work.
        made: of the finished steps.
        state: what that step kept; None: nothing yet.
    """

    asset: str
    number: int
    step: str
    made: Made
    state: Files | None


class RunCheckpoints:
    """The checkpoints of one run.

    Args:
        contract: what was signed.
        run: the run's id.
        parts: each keeper's part of the secret, by party name; None: the contract allows one attempt, nothing is kept.
        store: where they are kept.
        events: who is told of each.
    """

    def __init__(
        self,
        contract: SignedContract,
        run: str,
        parts: Mapping[str, DataKey] | None,
        store: Objects,
        events: EventWriter,
    ) -> None:
        self._contract = contract
        self._run = run
        # K-1: the parts of all keepers, in the order of the parties' names.
        self._secret = None if parts is None else b"".join(parts[name].raw() for name in sorted(parts))
        self._store = store
        self._events = events
        self._number = 0
        self._pace = Pace()

    @property
    def kept(self) -> bool:
        """Whether any are kept."""
        return self._secret is not None

    def newest(self, hints: Sequence[CheckpointHint]) -> Resumed | None:
        """The newest of those that are said to be there and hold, or None: begin at the beginning (K-5).

        Raises:
            Unavailable: the store cannot be asked.
        """
        if self._secret is None:
            return None
        found: list[tuple[_About, CheckpointHint, VolumeReader]] = []
        for hint in hints:
            try:
                found.append(self._open(hint))
            except _PASSED_OVER:
                self._refused(hint)
        for about, hint, reader in sorted(found, key=lambda row: row[0].number, reverse=True):
            try:
                resumed = self._read(about, hint, reader)
            except _PASSED_OVER:
                self._refused(hint)
                continue
            self._number = about.number
            self._events.phase("resumed", number=about.number, step=about.step, asset=hint.asset)
            return resumed
        return None

    def due(self) -> bool:
        """Whether the contract's time between two checkpoints is over."""
        return self.kept and self._pace.reached(self._contract.terms.limits.checkpoint_seconds)

    def save(self, step: str, made: Made, state: Mapping[str, bytes] | None) -> None:
        """Seal and store a checkpoint, and tell of it once it is there whole (K-4).

        A store that does not take it does not end the run: it is told, and the next one is tried when it is due.

        Args:
            step: the step at work.
            made: of the finished ones.
            state: what that step needs to go on; None: it begins.
        """
        secret = self._secret
        if secret is None:
            return
        number, identity = self._number + 1, secrets.token_hex(16)
        about = _About(
            version="paddock/checkpoint/v1",
            contract=self._contract.id,
            run=self._run,
            number=number,
            step=step,
            kept=state is not None,
            made={reference: sorted(files) for reference, files in made.items()},
        )
        files = {_ABOUT: canonical(about.model_dump(mode="json"))}
        for reference, each in made.items():
            files.update({f"{_MADE}{reference}/{path}": content for path, content in each.items()})
        files.update({_STATE + path: content for path, content in (state or {}).items()})
        sink = _Below(self._store, self._run, identity)
        pads = LEVELS[self._contract.terms.level].pads_outputs
        options = SealOptions(padding="padme" if pads else "none")  # K-3: its size tells no more than an output's
        try:
            volume = write_volume(in_order(files), self._key(secret, identity), sink, options=options)
        except PaddockError as error:  # full, gone, not allowed, too large: whatever the store says
            self._events.phase("checkpoint-failed", number=number, reason=error.code)
        else:
            self._number = number
            self._events.checkpoint(number, identity, volume.asset, sink.names)
        self._pace.told()

    def _key(self, secret: bytes, identity: str) -> DataKey:
        # K-2: of this run under this contract, for this checkpoint alone.
        bound = {"contract": self._contract.id, "id": identity, "run": self._run}
        return DataKey(derive(secret, _LABEL + canonical(bound)))

    def _open(self, hint: CheckpointHint) -> tuple[_About, CheckpointHint, VolumeReader]:
        source = _Below(self._store, self._run, hint.id)
        reader = VolumeReader.open(hint.asset, source, self._key(self._secret or b"", hint.id))
        size = reader.size(_ABOUT)
        if size > _MAX_ABOUT_BYTES:
            raise RunCheckpointRefused
        content = reader.read(_ABOUT, 0, size)
        parse_canonical(content, max_bytes=_MAX_ABOUT_BYTES)
        try:
            about = _About.model_validate_json(content)
        except ValidationError as error:
            raise RunCheckpointRefused from error
        # K-3: the key says so already; said twice, so that no fault of ours brings two runs together.
        if (about.contract, about.run) != (self._contract.id, self._run):
            raise RunCheckpointRefused
        return about, hint, reader

    def _read(self, about: _About, hint: CheckpointHint, reader: VolumeReader) -> Resumed:
        """All of it, so that a piece which is missing or damaged is noticed here and not in the middle of the work."""
        steps = [step.name for step in self._contract.terms.steps]
        if about.step not in steps or reader.content_bytes > self._contract.terms.limits.memory_bytes:
            raise RunCheckpointRefused
        finished = set(steps[: steps.index(about.step)])
        if {reference.partition(".")[0] for reference in about.made} - finished:
            raise RunCheckpointRefused
        content = {path: reader.read(path, 0, reader.size(path)) for path in reader.paths()}
        made = {
            reference: {path: content.pop(f"{_MADE}{reference}/{path}", None) for path in paths}
            for reference, paths in about.made.items()
        }
        state = {path.removeprefix(_STATE): content[path] for path in content if path.startswith(_STATE)}
        whole = {
            reference: {path: found for path, found in files.items() if found is not None}
            for reference, files in made.items()
        }
        if whole != made or len(content) != len(state) + 1 or bool(state) != about.kept:
            raise RunCheckpointRefused
        return Resumed(hint.asset, about.number, about.step, whole, MadeFiles(state) if about.kept else None)

    def _refused(self, hint: CheckpointHint) -> None:
        self._events.phase("checkpoint-refused", id=hint.id)


class StepCheckpoints:
    """What one step sees of them.

    Args:
        run: of the whole run.
        step: its name.
        made: of the finished steps.
        state: what it kept in an earlier attempt.
    """

    def __init__(self, run: RunCheckpoints, step: str, made: Made, state: Files | None) -> None:
        self._run = run
        self._step = step
        self._made = made
        self._state = state

    def due(self) -> bool:
        """See `paddock.jobs.api.Checkpoints`."""
        return self._run.due()

    def save(self, files: Mapping[str, bytes]) -> None:
        """See `paddock.jobs.api.Checkpoints`."""
        self._run.save(self._step, self._made, files)

    def latest(self) -> Files | None:
        """See `paddock.jobs.api.Checkpoints`."""
        return self._state


class _Below:
    """A store's objects below `checkpoints/RUN/ID/`; what was put there is listed."""

    def __init__(self, store: Objects, run: str, identity: str) -> None:
        self._store = store
        self._prefix = f"checkpoints/{run}/{identity}/"
        self.names: list[str] = []

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`."""
        size = self._store.put(self._prefix + name, chunks)
        self.names.append(self._prefix + name)
        return size

    def read(self, name: str, offset: int, length: int) -> Buffer:
        """See `Store.read`."""
        return self._store.read(self._prefix + name, offset, length)

    def size(self, name: str) -> int:
        """See `Store.size`."""
        return self._store.size(self._prefix + name)
