"""What the JSON messages hold, read strictly at both ends.

Source: docs/spec/gateway.md §3.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.errors import GatewayBreached
from paddock.gateway.frames import read_json
from paddock.gateway.strict import Buffer

VERSION: Literal["paddock/gateway/v1"] = "paddock/gateway/v1"
MAX_PATH_BYTES = 512
MAX_PART_BYTES = 255
"""What file systems take, in UTF-8."""
MAX_FILE_BYTES = 1 << 44
_FORBIDDEN = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)")
"""A part that is empty, `.` or `..`."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
M = TypeVar("M", bound="Message")


class Message(BaseModel):
    """Nothing unknown, nothing coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Hello(Message):
    """The worker is ready to be given a task."""

    version: Literal["paddock/gateway/v1"]


class VolumeEntry(Message):
    """One input of a role: its number on the wire, and where the job finds its files if it takes paths."""

    number: Count
    path: str | None


class Bounds(Message):
    """What a worker lowers its own limits to, before its job begins; none is ever raised."""

    data_bytes: Count
    processes: Count
    cpu_seconds: Count


class Task(Message):
    """What the job is to do.

    Args:
        kind: of job.
        parameters: as signed.
        roles: role to inputs, in the signed order.
        outputs: the outputs that somebody takes, each with the bytes that its files may have together.
        memory_bytes: what data and tensors may take together.
        checkpoints: whether any are kept.
        state: the number of the volume with the state to go on from, or None.
        bounds: to be lowered to, or None.
    """

    kind: Name
    parameters: dict[str, Any]
    roles: dict[Name, list[VolumeEntry]]
    outputs: dict[Name, Count]
    memory_bytes: Count
    checkpoints: bool
    state: Count | None
    bounds: Bounds | None


class Page(Message):
    """A part of a volume's file list: names and sizes, and whether more follow."""

    files: list[tuple[str, Count]]
    more: bool


class ProgressMessage(Message):
    """How far the job is."""

    step: Count
    total: Count
    values: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")], int | float],
        Field(max_length=64),
    ]


class OutputMessage(Message):
    """An output begins."""

    name: Name


class FileMessage(Message):
    """A file begins; its pieces follow."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATH_BYTES)]
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]


class FailedMessage(Message):
    """The job could not do its work."""

    code: Annotated[str, StringConstraints(max_length=32)]
    detail: Annotated[str, StringConstraints(max_length=2000)]


def read(model: type[M], content: Buffer) -> M:
    """Read a message.

    Raises:
        GatewayBreached: it is not one of that form (W-13), or holds a number that none may be.
    """
    value = read_json(content)
    try:
        message = model.model_validate(value, strict=False) if model in _LISTS else model.model_validate(value)
    except ValidationError:
        raise GatewayBreached(f"A message that is no {model.__name__}.") from None
    if isinstance(message, ProgressMessage) and not all(map(is_number, message.values.values())):
        raise GatewayBreached("Progress with a number that is not finite, or too large.")
    return message


_LISTS: frozenset[type[Message]] = frozenset({Page})
"""Pairs come as JSON lists, which strict reading does not take for tuples. They come from the supervisor."""


def is_number(value: object) -> bool:
    """Whether it is a whole number that every reader of JSON has exactly, or a finite one; no truth value."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 1 << 53
    return isinstance(value, float) and math.isfinite(value)


def check_path(path: str) -> str:
    """A path that a job may give a file (W-15).

    Raises:
        GatewayBreached: absolute, too long, with an empty, `.`, `..` or too long a part, a backslash, or a sign that cannot
            be printed.
    """
    # W-15. What can be printed can be encoded.
    if not path or _FORBIDDEN.search(path) or "\\" in path or not path.isprintable() or _is_too_long(path.encode()):
        raise GatewayBreached("A file with a path that no output may have.")
    return path


def _is_too_long(raw: bytes) -> bool:
    return len(raw) > MAX_PATH_BYTES or any(len(part) > MAX_PART_BYTES for part in raw.split(b"/"))
