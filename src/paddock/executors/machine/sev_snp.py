"""The launch digest of a SEV-SNP machine, computed from its files by `sev-snp-measure` before anything starts.

What goes into it, in this order, and who says so:

1. The firmware's pages, at the end of the first 4 GiB. QEMU reads it whole (`-bios`): hw/i386/x86-common.c, x86_bios_rom_init.
2. The pages of the firmware's table: zeroed ones, secrets and CPUID (by address alone), and the table of hashes. QEMU 9.1,
   target/i386/sev.c, snp_populate_metadata_pages.
3. In that table of hashes (`kernel-hashes=on`): SHA-256 of the file that `-kernel` names, of no initial file system, and of an empty command
   line with the byte that ends it. QEMU changes no header of encrypted machines, so that is the file as it lies there: x86_load_linux.
   The firmware compares what it is given with it, and stops: edk2, OvmfPkg/AmdSev/BlobVerifierLibSevHashes.
4. The first state of each core: same for all but the first, whose start address differs. The model of the processor is in it (EDX at reset), and
   SEV_FEATURES, which are SNPActive alone: QEMU asks for no others (KVM_SEV_INIT2), and KVM adds that one.

Registers are this digest and `host_data`, which the launcher leaves at zero.

The digest stands for the image's own command line, and for no other words that its stub would take from the host: an image with a stub that may, or
with a kernel that does without the processor's random numbers, is refused (`stub`).

Source: the places named; AMD 56860 rev. 1.58 (SEV-SNP firmware ABI) §8.17.2 (PAGE_INFO); AMD 24593 (APM volume 2) table B-4;
virtee/sev-snp-measure 0.0.13.
"""

from __future__ import annotations

from pathlib import Path

from paddock.errors import ExecutorFailed
from paddock.executors.executor import Registers
from paddock.executors.machine.qemu import SNP_PROCESSOR
from paddock.executors.machine.stub import check_image, check_stub

PROVIDER = "snp"
_FEATURES = 0x1  # SNPActive
_FIRMWARE_UNIT = 1 << 16
_HOST_DATA = bytes(32).hex()


def snp_registers(kernel_image: Path, firmware: Path, cores: int) -> Registers:
    """The registers of a SEV-SNP machine, all of them.

    Args:
        kernel_image: what QEMU gets as `-kernel`.
        firmware: what it gets as `-bios`.
        cores: of the machine.

    Raises:
        ExecutorFailed: the extra `machine` is not installed, the firmware is none that measures kernels, or the digest would not stand for all
            that starts from the image.
    """
    try:
        image = kernel_image.read_bytes()
    except OSError as error:
        raise ExecutorFailed("Kernel image or firmware cannot be read.") from error
    check_image(image)
    check_stub(image)
    return Registers(
        PROVIDER, {"host_data": _HOST_DATA, "measurement": launch_digest(kernel_image, firmware, cores)}, {}
    )


def launch_digest(kernel_image: Path, firmware: Path, cores: int) -> str:
    """The launch digest as hex; see `snp_registers`."""
    try:
        from sevsnpmeasure import guest  # noqa: PLC0415 - an extra
        from sevsnpmeasure.sev_mode import SevMode  # noqa: PLC0415 - an extra
        from sevsnpmeasure.vcpu_types import CPU_SIGS  # noqa: PLC0415 - an extra
        from sevsnpmeasure.vmm_types import VMMType  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExecutorFailed(
            "What a SEV-SNP machine reports is computed by sev-snp-measure: pip install 'paddock[machine]'."
        ) from error
    try:
        size = firmware.stat().st_size
        if not size or size % _FIRMWARE_UNIT:
            raise ExecutorFailed("It is no firmware: its size is not a number of 64 KiB.")
        digest: bytes = guest.calc_launch_digest(
            SevMode.SEV_SNP,
            cores,
            CPU_SIGS[SNP_PROCESSOR],
            str(firmware),
            str(kernel_image),
            "",
            "",
            _FEATURES,
            vmm_type=VMMType.QEMU,
        )
    except OSError as error:
        raise ExecutorFailed("Kernel image or firmware cannot be read.") from error
    except ExecutorFailed:
        raise
    except Exception as error:  # it reads a firmware's tables, and raises what comes
        raise ExecutorFailed(
            "The firmware is none that measures kernels on SEV-SNP: edk2's AmdSev build is."
        ) from error
    return digest.hex()
