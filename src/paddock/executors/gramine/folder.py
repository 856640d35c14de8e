"""A folder that was built for Gramine: the names in it, what its signed enclave is, and the tools for it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import ImageInvalid, SigstructInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors.gramine.manifest import OVERHEAD_BYTES
from paddock.executors.gramine.sigstruct import BYTES, Sigstruct, read_sigstruct

APPLICATION = "paddock"
TEMPLATE, EXPANDED = f"{APPLICATION}.manifest.template", f"{APPLICATION}.manifest"
SIGNED, SIGNATURE = f"{APPLICATION}.manifest.sgx", f"{APPLICATION}.sig"
MANIFEST, SIGN = "gramine-manifest", "gramine-sgx-sign"
SGX, DIRECT = "gramine-sgx", "gramine-direct"
PACKAGE = "Gramine 1.8 or later"
_MAX_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True)
class GramineFolder:
    """What `paddock executor build gramine` made.

    Args:
        path: the folder.
    """

    path: Path

    def room_bytes(self, manifest: str) -> int:
        """What a job may use of memory in the enclave that a manifest describes.

        Raises:
            ImageInvalid: there is none, or it is not understood.
        """
        try:
            with (self.path / manifest).open("rb") as file:
                sgx: dict[str, Any] = tomllib.loads(file.read(_MAX_MANIFEST_BYTES).decode("utf-8"))["sgx"]
            size = str(sgx["enclave_size"])
            room = int(size.removesuffix("M")) * (1 << 20) - OVERHEAD_BYTES
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ImageInvalid(f"{manifest} is not there or is not understood.") from error
        return room

    def sigstruct(self) -> Sigstruct:
        """What the signed enclave is.

        Raises:
            ImageInvalid: it was not signed, its signature is broken, or its memory would be open to the host.
        """
        try:
            with (self.path / SIGNATURE).open("rb") as file:
                found = read_sigstruct(file.read(BYTES + 1))
        except OSError as error:
            raise ImageInvalid(f"It was not signed: there is no {SIGNATURE}.") from error
        except SigstructInvalid as error:
            raise ImageInvalid(f"{SIGNATURE} is broken. {error.detail}") from error
        if found.debug:
            raise ImageInvalid("It was signed as an enclave that can be debugged.")
        return found

    def measurement(self) -> str:
        """What keepers find in its evidence, and contracts name (A-10).

        Raises:
            ImageInvalid: see `sigstruct`.
        """
        return registers_digest("sgx", {"mrenclave": self.sigstruct().mrenclave.hex()})
