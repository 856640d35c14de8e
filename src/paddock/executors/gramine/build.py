"""Building for Gramine: the runtime image, its manifest, and, where Gramine is installed, the signed enclave."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

from paddock.contract.draft import DEFAULT_PROCESSES, DEFAULT_SCRATCH_BYTES
from paddock.errors import ExecutorOptionInvalid, ImageFailed
from paddock.executors.command import environment
from paddock.executors.executor import Built
from paddock.executors.gramine.folder import EXPANDED, MANIFEST, SIGN, SIGNATURE, SIGNED, TEMPLATE, GramineFolder
from paddock.executors.gramine.manifest import INSIDE, EnclaveDescription, TrustedFile, write_manifest
from paddock.executors.image import (
    ENCLAVE,
    ROOT,
    Listing,
    hash_files,
    list_runtime,
    start_command,
    start_environment,
    write_image,
)
from paddock.executors.room import OWN_THREADS
from paddock.executors.settings import check_settings
from paddock.executors.texts import count, plain_path, size
from paddock.executors.tools import BUILD_SECONDS, run_tool, unfinished

ETC = "etc"
_GRAMINE = "/usr/lib/x86_64-linux-gnu/gramine"
_MIN_MEMORY_BYTES, _MAX_MEMORY_BYTES = 64 << 20, 1 << 40
_MAX_THREADS = 4096
_SCRATCH = f"{DEFAULT_SCRATCH_BYTES >> 20}MiB"
_ETC = {
    # What the C library and Python look up; fixed, since the host's own are not to be believed.
    "group": "root:x:0:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "passwd": "root:x:0:0:root:/:/bin/false\n",
}
_HOW = "Where Gramine is installed, in that folder: {}"


class GramineBuilder:
    """Builds for `gramine` and `gramine-direct`: what is made for one serves the other.

    Args:
        listing: what the image is made of; None: the installed runtime.
    """

    about: ClassVar[str] = "The runtime image, Gramine's manifest, and the signed enclave."
    settings: ClassVar[Mapping[str, str]] = {
        "memory": "What contracts may name as limits.memory_bytes at most, e.g. 4GiB. Required.",
        "edmm": "yes: memory is added as it is needed (SGX2, Linux 6.0); no: all at the start. Required.",
        "scratch": f"What they may name as limits.scratch_bytes at most, in memory; {_SCRATCH} without a word.",
        "threads": f"What they may name as limits.processes at most; {DEFAULT_PROCESSES} without a word. Not with edmm, "
        "which adds threads as they are needed.",
        "gramine": f"Gramine's folder on the machines that run it; {_GRAMINE} without a word.",
        "key": f"Signing key: PEM, RSA of 3072 bits, exponent 3; the one that {SIGN} finds without a word.",
    }

    def __init__(self, listing: Listing | None = None) -> None:
        self._listing = listing

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """The manifest, with folders in place of the files in them, as Gramine's tools expand them. See `Buildable`."""
        folders = tuple(TrustedFile(f"file:{folder}/") for folder in (ROOT, ETC))
        return {TEMPLATE: write_manifest(_description(settings, folders))}

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`. Without Gramine, image and manifest are written, and what is left to do is told."""
        _description(settings, ())  # settings are judged before minutes of work
        with unfinished(folder):
            write_image(self._listing or list_runtime(c_library=False), folder, said)
            _write(folder / ETC, _ETC)
            trusted = [
                TrustedFile(f"file:{part}/{place}", file.sha256)
                for part in (ETC, ROOT)
                for place, file in hash_files(folder / part).items()
            ]
            _write(folder, {TEMPLATE: write_manifest(_description(settings, tuple(trusted)))})
            files, left = [ROOT, ETC, TEMPLATE], signing_steps(settings)
            while left and (tool := shutil.which(left[0][0])) is not None:
                said(left[0][0])
                # The signer looks for the operator's key below HOME.
                variables = {"HOME": os.environ.get("HOME", "/")}
                run_tool([tool, *left[0][1:]], folder=folder, seconds=BUILD_SECONDS, variables=variables)
                files += [EXPANDED] if left[0][0] == MANIFEST else [SIGNED, SIGNATURE]
                del left[0]
        notes = [_HOW.format(" ".join(step)) for step in left]
        return Built(files, None if left else GramineFolder(folder).measurement(), notes)


def signing_steps(settings: Mapping[str, str]) -> list[list[str]]:
    """What Gramine's tools are to do in the folder, one after the other: tool and arguments of each."""
    key = ["--key", str(Path(settings["key"]).expanduser().absolute())] if "key" in settings else []
    return [
        [MANIFEST, TEMPLATE, EXPANDED],
        [SIGN, "--manifest", EXPANDED, "--output", SIGNED, "--sigfile", SIGNATURE, *key],
    ]


def _description(settings: Mapping[str, str], trusted: tuple[TrustedFile, ...]) -> EnclaveDescription:
    check_settings(settings, GramineBuilder.settings, required=["memory", "edmm"])
    gramine = plain_path("gramine", settings.get("gramine", _GRAMINE))
    if settings["edmm"] not in {"yes", "no"}:
        raise ExecutorOptionInvalid("'edmm' is yes or no.")
    memory = size("memory", settings["memory"])
    if not _MIN_MEMORY_BYTES <= memory <= _MAX_MEMORY_BYTES:
        raise ExecutorOptionInvalid("'memory' is a size from 64MiB to 1024GiB, e.g. 4GiB.")
    edmm = settings["edmm"] == "yes"
    if edmm and "threads" in settings:
        raise ExecutorOptionInvalid("'threads' is for 'edmm=no': with EDMM threads are added as they are needed.")
    threads = 0 if edmm else count("threads", settings.get("threads", str(DEFAULT_PROCESSES)), 1, _MAX_THREADS)
    runtime = PurePosixPath(gramine) / "runtime" / "glibc"
    inside = start_environment(INSIDE)
    return EnclaveDescription(
        command=tuple(start_command(INSIDE, ENCLAVE)),
        # Gramine's C library stands first; then the interpreter's own libraries.
        environment={**environment(1), **inside, "LD_LIBRARY_PATH": f"/lib:{inside['LD_LIBRARY_PATH']}"},
        runtime=runtime,
        image=ROOT,
        etc=ETC,
        trusted=(TrustedFile(f"file:{runtime}/"), *trusted),
        memory_bytes=memory,
        scratch_bytes=size("scratch", settings.get("scratch", _SCRATCH)),
        threads=threads + OWN_THREADS,
        edmm=edmm,
    )


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    try:
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ImageFailed(f"{error.strerror or type(error).__name__}.") from error
