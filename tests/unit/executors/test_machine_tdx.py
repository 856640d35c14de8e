"""TDX registers computed from files, against the records of Intel's and UEFI's specifications, put together here a second time."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed
from paddock.evidence.claims import registers_digest
from paddock.evidence.providers.tdx import _REGISTERS
from paddock.executors.machine.measured import expected_registers
from paddock.executors.machine.pe import unified_kernel
from paddock.executors.machine.tdvf import mrtd
from paddock.executors.machine.tdx import tdx_registers
from tests.unit.executors.test_machine_image import FIRMWARE, PARTS, facts, stub, written

_UNIT = 1 << 16
_OVMF = Path("/usr/share/ovmf/OVMF.fd")
Row = tuple[int, int, int, int, int, int]
CONFIGURATION: Row = (0x0, 0x1000, 0xFFFF0000, 0x1000, 1, 0)
CODE: Row = (0x2000, 0x2000, 0xFFFF2000, 0x2000, 0, 1)
TEMPORARY: Row = (0, 0, 0x810000, 0x1000, 3, 0)
HAND_OFF: Row = (0, 0, 0x809000, 0x2000, 2, 0)
ROWS = (CODE, CONFIGURATION, TEMPORARY, HAND_OFF)


def tdvf(rows: Sequence[Row] = ROWS, *, version: int = 1, length: int | None = None, name: bytes = b"TDVF") -> bytes:
    """A firmware of 64 KiB with a table of its pages, and OVMF's table that says where that is."""
    whole = bytearray(hashlib.shake_256(b"firmware").digest(_UNIT))
    table = b"".join(struct.pack("<IIQQII", *row) for row in rows)
    size = 16 + len(table) if length is None else length
    place = _UNIT - 0x800
    whole[place : place + 16 + len(table)] = struct.pack("<4sIII", name, size, version, len(rows)) + table
    other = b"\0" * 8 + struct.pack("<H", 26) + bytes.fromhex("1f3755723b3a044b927b1da6efa8d454")
    pages = struct.pack("<IH", 0x800, 22) + bytes.fromhex("35657ae44a989847865e4685a7bf8ec2")
    footer = struct.pack("<H", 18 + len(other) + len(pages)) + bytes.fromhex("de82b596b21ff745baeaa366c55a082d")
    end = other + pages + footer
    whole[_UNIT - 32 - len(end) : _UNIT - 32] = end
    return bytes(whole)


def image(*, kernel: str = "6.12.0-1-amd64", stub_version: str = "252.39-1", line: bytes = b"quiet") -> bytes:
    """A unified kernel image whose parts tell of which versions they are."""
    linux = bytearray(stub())
    linux[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", linux, 0x20E, 0xD0)
    linux[0x2D0 : 0x2D0 + len(kernel) + 1] = kernel.encode() + b"\0"
    said = f"#### LoaderInfo: systemd-stub {stub_version} ####".encode()
    parts = {**dict(PARTS), ".cmdline": line, ".linux": bytes(linux)}
    return unified_kernel(stub(), [(".sdmagic", said), *parts.items()])


def tdx_image(folder: Path) -> Path:
    """A folder with such an image, and a description of it."""
    return written(folder, image(line=facts()["command_line"].encode()))


def log(*events: bytes) -> str:
    """A register that these SHA-384 values were extended into."""
    value = bytes(48)
    for event in events:
        value = hashlib.sha384(value + event).digest()
    return value.hex()


def test_mrtd_is_the_hash_of_the_records_of_every_page_and_of_the_content_of_those_that_are_measured() -> None:
    firmware = tdvf()

    def add(address: int) -> bytes:
        return b"MEM.PAGE.ADD\0\0\0\0" + struct.pack("<Q", address) + b"\0" * 104

    def extend(address: int) -> bytes:
        place = address - 0xFFFF0000
        return b"MR.EXTEND\0\0\0\0\0\0\0" + struct.pack("<Q", address) + b"\0" * 104 + firmware[place : place + 256]

    records = [add(0xFFFF2000), *(extend(0xFFFF2000 + 256 * part) for part in range(16))]
    records += [add(0xFFFF3000), *(extend(0xFFFF3000 + 256 * part) for part in range(16))]
    records += [add(0xFFFF0000), add(0x810000), add(0x809000), add(0x80A000)]
    assert mrtd(firmware) == hashlib.sha384(b"".join(records)).hexdigest()


def test_mrtd_changes_with_measured_content_and_with_where_pages_lie_and_with_nothing_else() -> None:
    first, firmware = mrtd(tdvf()), bytearray(tdvf())
    firmware[0x10] ^= 1  # configuration, which firmware measures itself
    assert mrtd(bytes(firmware)) == first
    firmware[0x2010] ^= 1
    assert mrtd(bytes(firmware)) != first
    assert mrtd(tdvf((*ROWS[:2], (0, 0, 0x811000, 0x1000, 3, 0), HAND_OFF))) != first
    assert mrtd(tdvf((CONFIGURATION, CODE, TEMPORARY, HAND_OFF))) != first


@pytest.mark.skipif(not _OVMF.exists(), reason="not installed: /usr/share/ovmf/OVMF.fd (Debian: apt-get install ovmf)")
def test_the_table_of_a_real_firmware_is_read() -> None:
    """Debian's OVMF has such a table; what is computed from it is the same each time, and another one with another firmware."""
    firmware = bytearray(_OVMF.read_bytes())
    first = mrtd(bytes(firmware))
    assert len(first) == 96
    firmware[-1] ^= 1
    assert mrtd(bytes(firmware)) != first


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(_UNIT),
        tdvf()[:-1],
        tdvf(name=b"TDVX"),
        tdvf(version=2),
        tdvf(length=17),
        tdvf((CODE,)),
        tdvf((CODE, TEMPORARY)),  # without a place for the hand-off block
        tdvf((CONFIGURATION, HAND_OFF)),  # no code: nothing that starts is measured
        tdvf(((*CODE[:5], 0), CONFIGURATION, HAND_OFF)),  # code of which the address alone is measured
        tdvf((CODE, (0x4000, 0x1000, 0xFFFF4000, 0x1000, 0, 0), HAND_OFF)),  # some such code beside
        tdvf((CODE, HAND_OFF, (0, 0, 0x810001, 0x1000, 3, 0))),
        tdvf((CODE, HAND_OFF, (0, 0, 0x810000, 0x800, 3, 0))),
        tdvf((CODE, HAND_OFF, (0, 0, 0x810000, 0x1000, 4, 0))),
        tdvf((CODE, HAND_OFF, (0, 0, 0x810000, 0x1000, 3, 1))),  # measured, of nothing
        tdvf((CODE, HAND_OFF, (0, 0x1000, 0x810000, 0x1000, 3, 0))),
        tdvf((HAND_OFF, (0x2000, 0x1000, 0xFFFF2000, 0x2000, 0, 1))),
        tdvf((HAND_OFF, (0xF000, 0x2000, 0xFFFF2000, 0x2000, 0, 1))),
        tdvf((HAND_OFF, (0x2000, 0x2000, 0xFFFF2000, 0x2000, 0, 3))),
    ],
)
def test_what_is_no_firmware_for_tdx_is_refused(broken: bytes) -> None:
    with pytest.raises(ExecutorFailed):
        mrtd(broken)


def test_rtmrs_hold_the_events_in_their_order() -> None:
    from paddock.executors.machine.pe import image_digest, section

    made = image()
    told = tdx_registers(made, tdvf(), service_td=False, told={})
    action, leaving = b"Calling EFI Application from Boot Option", b"Exit Boot Services "
    sha = hashlib.sha384
    assert told.computed["rtmr1"] == log(
        image_digest(made, "sha384"),
        sha(action).digest(),
        sha(bytes(4)).digest(),
        image_digest(section(made, ".linux"), "sha384"),
        sha(leaving + b"Invocation").digest(),
        sha(leaving + b"Returned with Success").digest(),
    )
    line = b"q\0u\0i\0e\0t\0\0\0"
    assert told.computed["rtmr2"] == log(sha(line).digest(), sha(b"i" * 700).digest())
    assert told.computed["mrtd"] == mrtd(tdvf())
    assert {told.computed[name] for name in ("rtmr3", "mr_config_id")} == {"00" * 48}
    # What a TPM's registers change with, these change with too.
    other = tdx_registers(image(line=b"loud"), tdvf(), service_td=False, told={})
    assert (
        expected_registers(made, FIRMWARE)["sha256:09"]
        != expected_registers(image(line=b"loud"), FIRMWARE)["sha256:09"]
    )
    assert other.computed["rtmr1"] != told.computed["rtmr1"]
    assert other.computed["rtmr2"] != told.computed["rtmr2"]


def test_what_is_not_computed_is_missing_and_there_is_no_measurement() -> None:
    told = tdx_registers(image(), tdvf(), service_td=False, told={})
    assert set(told.missing) == {"rtmr0"}
    with pytest.raises(ExecutorFailed, match="rtmr0"):
        told.measurement()
    unread = tdx_registers(image(stub_version="257.3"), tdvf(), service_td=False, told={})
    assert set(unread.missing) == {"rtmr0", "rtmr1", "rtmr2"}
    assert "257" in unread.missing["rtmr1"]
    # A host's word for what was loaded stands for nothing: what is not computed stays missing.
    said = dict.fromkeys(("rtmr0", "rtmr1", "rtmr2"), "ab" * 48)
    unread = tdx_registers(image(stub_version="257.3"), tdvf(), service_td=False, told=said)
    assert set(unread.missing) == {"rtmr1", "rtmr2"}
    assert not {"rtmr1", "rtmr2"} & set(unread.computed)


@pytest.mark.parametrize("service_td", [False, True])
def test_a_first_start_completes_it_and_its_measurement_is_the_providers(service_td: bool) -> None:
    rtmr0 = "ab" * 48
    told = tdx_registers(image(), tdvf(), service_td=service_td, told={"rtmr0": rtmr0})
    assert not told.missing
    # What a start told is never shown as computed: whoever ran that start chose it.
    assert dict(told.told) == {"rtmr0": rtmr0}
    assert set(told.computed) == set(_REGISTERS) - {"rtmr0"} - (set() if service_td else {"mr_service_td"})
    assert told.measurement() == registers_digest("tdx", {**told.computed, "rtmr0": rtmr0})


def test_a_first_start_that_tells_something_else_is_refused() -> None:
    computed = tdx_registers(image(), tdvf(), service_td=False, told={}).computed
    same = {"rtmr0": "ab" * 48, "rtmr1": computed["rtmr1"], "rtmr2": computed["rtmr2"]}
    assert not tdx_registers(image(), tdvf(), service_td=False, told=same).missing
    with pytest.raises(ExecutorFailed, match="another rtmr2"):
        tdx_registers(image(), tdvf(), service_td=False, told={**same, "rtmr2": "cd" * 48})


@pytest.mark.parametrize("kernel", ["6.8.12", "6.1.0-18-amd64", "5.19", "unknown"])
def test_a_kernel_that_does_not_measure_its_command_line_is_refused(kernel: str) -> None:
    """The host could give another command line, and registers would not show it."""
    with pytest.raises(ExecutorFailed, match="command line"):
        tdx_registers(image(kernel=kernel), tdvf(), service_td=False, told={"rtmr0": "ab" * 48})


def test_an_image_that_qemu_would_change_is_refused() -> None:
    changed = bytearray(image())
    changed[0x202:0x206] = b"HdrS"
    with pytest.raises(ExecutorFailed, match="bare kernel"):
        tdx_registers(bytes(changed), tdvf(), service_td=False, told={})
