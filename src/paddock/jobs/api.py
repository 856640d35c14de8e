"""What an enclave and a job say to one another. Arrays and files in, files out; nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol


class Files(Protocol):
    """The files of one volume, read-only."""

    def names(self) -> list[str]:
        """Paths, sorted."""
        ...

    def size(self, name: str) -> int:
        """Size in bytes."""
        ...

    def open(self, name: str) -> BinaryIO:
        """The file's content from its beginning."""
        ...


class PathFiles(Files, Protocol):
    """Files that stand below a folder as well, where a job that takes paths finds them."""

    path: PurePosixPath | None


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Args:
        step: steps done.
        total: steps in all.
        values: numbers to show, e.g. `{"epoch": 3, "loss": 0.41}`.
    """

    step: int
    total: int
    values: Mapping[str, float]


class Checkpoints(Protocol):
    """Where a job keeps what it needs to go on, should its process end before its work does."""

    def due(self) -> bool:
        """Whether it is time to save again."""
        ...

    def save(self, files: Mapping[str, bytes]) -> None:
        """Keep these files, by path, in place of what was kept before: all of them or none."""
        ...

    def latest(self) -> Files | None:
        """What was kept last, by this job in an earlier process; None: nothing, begin at the beginning."""
        ...


class NoCheckpoints:
    """Nothing is kept."""

    def due(self) -> bool:
        """Never."""
        return False

    def save(self, files: Mapping[str, bytes]) -> None:
        """Nothing happens."""

    def latest(self) -> Files | None:
        """None."""
        return None


Content = bytes | Path
"""A file's content, or the file itself where a job wrote it."""


@dataclass(frozen=True)
class JobContext:
    """What a job is given.

    Args:
        parameters: JSON values, as signed in the contract.
        inputs: role to volumes, in the signed order.
        progress: takes news; called at most a few times per second.
        check: called between batches; raises when the run must end.
        memory_limit_bytes: what data and tensors may take together.
        checkpoints: where a job of many steps keeps its state between two of them.
        outputs: the names of those outputs that somebody takes, each with the bytes that its files may have together.
        hand_out: takes an output by files that the job has written, where there are no plain bytes to return; also from
            a job that goes on to fail. Only a job in a process of its own has it.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, Sequence[Files]]
    progress: Callable[[Progress], None]
    check: Callable[[], None]
    memory_limit_bytes: int
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    outputs: Mapping[str, int] = field(default_factory=dict)
    hand_out: Callable[[str, Mapping[str, Path]], None] | None = None


Outputs = dict[str, dict[str, bytes]]
"""Output's name to path inside its volume to content."""


@dataclass(frozen=True)
class Role:
    """What a job's inputs are for.

    Args:
        required: whether a step must name at least one.
        about: what it is, in a few words.
        many: whether it may be more than one volume.
    """

    required: bool
    about: str
    many: bool = False


class JobKind(Protocol):
    """A kind of job. Importing it must not import PaddlePaddle; running it may."""

    name: str
    roles: Mapping[str, Role]
    outputs: tuple[str, ...]
    """What it yields whatever its parameters are."""
    takes_paths: bool
    """Whether it reads its inputs by path, as a party's script does, and not through `Files`."""

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Return if a step with these parameters can be run, as far as they alone can tell.

        Raises:
            ParametersRefused: what is wrong.
        """

    def outputs_of(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of all that a step with these parameters yields."""
        ...

    def parameters_schema(self) -> dict[str, Any]:
        """The parameters as JSON schema."""
        ...

    def run(self, context: JobContext) -> Outputs:
        """Do the work.

        Raises:
            JobRefused, ProgramRefused: the inputs are not such that it can be done.
        """
        ...
