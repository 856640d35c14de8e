"""The settings of building and starting a machine, read strictly into what the rest works with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paddock.contract.draft import DEFAULT_MEMORY_BYTES, DEFAULT_SCRATCH_BYTES
from paddock.errors import ExecutorOptionInvalid
from paddock.executors.machine.image import TPM, Recipe
from paddock.executors.machine.kernel import KernelFiles
from paddock.executors.machine.qemu import OVERHEAD_BYTES, Kind, Shape
from paddock.executors.machine.served import ServedSettings, read_address
from paddock.executors.machine.tdx import TOLD
from paddock.executors.machine.units import LISTEN, listens
from paddock.executors.settings import check_settings

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
QEMU = "qemu-system-x86_64"
_MEMORY_MIB = (DEFAULT_MEMORY_BYTES + DEFAULT_SCRATCH_BYTES + OVERHEAD_BYTES) >> 20
"""What a draft allows that says nothing of it."""
_SHAPE = {
    "cores": "of the machine's processor; 2 without a word",
    "memory": f"of the machine, in MiB; {_MEMORY_MIB} without a word",
    "accelerator": "kvm or tcg (emulation); kvm without a word",
    "firmware": f"the file of OVMF; {FIRMWARE} without a word",
    "qemu": f"the program; {QEMU} without a word",
}
BUILD: Mapping[str, str] = {
    "kernel": "a Linux kernel for x86_64 (vmlinuz) with EFI stub",
    "modules": "the folder of its modules",
    "stub": f"systemd's stub for unified kernel images; {STUB} without a word",
    "compression": "of the disk: lz4, zstd or none; zstd without a word",
    "reference": "yes: start a plain machine once and compute what a TPM then says; no: do not; yes without a word",
    "sev-snp-firmware": "OVMF of edk2's AmdSev build: say what a SEV-SNP machine with it reports",
    "tdx-firmware": "OVMF built for TDX: say what a TDX machine with it reports",
    "listen": f"what the units of systemd listen on, vsock:PORT or tcp:PORT; {LISTEN} without a word",
    **_SHAPE,
}
START: Mapping[str, str] = {
    "machine": "the folder that was built",
    "kind": "plain, tdx or sev-snp; served: a machine where systemd serves the enclave",
    "address": "of served: where it does, vsock:CID:PORT or tcp:HOST:PORT",
    "tpm": "of a plain machine: the folder of its TPM's state; the one that was built without a word",
    "quotes": "of tdx: where quotes are made, vsock:CID:PORT or unix:PATH",
    "c-bit": "of sev-snp: the bit of an address that marks encrypted memory",
    "reduced-bits": "of sev-snp: how many bits of addresses are lost",
    "attester": "of tdx, sev-snp and served: how evidence is made inside, tsm or sev-guest; tsm without a word",
    "td-report": "of tdx, for measuring: which report its quotes hold, 1.0 or 1.5; 1.0 without a word",
    **dict.fromkeys(TOLD, "of tdx, for measuring: that register of a first start, as hex"),
    **_SHAPE,
}
SERVED = "served"
_WORDS = {
    "accelerator": ("kvm", "tcg"),
    "compression": ("lz4", "zstd", "none"),
    "reference": ("yes", "no"),
    "kind": (*Kind, SERVED),
    "attester": ("tsm", "sev-guest"),
    "td-report": ("1.0", "1.5"),
}
_NUMBERS = {"cores": (1, 256), "memory": (512, 1 << 22), "c-bit": (0, 63), "reduced-bits": (0, 63)}
_PROGRAM = re.compile(r"[A-Za-z0-9_./+-]{1,200}")
_REGISTER = re.compile(r"[0-9A-Fa-f]{96}")


@dataclass(frozen=True)
class StartSettings:
    """How machines are started.

    Args:
        machine: the folder that was built.
        shape: see `Shape`.
        qemu: the program.
        tpm: the folder of a TPM's state; of a plain machine alone.
        attester: how evidence is made inside; None where the TPM makes it.
        service_td: of TDX: whether quotes hold the report of module 1.5, which has one register more.
        told: of TDX: registers that a first start told, by name, as hex.
    """

    machine: Path
    shape: Shape
    qemu: str
    tpm: Path | None
    attester: str | None
    service_td: bool = False
    told: Mapping[str, str] = field(default_factory=dict)


def read_recipe(settings: Mapping[str, str]) -> Recipe:
    """What is to be built.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """
    check_settings(settings, BUILD, required=("kernel", "modules"))
    files = KernelFiles(_path(settings, "kernel"), _path(settings, "modules"), _path(settings, "stub", STUB))
    shape = _shape(settings, Kind.PLAIN)
    reference = None if _choice(settings, "reference", "yes") == "no" else shape
    return Recipe(files, _choice(settings, "compression", "zstd"), reference, _qemu(settings), shape.cores)


def read_listen(settings: Mapping[str, str]) -> str:
    """What the units of systemd listen on, as `ListenStream=` has it.

    Raises:
        ExecutorOptionInvalid: it is not understood.
    """
    return listens(settings.get("listen", LISTEN))


def firmwares(settings: Mapping[str, str]) -> Mapping[Kind, Path]:
    """For which kinds of machines the build is to say what they report, and with which firmware."""
    named = {Kind.SEV_SNP: "sev-snp-firmware", Kind.TDX: "tdx-firmware"}
    return {kind: _path(settings, name) for kind, name in named.items() if name in settings}


def read_start(settings: Mapping[str, str]) -> StartSettings | ServedSettings:
    """How machines are to be started, or reached.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, not understood, or of another kind of machine.
    """
    check_settings(settings, START, required=("kind",))
    if _choice(settings, "kind", "") == SERVED:
        check_settings(settings, ("kind", "address", "attester"), required=("address",))
        return ServedSettings(read_address(settings["address"]), _choice(settings, "attester", "tsm"))
    check_settings(settings, START, required=("machine",))
    kind, machine = Kind(_choice(settings, "kind", "")), _path(settings, "machine")
    of = {"tpm": "plain", "c-bit": "sev-snp", "reduced-bits": "sev-snp", "address": SERVED}
    of |= dict.fromkeys(("quotes", "td-report", *TOLD), "tdx")
    for name, owner in of.items():
        if name in settings and owner != kind:
            raise ExecutorOptionInvalid(f"'{name}' is a setting of {owner} alone.")
    if kind is Kind.PLAIN:
        if "attester" in settings:
            raise ExecutorOptionInvalid("A plain machine proves itself by its TPM.")
        tpm = _path(settings, "tpm", str(machine / TPM))
        return StartSettings(machine, _shape(settings, kind), _qemu(settings), tpm, None)
    attester = _choice(settings, "attester", "tsm")
    service_td = _choice(settings, "td-report", "1.0") == "1.5"
    told = {name: _register(settings, name) for name in TOLD if name in settings}
    return StartSettings(machine, _shape(settings, kind), _qemu(settings), None, attester, service_td, told)


def _shape(settings: Mapping[str, str], kind: Kind) -> Shape:
    return Shape(
        kind=kind,
        cores=_number(settings, "cores", 2),
        memory_mib=_number(settings, "memory", _MEMORY_MIB),
        accelerator=_choice(settings, "accelerator", "kvm"),
        firmware=_path(settings, "firmware", FIRMWARE),
        quotes=settings.get("quotes"),
        c_bit=_number(settings, "c-bit", None) if "c-bit" in settings else None,
        reduced_bits=_number(settings, "reduced-bits", None) if "reduced-bits" in settings else None,
    )


def _register(settings: Mapping[str, str], name: str) -> str:
    if not _REGISTER.fullmatch(settings[name]):
        raise ExecutorOptionInvalid(f"'{name}' is 96 hex digits.")
    return settings[name].lower()


def _qemu(settings: Mapping[str, str]) -> str:
    found = settings.get("qemu", QEMU)
    if not _PROGRAM.fullmatch(found):
        raise ExecutorOptionInvalid("'qemu' is the name or the path of a program.")
    return found


def _path(settings: Mapping[str, str], name: str, usual: str = "") -> Path:
    return Path(settings.get(name, usual)).expanduser().absolute()


def _choice(settings: Mapping[str, str], name: str, usual: str) -> str:
    found = settings.get(name, usual)
    if found not in _WORDS[name]:
        raise ExecutorOptionInvalid(f"'{name}' is one of: {', '.join(_WORDS[name])}.")
    return found


def _number(settings: Mapping[str, str], name: str, usual: int | None) -> int:
    text = settings.get(name, "" if usual is None else str(usual))
    least, most = _NUMBERS[name]
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise ExecutorOptionInvalid(f"'{name}' is a number from {least} to {most}.")
    return int(text)
