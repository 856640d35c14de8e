"""What an enclave's image is, in one file beside it: `enclave.json`. Nothing in it is trusted: keepers and contracts name what they accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.errors import ImageInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors.nitro.eif import REGISTERS

FACTS, PACKAGES, IMAGE, ALLOCATOR = "enclave.json", "packages.json", "enclave.eif", "allocator.yaml"
RAMDISKS = 2
"""How many an image has: one with the first program, one that brings the disk."""
_MAX_FACTS_BYTES = 1 << 20
_Id = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Name = Literal["pcr0", "pcr1", "pcr2"]
_Value = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]


class Enclave(BaseModel):
    """An enclave's image.

    Args:
        kernel: release of the kernel.
        command_line: of the kernel.
        packages: digest of the file that lists what the disk was made from.
        size: of the image, in bytes.
        registers: what the hypervisor measures of it.
        measurement: over them: what a contract names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/nitro/v1"]
    kernel: str
    command_line: str
    packages: _Id
    size: Annotated[int, Field(gt=0)]
    registers: dict[_Name, _Value]
    measurement: _Id

    def to_json(self) -> bytes:
        """The bytes of its file of facts."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True).encode("utf-8") + b"\n"


def read_enclave(folder: Path) -> Enclave:
    """The facts of an image. That its file is as they say, `read_eif` finds out.

    Raises:
        ImageInvalid: there is none, or it is not understood.
    """
    try:
        with (folder / FACTS).open("rb") as file:
            value: Any = json.loads(file.read(_MAX_FACTS_BYTES))
        enclave = Enclave.model_validate(value)
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise ImageInvalid(f"In {folder}.") from error
    if set(enclave.registers) != set(REGISTERS) or enclave.measurement != measurement(enclave.registers):
        raise ImageInvalid("Its measurement is not that of its registers.")
    return enclave


def measurement(registers: Any) -> str:
    """What a contract names: the digest over PCR0, PCR1 and PCR2 in an attestation document (A-10)."""
    return registers_digest("nitro", {name: registers[name] for name in REGISTERS})
