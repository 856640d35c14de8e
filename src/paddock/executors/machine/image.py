"""Building a machine: its disk with the tree of hashes, its kernel image, its description, and a TPM of software.

The same installed files give the same disk, kernel image and description; the TPM is new each time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paddock.crypto.digest import sha256_id
from paddock.errors import ExecutorFailed, ImageFailed
from paddock.executors.machine.description import DISK, FACTS, KERNEL_IMAGE, PACKAGES, File, Machine, Reference
from paddock.executors.machine.kernel import REFERENCE, KernelFiles, command_line, initial_files, kernel_image
from paddock.executors.machine.measured import expected_registers, measurement
from paddock.executors.machine.qemu import Shape
from paddock.executors.machine.reference import reference_register
from paddock.executors.machine.tpm import make_tpm
from paddock.executors.machine.tree import program, write_tree
from paddock.executors.machine.verity import append_tree

TPM = "tpm"
_SALT = hashlib.sha256(b"paddock/machine/v1").digest()
_REFERENCE_IMAGE = "reference.efi"
_PACK_SECONDS = 900
_EPOCH = ("-mkfs-time", "0", "-all-time", "0")


@dataclass(frozen=True)
class Recipe:
    """What a machine is built from.

    Args:
        kernel: see `KernelFiles`.
        compression: of the disk: `lz4`, `zstd`, or `none`.
        shape: of the plain machine that is started for reference; None to start none.
        qemu: the program.
        cores: of machines whose registers are computed.
    """

    kernel: KernelFiles
    compression: str
    shape: Shape | None
    qemu: str
    cores: int


def build_machine(recipe: Recipe, folder: Path, said: Callable[[str], None]) -> tuple[Machine, str]:
    """Build a machine into a folder.

    Args:
        recipe: see `Recipe`.
        folder: new or empty.
        said: called with what is being done.

    Returns:
        Its description, and the name of its TPM's attestation key.

    Raises:
        ExecutorFailed, RuntimeIncomplete, ImageFailed: something is not installed, or a tool failed.
    """
    release = recipe.kernel.release()
    said("reading the kernel")
    to_measure = command_line([REFERENCE])
    initial = initial_files(recipe.kernel, to_measure)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ImageFailed(f"{folder} is not empty.")
        said("listing the runtime and compiling its modules")
        tree = folder / "tree"
        packages = json.dumps({**write_tree(tree), "kernel": release}, indent=1, sort_keys=True).encode() + b"\n"
        (folder / PACKAGES).write_bytes(packages)
        said("packing the disk")
        disk = folder / DISK
        pack_tree(tree, disk, recipe.compression)
        shutil.rmtree(tree)
        said("hashing the disk")
        verity = append_tree(disk, _SALT)
        line = command_line([verity.argument()])
        image = kernel_image(recipe.kernel, initial_files(recipe.kernel, line), line, sha256_id(packages))
        (folder / KERNEL_IMAGE).write_bytes(image)
        said("making a TPM of software")
        key = make_tpm(folder / TPM)
        reference = None
        if recipe.shape is not None:
            said("starting it once for reference")
            made = kernel_image(recipe.kernel, initial, to_measure, sha256_id(b""))
            reference = _reference(recipe, recipe.shape, made, folder)
        registers = None if reference is None else dict(expected_registers(image, reference.register_0))
        machine = Machine(
            version="paddock/machine/v1",
            kernel=release,
            command_line=line,
            blocks=verity.data_blocks,
            root=verity.root.hex(),
            salt=verity.salt.hex(),
            packages=sha256_id(packages),
            kernel_image=File.of(folder / KERNEL_IMAGE),
            disk=File.of(disk),
            reference=reference,
            registers=registers,
            measurement=None if registers is None else measurement(registers),
        )
        (folder / FACTS).write_bytes(machine.to_json())
    except OSError as error:
        raise ImageFailed(f"{error.strerror or type(error).__name__}.") from error
    return machine, key


def pack_tree(tree: Path, disk: Path, compression: str) -> None:
    """Pack a folder into a file system of squashfs: the same files give the same bytes.

    Args:
        tree: the folder.
        disk: a new file.
        compression: `lz4`, `zstd`, or `none`.

    Raises:
        ExecutorFailed: mksquashfs is not installed, or failed.
    """
    how = ["-noI", "-noD", "-noF", "-noX"] if compression == "none" else ["-comp", compression]
    fixed = ["-all-root", "-no-xattrs", "-no-exports", "-noappend", "-quiet", "-no-progress", *_EPOCH]
    command = [str(program("mksquashfs", "squashfs-tools")), str(tree), str(disk), *how, *fixed]
    try:
        subprocess.run(  # noqa: S603 - a fixed program
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PACK_SECONDS,
            check=True,
            env={"PATH": "/usr/bin:/bin"},
        )
    except subprocess.SubprocessError as error:
        raise ExecutorFailed("The disk could not be packed.") from error


def _reference(recipe: Recipe, shape: Shape, made: bytes, folder: Path) -> Reference:
    image = folder / _REFERENCE_IMAGE
    image.write_bytes(made)
    register = reference_register(shape, recipe.qemu, image, folder / TPM)
    image.unlink()
    return Reference(
        firmware=hashlib.sha256(shape.firmware.read_bytes()).hexdigest(),
        cores=shape.cores,
        memory_mib=shape.memory_mib,
        register_0=register,
    )
