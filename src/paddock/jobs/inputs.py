"""What the kinds of jobs have in common: programs and weights out of volumes, files out of values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paddock.errors import MemoryExceeded, ProgramTooLarge, StepInputRefused
from paddock.jobs.api import Files, JobContext, NoCheckpoints, Role
from paddock.program import STANDARD_LIMITS, Program, memory_bound, read_program

PROGRAM_FILE = "program.json"
_CHECKPOINT_COPIES = 6
"""A checkpoint copies the weights and up to two tensors of the optimiser for each, as arrays and again as a file."""


def only(context: JobContext, role: str) -> Files:
    """The one volume of a role.

    Raises:
        StepInputRefused: none, or several.
    """
    volumes = context.inputs.get(role, ())
    if len(volumes) != 1:
        raise StepInputRefused(f"The step has {len(volumes)} inputs as {role}; it needs exactly one.")
    return volumes[0]


def check_roles(context: JobContext, roles: Mapping[str, Role]) -> None:
    """Return if every input has a role of this kind, and every required role an input.

    Raises:
        StepInputRefused: otherwise.
    """
    unknown = sorted(context.inputs.keys() - roles.keys())
    missing = sorted(name for name, role in roles.items() if role.required and not context.inputs.get(name))
    if unknown or missing:
        raise StepInputRefused(f"Inputs that are unknown or missing: {', '.join(unknown + missing)}.")


def read_volume_program(volume: Files) -> Program:
    """The program of a program's volume.

    Raises:
        StepInputRefused: the volume holds none.
        ProgramRefused: it does not pass.
    """
    if PROGRAM_FILE not in volume.names():
        raise StepInputRefused(f"The program's volume holds no {PROGRAM_FILE}.")
    if volume.size(PROGRAM_FILE) > STANDARD_LIMITS.max_bytes:
        raise ProgramTooLarge(f"{PROGRAM_FILE} has {volume.size(PROGRAM_FILE)} bytes.")
    with volume.open(PROGRAM_FILE) as stream:
        return read_program(stream.read(STANDARD_LIMITS.max_bytes + 1), STANDARD_LIMITS)


def check_step_memory(context: JobContext, program: Program, batch_size: int, *, training: bool) -> None:
    """Return if a step's tensors fit into what the contract allows, before any is made (J-9).

    Raises:
        MemoryExceeded: they do not.
    """
    # J-9
    needed = memory_bound(program, batch_size, training=training)
    if training and not isinstance(context.checkpoints, NoCheckpoints):
        needed += _CHECKPOINT_COPIES * sum(each.type.bytes_per_sample() for each in program.parameters)
    if needed > context.memory_limit_bytes:
        raise MemoryExceeded(
            f"A batch of {batch_size} may take {needed} bytes; the step may use {context.memory_limit_bytes}."
        )


def json_file(value: Mapping[str, Any]) -> bytes:
    """Values as the bytes of a JSON file, without blanks: numbers written anew are not larger for it."""
    return (json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n").encode()
