"""Machines for real: emulated, with firmware, kernel, disk and a TPM of software. They boot measured, and keepers at level 3 release
keys to the image that the contract names, or to none.

Three machines run at the same time: the one that was built, one whose kernel image has another command line, and one whose disk has a
changed block. Building takes a minute and is kept in build/ until the runtime changes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed, MeasurementRefused, RunEndedSilently
from paddock.evidence.measurement import measure_runtime
from paddock.executors.machine import MachineBuilder, MachineExecutor
from paddock.executors.machine.description import DISK, FACTS, KERNEL_IMAGE, Machine, read_machine
from paddock.executors.machine.measured import expected_registers
from paddock.executors.machine.measured import measurement as registers_measurement
from paddock.executors.machine.pe import section
from paddock.executors.machine.settings import FIRMWARE, STUB
from paddock.executors.machine.tpm import tpm_key
from paddock.party.results import fetch_results
from paddock.testing.stage import Stage

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mksquashfs": "squashfs-tools",
    "dmsetup": "dmsetup",
    "busybox": "busybox-static",
    "swtpm": "swtpm",
    "tpm2_quote": "tpm2-tools",
    "bwrap": "bubblewrap",
    FIRMWARE: "ovmf",
    STUB: "systemd-boot-efi",
}
MISSING = [
    package
    for name, package in PACKAGES.items()
    if shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin") is None and not Path(name).is_file()
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed (Debian: apt-get install {' '.join(MISSING)})")
SHAPE = {"accelerator": "tcg", "memory": "2560"}
SECONDS = 900


def kernel() -> Path:
    """The distribution's kernel, unpacked."""
    folder = BUILD / "kernel"
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "kernel.sh"), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no kernel for machines: {done.stderr.strip()}")
    return folder


@pytest.fixture(scope="module")
def built() -> Path:
    """The machine, built by the command's own way, once for each state of runtime and kernel."""
    unpacked = kernel()
    [vmlinuz] = (unpacked / "boot").glob("vmlinuz-*")
    state = hashlib.sha256(f"{measure_runtime().digest} {vmlinuz.name}".encode()).hexdigest()[:16]
    folder = BUILD / f"machine-{state}"
    if not (folder / FACTS).exists():
        for old in BUILD.glob("machine-*"):
            shutil.rmtree(old)
        recipe = {"kernel": str(vmlinuz), "modules": str(unpacked / "lib" / "modules"), "compression": "lz4", **SHAPE}
        MachineBuilder().build(folder, recipe, lambda _text: None)
    return folder


def settings(machine: Path, tpm: Path) -> dict[str, str]:
    return {"machine": str(machine), "tpm": str(tpm), "kind": "plain", **SHAPE}


@dataclass
class Running:
    """A machine under way."""

    stage: Stage
    run: str
    log: Path

    def last_words(self) -> str:
        return (self.log / f"{self.run}.log").read_text(encoding="utf-8", errors="replace")


@dataclass
class Machines:
    """All of them; each has a hub and parties of its own, and the same contract but for names."""

    honest: Running
    other_line: Running
    other_disk: Running


def changed(built: Path, folder: Path, name: str, *places: int) -> Path:
    """A copy of the machine with a byte of one file changed, or several."""
    folder.mkdir()
    for file in (FACTS, KERNEL_IMAGE, DISK):
        if file == name:
            shutil.copyfile(built / file, folder / file)
            with (folder / file).open("r+b") as target:
                for place in places:
                    target.seek(place)
                    byte = target.read(1)
                    target.seek(place)
                    target.write(bytes([byte[0] ^ 1]))
        else:
            (folder / file).symlink_to(built / file)
    return folder


@pytest.fixture(scope="module")
def machines(built: Path, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    image = (built / KERNEL_IMAGE).read_bytes()
    line = section(image, ".cmdline")
    # `panic=-1` becomes `panic=,1`: as good a command line, and another one. It stands in the initial file system as well,
    # whose first program goes on with no other (tests/unit/executors/test_guest_scripts.py).
    word = line.index(b"panic=") + len("panic=")
    places = [match.start() + word for match in re.finditer(re.escape(line), image)]
    assert len(places) == 2
    other_line = changed(built, folder / "other-line", KERNEL_IMAGE, *places)
    other_disk = changed(built, folder / "other-disk", DISK, 0)
    measurement = MachineExecutor(attester="none", settings=settings(built, built / "tpm")).measure()
    # Keepers know the other image as well, by what is computed of it: it is the contract that does not name it.
    reference = read_machine(built).reference
    assert reference is not None
    registers = expected_registers((other_line / KERNEL_IMAGE).read_bytes(), reference.register_0)
    images = [measurement, registers_measurement(registers)]
    trust = f'sealed_images = {json.dumps(images)}\n[tpm]\nroots = ["{tpm_key(built / "tpm")}"]\n'
    with ExitStack() as stack:
        running = []
        for name, machine in (("honest", built), ("line", other_line), ("disk", other_disk)):
            chosen = settings(machine, built / "tpm")
            stage = Stage(folder / name, program, executor="confidential-vm", executor_settings=chosen, trust=trust)
            stack.enter_context(stage)
            stage.engine.executor._log_folder = folder  # type: ignore[attr-defined]
            allowed = {"memory_bytes": 1 << 30, "scratch_bytes": 1 << 20, "lease_seconds": SECONDS}
            proposal = stage.agree(level="L3", simulated="false", measurement=measurement, **allowed)
            running.append(Running(stage, stage.modelco.request_run(proposal.id), folder))
        yield Machines(*running)


def test_a_machine_boots_measured_gets_keys_at_level_3_and_trains(
    machines: Machines, built: Path, tmp_path: Path
) -> None:
    honest = machines.honest
    seen = honest.stage.follow(honest.run)
    assert seen.state == "succeeded", (seen.error, honest.last_words()[-2000:])
    got = fetch_results(honest.stage.modelco, honest.run, tmp_path / "out", overwrite=False)
    assert set(got.folders) == {"weights", "curve"}
    receipt = got.verified.receipt
    assert not receipt.simulated
    # What the TPM said of the boot is what was computed from the files beforehand.
    assert receipt.measurement == read_machine(built).measurement
    # The kernel's and the enclave's words stay inside.
    assert "Traceback" not in honest.last_words()


def test_another_command_line_gets_no_keys(machines: Machines) -> None:
    seen = machines.other_line.stage.follow(machines.other_line.run)
    assert seen.state == "failed"
    assert isinstance(seen.error, MeasurementRefused), (seen.error, machines.other_line.last_words()[-2000:])


def test_a_changed_disk_does_not_start(machines: Machines) -> None:
    seen = machines.other_disk.stage.follow(machines.other_disk.run)
    assert seen.state == "failed"
    assert isinstance(seen.error, RunEndedSilently), seen.error
    assert "the disk is not the one that the command line names" in machines.other_disk.last_words()


def test_the_description_is_of_the_files(built: Path) -> None:
    machine: Machine = read_machine(built)
    for name, facts in ((KERNEL_IMAGE, machine.kernel_image), (DISK, machine.disk)):
        assert hashlib.sha256((built / name).read_bytes()).hexdigest() == facts.sha256
    assert section((built / KERNEL_IMAGE).read_bytes(), ".cmdline").decode() == machine.command_line
    with pytest.raises(ExecutorFailed, match="cores"):
        MachineExecutor(attester="none", settings={**settings(built, built / "tpm"), "cores": "1"}).measure()
