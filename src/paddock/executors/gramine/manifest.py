"""Gramine's manifest for the runtime image, from a typed description. Pure: values in, text out.

Source: Gramine documentation 1.9, "Manifest syntax"; what a thread takes: its pal/src/host/linux-sgx/pal_linux_defs.h. Every key that the documentation calls insecure is left out, and so is
`sgx.allowed_files`: nothing is read that is not hashed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import tomlkit

INSIDE = PurePosixPath("/paddock")
"""Where the image is seen inside."""
OVERHEAD_BYTES = 1 << 30
"""What interpreter, libraries and Gramine itself take of an enclave before a job begins."""
THREAD_BYTES = 360 << 10
"""What a slot for a thread takes of an enclave: two saved states, control page, local storage, stack, signals' stack."""
_PAGE_BYTES = 4096


@dataclass(frozen=True)
class TrustedFile:
    """A file whose content the manifest fixes.

    Args:
        uri: as Gramine is to open it; relative ones begin at the folder of the manifest.
        sha256: 64 hex digits; None leaves the hashing to Gramine's signer. A URI of a folder ends with a slash and has none.
    """

    uri: str
    sha256: str | None = None


@dataclass(frozen=True)
class EnclaveDescription:
    """What an enclave is.

    Args:
        command: program and arguments, as seen inside.
        environment: all that they get of one.
        runtime: Gramine's folder of C libraries on the host, e.g. `/usr/lib/x86_64-linux-gnu/gramine/runtime/glibc`.
        image: URI of the folder that is seen at `/paddock`, without its scheme; likewise `etc` for `/etc`.
        trusted: every file that may be read.
        memory_bytes: what a contract's `limits.memory_bytes` may be at most.
        scratch_bytes: likewise; scratch files lie in the enclave's memory.
        threads: slots for threads; with `edmm` more can be added while it runs.
        edmm: whether memory is added while it runs (SGX2, Linux 6.0).
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    runtime: PurePosixPath
    image: str
    etc: str
    trusted: tuple[TrustedFile, ...]
    memory_bytes: int
    scratch_bytes: int
    threads: int
    edmm: bool


def enclave_bytes(job_bytes: int, threads: int) -> int:
    """The size of an enclave in which a job may use so much memory: a power of two, as SGX demands."""
    return 1 << (job_bytes + OVERHEAD_BYTES + threads * THREAD_BYTES - 1).bit_length()


def write_manifest(description: EnclaveDescription) -> str:
    """The manifest as TOML. Gramine's tools add the digest of its own library OS."""
    size = enclave_bytes(description.memory_bytes + description.scratch_bytes, description.threads)
    content: dict[str, Any] = {
        "libos": {"entrypoint": description.command[0]},
        "loader": {
            "argv": list(description.command),
            "env": dict(sorted(description.environment.items())),
            "log_level": "error",  # more would tell the host of the application
        },
        "fs": {
            "root": {"type": "tmpfs"},
            "mounts": [
                {"path": "/lib", "uri": f"file:{description.runtime}"},
                {"path": str(INSIDE), "uri": f"file:{description.image}"},
                {"path": "/etc", "uri": f"file:{description.etc}"},
                {"type": "tmpfs", "path": "/tmp"},  # noqa: S108 - in the enclave's own memory
            ],
        },
        "sys": {
            "stack": {"size": "2M"},  # with the default of 256K PaddlePaddle's library crashes as it is loaded
            "disallow_subprocesses": True,
            "enable_extra_runtime_domain_names_conf": True,  # names of keepers and hub; who answers there proves itself
        },
        "sgx": {
            "debug": False,
            "remote_attestation": "dcap",
            "file_check_policy": "strict",
            "edmm_enable": description.edmm,
            "enclave_size": f"{size // _MEBIBYTE}M",
            "max_threads": description.threads,
            "cpu_features": {"avx": "required"},  # PaddlePaddle's wheel is compiled for it
            "trusted_files": [_trusted(file) for file in description.trusted],
        },
    }
    return tomlkit.dumps(content)


_MEBIBYTE = 1 << 20


def _trusted(file: TrustedFile) -> dict[str, str]:
    return {"uri": file.uri} if file.sha256 is None else {"uri": file.uri, "sha256": file.sha256}
