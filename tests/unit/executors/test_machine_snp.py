"""The launch digest of SEV-SNP against AMD's specification: each page by hand, without the library that computes it."""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

import pytest

from paddock.errors import ExecutorFailed
from paddock.evidence.claims import registers_digest
from paddock.executors.machine.qemu import SNP_PROCESSOR, Start, arguments
from paddock.executors.machine.sev_snp import launch_digest, snp_registers
from tests.unit.executors.test_machine_image import stub
from tests.unit.executors.test_machine_qemu import SNP, START
from tests.unit.executors.test_machine_tdx import image

pytest.importorskip("sevsnpmeasure", reason="not installed: sev-snp-measure (pip install 'paddock[machine]')")

_UNIT = 1 << 16
_RESET = 0x0080B004
_HASHES = 0x00010C00
_KERNEL = b"a unified kernel image"
_OVMF = Path("/usr/share/ovmf/OVMF.fd")
# Address, size, kind: zeroed memory, secrets, CPUID, calling area, hashes of the kernel.
_SECTIONS = (
    (0x800000, 0x2000, 1),
    (0x80D000, 0x1000, 2),
    (0x80E000, 0x1000, 3),
    (0x80F000, 0x1000, 4),
    (0x10000, 0x1000, 0x10),
)


def firmware(*, hashes: bool = True) -> bytes:
    """A firmware of 64 KiB with the table that QEMU reads."""
    whole = bytearray(hashlib.shake_256(b"firmware").digest(_UNIT))
    rows = _SECTIONS if hashes else _SECTIONS[:-1]
    table = struct.pack("<4sIII", b"ASEV", 16 + 12 * len(rows), 1, len(rows))
    table += b"".join(struct.pack("<III", *row) for row in rows)
    whole[-0x400 : -0x400 + len(table)] = table
    end = struct.pack("<IIH", _HASHES, 0x400, 26) + bytes.fromhex("1f3755723b3a044b927b1da6efa8d454")
    end += struct.pack("<IH", _RESET, 22) + bytes.fromhex("de71f7007e1acb4f890e68c77e2fb44e")
    end += struct.pack("<IH", 0x400, 22) + bytes.fromhex("666588dc4a989847a75e5585a7bf67cc")
    end += struct.pack("<H", 18 + len(end)) + bytes.fromhex("de82b596b21ff745baeaa366c55a082d")
    whole[-32 - len(end) : -32] = end
    return bytes(whole)


def page_info(digest: bytes, contents: bytes, kind: int, address: int) -> bytes:
    """PAGE_INFO, hashed: digest so far, content, 0x70 bytes of size, kind, no IMI, no VMPL permissions, address."""
    return hashlib.sha384(digest + contents + struct.pack("<HBBBBBBQ", 0x70, kind, 0, 0, 0, 0, 0, address)).digest()


def core(start: int) -> bytes:
    """The state of a core at reset, as KVM writes it: offsets of the VMSA."""
    page = bytearray(4096)

    def segment(place: int, selector: int, attributes: int, base: int = 0) -> None:
        struct.pack_into("<HHIQ", page, place, selector, attributes, 0xFFFF, base)

    for place in (0x00, 0x20, 0x30, 0x40, 0x50):
        segment(place, 0, 0x93)
    segment(0x10, 0xF000, 0x9B, start & 0xFFFF0000)
    segment(0x60, 0, 0)
    segment(0x70, 0, 0x82)
    segment(0x80, 0, 0)
    segment(0x90, 0, 0x8B)
    for place, value in {
        0x0D0: 0x1000,  # EFER: SVME
        0x148: 0x40,  # CR4: MCE
        0x158: 0x10,  # CR0
        0x160: 0x400,  # DR7
        0x168: 0xFFFF0FF0,  # DR6
        0x170: 2,  # RFLAGS
        0x178: start & 0xFFFF,  # RIP
        0x268: 0x7040600070406,  # PAT
        0x310: 0x800F12,  # RDX: family 23, model 1, stepping 2
        0x3B0: 1,  # SEV_FEATURES: SNPActive
        0x3E8: 1,  # XCR0
    }.items():
        struct.pack_into("<Q", page, place, value)
    struct.pack_into("<I", page, 0x408, 0x1F80)  # MXCSR
    struct.pack_into("<H", page, 0x410, 0x37F)  # x87 control word
    return bytes(page)


def hashes_page(kernel: bytes) -> bytes:
    def entry(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + struct.pack("<H", 50) + hashlib.sha256(content).digest()

    table = bytes.fromhex("06d63894224fc94cb479a793d411fd21") + struct.pack("<H", 168)
    table += entry("d82dd09720bd944caa78e7714d36ab2a", b"\0")  # the empty command line, ended
    table += entry("31f7ba442f3ad74b9af141e29169781d", b"")  # no initial file system
    table += entry("3794e74dd2ab7f42b835d5b172d2045b", kernel)
    return (bytes(_HASHES & 0xFFF) + table).ljust(4096, b"\0")


def expected(kernel: bytes, cores: int) -> str:
    zeros, digest, whole = bytes(48), bytes(48), firmware()
    for place in range(0, _UNIT, 4096):
        contents = hashlib.sha384(whole[place : place + 4096]).digest()
        digest = page_info(digest, contents, 1, (1 << 32) - _UNIT + place)
    digest = page_info(page_info(digest, zeros, 3, 0x800000), zeros, 3, 0x801000)
    digest = page_info(digest, zeros, 5, 0x80D000)
    digest = page_info(digest, zeros, 6, 0x80E000)
    digest = page_info(digest, zeros, 3, 0x80F000)
    digest = page_info(digest, hashlib.sha384(hashes_page(kernel)).digest(), 1, 0x10000)
    for number in range(cores):
        state = hashlib.sha384(core(_RESET if number else 0xFFFFFFF0)).digest()
        digest = page_info(digest, state, 2, 0xFFFFFFFFF000)
    return digest.hex()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    kernel, bios = tmp_path / "machine.efi", tmp_path / "OVMF.amdsev.fd"
    kernel.write_bytes(_KERNEL)
    bios.write_bytes(firmware())
    return kernel, bios


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_digest_is_that_of_every_page_by_hand(files: tuple[Path, Path], cores: int) -> None:
    assert launch_digest(*files, cores) == expected(_KERNEL, cores)


def test_it_changes_with_kernel_firmware_and_cores(files: tuple[Path, Path]) -> None:
    kernel, bios = files
    first = launch_digest(kernel, bios, 2)
    assert launch_digest(kernel, bios, 3) != first
    kernel.write_bytes(_KERNEL + b"!")
    assert launch_digest(kernel, bios, 2) == expected(_KERNEL + b"!", 2) != first
    kernel.write_bytes(_KERNEL)
    bios.write_bytes(b"\1" + firmware()[1:])
    assert launch_digest(kernel, bios, 2) != first


def test_registers_are_all_that_the_provider_measures(files: tuple[Path, Path]) -> None:
    files[0].write_bytes(image())
    told = snp_registers(*files, 2)
    assert not told.missing
    assert not told.told
    assert dict(told.computed) == {"host_data": "00" * 32, "measurement": expected(image(), 2)}
    assert told.measurement() == registers_digest("snp", dict(told.computed))


@pytest.mark.parametrize("version", ["254.1-1", "257.3", "251.4", "unknown", "2520"])
def test_a_stub_that_may_take_words_of_the_hosts_is_refused(files: tuple[Path, Path], version: str) -> None:
    """From 254 on it adds those of SMBIOS to the command line, and with them another disk, under the same digest."""
    files[0].write_bytes(image(stub_version=version))
    with pytest.raises(ExecutorFailed, match="add words to the command line"):
        snp_registers(*files, 2)


@pytest.mark.parametrize("kernel", ["6.8.12", "6.1.0-18-amd64"])
def test_a_kernel_that_starts_without_the_processors_random_numbers_is_refused(
    files: tuple[Path, Path], kernel: str
) -> None:
    files[0].write_bytes(image(kernel=kernel))
    with pytest.raises(ExecutorFailed, match="random numbers"):
        snp_registers(*files, 2)


def test_what_is_no_unified_image_is_refused(files: tuple[Path, Path]) -> None:
    changed = bytearray(image())
    changed[0x202:0x206] = b"HdrS"
    for content, words in ((bytes(changed), "bare kernel"), (_KERNEL, "UEFI"), (stub(), "no section")):
        files[0].write_bytes(content)
        with pytest.raises(ExecutorFailed, match=words):
            snp_registers(*files, 2)
    with pytest.raises(ExecutorFailed, match="cannot be read"):
        snp_registers(files[0].with_name("none"), files[1], 2)


def test_the_command_line_of_qemu_is_the_one_that_is_computed_for() -> None:
    words = arguments(SNP, START)
    guest = next(word for word in words if word.startswith("sev-snp-guest")).split(",")
    assert "kernel-hashes=on" in guest
    assert not {word.partition("=")[0] for word in guest} & {
        "host-data",
        "id-block",
        "id-auth",
        "debug-swap",
        "sev-features",
    }
    assert words[words.index("-cpu") + 1] == SNP_PROCESSOR
    assert words[words.index("-smp") + 1] == str(SNP.cores)
    assert not {"-append", "-initrd", "-dtb", "-shim", "-pflash"} & set(words)
    assert not any("pflash" in word for word in words)
    assert isinstance(START, Start)


@pytest.mark.parametrize("broken", [b"", bytes(_UNIT), firmware()[:-1], firmware(hashes=False), firmware()[:-0x500]])
def test_a_firmware_that_measures_no_kernels_is_refused(files: tuple[Path, Path], broken: bytes) -> None:
    files[1].write_bytes(broken)
    with pytest.raises(ExecutorFailed, match="firmware"):
        launch_digest(*files, 2)


@pytest.mark.skipif(not _OVMF.exists(), reason="not installed: /usr/share/ovmf/OVMF.fd (Debian: apt-get install ovmf)")
def test_a_real_firmware_that_measures_no_kernels_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(ExecutorFailed, match="AmdSev"):
        launch_digest(files[0], _OVMF, 1)


def test_files_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(ExecutorFailed, match="cannot be read"):
        launch_digest(tmp_path / "a", tmp_path / "b", 1)


def test_without_the_library_it_is_said_what_to_install(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sevsnpmeasure", None)
    with pytest.raises(ExecutorFailed, match=r"paddock\[machine\]"):
        launch_digest(*files, 1)
