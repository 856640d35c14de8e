"""What a kernel image must be made of where nobody but its own bytes may say what starts: which stub, and which kernel.

From 254 on, systemd's stub adds words of the host's to the command line (SMBIOS, strings of type 11) unless it finds itself in a confidential
machine. It asks the processor for that, and first whether there is a hypervisor at all. On SEV-SNP the host fills in those answers, and
the launch digest holds the address of their page alone. Words of its own on the command line are another disk, or another first
program, under the same digest.

Kernels before 6.9 start without numbers from the processor (RDRAND), which that page can hide as well; then all that is random comes from the host.
On TDX they also measure no command line.

Source: systemd 252 and 257, src/boot/efi/{stub,vmm}.c; AMD 56860 rev. 1.58 (SEV-SNP firmware ABI) §8.17.2.6 (CPUID page); Linux 6.9,
arch/x86/coco/core.c (commit 99485c4c026f) and drivers/firmware/efi/libstub/efi-stub-helper.c (commit ac93cbfc2a2c).
"""

from __future__ import annotations

import re

from paddock.errors import ExecutorFailed
from paddock.executors.machine.kernel import kernel_release
from paddock.executors.machine.pe import section

READ_STUBS = frozenset({252})
"""Versions of systemd's stub that were read: where they take a command line from, and what they measure (that was seen with a TPM)."""
_STUB, _RELEASE = re.compile(rb"systemd-stub ([0-9]{1,4})"), re.compile(r"([0-9]{1,3})\.([0-9]{1,4})")
_FIRST_KERNEL = (6, 9)


def stub_version(program: bytes) -> int | None:
    """The version that a stub says of itself, alone or in an image; None where it says none.

    Raises:
        ExecutorFailed: it is no stub of systemd.
    """
    found = _STUB.search(section(program, ".sdmagic"))
    return None if found is None else int(found[1])


def check_stub(program: bytes) -> None:
    """Return if this stub, alone or in an image, takes no command line from the host of a SEV-SNP machine.

    Raises:
        ExecutorFailed: it may, or it is no stub of systemd.
    """
    version = stub_version(program)
    if version not in READ_STUBS:
        raise ExecutorFailed(
            f"On SEV-SNP the host could add words to the command line unnoticed: systemd's stub {version or 'of no version'} was not read here, "
            "and from 254 on it takes some. Build the image with that of 252."
        )


def check_release(release: str) -> None:
    """Return if this kernel fits machines with encrypted memory.

    Args:
        release: see `kernel_release`.

    Raises:
        ExecutorFailed: it is older than 6.9.
    """
    found = _RELEASE.match(release)
    if found is None or (int(found[1]), int(found[2])) < _FIRST_KERNEL:
        raise ExecutorFailed(
            f"Linux {release} starts without random numbers from the processor, where a host hides them, and on TDX measures no command "
            "line: the host could give another one, and another disk, unnoticed. Take 6.9 or newer."
        )


def check_image(image: bytes) -> None:
    """Return if an image is a unified one whose kernel fits machines with encrypted memory.

    Raises:
        ExecutorFailed: it is not.
    """
    check_release(kernel_release(section(image, ".linux")))
    if image[0x202:0x206] == b"HdrS":
        raise ExecutorFailed("It is a bare kernel, not a unified kernel image: QEMU would change it.")
