"""MRTD of a TDX machine, computed from its firmware: the digest of every page that QEMU adds to it before it runs, with the content of those
that are measured.

The firmware says in a table at its end which pages these are. QEMU adds them in the order of that table, and KVM measures each page right
after it added it, in parts of 256 bytes. What is not measured then (the hand-off block, configuration) firmware measures itself
later, into RTMR 0.

Source: Intel TDX Virtual Firmware Design Guide (344991-004) §11; Intel TDX Module ABI specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND
(records that are hashed into MRTD); QEMU 10.1, hw/i386/tdvf.c, target/i386/kvm/tdx.c; Linux 6.16, arch/x86/kvm/vmx/tdx.c
(tdx_gmem_post_populate); edk2, OvmfPkg/ResetVector/X64/IntelTdxMetadata.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from paddock.errors import ExecutorFailed

_FOOTER = UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_METADATA = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
_AFTER_FOOTER = 32
_ENTRY = struct.Struct("<H16s")  # stands behind what it describes
_DESCRIPTOR = struct.Struct("<4sIII")
_SECTION = struct.Struct("<IIQQII")
_CODE, _CONFIGURATION, _HAND_OFF, _TEMPORARY = range(4)
_MEASURED = 1
_PAGE, _PART, _FIRMWARE_UNIT = 4096, 256, 1 << 16
_MOST_SECTIONS, _MOST_BYTES = 64, 1 << 26


@dataclass(frozen=True)
class _Section:
    raw: int
    raw_size: int
    address: int
    size: int
    kind: int
    attributes: int


def mrtd(firmware: bytes) -> str:
    """MRTD of a machine that QEMU starts with this firmware, as hex.

    Args:
        firmware: the whole file that QEMU gets as `-bios`.

    Raises:
        ExecutorFailed: it is no firmware for TDX, its table is one that QEMU would refuse, or holds code that is not measured.
    """
    digest = hashlib.sha384(usedforsecurity=True)
    for each in _sections(firmware):
        for page in range(each.address, each.address + each.size, _PAGE):
            digest.update(_record(b"MEM.PAGE.ADD", page))
            if each.attributes & _MEASURED:
                place = each.raw + page - each.address
                for part in range(0, _PAGE, _PART):
                    digest.update(_record(b"MR.EXTEND", page + part))
                    digest.update(firmware[place + part : place + part + _PART])
    return digest.hexdigest()


def _record(name: bytes, address: int) -> bytes:
    return name.ljust(16, b"\0") + address.to_bytes(8, "little") + bytes(104)


def _sections(firmware: bytes) -> Sequence[_Section]:
    if not 0 < len(firmware) <= _MOST_BYTES or len(firmware) % _FIRMWARE_UNIT:
        raise ExecutorFailed("It is no firmware: its size is not a number of 64 KiB.")
    try:
        [offset] = [struct.unpack("<I", data)[0] for name, data in _table(firmware) if name == _METADATA]
        start = len(firmware) - offset
        if start < 0:
            raise ValueError("outside of the file")
        signature, length, version, count = _DESCRIPTOR.unpack_from(firmware, start)
        fits = length == _DESCRIPTOR.size + count * _SECTION.size
        if signature != b"TDVF" or version != 1 or not fits or not 1 < count <= _MOST_SECTIONS:
            raise ValueError("another form")
        rows = [_SECTION.unpack_from(firmware, start + _DESCRIPTOR.size + n * _SECTION.size) for n in range(count)]
    except (struct.error, ValueError) as error:
        raise ExecutorFailed("The firmware is not one for TDX: it has no table of its pages.") from error
    found = [_Section(*row) for row in rows]
    # Without a place for the hand-off block QEMU does not start it; without code, what starts is in no page that is measured.
    if not all(_sound(each, len(firmware)) for each in found) or not {_CODE, _HAND_OFF} <= {
        each.kind for each in found
    }:
        raise ExecutorFailed("The firmware's table of pages is broken.")
    return found


def _table(firmware: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of OVMF's table, last one first."""
    end = len(firmware) - _AFTER_FOOTER
    size, name = _ENTRY.unpack_from(firmware, end - _ENTRY.size)
    if name != _FOOTER or not _ENTRY.size <= size <= end:
        raise ValueError("no table")
    first, place = end - size, end - _ENTRY.size
    while place > first:
        if place - first < _ENTRY.size:
            raise ValueError("half an entry")
        length, name = _ENTRY.unpack_from(firmware, place - _ENTRY.size)
        if not _ENTRY.size <= length <= place - first:
            raise ValueError("an entry of another size")
        yield name, firmware[place - length : place - _ENTRY.size]
        place -= length


def _sound(each: _Section, firmware_bytes: int) -> bool:
    if each.address % _PAGE or each.size % _PAGE or not 0 < each.size <= _MOST_BYTES or each.attributes & ~_MEASURED:
        return False
    if each.kind == _CODE and not each.attributes & _MEASURED:
        return False  # MRTD would hold its address alone, whatever it does
    if each.kind in (_CODE, _CONFIGURATION):
        return each.raw_size == each.size and each.raw + each.raw_size <= firmware_bytes
    return each.kind in (_HAND_OFF, _TEMPORARY) and each.raw_size == 0 and not each.attributes
