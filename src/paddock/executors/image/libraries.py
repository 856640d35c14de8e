"""Which shared libraries a file needs, read from its ELF header; and where this machine has them.

Source: System V ABI, Linux standard base: ELF64 program headers, dynamic section (DT_NEEDED 1, DT_STRTAB 5, DT_RPATH 15,
DT_RUNPATH 29); ld.so(8) for the order in which folders are searched.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRTAB, _RPATH, _RUNPATH = 1, 5, 15, 29
_MAX_DYNAMIC_BYTES, _MAX_NAME_BYTES = 1 << 20, 1 << 14
SYSTEM_FOLDERS = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
C_LIBRARY = frozenset(
    {
        *(
            "ld-linux-x86-64.so.2",
            "libc.so.6",
            "libm.so.6",
            "libpthread.so.0",
            "libdl.so.2",
            "librt.so.1",
            "libutil.so.1",
        ),
        *("libresolv.so.2", "libanl.so.1", "libmvec.so.1", "libnsl.so.1", "libthread_db.so.1"),
        *("libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2"),
    }
)
"""The C library and what comes with it. Gramine, for one, brings its own."""


@dataclass(frozen=True)
class Dynamic:
    """What a shared object or program says of what it needs."""

    needed: tuple[str, ...]
    folders: tuple[str, ...]


def read_dynamic(path: Path) -> Dynamic | None:
    """The dynamic section of a 64-bit little-endian ELF file; None for any other file, and for one that has none.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            return None
        offset, size, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        rows = [struct.unpack_from("<IIQQQQQQ", file.read(size).ljust(56, b"\0")) for _ in range(count)]
        loads = [(row[3], row[2], row[5]) for row in rows if row[0] == _LOAD]
        for row in rows:
            if row[0] == _DYNAMIC and row[5] <= _MAX_DYNAMIC_BYTES:
                file.seek(row[2])
                pairs = list(struct.iter_unpack("<QQ", file.read(row[5] - row[5] % 16)))
                values = dict(pairs)
                names = _file_offset(loads, values.get(_STRTAB, 0))
                needed = tuple(_name(file, names + value) for tag, value in pairs if tag == _NEEDED)
                folders = ":".join(_name(file, names + value) for tag, value in pairs if tag in (_RPATH, _RUNPATH))
                return Dynamic(needed, tuple(folder for folder in folders.split(":") if folder))
    return None


def find_libraries(
    files: Iterable[Path], *, own: Mapping[str, Path], folders: Iterable[str] = SYSTEM_FOLDERS
) -> tuple[dict[str, Path], dict[str, str]]:
    """All shared libraries that these files need, directly or by way of others.

    Args:
        files: programs and shared objects; others are passed over.
        own: libraries by name that are already in the image: looked into, not returned.
        folders: where the system has libraries.

    Returns:
        Name to file of each library to be added; name to the file that needs it of each that was not found.
    """
    places = [Path(folder) for folder in folders]
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    todo = [*files]
    seen: set[Path] = set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        dynamic = read_dynamic(file)
        for name in () if dynamic is None else dynamic.needed:
            if name in own or name in found:
                continue
            folder = next((folder for folder in [*_beside(file, dynamic), *places] if (folder / name).is_file()), None)
            if folder is None:
                missing[name] = file.name
            else:
                found[name] = folder / name
                todo.append(folder / name)
    return found, missing


def _beside(file: Path, dynamic: Dynamic | None) -> list[Path]:
    folders = () if dynamic is None else dynamic.folders
    return [Path(text.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", str(file.parent))) for text in folders]


def _file_offset(loads: list[tuple[int, int, int]], address: int) -> int:
    for start, offset, size in loads:
        if start <= address < start + size:
            return address - start + offset
    return 0


def _name(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    return file.read(_MAX_NAME_BYTES).partition(b"\0")[0].decode("utf-8", "replace")
