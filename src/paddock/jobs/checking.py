"""What a developer is told of a program before it is sealed. PaddlePaddle is not needed for it, and not loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paddock.errors import NetworkUnusable, WeightsRefused
from paddock.jobs.inputs import PROGRAM_FILE
from paddock.jobs.weights import FILE as WEIGHTS_FILE
from paddock.jobs.weights import check_weights
from paddock.program import STANDARD_LIMITS, Program, Refusal, memory_bound, read_program, survey, work_bound


@dataclass(frozen=True)
class ProgramReport:
    """What is in a program that passes.

    Args:
        inputs: name to dtype and shape.
        outputs: dtype and shape of each.
        operators: name to how often, after loops have been unrolled.
        parameters: numbers in all weights and buffers.
        trainable: those of them that training moves.
        bytes_of_weights: of all weights and buffers.
        batch_size: the one that the memory bounds are for.
        training_memory: bytes that a step of training takes at most.
        evaluation_memory: bytes that a batch takes at most in evaluation.
        work: multiplications with additions for one sample, forwards.
        weights_checked: whether a file of weights was there and fits.
    """

    inputs: Mapping[str, str]
    outputs: Sequence[str]
    operators: Mapping[str, int]
    parameters: int
    trainable: int
    bytes_of_weights: int
    batch_size: int
    training_memory: int
    evaluation_memory: int
    work: int
    weights_checked: bool

    def summary(self) -> str:
        """One line for people."""
        inputs = ", ".join(f"{name}: {shape}" for name, shape in self.inputs.items())
        return (
            f"{inputs} -> {', '.join(self.outputs)}; {sum(self.operators.values())} operations of "
            f"{len(self.operators)} kinds, {self.parameters:,} numbers of which {self.trainable:,} are trained"
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def check_program(path: Path, batch_size: int) -> tuple[ProgramReport | None, tuple[Refusal, ...]]:
    """Look through a file that `paddle.jit.save` wrote, or a folder that is about to be sealed.

    Args:
        path: the `.json` file alone, or a folder with the program and its weights.
        batch_size: samples per step, for the bounds on memory.

    Raises:
        NetworkUnusable: there is no such file or folder.
        WeightsRefused: the folder's weights are missing or not those of the program.
    """
    folder = path if path.is_dir() else None
    program, refusals = survey(_content(path / PROGRAM_FILE if folder else path), STANDARD_LIMITS)
    if program is None:
        return None, refusals
    if folder:
        _check_folder_weights(folder, program)
    return _report(program, batch_size, weights_checked=folder is not None), ()


def check_program_folder(directory: Path) -> ProgramReport:
    """Check a folder before it is sealed: the program and its weights, as an enclave will.

    Raises:
        ProgramRefused: what is wrong, at the first place.
        NetworkUnusable: there is no such folder.
    """
    program = read_program(_content(directory / PROGRAM_FILE), STANDARD_LIMITS)
    _check_folder_weights(directory, program)
    return _report(program, 1, weights_checked=True)


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise NetworkUnusable(f"There is no {file}.")
    with file.open("rb") as stream:
        return stream.read(STANDARD_LIMITS.max_bytes + 1)


def _check_folder_weights(folder: Path, program: Program) -> None:
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise WeightsRefused(f"{folder} holds no {WEIGHTS_FILE}.")
    check_weights(program, weights.read_bytes())


def _report(program: Program, batch_size: int, *, weights_checked: bool) -> ProgramReport:
    sizes = {each: math.prod(each.type.shape) for each in program.parameters}
    return ProgramReport(
        inputs={each.name: str(each.type) for each in program.inputs},
        outputs=[str(each) for each in program.output_types()],
        operators=program.operator_counts(),
        parameters=sum(sizes.values()),
        trainable=sum(size for each, size in sizes.items() if each.trainable),
        bytes_of_weights=sum(each.type.bytes_per_sample() for each in program.parameters),
        batch_size=batch_size,
        training_memory=memory_bound(program, batch_size, training=True),
        evaluation_memory=memory_bound(program, batch_size, training=False),
        work=work_bound(program),
        weights_checked=weights_checked,
    )
