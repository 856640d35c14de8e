"""A folder that was built for Gramine: the names in it, what its signed enclave is, and the tools for it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock.errors import ImageInvalid, SigstructInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors.gramine.manifest import OVERHEAD_BYTES, THREAD_BYTES
from paddock.executors.gramine.sigstruct import BYTES, Sigstruct, read_sigstruct
from paddock.executors.room import OWN_THREADS, Room

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

    def room(self, manifest: str) -> Room:
        """What a job may use of the enclave that a manifest describes.

        Raises:
            ImageInvalid: there is none, or it is not understood.
        """
        try:
            with (self.path / manifest).open("rb") as file:
                sgx: dict[str, Any] = tomllib.loads(file.read(_MAX_MANIFEST_BYTES).decode("utf-8"))["sgx"]
            threads, edmm = sgx["max_threads"], sgx["edmm_enable"]
            if type(threads) is not int or type(edmm) is not bool:
                raise TypeError
            size = int(str(sgx["enclave_size"]).removesuffix("M")) << 20
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ImageInvalid(f"{manifest} is not there or is not understood.") from error
        return Room(
            memory_bytes=size - OVERHEAD_BYTES - threads * THREAD_BYTES,
            scratch_bytes=None,  # the manifest's tmpfs is memory of the enclave
            # With EDMM Gramine makes a slot where none is free (its commit fa437cb); without, a thread does not start.
            processes=None if edmm else threads - OWN_THREADS,
            process_bytes=THREAD_BYTES if edmm else 0,
        )

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
