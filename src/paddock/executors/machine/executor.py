"""The executor `confidential-vm`: one machine for each run, started by QEMU, gone with the run; or a machine that systemd serves."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid, ImageInvalid
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Built, Launch, OnEvent, Registers
from paddock.executors.machine.description import (
    DISK,
    FACTS,
    KERNEL_IMAGE,
    PACKAGES,
    File,
    Machine,
    read_image,
    read_machine,
)
from paddock.executors.machine.image import TPM, build_machine
from paddock.executors.machine.kernel import KernelFiles
from paddock.executors.machine.measured import BANK, QUOTED, expected_registers
from paddock.executors.machine.qemu import Kind, Shape, Start, arguments
from paddock.executors.machine.routes import Route, routed
from paddock.executors.machine.served import ServedSettings, check_served, served_command
from paddock.executors.machine.settings import (
    BUILD,
    START,
    StartSettings,
    firmwares,
    read_listen,
    read_recipe,
    read_start,
)
from paddock.executors.machine.sev_snp import snp_registers
from paddock.executors.machine.stub import check_release, check_stub
from paddock.executors.machine.tdx import tdx_registers
from paddock.executors.machine.tpm import check_tpm, start_tpm
from paddock.executors.machine.units import NAMES, units
from paddock.executors.room import check_room
from paddock.executors.supervision import Limits

_NO_ATTESTER = "none"
_TPM_INSIDE = f"tpm:tcti=device:/dev/tpmrm0;pcrs={BANK}:{','.join(map(str, QUOTED))}"


class MachineExecutor(CommandExecutor):
    """Starts one machine for each run: of Intel TDX, of AMD SEV-SNP, or a plain one with a TPM.

    Or it starts none, and connects to one where systemd serves the enclave (`served`).

    Args:
        attester: must be `none`: a machine is attested by what is inside it.
        settings: see `START`.
        log_folder: where each machine's last words are kept for the operator; None drops them.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """

    isolated = True
    SETTINGS = START

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
        if isinstance(chosen, ServedSettings):
            check_served(chosen.address)
            return
        read_machine(chosen.machine)
        for file in (chosen.machine / KERNEL_IMAGE, chosen.machine / DISK, chosen.shape.firmware):
            if not os.access(file, os.R_OK):
                raise ExecutorFailed(f"{file} is not there, or not for this user.")
        _program(chosen)
        if chosen.shape.accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise ExecutorFailed(
                "/dev/kvm is not there, or not for this user: a plain machine can be emulated (accelerator=tcg)."
            )
        if chosen.tpm is not None:
            check_tpm(chosen.tpm)
        placeholder = None if chosen.tpm is None else chosen.tpm
        arguments(chosen.shape, Start(chosen.qemu, chosen.machine / KERNEL_IMAGE, chosen.machine / DISK, placeholder))

    def measure(self) -> str:
        """See `Executor.measure`. Of a plain machine only where one of its shape was started for reference."""
        return self.registers().measurement()

    def registers(self) -> Registers:
        """See `TellsRegisters.registers`."""
        chosen = self._settings
        if isinstance(chosen, ServedSettings):
            raise ExecutorFailed(
                "What starts that machine is not at hand: its registers are in its evidence (paddock evidence show)."
            )
        # Whatever is measured here is what is in the files, not what was written of them.
        machine, image = read_image(chosen.machine)
        if chosen.shape.kind is Kind.PLAIN:
            return self._plain(chosen, machine, image)
        return _encrypted(chosen)

    def _plain(self, chosen: StartSettings, machine: Machine, image: bytes) -> Registers:
        made = machine.reference
        if made is None or machine.registers is None:
            raise ExecutorFailed("It was built without a reference boot.")
        if (made.cores, made.memory_mib) != (chosen.shape.cores, chosen.shape.memory_mib):
            raise ExecutorFailed(
                f"The reference boot was of a machine with {made.cores} cores and {made.memory_mib} MiB."
            )
        if File.of(chosen.shape.firmware).sha256 != made.firmware:
            raise ExecutorFailed("The reference boot was of another firmware.")
        computed = expected_registers(image, made.register_0)
        if machine.registers != dict(computed):
            raise ImageInvalid(f"{FACTS} names other registers than are computed from {KERNEL_IMAGE}.")
        return Registers("tpm", computed, {})

    def start(self, launch: Launch, on_event: OnEvent) -> str:
        """See `Executor.start`."""
        if isinstance(self._settings, ServedSettings):  # it has a network and a size of its own
            return super().start(launch, on_event)
        check_room(launch, self._settings.shape.room(), "Start machines with a larger 'memory'.")
        told = routed(launch)
        with self._ways_lock:
            self._ways[launch.run] = told.routes
        return super().start(told.launch, on_event)

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`."""
        chosen = self._settings
        if isinstance(chosen, ServedSettings):
            return served_command(chosen, launch)
        read_machine(chosen.machine)
        with self._ways_lock:
            routes = self._ways.pop(launch.run)
        running = None if chosen.tpm is None else start_tpm(chosen.tpm)
        start = Start(
            program=_program(chosen),
            kernel_image=chosen.machine / KERNEL_IMAGE,
            disk=chosen.machine / DISK,
            tpm=None if running is None else running.socket,
            routes=routes,
        )
        attester = chosen.attester or _TPM_INSIDE
        if running is None:
            return Command(arguments(chosen.shape, start), environment(None), attester)
        return Command(arguments(chosen.shape, start), environment(None), attester, running.end)


def _program(chosen: StartSettings) -> str:
    found = shutil.which(chosen.qemu)
    if found is None:
        raise ExecutorFailed(f"{chosen.qemu} is not installed (Debian: apt-get install qemu-system-x86).")
    return found


def _encrypted(chosen: StartSettings) -> Registers:
    image, firmware = chosen.machine / KERNEL_IMAGE, chosen.shape.firmware
    if chosen.shape.kind is Kind.SEV_SNP:
        return snp_registers(image, firmware, chosen.shape.cores)
    try:
        return tdx_registers(image.read_bytes(), firmware.read_bytes(), service_td=chosen.service_td, told=chosen.told)
    except OSError as error:
        raise ExecutorFailed("Kernel image or firmware cannot be read.") from error


class MachineBuilder:
    """Builds what `confidential-vm` starts. See `paddock.executors.Buildable`."""

    about = "A disk that is checked block by block, a kernel image that names it, and the measurement of both."
    settings = BUILD

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`."""
        if set(settings) - {"listen"}:
            read_recipe(settings)
        return units(read_listen(settings))

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`."""
        recipe, served = read_recipe(settings), units(read_listen(settings))
        kinds = firmwares(settings)
        notes = _unfit(recipe.kernel, set(kinds))
        machine, key = build_machine(recipe, folder, said)
        for name, text in served.items():
            (folder / name).write_text(text, encoding="ascii")
        notes += [f'its TPM of software, for trust policies: [tpm] roots = ["{key}"]']
        if machine.reference is not None:
            notes.append(
                f"the measurement is that of a plain machine with {machine.reference.cores} cores and {machine.reference.memory_mib} MiB"
            )
        for kind, firmware in kinds.items():
            said(f"computing what a machine of {kind} reports")
            notes += _reported(recipe.cores, folder, kind, firmware)
        return Built([FACTS, PACKAGES, KERNEL_IMAGE, DISK, TPM, *NAMES], machine.measurement, notes)


def _unfit(kernel: KernelFiles, kinds: Collection[Kind]) -> list[str]:
    """What speaks against the parts of an image where memory is encrypted: an error if such a machine is meant, else a warning."""
    notes = []
    for kind in (Kind.SEV_SNP, Kind.TDX):
        try:
            check_release(kernel.release())
            if kind is Kind.SEV_SNP:
                check_stub(kernel.stub.read_bytes())
        except OSError as error:
            raise ExecutorFailed("Kernel or stub cannot be read (Debian: apt-get install systemd-boot-efi).") from error
        except ExecutorFailed as error:
            if kind in kinds:
                raise
            notes.append(f"warning: not for machines of {kind}: {error.detail}")
    return notes


def _reported(cores: int, folder: Path, kind: Kind, firmware: Path) -> list[str]:
    shape = Shape(kind, cores, 0, "kvm", firmware)
    try:
        told = _encrypted(StartSettings(folder, shape, "", None, None))
    except ExecutorFailed as error:  # the machine is built
        return [f"{kind}: not computed: {error.detail}"]
    cores_of = f", {cores} cores" if kind is Kind.SEV_SNP else ""
    about = f"{kind}{cores_of}, {firmware.name}"
    notes = [f"{about}: {name}={value}" for name, value in told.computed.items()]
    if told.missing:
        return [*notes, *(f"{about}: {name} is missing: {where}" for name, where in told.missing.items())]
    return [*notes, f"{about}: measurement for contracts: {told.measurement()}"]
