"""An enclave's image: its bytes, what is measured of it, what is refused of it; and what guest and host tell each other."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid, ImageInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors.machine import relay
from paddock.executors.machine.archive import Entry, file_around, initial_file_system
from paddock.executors.nitro import boot, passage
from paddock.executors.nitro.boot import check_configuration, check_kernel, command_line, find_needed
from paddock.executors.nitro.description import ALLOCATOR, FACTS, IMAGE, PACKAGES, read_enclave
from paddock.executors.nitro.eif import Parts, metadata_of, read_eif, write_eif
from paddock.executors.nitro.passage import read_ways
from paddock.executors.nitro.settings import read_recipe, read_start
from paddock.executors.nitro.tool import TurnNotTaken, own_folder, turn
from tests.fixtures.nitro import Nitro, kernel
from tests.fixtures.stand_in.nitro_passage import UnixNet

SCHEMA = Path(__file__).parents[2] / "fixtures" / "schemas" / "nitro_metadata.json"
METADATA = metadata_of("paddock", "1", "6.12.1", {"packages": f"sha256:{'ab' * 32}"})
# In documents of enclaves whose image has one ramdisk, PCR2 is what is measured of nothing; PCR0 and PCR1 are then one value.
# Published, for one, in tkhq/qos, src/integration/tests/boot.rs.
NOTHING = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"


def parts(folder: Path, *ramdisks: bytes) -> Parts:
    disk = folder / "disk"
    disk.write_bytes(b"d" * 2_000_001)
    second = [[b"head", disk, b"tail"]] if not ramdisks else [[each] for each in ramdisks[1:]]
    first = ramdisks[0] if ramdisks else b"first ramdisk"
    return Parts(kernel(folder / "kernel"), "reboot=k quiet", METADATA, [[first], *second])


def image(folder: Path, *ramdisks: bytes) -> bytes:
    write_eif(parts(folder, *ramdisks), folder / "image")
    return (folder / "image").read_bytes()


def pcr(*contents: bytes) -> str:
    """As AWS's specification has it: over 48 zero bytes and the digest of the contents."""
    return hashlib.sha384(bytes(48) + hashlib.sha384(b"".join(contents)).digest()).hexdigest()


def test_an_image_has_the_same_bytes_each_time_and_these(tmp_path: Path) -> None:
    written = image(tmp_path)
    (tmp_path / "image").unlink()
    assert image(tmp_path) == written
    assert hashlib.sha256(written).hexdigest() == "61a0101142511f02781fd5b71c1e52876d25fa782f517084a7552b8deb9d4e9f"


def test_the_header_is_that_of_the_specification(tmp_path: Path) -> None:
    """Read by hand: 548 bytes, big-endian; offsets and sizes at 0x1c and 0x11c; the checksum at 0x220, over all else."""
    written = image(tmp_path)
    assert written[:8] == b".eif\x00\x04\x00\x00"
    assert struct.unpack(">H", written[0x1A:0x1C]) == (5,)
    offsets, sizes = struct.unpack(">32Q", written[0x1C:0x11C]), struct.unpack(">32Q", written[0x11C:0x21C])
    assert offsets[0] == 548
    assert offsets[5:] == sizes[5:] == (0,) * 27
    kinds = [struct.unpack(">HHQ", written[place : place + 12]) for place in offsets[:5]]
    assert kinds == [(kind, 0, size) for kind, size in zip((1, 2, 5, 3, 3), sizes, strict=False)]
    assert written[offsets[1] + 12 :].startswith(b"reboot=k quiet")
    assert struct.unpack(">I", written[0x220:0x224]) == (zlib.crc32(written[:0x220] + written[0x224:]),)
    assert offsets[4] + 12 + sizes[4] == len(written)


def test_registers_are_those_of_the_specification(tmp_path: Path) -> None:
    made = parts(tmp_path, b"one", b"two", b"three")
    registers = write_eif(made, tmp_path / "image")
    start = (made.kernel.read_bytes(), b"reboot=k quiet")
    assert dict(registers) == {
        "pcr0": pcr(*start, b"one", b"two", b"three"),
        "pcr1": pcr(*start, b"one"),
        "pcr2": pcr(b"two", b"three"),
    }
    read = read_eif(tmp_path / "image")
    assert dict(read.registers) == dict(registers)
    assert (read.command_line, read.ramdisks, read.metadata) == ("reboot=k quiet", 3, json.loads(METADATA))


def test_an_image_of_one_ramdisk_has_the_register_that_is_known_of_such(tmp_path: Path) -> None:
    registers = write_eif(parts(tmp_path, b"one"), tmp_path / "image")
    assert registers["pcr2"] == NOTHING
    assert registers["pcr0"] == registers["pcr1"] != NOTHING


def test_metadata_are_not_measured_and_have_the_documented_form(tmp_path: Path) -> None:
    made = parts(tmp_path)
    one = write_eif(made, tmp_path / "one")
    other = metadata_of("other", "2", "6.12.1", {})
    two = write_eif(Parts(made.kernel, made.command_line, other, made.ramdisks), tmp_path / "two")
    assert dict(one) == dict(two)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for text in (METADATA, other):
        jsonschema.validate(json.loads(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(METADATA), "BuildMetadata": {}}, schema)


def sections(written: bytes) -> list[bytes]:
    offsets, sizes = struct.unpack(">32Q", written[0x1C:0x11C]), struct.unpack(">32Q", written[0x11C:0x21C])
    return [written[place : place + 12 + size] for place, size in zip(offsets, sizes, strict=True) if place]


def assembled(written: bytes, chosen: list[bytes], **changes: int) -> bytes:
    """An image of these sections with a right checksum: all but what is tried is as it should be."""
    offsets, place = [], 548
    for each in chosen:
        offsets.append(place)
        place += len(each)
    sizes = [len(each) - 12 for each in chosen]
    filled = [*offsets, *[0] * (32 - len(chosen)), *sizes, *[0] * (32 - len(chosen))]
    values = {"version": 4, "flags": 0, "reserved": 0, "count": len(chosen), "unused": 0, **changes}
    header = b".eif" + struct.pack(">HHQQ", values["version"], values["flags"], 1 << 30, 2)
    header += struct.pack(">HH64QI", values["reserved"], values["count"], *filled, values["unused"])
    body = b"".join(chosen)
    return header + struct.pack(">I", zlib.crc32(header + body)) + body


def test_what_is_put_together_rightly_is_read(tmp_path: Path) -> None:
    written = image(tmp_path)
    assert assembled(written, sections(written)) == written


_ODD: dict[str, Callable[[bytes, list[bytes]], bytes]] = {
    "metadata last, as other tools write it": lambda w, s: assembled(w, [s[0], s[1], s[3], s[4], s[2]]),
    "command line first": lambda w, s: assembled(w, [s[1], s[0], *s[2:]]),
    "a ramdisk before the kernel": lambda w, s: assembled(w, [s[3], *s[:3], s[4]]),
    "two kernels": lambda w, s: assembled(w, [s[0], *s]),
    "two command lines": lambda w, s: assembled(w, [*s[:2], s[1], *s[2:]]),
    "no metadata": lambda w, s: assembled(w, [s[0], s[1], s[3], s[4]]),
    "no ramdisk": lambda w, s: assembled(w, s[:3]),
    "a signature": lambda w, s: assembled(w, [*s, struct.pack(">HHQ", 4, 0, 1) + b"x"]),
    "an unknown section": lambda w, s: assembled(w, [*s, struct.pack(">HHQ", 6, 0, 1) + b"x"]),
    "an empty ramdisk": lambda w, s: assembled(w, [*s, struct.pack(">HHQ", 3, 0, 0)]),
    "flags of a section": lambda w, s: assembled(w, [*s[:4], s[4][:2] + b"\0\1" + s[4][4:]]),
    "a size other than the header's": lambda w, s: assembled(
        w, [*s[:4], s[4][:11] + bytes([s[4][11] ^ 1]) + s[4][12:]]
    ),
    "another processor": lambda w, s: assembled(w, s, flags=1),
    "version 3": lambda w, s: assembled(w, s, version=3),
    "version 5": lambda w, s: assembled(w, s, version=5),
    "reserved": lambda w, s: assembled(w, s, reserved=1),
    "unused": lambda w, s: assembled(w, s, unused=1),
    "fewer sections than there are": lambda w, s: assembled(w, s, count=4),
    "more sections than there are": lambda w, s: assembled(w, s, count=6),
    "more than there can be": lambda w, s: assembled(w, s, count=33),
    "something behind": lambda w, s: w + b"x",
    "another magic": lambda w, s: b".elf" + w[4:],
    "nothing": lambda w, s: b"",
}


@pytest.mark.parametrize("odd", _ODD)
def test_what_is_not_exactly_of_the_form_is_refused(tmp_path: Path, odd: str) -> None:
    written = image(tmp_path)
    (tmp_path / "odd").write_bytes(_ODD[odd](written, sections(written)))
    with pytest.raises(ImageInvalid):
        read_eif(tmp_path / "odd")


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    written = bytearray(image(tmp_path, b"one", b"two"))
    for place in (*range(0, 700, 5), *range(700, len(written), 97)):
        written[place] ^= 1 << place % 8
        (tmp_path / "odd").write_bytes(written)
        with pytest.raises(ImageInvalid):
            read_eif(tmp_path / "odd")
        written[place] ^= 1 << place % 8


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    written = image(tmp_path, b"one", b"two")
    for size in (*range(0, 700, 37), len(written) - 1):
        (tmp_path / "odd").write_bytes(written[:size])
        with pytest.raises(ImageInvalid):
            read_eif(tmp_path / "odd")
    with pytest.raises(ImageInvalid):
        read_eif(tmp_path / "none")


def test_an_image_without_ramdisks_is_not_written(tmp_path: Path) -> None:
    for ramdisks in ([], [[b"x"]] * 30):
        with pytest.raises(ValueError, match="ramdisks"):
            write_eif(Parts(kernel(tmp_path / "kernel"), "quiet", METADATA, ramdisks), tmp_path / "image")


def test_an_archive_around_a_file_is_the_archive_of_that_file() -> None:
    for size in range(5):
        content = b"x" * size
        head, tail = file_around("disk.img", size)
        assert head + content + tail == initial_file_system({"disk.img": Entry(content)})
    with pytest.raises(ValueError, match="4 GiB"):
        file_around("disk.img", 1 << 32)


def test_what_is_built_is_the_same_each_time_and_says_what_it_is(tmp_path: Path) -> None:
    one, two = Nitro(tmp_path).build(), Nitro(tmp_path).build()
    assert {each.name for each in one.iterdir()} == {IMAGE, FACTS, PACKAGES, ALLOCATOR}
    for name in (IMAGE, FACTS, PACKAGES):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    enclave, read = read_enclave(one), read_eif(one / IMAGE)
    assert enclave.registers == dict(read.registers)
    assert enclave.measurement == registers_digest("nitro", dict(read.registers))
    packages = f"sha256:{hashlib.sha256((one / PACKAGES).read_bytes()).hexdigest()}"
    assert enclave.packages == packages
    # The list of packages is measured, as a word of the command line.
    assert read.command_line == enclave.command_line == command_line(packages)
    assert read.metadata["CustomMetadata"] == {"packages": packages}
    assert (one / ALLOCATOR).read_text(encoding="ascii") == "---\nmemory_mib: 8192\ncpu_count: 2\n"


def test_ramdisks_can_be_put_one_behind_the_other() -> None:
    """The kernel looks for a further archive at a multiple of four bytes."""
    first = initial_file_system({"init": Entry(b"#!", executable=True)}, ("dev",))
    assert len(first) % 4 == 0
    head, tail = file_around("disk.img", 5)
    assert len(head) % 4 == (len(head) + 5 + len(tail)) % 4 == 0


def test_each_part_has_its_register(tmp_path: Path) -> None:
    nitro = Nitro(tmp_path)
    plain = read_enclave(nitro.build()).registers
    other = read_enclave(nitro.build(compression="none")).registers  # another disk, the same list of packages
    for name in ("pcr0", "pcr1", "pcr2"):  # the first ramdisk says which disk it goes over to
        assert plain[name] != other[name]


def contents(written: bytes) -> list[bytes]:
    return [each[12:] for each in sections(written)]


def moved(written: bytes, *parts: bytes) -> bytes:
    """An image of these contents, ramdisks last."""
    kinds = (1, 2, 5, *[3] * (len(parts) - 3))
    return assembled(
        written, [struct.pack(">HHQ", kind, 0, len(part)) + part for kind, part in zip(kinds, parts, strict=True)]
    )


_MOVED: dict[str, Callable[[bytes, bytes, bytes, bytes, bytes], tuple[bytes, ...]]] = {
    "the beginning of the command line, to the kernel": lambda k, c, m, one, two: (k + c[:-90], c[-90:], m, one, two),
    "the kernel's end, to the command line": lambda k, c, m, one, two: (k[:-7], k[-7:] + c, m, one, two),
    "the end of the command line, to the ramdisk": lambda k, c, m, one, two: (k, c[:-90], m, c[-90:] + one, two),
    "the ramdisk's beginning, to the command line": lambda k, c, m, one, two: (k, c + one[:99], m, one[99:], two),
    "the second ramdisk, in two": lambda k, c, m, one, two: (k, c, m, one, two[:200], two[200:]),
}


@pytest.mark.parametrize("what", _MOVED)
def test_where_parts_end_is_not_measured_but_noticed(tmp_path: Path, what: str) -> None:
    """All registers stay, whatever is moved between neighbours (A-10): so the operator's measuring and the first program look themselves."""
    nitro = Nitro(tmp_path)
    folder = nitro.build()
    genuine = (folder / IMAGE).read_bytes()
    parts = _MOVED[what](*contents(genuine))
    odd = moved(genuine, *parts)
    (folder / IMAGE).write_bytes(odd)
    read = read_eif(folder / IMAGE)
    assert dict(read.registers) == read_enclave(folder).registers
    with pytest.raises(ExecutorFailed, match="changed after"):
        nitro.executor(folder).registers()
    if len(parts) == 5:
        assert (
            looked_at(
                tmp_path, read_enclave(folder).command_line, parts[1].partition(b"\0")[0].decode("ascii", "replace")
            )
            == 3
        )


def looked_at(folder: Path, built: str, given: str, disk: bytes = b"disk", sum_of: bytes = b"disk") -> int:
    """Status of the part of the first program that looks at the command line and the disk; 0: it goes on."""
    script = (Path(boot.__file__).with_name("guest") / "initial.sh").read_text(encoding="ascii")
    part = script[script.index("set -f\n") : script.index("while read -r module")]
    assert part.count("fail ") == 5
    files = {"command-line": f"{built}\n".encode(), "cmdline": f"{given}\n".encode(), "disk.img": disk}
    files["disk.sum"] = f"{hashlib.sha256(sum_of).hexdigest()}  {folder}/disk.img\n".encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for place in ("/proc/cmdline", "/command-line", "/disk.sum"):
        assert f" {place} " in part or f"<{place} " in part
        part = part.replace(place, str(folder / Path(place).name))
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    program = f'sha256sum() {{ {busybox} sha256sum "$@"; }}\nfail() {{ exit 3; }}\n{part}'
    return subprocess.run([busybox, "sh", "-c", program], check=False, cwd=folder).returncode


BUILT = command_line(f"sha256:{'ab' * 32}")


@pytest.mark.parametrize(
    "more",
    [
        "",
        " virtio_mmio.device=4K@0xd0000000:5",
        " virtio_mmio.device=512@0xfeb00e00:12:1 virtio_mmio.device=4K@0xd0001000:6",
    ],
)
def test_the_first_program_goes_on_with_the_command_line_that_was_built(tmp_path: Path, more: str) -> None:
    assert looked_at(tmp_path, BUILT, BUILT + more) == 0


@pytest.mark.parametrize(
    "given",
    [
        "",
        BUILT[1:],
        BUILT[:-1],
        BUILT.replace(" lockdown=confidentiality", ""),
        BUILT.replace("random.trust_cpu=on", "random.trust_cpu=off"),
        f"x{BUILT}",
        f" {BUILT}",
        f"{BUILT}0",
        f"{BUILT} lockdown=none",
        f"lockdown=none {BUILT}",
        f"virtio_mmio.device=4K@0xd0000000:5 {BUILT}",
        f"{BUILT} virtio_mmio.device=4K@0xd0000000:5 init=/bin/sh",
        f"{BUILT} init=/bin/sh virtio_mmio.device=4K@0xd0000000:5",
        f"{BUILT} virtio_mmio.device=4K@0xd0000000:5\x0bmodule.sig_enforce=0",
        f"{BUILT} virtio_mmio.device=4K@0xd0000000:5\x0cmodule.sig_enforce=0",
        f"{BUILT} virtio_mmio.device=4K@0xd0000000:5\xa0module.sig_enforce=0",
        f'{BUILT} virtio_mmio.device="4K@0xd0000000:5 x"',
        f"{BUILT} virtio_mmio.devices=1",
        f"{BUILT} *",
    ],
)
def test_the_first_program_ends_with_any_other_command_line(tmp_path: Path, given: str) -> None:
    assert looked_at(tmp_path, BUILT, given) == 3


def test_the_first_program_ends_with_another_disk(tmp_path: Path) -> None:
    """A split ramdisk may be put together again with a gap, for all that is known of the hypervisor."""
    assert looked_at(tmp_path, BUILT, BUILT, disk=b"di\0\0sk") == 3


def test_what_the_first_program_looks_at_lies_behind_what_runs_it(tmp_path: Path) -> None:
    """An archive that begins at the copy of the command line has no shell in it, so nothing of it runs."""
    _, line, _, first, second = contents((Nitro(tmp_path).build() / IMAGE).read_bytes())
    assert first.count(b"busybox\0\0") >= 1
    assert first.index(b"bin/busybox\0") < first.index(line) < first.index(b"init\0")
    assert first.count(line) == 1
    start = second.index(b"hsqs")
    disk = second[start : start + 4 + 9 * 4 + 1]
    assert f"{hashlib.sha256(disk).hexdigest()}  /disk.img\n".encode() in first


def test_a_kernel_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    made = parts(tmp_path)
    whole = bytearray(made.kernel.read_bytes())
    whole[0x1F1], whole[0x1F4:0x1F8] = 2, ((len(whole) - 3 * 512) // 16).to_bytes(4, "little")
    for content, whether in ((whole, True), (whole + b"signature", True), (whole[:-1], False), (b"MZ" * 1000, False)):
        made.kernel.write_bytes(content)
        (tmp_path / "image").unlink(missing_ok=True)
        write_eif(made, tmp_path / "image")
        if whether:
            read_eif(tmp_path / "image")
            continue
        with pytest.raises(ImageInvalid, match="kernel"):
            read_eif(tmp_path / "image")


def test_facts_whose_measurement_is_another_are_refused(tmp_path: Path) -> None:
    folder = Nitro(tmp_path).build()
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    registers = {**facts["registers"], "pcr0": "00" * 48}
    for wrong in (
        {"measurement": f"sha256:{'00' * 32}"},
        {"registers": registers},
        {"registers": {"pcr0": facts["registers"]["pcr0"]}},
        {"version": "paddock/nitro/v2"},
        {"more": 1},
    ):
        (folder / FACTS).write_text(json.dumps({**facts, **wrong}), encoding="utf-8")
        with pytest.raises(ImageInvalid):
            read_enclave(folder)


def test_a_kernel_on_which_no_walls_stand_is_refused(tmp_path: Path) -> None:
    assert check_kernel(kernel(tmp_path / "k", "5.13.0")) == "5.13.0"
    for release in ("4.14.256-209.484.amzn2.x86_64 (x)", "5.12.19", "nonsense"):
        with pytest.raises(ExecutorFailed, match=r"5\.13"):
            check_kernel(kernel(tmp_path / "k", release))
    (tmp_path / "k").write_bytes(b"no kernel")
    for file in ("k", "none"):
        with pytest.raises(ExecutorFailed):
            check_kernel(tmp_path / file)


def test_a_configuration_without_landlock_is_refused(tmp_path: Path) -> None:
    names = "VIRTIO_MMIO VIRTIO_MMIO_CMDLINE_DEVICES VIRTIO_VSOCKETS BLK_DEV_LOOP SQUASHFS TMPFS DEVTMPFS USER_NS PID_NS NET_NS"
    rows = [f"CONFIG_{name}=y" for name in f"{names} CGROUPS MEMCG CGROUP_PIDS SECCOMP_FILTER".split()]
    file = tmp_path / "config"
    file.write_text("\n".join([*rows, "CONFIG_SECURITY_LANDLOCK=y"]), encoding="ascii")
    check_configuration(file, modules=True)
    with pytest.raises(ExecutorFailed, match="without CONFIG_NSM"):
        check_configuration(file, modules=False)
    file.write_text("\n".join([*rows[1:], "CONFIG_VIRTIO_MMIO=m", "CONFIG_SECURITY_LANDLOCK=y", "CONFIG_NSM=y"]))
    check_configuration(file, modules=True)
    with pytest.raises(ExecutorFailed, match="without CONFIG_VIRTIO_MMIO"):
        check_configuration(file, modules=False)
    own = [*rows, "CONFIG_SECURITY_LANDLOCK=y", "CONFIG_CMDLINE_BOOL=y"]
    file.write_text("\n".join([*own, 'CONFIG_CMDLINE=""']), encoding="ascii")
    check_configuration(file, modules=True)
    file.write_text("\n".join([*own, 'CONFIG_CMDLINE="lockdown=none"']), encoding="ascii")
    with pytest.raises(ExecutorFailed, match="CONFIG_CMDLINE"):
        check_configuration(file, modules=True)
    file.write_text("\n".join([*rows, "# CONFIG_SECURITY_LANDLOCK is not set"]), encoding="ascii")
    with pytest.raises(ExecutorFailed, match="without CONFIG_SECURITY_LANDLOCK"):
        check_configuration(file, modules=True)
    with pytest.raises(ExecutorFailed):
        check_configuration(tmp_path / "none", modules=True)


def test_modules_are_taken_as_far_as_they_are_not_built_in(tmp_path: Path) -> None:
    built_in = "kernel/drivers/virtio/virtio_mmio.ko\nkernel/drivers/block/loop.ko\nkernel/fs/squashfs/squashfs.ko\n"
    (tmp_path / "modules.builtin").write_text(built_in, encoding="ascii")
    for name, needs in (("nsm", ""), ("vsock", ""), ("vmw_vsock_virtio_transport", "vsock")):
        (tmp_path / f"{name}.ko").write_bytes(f"\0name={name}\0depends={needs}\0".encode())
    assert list(find_needed(tmp_path)) == ["vsock", "vmw_vsock_virtio_transport", "nsm"]
    (tmp_path / "nsm.ko").unlink()
    with pytest.raises(ExecutorFailed, match="nsm"):
        find_needed(tmp_path)
    for file in tmp_path.glob("*.ko"):
        file.unlink()
    (tmp_path / "modules.builtin").write_text(
        f"{built_in}kernel/a/nsm.ko\nkernel/a/vmw_vsock_virtio_transport.ko\n", encoding="ascii"
    )
    assert find_needed(tmp_path) == {}


def test_settings_are_read_strictly() -> None:
    for wrong in (
        {},
        {"kernel": "k", "compression": "best"},
        {"kernel": "k", "stub": "s"},
        {"kernel": "k", "cores": "x"},
    ):
        with pytest.raises(ExecutorOptionInvalid):
            read_recipe(wrong)
    for wrong in (
        {},
        {"image": "i", "memory": "511"},
        {"image": "i", "debug-mode": "yes"},
        {"image": "i", "cores": "-1"},
    ):
        with pytest.raises(ExecutorOptionInvalid):
            read_start(wrong)


def told(*ways: Any, **more: Any) -> bytes:
    return json.dumps({"ways": list(ways), **more}).encode("ascii")


def test_a_guest_takes_ways_of_its_own_network_alone() -> None:
    assert read_ways(told(["127.0.2.100", 443, 7])) == [("127.0.2.100", 443, 7)]
    assert read_ways(told()) == []
    assert len(read_ways(told(*[["127.0.2.100", 443, 7]] * 100))) == 100


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b"[" * 60_000,
        told(more=1),
        told(*[["127.0.2.100", 443, 7]] * 101),
        told(["0.0.0.0", 443, 7]),
        told(["127.0.0.1", 443, 7]),
        told(["127.0.2.256", 443, 7]),
        told(["127.0.2.1 ", 443, 7]),
        told(["localhost", 443, 7]),
        told([1, 443, 7]),
        told(["127.0.2.100", 0, 7]),
        told(["127.0.2.100", 1 << 16, 7]),
        told(["127.0.2.100", True, 7]),
        told(["127.0.2.100", "443", 7]),
        told(["127.0.2.100", 443, 0]),
        told(["127.0.2.100", 443, (1 << 32) - 1]),
        told(["127.0.2.100", 443]),
        told(["127.0.2.100", 443, 7, 7]),
        told("way"),
    ],
)
def test_what_is_no_way_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="no way"):
        read_ways(line)


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as short:
        yield Path(short)


def met(folder: Path, answer: bytes, then: Callable[[], None]) -> None:
    """An instance that answers an enclave's first sign, and goes on."""

    def meet() -> None:
        with listener:
            connection, who = net.accept(listener)
        with connection:
            assert (who, connection.recv(1)) == (16, b"\xb7")
            connection.sendall(answer)
        then()

    net = UnixNet(folder, passage.PARENT)
    listener = net.listen(passage.READY)
    threading.Thread(target=meet, daemon=True).start()


def lead(folder: Path) -> int:
    return passage.guest(UnixNet(folder, 16), ["/bin/false"], {})


def test_a_guest_whose_sign_is_not_answered_ends(folder: Path) -> None:
    met(folder, b"\xb6", lambda: None)
    with pytest.raises(OSError, match="does not answer"):
        lead(folder)


def test_a_guest_takes_orders_of_its_host_alone(folder: Path) -> None:
    met(folder, b"\xb7", lambda: UnixNet(folder, 17).connect(16, passage.CONTROL).close())
    with pytest.raises(OSError, match="somebody else"):
        lead(folder)


@pytest.mark.parametrize("line", [b"", b"no end", b"x" * 70_000, b"[]\n", told(["0.0.0.0", 443, 7]) + b"\n"])
def test_a_guest_that_is_told_no_way_ends(folder: Path, line: bytes) -> None:
    def tell() -> None:
        with UnixNet(folder, passage.PARENT).connect(16, passage.CONTROL) as control, contextlib.suppress(OSError):
            control.sendall(line)

    met(folder, b"\xb7", tell)
    with pytest.raises(ValueError, match="what the host tells"):
        lead(folder)


def kept(folder: Path, seconds: float = 0.3) -> None:
    with pytest.raises(OSError, match=r"timed out|too slow"):
        passage.guest(UnixNet(folder, 16), ["/bin/false"], {}, seconds)


def test_a_guest_is_not_kept_by_a_host_that_does_not_answer_its_sign(folder: Path) -> None:
    with UnixNet(folder, passage.PARENT).listen(passage.READY):
        kept(folder)


def test_a_guest_is_not_kept_by_a_host_that_does_not_come(folder: Path) -> None:
    met(folder, b"\xb7", lambda: None)
    kept(folder)


@pytest.mark.parametrize("said", [b"", b'{"ways": ', b'{"ways": []}\n'])
def test_a_guest_is_not_kept_by_a_host_that_comes_and_goes_no_further(folder: Path, said: bytes) -> None:
    """It says nothing, or half of it, or all of it and does not come with the launch."""
    done = threading.Event()

    def come() -> None:
        with UnixNet(folder, passage.PARENT).connect(16, passage.CONTROL) as control:
            control.sendall(said)
            done.wait(20)

    met(folder, b"\xb7", come)
    try:
        kept(folder)
    finally:
        done.set()


def test_a_guest_is_not_kept_by_a_host_that_says_one_byte_after_the_other(folder: Path) -> None:
    """The time is one for all of it, not one for each byte."""

    def trickle() -> None:
        with UnixNet(folder, passage.PARENT).connect(16, passage.CONTROL) as control, contextlib.suppress(OSError):
            for _ in range(1000):
                control.sendall(b" ")
                threading.Event().wait(0.02)

    met(folder, b"\xb7", trickle)
    kept(folder)


def test_a_way_outlives_a_failed_connection_and_all_ways_share_their_room() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    for _, far in pairs:
        far.settimeout(20)
    room, free, asked = threading.BoundedSemaphore(1), threading.Event(), threading.Semaphore(0)

    def come() -> Iterator[socket.socket | OSError | None]:
        yield OSError(24, "Too many open files")
        yield None
        yield pairs[0][0]
        yield pairs[1][0]
        free.wait(20)
        yield pairs[2][0]

    def accept() -> socket.socket | None:
        found = next(coming, EOFError())
        if isinstance(found, Exception):
            raise found
        return found

    def connect() -> socket.socket:
        asked.release()
        here, there = socket.socketpair()
        with there:
            return here

    def serve() -> None:
        with contextlib.suppress(EOFError):
            passage._serve(accept, connect, room)

    coming = come()
    server = threading.Thread(target=serve, daemon=True)
    server.start()
    assert asked.acquire(timeout=20), "the failed one was not the last"
    assert pairs[1][1].recv(1) == b"", "there is no room while the first one is there"
    pairs[0][1].close()
    assert room.acquire(timeout=20), "its end makes room"
    room.release()
    free.set()
    assert asked.acquire(timeout=20), "there is room again"
    pairs[1][1].close()
    pairs[2][1].close()
    server.join(20)
    assert room.acquire(timeout=20)


def test_a_far_end_that_is_gone_without_a_word_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        for connected in (passage._far((host, port)), relay._connect(host, port)):
            with connected:
                assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
                    assert 0 < connected.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) <= 60_000


def test_services_of_one_user_take_turns_and_wait_no_longer_than_they_should(tmp_path: Path) -> None:
    with turn(tmp_path / "own"):
        assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "own" / "paddock-nitro.lock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(TurnNotTaken, match="being started"), turn(tmp_path / "own", seconds=0):
            pytest.fail("two at once")
    with turn(tmp_path / "own", seconds=0):
        pass


def test_whoever_can_read_the_image_cannot_keep_enclaves_from_starting(tmp_path: Path) -> None:
    nitro = Nitro(tmp_path)
    folder = nitro.build()
    with (folder / IMAGE).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with turn(nitro.kind().turns or tmp_path, seconds=0):
            pass


def test_a_lock_that_others_can_open_is_refused(tmp_path: Path) -> None:
    for folder, file, link in ((0o777, 0o600, False), (0o700, 0o644, False), (0o700, 0o600, True)):
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        (tmp_path / "own").mkdir()
        lock = tmp_path / "own" / "paddock-nitro.lock"
        if link:
            (tmp_path / "elsewhere").touch(0o600)
            lock.symlink_to(tmp_path / "elsewhere")
        else:
            lock.touch(file)
            lock.chmod(file)
        (tmp_path / "own").chmod(folder)
        with pytest.raises(TurnNotTaken), turn(tmp_path / "own", seconds=0):
            pytest.fail("it was taken")
    (tmp_path / "file").touch()
    with pytest.raises(TurnNotTaken), turn(tmp_path / "file"):
        pytest.fail("it was taken")


def test_turns_are_taken_in_a_folder_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    assert own_folder() == Path(f"/run/user/{os.getuid()}")
    for none in ("", "relative"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", none)
        assert own_folder() == Path("/somebody/.paddock")


def test_an_instance_listens_where_nobody_does() -> None:
    if not hasattr(socket, "AF_VSOCK"):
        pytest.skip("this Python knows no vsock")
    net = passage.Vsock()
    try:
        one, two = net.listen(None), net.listen(None)
    except OSError as error:
        pytest.skip(f"this kernel has no vsock: {error.strerror}")
    with one, two:
        assert net.port(one) != net.port(two)
        assert read_ways(told(["127.0.2.100", 443, net.port(one)]))


def test_the_passage_is_one_of_two_ends() -> None:
    for wrong in ([], ["host"], ["guest", "more"], ["other"]):
        assert passage.main(wrong) == 2


def test_the_first_programs_end_the_enclave_when_anything_fails() -> None:
    """No shell, no login, no network but loopback; a start without the security module or the disk is none."""
    folder = Path(passage.__file__).with_name("guest")
    first, second = ((folder / name).read_text(encoding="ascii") for name in ("initial.sh", "start.sh"))
    for text in (first, second):
        assert text.startswith("#!/bin/busybox sh\n")
        assert "off() {\n  reboot -f\n  exit 1\n}\n" in text
    assert first.endswith("exec switch_root /disk /sbin/init\n")
    assert second.endswith("\noff\n")
    assert "/dev/nsm" in second
    assert "eth0" not in first + second
