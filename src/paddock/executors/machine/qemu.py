"""The command line of QEMU for a machine: pure, from a description to arguments.

Three kinds. `plain`: any host, with a TPM of software; memory is not encrypted. `tdx` and `sev-snp`: the processor encrypts memory and
measures what is loaded; the firmware is read into it (`-bios`), since such machines have no flash, and for SEV-SNP the digest of
the kernel image goes into the launch measurement (`kernel-hashes`).

The launch goes in by one port and events come out by another; both are QEMU's own standard streams. The network card reaches only
what is forwarded. No option takes a secret.

Source: QEMU 7.2 and 10.1, qemu(1); docs/system/i386/{tdx,amd-memory-encryption}.rst; qapi/qom.json (TdxGuestProperties since
10.1, SevSnpGuestProperties since 9.1).
"""

from __future__ import annotations

import enum
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import ExecutorOptionInvalid
from paddock.executors.machine.routes import Route
from paddock.executors.room import Room

LAUNCH_PORT, EVENTS_PORT = "paddock.launch", "paddock.events"
OVERHEAD_BYTES = (1 << 30) + (256 << 20)
"""What interpreter and PaddlePaddle, and kernel and first programs, take of a machine's memory beside a job."""
_THREAD_BYTES = 128 << 10
_MOST_PROCESSES = 32_768 - 1024
_RELAY = Path(__file__).with_name("relay.py")
_QUOTES = re.compile(r"vsock:([0-9]{1,10}):([0-9]{1,5})|unix:(/[A-Za-z0-9_./-]{1,100})")
SNP_PROCESSOR = "EPYC-v4"
"""The model of a SEV-SNP machine's processor: it is part of what is measured."""
_POLICY = 0x30000
"""Of SEV-SNP: bit 17 is always one, bit 16 allows two threads for each core. Not: debugging (19), migration (18)."""


class Kind(enum.StrEnum):
    """What kind of machine is started."""

    PLAIN = "plain"
    TDX = "tdx"
    SEV_SNP = "sev-snp"


@dataclass(frozen=True)
class Shape:
    """The machine apart from what runs in it.

    Args:
        kind: see `Kind`.
        cores: of its processor.
        memory_mib: in MiB.
        accelerator: `kvm` or `tcg`; only a plain machine can be emulated.
        firmware: the file.
        quotes: of TDX: where the host's service that makes quotes answers, `vsock:CID:PORT` or `unix:PATH`.
        c_bit: of SEV-SNP: which bit of an address marks encrypted memory (CPUID 8000001F, EBX bits 0 to 5).
        reduced_bits: of SEV-SNP: how many bits of addresses are lost (the same, bits 6 to 11).
    """

    kind: Kind
    cores: int
    memory_mib: int
    accelerator: str
    firmware: Path
    quotes: str | None = None
    c_bit: int | None = None
    reduced_bits: int | None = None

    def room(self) -> Room:
        """What it holds of a contract's limits: everything but its disk, which is read-only, is memory."""
        return room_of(self.memory_mib << 20)


def room_of(memory: int, taken: int = 0) -> Room:
    """What a machine holds of a contract's limits.

    Args:
        memory: of the machine, in bytes.
        taken: of it, by a disk that lies in it.

    Source: Linux 6.1, kernel/fork.c (set_max_threads: as many threads as an eighth of the memory has stacks of 16 KiB)
    and include/linux/threads.h (PID_MAX_DEFAULT); the kernel's own and the supervisor's are left out.
    """
    return Room(
        memory_bytes=memory - taken - OVERHEAD_BYTES,
        scratch_bytes=None,
        processes=min(memory // _THREAD_BYTES - 1024, _MOST_PROCESSES),
    )


@dataclass(frozen=True)
class Start:
    """What one start adds.

    Args:
        program: QEMU.
        kernel_image: see `unified_kernel`.
        disk: data and tree; None in a reference boot.
        tpm: the control socket of a TPM of software; of a plain machine alone.
        routes: what the machine reaches.
    """

    program: str
    kernel_image: Path
    disk: Path | None
    tpm: Path | None
    routes: Sequence[Route] = ()


def arguments(shape: Shape, start: Start) -> list[str]:
    """Program and arguments.

    Raises:
        ExecutorOptionInvalid: the kind of machine cannot have what is asked for.
    """
    _check(shape, start)
    encrypted = shape.kind is not Kind.PLAIN
    more = ",disable-legacy=on,iommu_platform=on" if encrypted else ""
    words = [start.program, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    # Its strictest filter also keeps QEMU from starting what carries the network's connections (setsid in libslirp).
    words += ["-sandbox", "on"]
    words += _processor(shape)
    words += ["-smp", str(shape.cores), "-m", f"{shape.memory_mib}M"]
    words += ["-kernel", str(start.kernel_image)]
    words += ["-chardev", "file,id=console,path=/dev/stderr", "-serial", "chardev:console"]
    if not encrypted:  # there, numbers of the host's are none: the processor's own are demanded (guest/initial.sh)
        words += ["-device", "virtio-rng-pci"]
    if start.disk is not None:
        words += ["-drive", f"if=none,id=disk,format=raw,readonly=on,file={_word(start.disk)}"]
        words += ["-device", f"virtio-blk-pci,drive=disk{more}"]
    words += ["-device", f"virtio-serial-pci{more}"]
    # Two ports: when standard input ends, a port that shared it would be closed for what comes out as well.
    words += ["-chardev", "stdio,id=launch,signal=off", "-device", f"virtserialport,chardev=launch,name={LAUNCH_PORT}"]
    words += [
        "-chardev",
        "file,id=events,path=/dev/stdout",
        "-device",
        f"virtserialport,chardev=events,name={EVENTS_PORT}",
    ]
    words += ["-netdev", ",".join(["user,id=net,restrict=on,ipv6=off", *(_forwarded(each) for each in start.routes)])]
    words += ["-device", f"virtio-net-pci,netdev=net,romfile={more}"]
    if start.tpm is not None:
        words += ["-chardev", f"socket,id=tpm,path={_word(start.tpm)}"]
        words += ["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]
    return words


def _check(shape: Shape, start: Start) -> None:
    if shape.kind is Kind.PLAIN and start.tpm is None:
        raise ExecutorOptionInvalid("A plain machine proves itself by its TPM: it has none.")
    if shape.kind is not Kind.PLAIN and (shape.accelerator != "kvm" or start.tpm is not None):
        raise ExecutorOptionInvalid(
            "A machine with encrypted memory cannot be emulated, and proves itself without a TPM."
        )
    if (shape.kind is Kind.TDX) != (shape.quotes is not None):
        raise ExecutorOptionInvalid("A machine of TDX, and no other, needs 'quotes': where quotes are made.")
    if (shape.kind is Kind.SEV_SNP) != (shape.c_bit is not None) or (shape.c_bit is None) != (
        shape.reduced_bits is None
    ):
        raise ExecutorOptionInvalid("A machine of SEV-SNP, and no other, needs 'c-bit' and 'reduced-bits'.")


def _processor(shape: Shape) -> list[str]:
    if shape.kind is Kind.PLAIN:
        flash = f"if=pflash,unit=0,format=raw,readonly=on,file={_word(shape.firmware)}"
        model = "max" if shape.accelerator == "tcg" else "host"
        return ["-machine", "q35", "-accel", shape.accelerator, "-cpu", model, "-drive", flash]
    firmware = ["-bios", str(shape.firmware)]
    if shape.kind is Kind.TDX:
        guest = {"qom-type": "tdx-guest", "id": "cvm", "quote-generation-socket": _quotes(shape.quotes or "")}
        machine = "q35,kernel-irqchip=split,confidential-guest-support=cvm"
        return ["-object", json.dumps(guest), "-machine", machine, "-accel", "kvm", "-cpu", "host", *firmware]
    backend = f"memory-backend-memfd,id=ram,size={shape.memory_mib}M,share=on,prealloc=off"
    snp = f"sev-snp-guest,id=cvm,cbitpos={shape.c_bit},reduced-phys-bits={shape.reduced_bits},policy={_POLICY:#x},kernel-hashes=on"
    machine = "q35,confidential-guest-support=cvm,memory-backend=ram,vmport=off"
    return ["-object", backend, "-object", snp, "-machine", machine, "-accel", "kvm", "-cpu", SNP_PROCESSOR, *firmware]


def _quotes(text: str) -> dict[str, str]:
    match = _QUOTES.fullmatch(text)
    if match is None:
        raise ExecutorOptionInvalid("'quotes' reads vsock:CID:PORT or unix:PATH.")
    return {"type": "unix", "path": match[3]} if match[3] else {"type": "vsock", "cid": match[1], "port": match[2]}


def _forwarded(route: Route) -> str:
    relay = shlex.join([sys.executable, "-I", "-S", str(_RELAY), route.host, str(route.port)])
    return f"guestfwd=tcp:{route.inside}:{route.port}-cmd:{relay.replace(',', ',,')}"


def _word(path: Path) -> str:
    # A comma ends a value; doubled, it is part of one.
    return str(path).replace(",", ",,")
