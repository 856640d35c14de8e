"""The kernel image of a machine: kernel, initial file system and command line in one file that firmware starts and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import ExecutorFailed
from paddock.executors.machine.archive import Entry, initial_file_system
from paddock.executors.machine.modules import find_modules, load_order
from paddock.executors.machine.pe import unified_kernel
from paddock.executors.machine.tree import LOADER, program, with_libraries

REFERENCE = "paddock.reference"
_HERE = Path(__file__).parent / "guest"
_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "dm_verity", "squashfs")
_OPTIONAL = (
    "virtio_rng",
    "configfs",
    "vmw_vsock_virtio_transport",
    "sha256_ssse3",
    "sev_guest",
    "tdx_guest",
    "tsm",
    "tpm_crb",
    "tpm_tis",
)
_FIXED = (
    "console=ttyS0",
    "quiet",
    "loglevel=1",
    "panic=-1",
    "no_timer_check",
    "oops=panic",
    "lockdown=confidentiality",
)
"""Nothing of what the kernel has to say goes to the host but its last words; not even root reads the kernel's memory, loads a module
that its makers did not sign, or starts another kernel. An emulated machine on a busy host fails the kernel's trial of its timer, which under
KVM is not made either."""
_APPLETS = ("cat", "grep", "insmod", "mkdir", "mount", "poweroff", "sh", "switch_root", "umount", "usleep")
_LINKS = {
    "lib": "usr/lib",
    f"lib64/{LOADER}": f"/usr/lib/x86_64-linux-gnu/{LOADER}",
    **{f"bin/{name}": "busybox" for name in _APPLETS},
}
_FOLDERS = ("dev", "disk", "proc", "run", "sys")


@dataclass(frozen=True)
class KernelFiles:
    """What the kernel image is made from.

    Args:
        kernel: a bzImage with an EFI stub.
        modules: the folder with its modules.
        stub: systemd's `linuxx64.efi.stub`.
    """

    kernel: Path
    modules: Path
    stub: Path

    def release(self) -> str:
        """The kernel's release, as its header says.

        Raises:
            ExecutorFailed: it is no kernel.
        """
        with self.kernel.open("rb") as file:
            return kernel_release(file.read(1 << 16))


def kernel_release(head: bytes) -> str:
    """The release of a kernel, as its header says.

    Args:
        head: the kernel, or its first 64 KiB.

    Raises:
        ExecutorFailed: it is no kernel.

    Source: Linux, Documentation/arch/x86/boot.rst: `HdrS` at 0x202, and at 0x20e where, behind 0x200, the release stands.
    """
    place = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    words = head[place : head.find(b"\0", place)].split()
    if head[0x202:0x206] != b"HdrS" or not words:
        raise ExecutorFailed("It is no kernel for x86_64 (bzImage).")
    return words[0].decode("ascii", "replace")


def initial_files(files: KernelFiles, line: str) -> bytes:
    """The initial file system: busybox, dmsetup, the modules that are needed, and the first program.

    Args:
        files: the modules.
        line: the command line beside which it stands; its first program goes on with no other.

    Raises:
        ExecutorFailed, RuntimeIncomplete: something is not installed.
    """
    modules = load_order(find_modules(files.modules), _MODULES, optional=_OPTIONAL)
    programs = with_libraries({"bin/dmsetup": program("dmsetup", "dmsetup")})
    programs["bin/busybox"] = program("busybox", "busybox-static")
    entries = {place: Entry(source.read_bytes(), executable=True) for place, source in programs.items()}
    entries |= {f"modules/{name}.ko": Entry(content) for name, content in modules.items()}
    entries["modules/order"] = Entry("".join(f"{name}\n" for name in modules).encode("ascii"))
    entries["command-line"] = Entry(line.encode())
    entries["init"] = Entry((_HERE / "initial.sh").read_bytes(), executable=True)
    entries |= {place: Entry(target.encode("ascii"), link=True) for place, target in _LINKS.items()}
    return initial_file_system(entries, _FOLDERS)


def command_line(words: Sequence[str]) -> str:
    """The kernel's command line: what every machine has, and these words."""
    return " ".join([*_FIXED, *words])


def kernel_image(files: KernelFiles, initial: bytes, line: str, packages: str) -> bytes:
    """The file that firmware starts.

    Args:
        files: kernel and stub.
        initial: see `initial_files`.
        line: see `command_line`.
        packages: digest of the list of packages; stands in the image, so it is measured.
    """
    release = f'ID=paddock\nNAME="Paddock"\nPADDOCK_PACKAGES={packages}\n'
    parts = [(".osrel", release.encode()), (".cmdline", line.encode()), (".initrd", initial)]
    return unified_kernel(files.stub.read_bytes(), [*parts, (".linux", files.kernel.read_bytes())])
