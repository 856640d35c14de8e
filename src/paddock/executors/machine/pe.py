"""Unified kernel images: a stub of UEFI with kernel, initial file system and command line as sections of one file.

Firmware measures such a file as a whole, so one digest stands for all that starts. The stub is systemd's
(`linuxx64.efi.stub`), which hands over what is in the sections `.linux`, `.initrd` and `.cmdline`.

Source: Microsoft PE/COFF specification, revision 11 (headers, section table); Windows Authenticode Portable Executable Signature
Format §"Calculating the PE Image Hash"; UAPI group, Unified Kernel Image specification.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from paddock.errors import ExecutorFailed

_PE32_PLUS = 0x20B
_PAGE = 4096
_SECTION = struct.Struct("<8sIIIIIIHHI")
_READ_ONLY_DATA = 0x40000040  # IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ
_CHECKSUM, _CERTIFICATES = 64, 144  # offsets in a PE32+ optional header
_MAX_SECTIONS = 96


@dataclass(frozen=True)
class _Section:
    name: str
    size: int
    address: int
    raw_size: int
    raw: int


@dataclass(frozen=True)
class _Layout:
    """Where things are in a file: offsets in bytes."""

    coff: int
    optional: int
    table: int
    sections: tuple[_Section, ...]
    headers_bytes: int
    file_alignment: int

    @property
    def table_end(self) -> int:
        return self.table + _SECTION.size * len(self.sections)


def unified_kernel(stub: bytes, sections: Sequence[tuple[str, bytes]]) -> bytes:
    """The stub with these sections behind its own.

    What is no section of the stub (symbols for debuggers) is left out. The same arguments give the same bytes.

    Args:
        stub: a PE32+ program.
        sections: name of at most 8 bytes, and content; in the order in which they are to stand.

    Raises:
        ExecutorFailed: the stub is no such program, or has no room for so many names.
    """
    layout = _read(stub)
    room = min(each.raw for each in layout.sections if each.raw) - layout.table_end
    if room < _SECTION.size * len(sections):
        raise ExecutorFailed("The stub's table of sections has no room for those of a unified kernel image.")
    out = bytearray(stub[: max(each.raw + each.raw_size for each in layout.sections)])
    address = max(each.address + each.size for each in layout.sections)
    for number, (name, content) in enumerate(sections):
        out += bytes(-len(out) % layout.file_alignment)
        address += -address % _PAGE
        padded = len(content) + -len(content) % layout.file_alignment
        row = (name.encode("ascii"), len(content), address, padded, len(out), 0, 0, 0, 0, _READ_ONLY_DATA)
        _SECTION.pack_into(out, layout.table_end + _SECTION.size * number, *row)
        out += content.ljust(padded, b"\0")
        address += len(content)
    struct.pack_into("<H", out, layout.coff + 2, len(layout.sections) + len(sections))
    struct.pack_into("<II", out, layout.coff + 8, 0, 0)  # no symbols any more
    struct.pack_into("<I", out, layout.optional + 56, address + -address % _PAGE)
    return bytes(out)


def image_digest(program: bytes, algorithm: str) -> bytes:
    """What firmware measures of a program: all of it but its checksum and what signs it.

    Args:
        program: PE32+; what signs it lies at its end.
        algorithm: of hashlib, e.g. `sha256`.

    Raises:
        ExecutorFailed: it is no such program.
    """
    layout = _read(program)
    place, size = struct.unpack_from("<II", program, layout.optional + _CERTIFICATES)
    if size:
        if place + size != len(program):
            raise ExecutorFailed("What signs the program does not lie at its end.")
        program = program[:place]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    checksum, certificates = layout.optional + _CHECKSUM, layout.optional + _CERTIFICATES
    digest.update(program[:checksum])
    digest.update(program[checksum + 4 : certificates])
    digest.update(program[certificates + 8 : layout.headers_bytes])
    end = layout.headers_bytes
    for each in sorted((each for each in layout.sections if each.raw_size), key=lambda each: each.raw):
        digest.update(program[each.raw : each.raw + each.raw_size])
        end += each.raw_size
    digest.update(program[end:])
    return digest.digest()


def section(program: bytes, name: str) -> bytes:
    """The content of a section.

    Raises:
        ExecutorFailed: there is none of that name, or it is no such program.
    """
    for each in _read(program).sections:
        if each.name == name:
            return program[each.raw : each.raw + min(each.size, each.raw_size)]
    raise ExecutorFailed(f"It has no section {name}: it is not a unified kernel image.")


def _read(program: bytes) -> _Layout:
    try:
        if program[:2] != b"MZ":
            raise ValueError("no DOS header")
        start = struct.unpack_from("<I", program, 0x3C)[0]
        coff, optional = start + 4, start + 24
        count, optional_bytes = struct.unpack_from("<H12xH", program, coff + 2)
        if program[start:coff] != b"PE\0\0" or struct.unpack_from("<H", program, optional)[0] != _PE32_PLUS:
            raise ValueError("no PE32+ header")
        file_alignment, headers_bytes = struct.unpack_from("<I20xI", program, optional + 36)
        table = optional + optional_bytes
        rows = [_SECTION.unpack_from(program, table + _SECTION.size * number) for number in range(count)]
    except (struct.error, ValueError) as error:
        raise ExecutorFailed("It is not a program of UEFI (PE32+).") from error
    sections = tuple(
        _Section(row[0].rstrip(b"\0").decode("ascii", "replace"), row[1], row[2], row[3], row[4]) for row in rows
    )
    broken = any(each.raw + each.raw_size > len(program) for each in sections)
    if not 0 < count <= _MAX_SECTIONS or broken or not 0 < file_alignment <= 1 << 16:
        raise ExecutorFailed("It is not a program of UEFI (PE32+): its table of sections is broken.")
    return _Layout(coff, optional, table, sections, headers_bytes, file_alignment)
