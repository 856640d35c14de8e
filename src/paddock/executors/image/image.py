"""A runtime image as it lies in a folder: what it holds, by content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.errors import ImageInvalid
from paddock.executors.image.layout import FACTS

_MAX_FACTS_BYTES = 64 << 20
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ImageFile(BaseModel):
    """One file of an image."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    size: Annotated[int, Field(ge=0)]
    sha256: _Hex


class Image(BaseModel):
    """What an image holds.

    Args:
        python: implementation, version and processor.
        interpreter: its Python, relative to the image's root.
        start: the program that the interpreter runs first, likewise.
        libraries: the folder of shared libraries, likewise.
        entries: modules that can be started.
        distributions: what it was made from, and their versions.
        files: every file of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/image/v1"]
    python: str
    interpreter: str
    start: str
    libraries: str
    entries: list[str]
    distributions: dict[str, str]
    files: dict[str, ImageFile]

    def to_json(self) -> bytes:
        """The bytes of its file of facts."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True).encode("utf-8") + b"\n"


def read_image(folder: Path) -> Image:
    """The facts of an image. That its files are as they say is for the environment to enforce.

    Raises:
        ImageInvalid: there is none, or it is not understood.
    """
    try:
        with (folder / FACTS).open("rb") as file:
            value: Any = json.loads(file.read(_MAX_FACTS_BYTES))
        image = Image.model_validate(value)
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ImageInvalid(f"In {folder}.") from error
    for place in [*image.files, image.interpreter, image.start, image.libraries]:
        if place.startswith("/") or not all(part not in {"", ".", ".."} for part in place.split("/")):
            raise ImageInvalid("A file of it is outside.")
    return image
