"""What a machine's TPM holds after it started a unified kernel image, computed from the image: it need not be started for that.

It is what OVMF and systemd's stub measure when QEMU hands the image to the firmware (`-kernel`), with secure boot off: PCRs 2 to
7, 9, 11, and those that stay as they were. PCR 0 is the firmware's own. OVMF measures its first volume after it has run in it,
so no file holds those bytes: the register is taken from a reference boot, and depends on firmware and shape of the machine alone.
PCR 1 (order of boot entries, tables of QEMU) changes nothing that runs and is not among them; PCR 10 is the kernel's own.

Source: TCG PC Client Platform Firmware Profile 1.06 §2.3.4, §3.3.4, §10.4; systemd-stub(7), "TPM PCR Notes"; Linux,
drivers/firmware/efi/libstub (events of PCR 9); docs/executors/confidential-vm.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from paddock.errors import ExecutorFailed
from paddock.evidence.claims import registers_digest
from paddock.executors.machine.pe import image_digest, section

BANK = "sha256"
FIRMWARE = "sha256:00"
QUOTED = (0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)
"""Firmware, its drivers, what it started, how it was configured, keys of secure boot, initial file system and command line, parts of
the image. What nothing extends must stay zero: a stub that takes another command line from outside extends PCR 12."""
SEPARATOR = bytes(4)
_GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_VARIABLES: Sequence[tuple[UUID, str, bytes]] = (
    (_GLOBAL, "SecureBoot", b"\0"),
    (_GLOBAL, "PK", b""),
    (_GLOBAL, "KEK", b""),
    (_SECURITY, "db", b""),
    (_SECURITY, "dbx", b""),
)
_PARTS = (".linux", ".osrel", ".cmdline", ".initrd")
BOOT = b"Calling EFI Application from Boot Option"
LEAVING = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")


def name_of(number: int) -> str:
    """A PCR's name as claims have it, e.g. `sha256:04`."""
    return f"{BANK}:{number:02}"


def expected_registers(kernel_image: bytes, firmware: str) -> Mapping[str, str]:
    """The PCRs that will be quoted, by name, as hex.

    Args:
        kernel_image: see `unified_kernel`, with the sections `.linux`, `.osrel`, `.cmdline`, `.initrd`.
        firmware: PCR 0 of a reference boot, as hex.

    Raises:
        ExecutorFailed: it is no such image.
    """
    kernel, initrd = section(kernel_image, ".linux"), section(kernel_image, ".initrd")
    separator = _digest(SEPARATOR)
    measured: dict[int, list[bytes]] = {
        2: [separator],
        3: [separator],
        4: [image_digest(kernel_image, BANK), _digest(BOOT), separator, image_digest(kernel, BANK)],
        5: [separator, *(_digest(each) for each in LEAVING)],
        6: [separator],
        7: [*(_digest(_variable(*each)) for each in _VARIABLES), separator],
        9: [_digest(command_line_event(kernel_image)), _digest(initrd)],
        11: [_digest(part) for name in _PARTS for part in (name.encode() + b"\0", section(kernel_image, name))],
    }
    values = {name_of(number): _extended(measured.get(number, [])).hex() for number in QUOTED}
    return MappingProxyType(values | {FIRMWARE: firmware})


def command_line_event(kernel_image: bytes) -> bytes:
    """What the kernel measures of its command line: the load options that the stub hands over."""
    return (section(kernel_image, ".cmdline").decode("utf-8") + "\0").encode("utf-16-le")


def check_reference(kernel_image: bytes, told: Mapping[int, str]) -> str:
    """PCR 0, if every other register that a reference boot told is the one computed from the image that it started.

    Raises:
        ExecutorFailed: one is not; such firmware measures otherwise than is computed here.
    """
    firmware = told.get(0, "")
    for name, value in expected_registers(kernel_image, firmware).items():
        if not value or told.get(int(name.removeprefix(f"{BANK}:"))) != value:
            raise ExecutorFailed(f"The firmware measures otherwise than is computed from the image: see {name}.")
    return firmware


def measurement(registers: Mapping[str, str]) -> str:
    """What a contract names: the digest over these registers in a TPM's quote (A-10)."""
    return registers_digest("tpm", registers)


def _variable(vendor: UUID, name: str, value: bytes) -> bytes:
    """UEFI_VARIABLE_DATA."""
    return vendor.bytes_le + struct.pack("<QQ", len(name), len(value)) + name.encode("utf-16-le") + value


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _extended(digests: Sequence[bytes]) -> bytes:
    value = bytes(hashlib.sha256().digest_size)
    for each in digests:
        value = _digest(value + each)
    return value
