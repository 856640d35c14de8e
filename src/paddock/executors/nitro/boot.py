"""What an enclave starts with: the kernel, its command line, and the first ramdisk with the first program and the modules.

The walls around jobs ask more of a kernel than an enclave alone does: Landlock above all, which came with Linux 5.13 and which neither
kernel that AWS publishes has (4.14 beside `nitro-cli`, 6.6 in its bootstrap repository). Of a kernel that is too old that is said here, of
one whose configuration is at hand, too; else the walls say it inside, before a job starts.

Source: aws/aws-nitro-enclaves-sdk-bootstrap, init/init.c and kernel/ (command line, devices on virtio-mmio); QEMU, hw/i386/microvm.c (devices
are named behind the command line); Linux, drivers/misc/nsm.c (since 6.8); docs/spec/walls.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from paddock.errors import ExecutorFailed
from paddock.executors.machine.archive import Entry, initial_file_system
from paddock.executors.machine.kernel import kernel_release
from paddock.executors.machine.modules import find_modules, load_order
from paddock.executors.machine.tree import program

DISK, INIT = "disk.img", "init"
LINE, DISK_SUM = "command-line", "disk.sum"
"""Files of the first ramdisk that say what command line and disk are. Their names sort behind busybox's: whatever of the archive holds the first of
them and was cut off before it has no program that could run."""
_HERE = Path(__file__).parent / "guest"
_LEAST = (5, 13)
_HEAD_BYTES = 1 << 16
_FIXED = (
    "reboot=k",
    "panic=-1",
    "pci=off",
    "console=ttyS0",
    "quiet",
    "loglevel=1",
    "i8042.noaux",
    "i8042.nomux",
    "i8042.nopnp",
    "i8042.dumbkbd",
    "random.trust_cpu=on",
    "oops=panic",
    "lockdown=confidentiality",
)
"""The first devices, as AWS's own images name them: an enclave has neither PCI nor a keyboard. Nobody reads its console but in debug
mode; its first random numbers are the processor's, which the hypervisor does not see. Not even root reads the kernel's memory, or
loads a module that its makers did not sign."""
_NEEDED = ("virtio_mmio", "vmw_vsock_virtio_transport", "nsm", "loop", "squashfs")
_CONFIGURED = (
    "VIRTIO_MMIO",
    "VIRTIO_MMIO_CMDLINE_DEVICES",
    "VIRTIO_VSOCKETS",
    "BLK_DEV_LOOP",
    "SQUASHFS",
    "TMPFS",
    "DEVTMPFS",
    "USER_NS",
    "PID_NS",
    "NET_NS",
    "CGROUPS",
    "MEMCG",
    "CGROUP_PIDS",
    "SECCOMP_FILTER",
    "SECURITY_LANDLOCK",
)
_APPLETS = ("cat", "insmod", "mkdir", "mount", "reboot", "sh", "sha256sum", "switch_root", "umount")
_LINKS = {f"bin/{name}": "busybox" for name in _APPLETS}
_FOLDERS = ("dev", "disk", "proc", "run", "sys")
_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")


def check_kernel(kernel: Path) -> str:
    """The kernel's release, if the walls around jobs can be built on it.

    Raises:
        ExecutorFailed: it is no kernel, or too old.
    """
    try:
        with kernel.open("rb") as file:
            release = kernel_release(file.read(_HEAD_BYTES))
    except OSError as error:
        raise ExecutorFailed(f"{kernel.name}: {error.strerror}.") from error
    found = _RELEASE.match(release)
    if found is None or (int(found[1]), int(found[2])) < _LEAST:
        raise ExecutorFailed(
            f"The kernel is of version {release}: walls around jobs need 5.13 or later, with Landlock. The kernel beside nitro-cli is too old."
        )
    return release


def check_configuration(file: Path, *, modules: bool) -> None:
    """Return if a kernel's configuration has what enclave and walls need.

    Args:
        file: its `.config`.
        modules: whether its modules are at hand; else all must be built in, the driver of the security module too.

    Raises:
        ExecutorFailed: something is missing, or the kernel has a command line of its own.
    """
    try:
        rows = set(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise ExecutorFailed(f"{file.name} cannot be read.") from error
    names = _CONFIGURED if modules else (*_CONFIGURED, "NSM")
    missing = [name for name in names if not rows & {f"CONFIG_{name}={how}" for how in ("ym" if modules else "y")}]
    if missing:
        raise ExecutorFailed(f"The kernel is built without {', '.join(f'CONFIG_{name}' for name in missing)}.")
    if any(row.startswith("CONFIG_CMDLINE=") and row != 'CONFIG_CMDLINE=""' for row in rows):
        raise ExecutorFailed(
            "The kernel brings words of a command line with it (CONFIG_CMDLINE): its enclaves would end at once."
        )


def find_needed(folder: Path) -> dict[str, bytes]:
    """The modules that an enclave needs, in the order in which they are loaded; what the kernel has built in is left out.

    Raises:
        ExecutorFailed: one is neither there nor built in.
    """
    built_in = _built_in(folder)
    files = {} if built_in and not any(folder.rglob("*.ko*")) else find_modules(folder)
    wanted = [name for name in _NEEDED if name in files or name not in built_in]
    return load_order(files, wanted)


def command_line(packages: str) -> str:
    """The kernel's command line.

    Args:
        packages: digest of the list of what the disk was made from: so it is measured.
    """
    return " ".join([*_FIXED, f"paddock.packages={packages}"])


def first_ramdisk(modules: Mapping[str, bytes], line: str, disk: str) -> bytes:
    """Busybox, the modules, the first program, and what that one holds command line and disk against.

    Args:
        modules: see `find_needed`.
        line: see `command_line`.
        disk: its SHA-256 as hex.

    Raises:
        ExecutorFailed: busybox is not installed.
    """
    entries = {"bin/busybox": Entry(program("busybox", "busybox-static").read_bytes(), executable=True)}
    entries |= {f"modules/{name}.ko": Entry(content) for name, content in modules.items()}
    entries["modules/order"] = Entry("".join(f"{name}\n" for name in modules).encode("ascii"))
    entries[LINE] = Entry(f"{line}\n".encode("ascii"))
    entries[DISK_SUM] = Entry(f"{disk}  /{DISK}\n".encode("ascii"))
    entries[INIT] = Entry((_HERE / "initial.sh").read_bytes(), executable=True)
    entries |= {place: Entry(target.encode("ascii"), link=True) for place, target in _LINKS.items()}
    return initial_file_system(entries, _FOLDERS)


def _built_in(folder: Path) -> frozenset[str]:
    # Linux, Documentation/kbuild/kbuild.rst: modules.builtin lists them, one path to a line.
    names = {
        Path(row).name.partition(".ko")[0].replace("-", "_")
        for file in folder.rglob("modules.builtin")
        for row in file.read_text(encoding="utf-8", errors="replace").splitlines()
    }
    return frozenset(names)
