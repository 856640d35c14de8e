"""The executor `confidential-vm`: one machine for each run, started by QEMU, gone with the run."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Built, Launch, OnEvent
from paddock.executors.machine.description import DISK, FACTS, KERNEL_IMAGE, PACKAGES, File, read_machine
from paddock.executors.machine.image import TPM, build_machine
from paddock.executors.machine.measured import BANK, QUOTED
from paddock.executors.machine.qemu import Kind, Start, arguments
from paddock.executors.machine.routes import Route, routed
from paddock.executors.machine.settings import BUILD, read_recipe, read_start
from paddock.executors.machine.tpm import check_tpm, start_tpm
from paddock.executors.machine.units import UNITS
from paddock.executors.supervision import Limits

_NO_ATTESTER = "none"
_TPM_INSIDE = f"tpm:tcti=device:/dev/tpmrm0;pcrs={BANK}:{','.join(map(str, QUOTED))}"


class MachineExecutor(CommandExecutor):
    """Starts one machine for each run: of Intel TDX, of AMD SEV-SNP, or a plain one with a TPM.

    Args:
        attester: must be `none`: a machine is attested by what is inside it.
        settings: see `START`.
        log_folder: where each machine's last words are kept for the operator; None drops them.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """

    isolated = True

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str],
        log_folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(log_folder=log_folder, limits=limits)
        if attester != _NO_ATTESTER:
            raise ExecutorOptionInvalid(
                "A machine attests itself: no attester of the host, and no simulator, reaches into it."
            )
        self._settings = read_start(settings)
        self._ways: dict[str, tuple[Route, ...]] = {}
        self._ways_lock = threading.Lock()

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        chosen = self._settings
        read_machine(chosen.machine)
        for file in (chosen.machine / KERNEL_IMAGE, chosen.machine / DISK, chosen.shape.firmware):
            if not os.access(file, os.R_OK):
                raise ExecutorFailed(f"{file} is not there, or not for this user.")
        self._program()
        if chosen.shape.accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise ExecutorFailed(
                "/dev/kvm is not there, or not for this user: a plain machine can be emulated (accelerator=tcg)."
            )
        if chosen.tpm is not None:
            check_tpm(chosen.tpm)
        placeholder = None if chosen.tpm is None else chosen.tpm
        arguments(chosen.shape, Start(chosen.qemu, chosen.machine / KERNEL_IMAGE, chosen.machine / DISK, placeholder))

    def measure(self) -> str:
        """See `Executor.measure`. Only of a plain machine of the shape that was started for reference."""
        chosen, machine = self._settings, read_machine(self._settings.machine)
        if chosen.shape.kind is not Kind.PLAIN:
            raise ExecutorFailed(
                "What a machine of that kind reports is told by its vendor's tools: docs/executors/confidential-vm.md."
            )
        made = machine.reference
        if made is None or machine.measurement is None:
            raise ExecutorFailed("It was built without a reference boot.")
        if (made.cores, made.memory_mib) != (chosen.shape.cores, chosen.shape.memory_mib):
            raise ExecutorFailed(
                f"The reference boot was of a machine with {made.cores} cores and {made.memory_mib} MiB."
            )
        if File.of(chosen.shape.firmware).sha256 != made.firmware:
            raise ExecutorFailed("The reference boot was of another firmware.")
        return machine.measurement

    def start(self, launch: Launch, on_event: OnEvent) -> str:
        """See `Executor.start`."""
        told = routed(launch)
        with self._ways_lock:
            self._ways[launch.run] = told.routes
        return super().start(told.launch, on_event)

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`."""
        chosen = self._settings
        read_machine(chosen.machine)
        with self._ways_lock:
            routes = self._ways.pop(launch.run)
        running = None if chosen.tpm is None else start_tpm(chosen.tpm)
        start = Start(
            program=self._program(),
            kernel_image=chosen.machine / KERNEL_IMAGE,
            disk=chosen.machine / DISK,
            tpm=None if running is None else running.socket,
            routes=routes,
        )
        attester = chosen.attester or _TPM_INSIDE
        if running is None:
            return Command(arguments(chosen.shape, start), environment(None), attester)
        return Command(arguments(chosen.shape, start), environment(None), attester, running.end)

    def _program(self) -> str:
        found = shutil.which(self._settings.qemu)
        if found is None:
            raise ExecutorFailed(f"{self._settings.qemu} is not installed (Debian: apt-get install qemu-system-x86).")
        return found


class MachineBuilder:
    """Builds what `confidential-vm` starts. See `paddock.executors.Buildable`."""

    about = "A disk that is checked block by block, a kernel image that names it, and the measurement of both."
    settings = BUILD

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`."""
        if settings:
            read_recipe(settings)
        return UNITS

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`."""
        machine, key = build_machine(read_recipe(settings), folder, said)
        for name, text in UNITS.items():
            (folder / name).write_text(text, encoding="ascii")
        notes = [f'its TPM of software, for trust policies: [tpm] roots = ["{key}"]']
        if machine.reference is not None:
            notes.append(
                f"the measurement is that of a plain machine with {machine.reference.cores} cores and {machine.reference.memory_mib} MiB"
            )
        return Built([FACTS, PACKAGES, KERNEL_IMAGE, DISK, TPM, *UNITS], machine.measurement, notes)
