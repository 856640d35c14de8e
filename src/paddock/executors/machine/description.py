"""What a machine's image is, in one file beside it: `machine.json`.

The kernel image names the disk by its root hash, and what firmware measures names the kernel image; so the description can be
checked against the files, and the measurement against both. Nothing in it is trusted: a keeper's policy and the contract name
what they accept.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.errors import ExecutorFailed, ImageInvalid
from paddock.executors.machine.pe import section
from paddock.executors.machine.verity import Verity

FACTS, PACKAGES, KERNEL_IMAGE, DISK = "machine.json", "packages.json", "machine.efi", "disk.img"
_MAX_FACTS_BYTES, _BLOCK_BYTES = 1 << 20, 1 << 20
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Id = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Register = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9]{2}$")]


class File(BaseModel):
    """One file of the image."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    size: Annotated[int, Field(gt=0)]
    sha256: _Hex

    @classmethod
    def of(cls, path: Path) -> File:
        """The facts of a file."""
        digest, size = hashlib.sha256(), 0
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
        return cls(size=size, sha256=digest.hexdigest())


class Reference(BaseModel):
    """What a reference boot told, and of which machine.

    Args:
        firmware: SHA-256 of the firmware's file.
        cores: of the machine.
        memory_mib: of the machine.
        register: PCR 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    firmware: _Hex
    cores: Annotated[int, Field(ge=1, le=256)]
    memory_mib: Annotated[int, Field(ge=512, le=1 << 22)]
    register_0: _Hex


class Machine(BaseModel):
    """A machine's image.

    Args:
        kernel: release of the kernel.
        command_line: of the kernel; names the disk's root hash.
        blocks, root, salt: of the disk's tree (see `Verity`).
        packages: digest of the file that lists what the disk was made from.
        kernel_image: kernel, initial file system and command line in one file.
        disk: data and tree.
        reference: None where none was made.
        registers: of a TPM after its boot, by name; None without a reference.
        measurement: over them; None likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/machine/v1"]
    kernel: str
    command_line: str
    blocks: Annotated[int, Field(gt=0)]
    root: _Hex
    salt: _Hex
    packages: _Id
    kernel_image: File
    disk: File
    reference: Reference | None
    registers: dict[_Register, _Hex] | None
    measurement: _Id | None

    @property
    def verity(self) -> Verity:
        """How the disk is checked."""
        return Verity(bytes.fromhex(self.root), bytes.fromhex(self.salt), self.blocks)

    def to_json(self) -> bytes:
        """The bytes of its file of facts."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True).encode("utf-8") + b"\n"


def read_machine(folder: Path) -> Machine:
    """The facts of an image. That its files are as they say, firmware and kernel find out.

    Raises:
        ImageInvalid: there is none, or it is not understood.
    """
    try:
        with (folder / FACTS).open("rb") as file:
            value: Any = json.loads(file.read(_MAX_FACTS_BYTES))
        machine = Machine.model_validate(value)
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ImageInvalid(f"In {folder}.") from error
    if machine.verity.argument() not in machine.command_line.split():
        raise ImageInvalid("Its command line does not name its disk.")
    return machine


def read_image(folder: Path) -> tuple[Machine, bytes]:
    """The facts of an image, and its kernel image: the one that they name, with the command line that they name.

    Raises:
        ImageInvalid: there is none, it is not understood, or the file is another one.
        ExecutorFailed: the kernel image cannot be read, or is none.
    """
    machine = read_machine(folder)
    try:
        image = (folder / KERNEL_IMAGE).read_bytes()
    except OSError as error:
        raise ExecutorFailed("The kernel image cannot be read.") from error
    named = machine.kernel_image
    if (len(image), hashlib.sha256(image).hexdigest()) != (named.size, named.sha256):
        raise ImageInvalid(f"{KERNEL_IMAGE} is another file than {FACTS} names.")
    if section(image, ".cmdline") != machine.command_line.encode():
        raise ImageInvalid(f"{KERNEL_IMAGE} has another command line than {FACTS} names.")
    return machine, image
