"""Building an enclave's image: kernel, command line, and two ramdisks, of which the second brings the disk.

The same installed files and the same kernel give the same image, byte for byte, and so the same measurement.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from paddock.crypto.digest import sha256_id
from paddock.errors import ImageFailed
from paddock.executors.executor import Built
from paddock.executors.machine.archive import file_around
from paddock.executors.machine.image import pack_tree
from paddock.executors.machine.tree import Guest, write_tree
from paddock.executors.nitro.boot import (
    DISK,
    check_configuration,
    check_kernel,
    command_line,
    find_needed,
    first_ramdisk,
)
from paddock.executors.nitro.description import ALLOCATOR, FACTS, IMAGE, PACKAGES, Enclave, measurement
from paddock.executors.nitro.eif import Parts, metadata_of, write_eif
from paddock.executors.nitro.settings import BUILD, Recipe, Size, read_recipe, read_size
from paddock.executors.settings import check_settings
from paddock.executors.tools import unfinished

_HERE = Path(__file__).parent
_VERSION = "1"
_GUEST = Guest(
    start=_HERE / "guest" / "start.sh", tpm=False, files={"usr/lib/paddock/passage.py": _HERE / "passage.py"}
)
WriteDisk = Callable[[Path, str, Callable[[str], None]], Mapping[str, object]]


def write_disk(disk: Path, compression: str, said: Callable[[str], None]) -> Mapping[str, object]:
    """Write the disk: the runtime, the few programs that it calls, and the guest's end of the way.

    Returns:
        What it was made from; see `write_tree`.

    Raises:
        ExecutorFailed, RuntimeIncomplete, ImageFailed: something is not installed, or a tool failed.
    """
    tree = disk.with_name("tree")
    said("listing the runtime and compiling its modules")
    packages = write_tree(tree, _GUEST)
    said("packing the disk")
    pack_tree(tree, disk, compression)
    shutil.rmtree(tree)
    return packages


class NitroBuilder:
    """Builds what `nitro` starts. See `paddock.executors.Buildable`.

    Args:
        write: writes the disk; tests put a small one in.
    """

    about = "An enclave image (EIF) that is measured whole, and its measurement."
    settings = BUILD

    def __init__(self, write: WriteDisk = write_disk) -> None:
        self._write = write

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`: the enclave's first programs, and the host's allocator."""
        check_settings(settings, BUILD)
        guest = {name: (_HERE / "guest" / name).read_text(encoding="ascii") for name in ("initial.sh", "start.sh")}
        return {ALLOCATOR: allocator(read_size(settings)), **guest}

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`."""
        recipe = read_recipe(settings)
        try:
            enclave = self._build(recipe, folder, said)
        except OSError as error:
            raise ImageFailed(f"{error.strerror or type(error).__name__}.") from error
        least = -(-4 * enclave.size // (1 << 20))
        notes = [
            *(f"{name.upper()} {value}" for name, value in enclave.registers.items()),
            f"an enclave of it needs at least {least} MiB; {ALLOCATOR} belongs to /etc/nitro_enclaves",
        ]
        return Built((IMAGE, FACTS, PACKAGES, ALLOCATOR), enclave.measurement, notes)

    def _build(self, recipe: Recipe, folder: Path, said: Callable[[str], None]) -> Enclave:
        said("reading the kernel")
        release = check_kernel(recipe.kernel)
        if recipe.configuration is not None:
            check_configuration(recipe.configuration, modules=recipe.modules is not None)
        modules = {} if recipe.modules is None else find_needed(recipe.modules)
        with unfinished(folder):
            disk = folder / DISK
            made_from = {**self._write(disk, recipe.compression, said), "kernel": release}
            packages = json.dumps(made_from, indent=1, sort_keys=True).encode("utf-8") + b"\n"
            (folder / PACKAGES).write_bytes(packages)
            digest = sha256_id(packages)
            line = command_line(digest)
            with disk.open("rb") as content:
                first = first_ramdisk(modules, line, hashlib.file_digest(content, "sha256").hexdigest())
            head, tail = file_around(DISK, disk.stat().st_size)
            said("writing the enclave image")
            metadata = metadata_of("paddock", _VERSION, release, {"packages": digest})
            parts = Parts(recipe.kernel, line, metadata, [[first], [head, disk, tail]])
            registers = dict(write_eif(parts, folder / IMAGE))
            disk.unlink()
            enclave = Enclave.model_validate(
                {
                    "version": "paddock/nitro/v1",
                    "kernel": release,
                    "command_line": line,
                    "packages": digest,
                    "size": (folder / IMAGE).stat().st_size,
                    "registers": registers,
                    "measurement": measurement(registers),
                }
            )
            (folder / FACTS).write_bytes(enclave.to_json())
            (folder / ALLOCATOR).write_text(allocator(recipe.size), encoding="ascii")
        return enclave


def allocator(size: Size) -> str:
    """What the host sets aside for enclaves: the file of `nitro-enclaves-allocator`."""
    return f"---\nmemory_mib: {size.memory_mib}\ncpu_count: {size.cores}\n"
