"""Enclave image files (EIF, version 4): kernel, command line and ramdisks, and what the Nitro hypervisor measures of them.

The same parts give the same bytes: kernel, command line, metadata, ramdisks, in the order in which `nitro-cli build-enclave` writes them.
The reader takes that order alone, and nothing between, behind or beside the sections.

PCR0 is over kernel, command line and all ramdisks, PCR1 over kernel, command line and the first ramdisk, PCR2 over the other
ramdisks: of each the SHA-384 of 48 zero bytes and the SHA-384 of those contents, headers left out. So nothing measures where one content ends and the
next begins: a byte can go from the command line to the kernel's end, and a ramdisk behind the first be split. The first program finds that
out (`guest/initial.sh`), since no reader of registers can. Metadata are not measured. PCR3 and PCR4 are of the instance, PCR8 is of a signed
image; ours is not signed.

Source: aws/aws-nitro-enclaves-image-format, README.md ("Enclave Image File (EIF) Specification", 2024-06-21) and src/defs/mod.rs;
QEMU 9.2, hw/core/eif.c, which reads and measures them a second time.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from paddock.errors import ImageInvalid

REGISTERS = ("pcr0", "pcr1", "pcr2")
_MAGIC, _VERSION, _X86_64 = b".eif", 4, 0
_KERNEL, _COMMAND_LINE, _RAMDISK, _METADATA = 1, 2, 3, 5
_MOST_SECTIONS = 32
_HEADER = struct.Struct(f">4sHHQQHH{_MOST_SECTIONS}Q{_MOST_SECTIONS}QI")
"""All of the header but the checksum that ends it: magic, version, flags, default memory and cores, reserved, number of
sections, their offsets, their sizes, reserved."""
_SECTION = struct.Struct(">HHQ")
_CHECKSUM = struct.Struct(">I")
_HEADER_BYTES = _HEADER.size + _CHECKSUM.size
_DEFAULT_MEMORY, _DEFAULT_CORES = 1 << 30, 2
"""What AWS's own tool writes; nothing reads it."""
_BLOCK_BYTES = 1 << 20
_MAX_TEXT_BYTES = 1 << 16
_SECTOR_BYTES, _PARAGRAPH_BYTES = 512, 16


@dataclass(frozen=True)
class Parts:
    """What an image is written from.

    Args:
        kernel: a bzImage.
        command_line: of the kernel, ASCII.
        metadata: see `metadata_of`.
        ramdisks: in the order in which the kernel unpacks them; each in pieces, which are bytes or whole files.
    """

    kernel: Path
    command_line: str
    metadata: bytes
    ramdisks: Sequence[Sequence[bytes | Path]]


@dataclass(frozen=True)
class Eif:
    """What an image says, and what is measured of it.

    Args:
        command_line: of its kernel.
        metadata: JSON values; nothing vouches for them.
        ramdisks: how many.
        registers: `pcr0`, `pcr1`, `pcr2` as hex.
    """

    command_line: str
    metadata: Mapping[str, Any]
    ramdisks: int
    registers: Mapping[str, str]


def metadata_of(name: str, version: str, kernel: str, more: Mapping[str, str]) -> bytes:
    """The section of metadata, in the form that AWS's tools print. Its time is 1970: the same inputs, the same bytes.

    Args:
        name: of the image.
        version: of the image.
        kernel: release of the kernel.
        more: whatever else is to be said.
    """
    build = {
        "BuildTime": "1970-01-01T00:00:00+00:00",
        "BuildTool": "paddock",
        "BuildToolVersion": version,
        "OperatingSystem": "Linux",
        "KernelVersion": kernel,
    }
    value = {
        "ImageName": name,
        "ImageVersion": version,
        "BuildMetadata": build,
        "DockerInfo": {},
        "CustomMetadata": dict(more),
    }
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def write_eif(parts: Parts, file: Path) -> Mapping[str, str]:
    """Write an image; the PCRs that an enclave of it will have.

    Raises:
        ValueError: there is no ramdisk, or there are too many.
        OSError: it cannot be written, or a part cannot be read.
    """
    if not 1 <= len(parts.ramdisks) <= _MOST_SECTIONS - 3:
        raise ValueError("an image has one to 29 ramdisks")
    sections: list[tuple[int, Sequence[bytes | Path]]] = [
        (_KERNEL, [parts.kernel]),
        (_COMMAND_LINE, [parts.command_line.encode("ascii")]),
        (_METADATA, [parts.metadata]),
        *((_RAMDISK, ramdisk) for ramdisk in parts.ramdisks),
    ]
    sizes = [sum(_size(piece) for piece in pieces) for _, pieces in sections]
    offsets, place = [], _HEADER_BYTES
    for size in sizes:
        offsets.append(place)
        place += _SECTION.size + size
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        _X86_64,
        _DEFAULT_MEMORY,
        _DEFAULT_CORES,
        0,
        len(sections),
        *_filled(offsets),
        *_filled(sizes),
        0,
    )
    checksum, measured = zlib.crc32(header), _Registers()
    with file.open("xb") as sink:
        sink.write(header + bytes(_CHECKSUM.size))
        for (kind, pieces), size in zip(sections, sizes, strict=True):
            head = _SECTION.pack(kind, 0, size)
            sink.write(head)
            checksum = zlib.crc32(head, checksum)
            measured.begin(kind)
            for block in _blocks(pieces):
                sink.write(block)
                checksum = zlib.crc32(block, checksum)
                measured.add(block)
        if sink.tell() != place:
            raise OSError("a part changed while it was read")
        sink.seek(_HEADER.size)
        sink.write(_CHECKSUM.pack(checksum))
    return measured.values()


def read_eif(file: Path) -> Eif:
    """Read an image strictly, to its last byte.

    Raises:
        ImageInvalid: it is not there, or not exactly of the form that `write_eif` writes.
    """
    try:
        with file.open("rb") as source:
            return _read(source, file.stat().st_size)
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise ImageInvalid(f"{file.name} is no enclave image: {error}.") from error


def _read(source: BinaryIO, file_bytes: int) -> Eif:
    header = source.read(_HEADER.size)
    offsets, sizes = _read_header(header)
    (told,) = _CHECKSUM.unpack(source.read(_CHECKSUM.size))
    order = [_KERNEL, _COMMAND_LINE, _METADATA, *[_RAMDISK] * (len(sizes) - 3)]
    checksum, measured, place = zlib.crc32(header), _Registers(), _HEADER_BYTES
    texts: list[bytes] = []
    for kind, offset, size in zip(order, offsets, sizes, strict=True):
        head = source.read(_SECTION.size)
        if (offset, _SECTION.unpack(head)) != (place, (kind, 0, size)):
            raise ValueError("its sections are others, or in another order")
        is_text = kind in (_COMMAND_LINE, _METADATA)
        if size == 0 or (is_text and size > _MAX_TEXT_BYTES) or size > file_bytes - place - _SECTION.size:
            raise ValueError("a section has a wrong size")
        checksum = zlib.crc32(head, checksum)
        measured.begin(kind)
        for number, block in enumerate(_read_blocks(source, size)):
            if kind == _KERNEL and number == 0:
                _check_kernel(block, size)
            checksum = zlib.crc32(block, checksum)
            measured.add(block)
            if is_text:
                texts.append(block)
        place += _SECTION.size + size
    if place != file_bytes:
        raise ValueError("something stands behind its sections")
    if checksum != told:
        raise ValueError("its checksum is wrong")
    command_line, metadata = (text.decode("ascii") for text in texts)
    value = json.loads(metadata)
    if not isinstance(value, dict):
        raise ValueError("its metadata are none")  # noqa: TRY004 - of what was read, not of what was called with
    return Eif(command_line, value, len(sizes) - 3, measured.values())


def _read_header(header: bytes) -> tuple[list[int], list[int]]:
    """Where each section is said to lie, and how large it is said to be."""
    *fixed, count = _HEADER.unpack(header)[:7]
    rest = _HEADER.unpack(header)[7:]
    offsets, sizes, unused = list(rest[:_MOST_SECTIONS]), list(rest[_MOST_SECTIONS:-1]), rest[-1]
    if (*fixed, unused) != (_MAGIC, _VERSION, _X86_64, _DEFAULT_MEMORY, _DEFAULT_CORES, 0, 0):
        raise ValueError("its header is none of version 4 for x86_64")
    if not 4 <= count <= _MOST_SECTIONS or any(offsets[count:]) or any(sizes[count:]):
        raise ValueError("its number of sections is wrong")
    return offsets[:count], sizes[:count]


def _check_kernel(head: bytes, size: int) -> None:
    """Return if a kernel is not shorter than it says. That nothing was added to its end cannot be seen: a signature would stand there.

    Source: Linux, Documentation/arch/x86/boot.rst: setup_sects at 0x1f1 (0 means 4), syssize in paragraphs at 0x1f4, `HdrS` at 0x202.
    """
    if len(head) < _SECTOR_BYTES << 1 or head[0x202:0x206] != b"HdrS":
        raise ValueError("its kernel is none for x86_64")
    least = ((head[0x1F1] or 4) + 1) * _SECTOR_BYTES + int.from_bytes(head[0x1F4:0x1F8], "little") * _PARAGRAPH_BYTES
    if size < least:
        raise ValueError("its kernel was cut short")


class _Registers:
    """What the hypervisor measures, while the sections go by."""

    def __init__(self) -> None:
        self._hashes = {name: hashlib.sha384() for name in REGISTERS}
        self._ramdisks = 0
        self._into: list[hashlib._Hash] = []

    def begin(self, kind: int) -> None:
        """A section of that kind follows."""
        if kind == _METADATA:
            names: tuple[str, ...] = ()
        elif kind == _RAMDISK and self._ramdisks:
            names = ("pcr0", "pcr2")
        else:
            names = ("pcr0", "pcr1")
        self._ramdisks += kind == _RAMDISK
        self._into = [self._hashes[name] for name in names]

    def add(self, block: bytes) -> None:
        """More of its content."""
        for each in self._into:
            each.update(block)

    def values(self) -> Mapping[str, str]:
        """All three, as hex."""
        zeros = bytes(hashlib.sha384().digest_size)
        extended = {name: hashlib.sha384(zeros + each.digest()).hexdigest() for name, each in self._hashes.items()}
        return MappingProxyType(extended)


def _filled(values: Sequence[int]) -> list[int]:
    return [*values, *[0] * (_MOST_SECTIONS - len(values))]


def _size(piece: bytes | Path) -> int:
    return piece.stat().st_size if isinstance(piece, Path) else len(piece)


def _blocks(pieces: Sequence[bytes | Path]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        with piece.open("rb", buffering=0) as source:
            while block := source.read(_BLOCK_BYTES):
                yield block


def _read_blocks(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        block = source.read(min(size, _BLOCK_BYTES))
        if not block:
            raise ValueError("it ends too early")
        size -= len(block)
        yield block
