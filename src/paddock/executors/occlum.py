"""The executor `occlum`: an SGX enclave by Occlum, a fresh instance for every run.

An instance is a folder that `occlum build` made. Occlum starts one program of a folder at a time and writes beside it, so
that each run gets a folder of its own whose image is the built one (a link) and whose writable part is empty.

Source: Occlum 0.31, tools/occlum (cmd_run, cmd_print_info), docs/readthedocs/docs/source/occlum_cmds.md.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from paddock.errors import ExecutorFailed
from paddock.evidence.claims import registers_digest
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Launch
from paddock.executors.occlum_build import CONFIGURATION, INSTANCE, NOTE, USUAL, find_occlum, print_mrenclave
from paddock.executors.occlum_files import PROGRAM
from paddock.executors.room import Room, check_room
from paddock.executors.settings import check_settings
from paddock.executors.supervision import Limits
from paddock.executors.tools import read_object, run_folder

DEVICES = (Path("/dev/sgx_enclave"), Path("/dev/sgx/enclave"))
ATTESTER = "occlum"
_NO_ATTESTER = "none"
_HARDWARE = "HW"
_LARGER = "An enclave's size is measured: build one with larger 'memory', 'scratch' or 'threads'."
_MRENCLAVE = re.compile(r"[0-9a-f]{64}")


class OcclumExecutor(CommandExecutor):
    """Starts an SGX enclave by Occlum (L5).

    Args:
        attester: where, seen from inside, the attestation device answers; `none` is Occlum's own.
        settings: see `SETTINGS`.
        log_folder: where each run's stderr is kept for the operator; None drops it.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown or missing.
    """

    isolated = True
    SETTINGS: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "image": "folder that 'paddock executor build occlum' made",
            "occlum": f"the occlum command (default: along PATH, {USUAL})",
            "runs": "folder for what runs write, gone with them (default: a fresh one in the system's temporary folder)",
            "device": f"the SGX device (default: {DEVICES[0]})",
        }
    )

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str],
        log_folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(log_folder=log_folder, limits=limits)
        check_settings(settings, self.SETTINGS, required=("image",))
        self._attester = ATTESTER if attester == _NO_ATTESTER else attester
        self._image = Path(settings["image"]).resolve()
        self._tool = settings.get("occlum", "")
        self._runs = Path(settings["runs"]).resolve() if "runs" in settings else None
        self._devices = (Path(settings["device"]),) if "device" in settings else DEVICES

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        self._occlum()
        self._check_image()
        if not any(device.exists() for device in self._devices):
            raise ExecutorFailed(
                "There is no SGX device here: Linux 5.11 and SGX switched on in the firmware bring it."
            )

    def measure(self) -> str:
        """See `Executor.measure`: of the image as it lies there, which Occlum itself is asked for."""
        noted = self._check_image()
        found = print_mrenclave(self._occlum(), self._image / INSTANCE)
        if found != noted:
            raise ExecutorFailed("The image was changed after it had been built: build it anew.")
        return registers_digest("sgx", {"mrenclave": found})

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`."""
        self._check_image()
        check_room(launch, self._room(), _LARGER)
        if self._runs is None:
            self._runs = Path(tempfile.mkdtemp(prefix="paddock-occlum-"))
        folder = run_folder(self._runs, launch)
        clear = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            self._lay_out(folder)
            arguments = (self._occlum(), "run", str(PROGRAM))
        except OSError as error:
            clear()
            raise ExecutorFailed(f"The run's instance cannot be made: {error.strerror}.") from error
        return Command(arguments, environment(None), self._attester, clear, folder)

    def _lay_out(self, folder: Path) -> None:
        instance = self._image / INSTANCE
        for name in ("build", "initfs"):  # measured, and opened for reading
            (folder / name).symlink_to(instance / name)
        for name in (CONFIGURATION, ".sgx_mode"):
            shutil.copyfile(instance / name, folder / name)
        (folder / ".__occlum_status").write_text("built\n", encoding="ascii")
        for name in ("mount", "initfs"):
            (folder / "run" / name / "__ROOT").mkdir(parents=True)

    def _occlum(self) -> str:
        return find_occlum(self._tool)

    def _check_image(self) -> str:
        """The noted MRENCLAVE of an image that was built for hardware and cannot be looked into.

        Raises:
            ExecutorFailed: it is not there, was not built to its end, or otherwise.
        """
        instance = self._image / INSTANCE
        noted = read_object(self._image / NOTE).get("mrenclave")
        configuration = read_object(instance / CONFIGURATION)
        metadata = configuration.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("debuggable") is not False:
            raise ExecutorFailed("The image is one that can be looked into (debuggable): build it anew.")
        if not isinstance(noted, str) or not _MRENCLAVE.fullmatch(noted):
            raise ExecutorFailed(f"{NOTE} is damaged.")
        try:
            mode = (instance / ".sgx_mode").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ExecutorFailed("The image was not built to its end.") from error
        if mode != _HARDWARE:
            raise ExecutorFailed(f"The image is built for the mode {mode[:10]!r} of SGX, which protects nothing.")
        return noted

    def _room(self) -> Room:
        noted = read_object(self._image / NOTE)
        memory, scratch, threads = (noted.get(name) for name in ("memory_bytes", "scratch_bytes", "threads"))
        if not (type(memory) is int and type(scratch) is int and type(threads) is int):
            raise ExecutorFailed(f"{NOTE} is damaged.")
        return Room(memory_bytes=memory, scratch_bytes=scratch, processes=threads)
