"""What a TDX machine's registers hold after it started a unified kernel image, as far as files tell it.

MRTD is the firmware's (`tdvf`). RTMR 1 holds what firmware measures of the image, RTMR 2 what the image's own stub and the kernel measure:
the same events as in a TPM's PCRs 2 to 6 and 8 to 15 (`measured`), in the order in which they happen. RTMR 0 is firmware configuration, boot
entries, and tables that QEMU makes for this very machine: no file holds them, so it is taken from a first start.

A stub takes another command line from QEMU if it is given one, without secure boot as here. What tells of it in RTMR 2 is the kernel, from
Linux 6.9 on; before that, registers would be the same whatever the command line says, and with it which disk is read. Such
an image is refused (`stub`).

Source: UEFI 2.10 §38.4.1 (PCRs to RTMRs); edk2, OvmfPkg/Tcg/TdTcg2Dxe (events, one separator), SecurityPkg/Library/DxeTpm2MeasureBootLib;
systemd 252, src/boot/efi/{stub,linux,measure}.c; systemd pull request 30996 (from 256 on, the stub measures into RTMRs itself);
Linux 6.9, drivers/firmware/efi/libstub/efi-stub-helper.c (commit ac93cbfc2a2c).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from paddock.errors import ExecutorFailed
from paddock.executors.executor import Registers
from paddock.executors.machine.measured import BOOT, LEAVING, SEPARATOR, command_line_event
from paddock.executors.machine.pe import image_digest, section
from paddock.executors.machine.stub import READ_STUBS, check_image, stub_version
from paddock.executors.machine.tdvf import mrtd

PROVIDER = "tdx"
TOLD = ("rtmr0", "rtmr1", "rtmr2")
"""Registers that a first start can tell: the first is taken from it, the others are only compared. Whoever runs that start chooses its command line, so that
nothing but a computation ties them to the image."""
_ALGORITHM = "sha384"
_ZERO = bytes(48)


def tdx_registers(kernel_image: bytes, firmware: bytes, *, service_td: bool, told: Mapping[str, str]) -> Registers:
    """The registers of a TDX machine.

    Args:
        kernel_image: see `unified_kernel`.
        firmware: what QEMU gets as `-bios`.
        service_td: whether the quote holds the report of TDX module 1.5, with `mr_service_td`.
        told: what a first start told, as hex; see `TOLD`.

    Raises:
        ExecutorFailed: image or firmware are none for TDX, or a first start told something else than is computed.
    """
    check_image(kernel_image)
    computed = {"mrtd": mrtd(firmware), "rtmr3": _ZERO.hex(), "mr_config_id": _ZERO.hex()}
    if service_td:
        computed["mr_service_td"] = _ZERO.hex()
    missing = (
        {}
        if "rtmr0" in told
        else {"rtmr0": "configuration and QEMU's tables: a first start of such a machine tells it"}
    )
    stub = stub_version(kernel_image)
    if stub in READ_STUBS:
        computed |= {"rtmr1": _extended(_by_firmware(kernel_image)), "rtmr2": _extended(_by_kernel(kernel_image))}
    else:
        words = f"what systemd's stub {stub or 'of no version'} measures is not known here: build the image with that of 252"
        missing |= {"rtmr1": words, "rtmr2": words}
    for name, value in told.items():
        if computed.get(name, value) != value:
            raise ExecutorFailed(f"The first start told another {name} than is computed from the image.")
    # Nothing here says what it should be: it stays apart from what is computed, and is shown as such.
    return Registers(PROVIDER, computed, missing, {name: told[name] for name in ("rtmr0",) if name in told})


def _by_firmware(image: bytes) -> Sequence[bytes]:
    # The image is loaded before the boot is announced; its stub has firmware load the kernel.
    kernel = section(image, ".linux")
    return [
        image_digest(image, _ALGORITHM),
        *map(_digest, (BOOT, SEPARATOR)),
        image_digest(kernel, _ALGORITHM),
        *map(_digest, LEAVING),
    ]


def _by_kernel(image: bytes) -> Sequence[bytes]:
    return [_digest(command_line_event(image)), _digest(section(image, ".initrd"))]


def _digest(data: bytes) -> bytes:
    return hashlib.new(_ALGORITHM, data).digest()


def _extended(digests: Sequence[bytes]) -> str:
    value = _ZERO
    for each in digests:
        value = _digest(value + each)
    return value.hex()
