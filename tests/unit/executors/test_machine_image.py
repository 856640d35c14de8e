"""The parts of a machine's image: kernel image, initial file system, tree of hashes, modules, expected registers, units."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from paddock import walls
from paddock.errors import ExecutorFailed, ExecutorOptionInvalid, ImageInvalid, RuntimeIncomplete
from paddock.evidence.claims import registers_digest
from paddock.executors.machine import tree
from paddock.executors.machine.archive import Entry, initial_file_system
from paddock.executors.machine.description import FACTS, KERNEL_IMAGE, Machine, read_image, read_machine
from paddock.executors.machine.kernel import command_line
from paddock.executors.machine.measured import check_reference, expected_registers, measurement
from paddock.executors.machine.modules import find_modules, load_order, read_module
from paddock.executors.machine.pe import image_digest, section, unified_kernel
from paddock.executors.machine.units import LISTEN, listens, units
from paddock.executors.machine.verity import BLOCK_BYTES, append_tree

FIRMWARE = "ab" * 32


def stub(*, room: int = 8, signed: bytes = b"") -> bytes:
    """A PE32+ program of one section, as small as it can be, with what a linker leaves behind its sections."""
    optional = bytearray(112 + 16 * 8)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<II", optional, 32, 512, 512)
    table_bytes = 40 * (1 + room)
    headers = -(-(0x40 + 24 + len(optional) + table_bytes) // 512) * 512
    struct.pack_into("<II", optional, 56, 8192, headers)
    if signed:
        struct.pack_into("<II", optional, 144, headers + 512, len(signed))
    out = bytearray(b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40))
    out += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 7, 3, len(optional), 0x22E) + optional
    out += struct.pack("<8sIIIIIIHHI", b".text", 300, 4096, 512, headers, 0, 0, 0, 0, 0x60000020)
    out = out.ljust(headers, b"\0") + b"code".ljust(512, b"\xcc")
    return bytes(out) + (signed or b"symbols for debuggers")


PARTS = [(".osrel", b"ID=x\n"), (".cmdline", b"quiet"), (".initrd", b"i" * 700), (".linux", stub(signed=b"signature"))]


def test_a_kernel_image_holds_its_parts_and_is_the_same_each_time() -> None:
    image = unified_kernel(stub(), PARTS)
    assert image == unified_kernel(stub(), PARTS)
    for name, content in PARTS:
        assert section(image, name) == content
    assert b"symbols" not in image
    with pytest.raises(ExecutorFailed, match="no section"):
        section(image, ".dtb")


def test_a_kernel_image_is_what_objcopy_reads(tmp_path: Path) -> None:
    """Another reader of the format finds the same sections, aligned and apart."""
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump is not installed (Debian: apt-get install binutils)")
    file = tmp_path / "machine.efi"
    file.write_bytes(unified_kernel(stub(), PARTS))
    told = subprocess.run([objdump, "-h", str(file)], capture_output=True, text=True, check=True, timeout=30).stdout
    rows = {
        words[1]: words
        for words in (line.split() for line in told.splitlines())
        if len(words) == 7 and words[0].isdigit()
    }
    assert set(rows) == {".text", *(name for name, _ in PARTS)}
    addresses = [int(row[3], 16) for row in rows.values()]
    assert addresses == sorted(addresses)
    assert all(int(rows[name][5], 16) % 512 == 0 for name, _ in PARTS)


@pytest.mark.parametrize("broken", [b"", b"MZ", b"ELF" + bytes(600), stub()[:500], stub(room=3)])
def test_what_is_no_stub_or_has_no_room_is_refused(broken: bytes) -> None:
    with pytest.raises(ExecutorFailed):
        unified_kernel(broken, [*PARTS] * 8 if len(broken) > 1000 else PARTS)


def test_a_digest_leaves_out_checksum_and_signature_and_nothing_else() -> None:
    plain = stub(signed=b"one signature")
    digest = image_digest(plain, "sha256")
    assert image_digest(plain.replace(b"one signature", b"two signature"), "sha256") == digest
    optional = 0x40 + 24
    changed = bytearray(plain)
    changed[optional + 64] ^= 1  # the checksum
    assert image_digest(bytes(changed), "sha256") == digest
    for place in (0x3A, optional + 70, len(plain) - 200):
        changed = bytearray(plain)
        changed[place] ^= 1
        assert image_digest(bytes(changed), "sha256") != digest
    with pytest.raises(ExecutorFailed, match="at its end"):
        image_digest(plain + b"more", "sha256")


# --- initial file system --------------------------------------------------------------------------------------------


def test_the_archive_is_what_cpio_reads_and_is_the_same_each_time() -> None:
    entries = {"bin/a": Entry(b"#!", executable=True), "b": Entry(b"text"), "bin/l": Entry(b"a", link=True)}
    archive = initial_file_system(entries, ("dev",))
    assert archive == initial_file_system(dict(reversed(entries.items())), ("dev",))
    found = {}
    place = 0
    while True:
        assert archive[place : place + 6] == b"070701"
        fields = [int(archive[place + 6 + 8 * n : place + 14 + 8 * n], 16) for n in range(13)]
        name = archive[place + 110 : place + 110 + fields[11] - 1].decode()
        start = place + 110 + fields[11]
        start += -start % 4
        if name == "TRAILER!!!":
            break
        found[name] = (oct(fields[1]), archive[start : start + fields[6]])
        assert fields[2:4] == [0, 0]
        assert fields[5] == 0
        place = start + fields[6]
        place += -place % 4
    assert found == {
        "b": ("0o100644", b"text"),
        "bin": ("0o40755", b""),
        "bin/a": ("0o100755", b"#!"),
        "bin/l": ("0o120777", b"a"),
        "dev": ("0o40755", b""),
    }


# --- tree of hashes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 128, 129, 300])
def test_the_tree_is_dm_veritys(blocks: int, tmp_path: Path) -> None:
    """The tree of the kernel's document, computed from its words: every level hashes the one below, the root stands first."""
    disk, salt = tmp_path / "disk", bytes(range(32))
    data = b"".join(hashlib.sha256(b"%d" % n).digest() * 128 for n in range(blocks))
    disk.write_bytes(data[:-5])
    verity = append_tree(disk, salt)
    data = data[:-5] + bytes(5)
    levels: list[bytes] = []
    below = data
    while True:
        rows = [hashlib.sha256(salt + below[n : n + BLOCK_BYTES]).digest() for n in range(0, len(below), BLOCK_BYTES)]
        if len(rows) == 1 and levels:
            break
        below = b"".join(rows).ljust(-(-len(rows) * 32 // BLOCK_BYTES) * BLOCK_BYTES, b"\0")
        levels.append(below)
    assert disk.read_bytes() == data + b"".join(reversed(levels))
    assert verity.root == rows[0]
    assert verity.argument() == f"paddock.verity={blocks}:{rows[0].hex()}:{salt.hex()}"


def test_veritysetup_takes_the_tree(tmp_path: Path) -> None:
    tool = shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        pytest.skip("veritysetup is not installed (Debian: apt-get install cryptsetup-bin)")
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * (300 * BLOCK_BYTES))
    verity = append_tree(disk, bytes(32))
    command = [
        tool,
        "verify",
        str(disk),
        str(disk),
        verity.root.hex(),
        "--no-superblock",
        f"--salt={verity.salt.hex()}",
    ]
    command += [
        f"--hash-offset={300 * BLOCK_BYTES}",
        "--data-blocks=300",
        "--data-block-size=4096",
        "--hash-block-size=4096",
    ]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    with disk.open("r+b") as file:
        file.seek(299 * BLOCK_BYTES)
        file.write(b"y")
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0


# --- modules --------------------------------------------------------------------------------------------------------


def module(needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0signature"


def test_modules_come_after_those_that_they_need(tmp_path: Path) -> None:
    files = {
        "virtio-ring.ko": "",
        "virtio.ko": "virtio_ring",
        "virtio_blk.ko.xz": "virtio,virtio_ring",
        "rng.ko.gz": "",
        "other.ko": "",
    }
    for name, needs in files.items():
        content = module(needs)
        if name.endswith(".xz"):
            content = lzma.compress(content)
        elif name.endswith(".gz"):
            content = gzip.compress(content)
        (tmp_path / name).write_bytes(content)
    found = find_modules(tmp_path)
    order = load_order(found, ["virtio_blk"], optional=["rng", "built_in"])
    assert list(order) == ["virtio_ring", "virtio", "virtio_blk", "rng"]
    assert order["virtio_blk"] == module("virtio,virtio_ring")


def test_modules_that_are_missing_broken_or_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExecutorFailed):
        find_modules(tmp_path)
    (tmp_path / "a.ko").write_bytes(module("b"))
    with pytest.raises(ExecutorFailed, match="'b'"):
        load_order(find_modules(tmp_path), ["a"])
    (tmp_path / "b.ko").write_bytes(module("a"))
    with pytest.raises(ExecutorFailed, match="needs itself"):
        load_order(find_modules(tmp_path), ["a"])
    broken = tmp_path / "c.ko.xz"
    broken.write_bytes(b"no archive")
    with pytest.raises(ExecutorFailed):
        read_module(broken)


# --- root file system -------------------------------------------------------------------------------------------------


def test_programs_that_the_walls_start_by_path_stand_inside_as_sources() -> None:
    package = Path(walls.__file__).parent
    modules = {f"paddock/walls/{file.name}": file for file in package.glob("*.py")}
    # Whether or not anything imports it, what is started as a file must be there as one.
    modules.pop("paddock/walls/outside.py")
    found = tree._started_by_path(modules)
    assert {"paddock/walls/outside.py", "paddock/walls/inside.py"} <= set(found)
    assert all(file.is_file() for file in found.values())


def test_programs_come_with_all_that_they_link() -> None:
    shell = Path("/bin/sh").resolve()
    found = tree.with_libraries({"bin/sh": shell})
    assert found["bin/sh"] == shell
    assert {f"{tree.SYSTEM_LIBRARIES}/libc.so.6", f"{tree.SYSTEM_LIBRARIES}/{tree.LOADER}"} <= set(found)
    with pytest.raises(RuntimeIncomplete, match="libnothing"):
        tree.with_libraries({}, ["libnothing.so.1"])
    with pytest.raises(ExecutorFailed, match="apt-get install some-package"):
        tree.program("no-such-program", "some-package")


# --- expected registers ---------------------------------------------------------------------------------------------


def machine_image(line: bytes = b"quiet") -> bytes:
    return unified_kernel(stub(), [(name, line if name == ".cmdline" else content) for name, content in PARTS])


def test_registers_change_with_what_they_cover_and_with_nothing_else() -> None:
    first = expected_registers(machine_image(), FIRMWARE)
    assert first["sha256:00"] == FIRMWARE
    assert first["sha256:12"] == "00" * 32
    other = expected_registers(machine_image(b"loud"), FIRMWARE)
    assert {name for name in first if first[name] != other[name]} == {"sha256:04", "sha256:09", "sha256:11"}
    assert measurement(first) == registers_digest("tpm", first) != measurement(other)


def test_a_reference_boot_must_tell_every_register_as_computed() -> None:
    told = {int(name[-2:]): value for name, value in expected_registers(machine_image(), FIRMWARE).items()}
    assert check_reference(machine_image(), told) == FIRMWARE
    for number in told:
        less = {key: value for key, value in told.items() if key != number}
        with pytest.raises(ExecutorFailed):
            check_reference(machine_image(), less)
        if number:
            with pytest.raises(ExecutorFailed, match=f"sha256:{number:02}"):
                check_reference(machine_image(), {**told, number: "11" * 32})


# --- description ----------------------------------------------------------------------------------------------------


def facts(**changes: Any) -> dict[str, Any]:
    file = {"size": 1, "sha256": "cd" * 32}
    line = command_line([f"paddock.verity=7:{'12' * 32}:{'34' * 32}"])
    value = {
        "version": "paddock/machine/v1",
        "kernel": "6.12",
        "command_line": line,
        "blocks": 7,
        "root": "12" * 32,
        "salt": "34" * 32,
        "packages": f"sha256:{'56' * 32}",
        "kernel_image": file,
        "disk": file,
        "reference": None,
        "registers": None,
        "measurement": None,
    }
    return {**value, **changes}


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    machine = Machine.model_validate(facts())
    (tmp_path / FACTS).write_bytes(machine.to_json())
    assert read_machine(tmp_path) == machine


@pytest.mark.parametrize(
    "changes",
    [{"blocks": 8}, {"root": "13" * 32}, {"salt": "00" * 32}, {"command_line": "quiet"}, {"more": 1}, {"version": "v2"},
     {"packages": "x"}, {"disk": {"size": 0, "sha256": "cd" * 32}}, {"registers": {"sha256:4": "ab" * 32}}],
)  # fmt: skip
def test_a_description_that_is_not_understood_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / FACTS).write_text(json.dumps(facts(**changes)), encoding="utf-8")
    with pytest.raises(ImageInvalid):
        read_machine(tmp_path)
    with pytest.raises(ImageInvalid):
        read_machine(tmp_path / "nowhere")


def written(folder: Path, image: bytes, **changes: Any) -> Path:
    """A folder with this kernel image, and a description of it."""
    folder.mkdir(exist_ok=True)
    (folder / KERNEL_IMAGE).write_bytes(image)
    named = {"size": len(image), "sha256": hashlib.sha256(image).hexdigest()}
    (folder / FACTS).write_text(json.dumps(facts(**{"kernel_image": named, **changes})), encoding="utf-8")
    return folder


def test_a_kernel_image_is_the_one_that_its_description_names(tmp_path: Path) -> None:
    line = facts()["command_line"]
    image = machine_image(line.encode())
    machine, got = read_image(written(tmp_path / "a", image))
    assert (machine.command_line, got) == (line, image)
    (tmp_path / "a" / KERNEL_IMAGE).write_bytes(image.replace(b"panic=-1", b"panic=,1"))
    with pytest.raises(ImageInvalid, match="another file"):
        read_image(tmp_path / "a")
    # Its own description does not help another command line.
    with pytest.raises(ImageInvalid, match="another command line"):
        read_image(written(tmp_path / "b", machine_image(line.encode() + b" debug")))
    (tmp_path / "b" / KERNEL_IMAGE).unlink()
    with pytest.raises(ExecutorFailed, match="cannot be read"):
        read_image(tmp_path / "b")


# --- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", [LISTEN, "tcp:5005"])
def test_the_units_are_what_systemd_takes(tmp_path: Path, listen: str) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    made = units(listens(listen))
    for name, text in made.items():
        # The interpreter is not at its place on this machine.
        (tmp_path / name).write_text(text.replace("/usr/lib/paddock/bin/python3", "/bin/true"), encoding="ascii")
    done = subprocess.run(
        [tool, "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / name) for name in made)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "paddock" in line]
    assert (done.returncode, said) == (0, [])
    service = made["paddock-enclave@.service"]
    (tmp_path / "paddock-enclave@.service").write_text(service.replace("LimitCORE=0", "LimitCOREE=0"), encoding="ascii")
    done = subprocess.run(
        [tool, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / "paddock-enclave@.service")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "LimitCOREE" in done.stderr


def test_the_units_listen_where_they_are_told_and_keep_nothing_of_a_run() -> None:
    assert "ListenStream=vsock::5005\n" in units(listens(LISTEN))["paddock-enclave.socket"]
    made = units(listens("tcp:7000"))
    assert "ListenStream=7000\n" in made["paddock-enclave.socket"]
    assert {"Accept=yes", "KeepAlive=yes"} <= set(made["paddock-enclave.socket"].splitlines())
    assert any(
        line.startswith("TemporaryFileSystem=/dev/shm:") for line in made["paddock-enclave@.service"].splitlines()
    )
    # systemd.exec(5): ProtectClock implies DeviceAllow, and with one of these no other device is open.
    service = made["paddock-enclave@.service"].splitlines()
    assert {"ProtectClock=yes", "DeviceAllow=/dev/sev-guest rw", "DeviceAllow=/dev/tpmrm0 rw"} <= set(service)
    for wrong in ("5005", "udp:5005", "vsock:0", "tcp:65536", "tcp:5005\nListenStream=1", ""):
        with pytest.raises(ExecutorOptionInvalid):
            listens(wrong)
