"""Real mounts: the kernel asks, programs read ordinary files, stores lie, processes die."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock.errors import MountOptionsInvalid, MountpointInvalid, MountUnavailable
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, write_volume
from paddock.store.folder import FolderStore
from paddock.testing.stage import Stage
from paddock.testing.stores import LyingStore, MemoryStore
from paddock.views.mount import READING, Mount, MountOptions, mount_volume, remove_stale
from paddock.views.mount import device as device_module
from paddock.views.mount.protocol import Init
from paddock.views.mount.server import ServerOptions
from tests.fixtures.fuse import fuse, mountpoint

__all__ = ["fuse", "mountpoint"]
pytestmark = pytest.mark.usefixtures("fuse")
SMALL = SealOptions(segment_bytes=4096)


FILES = {
    "a": b"",
    "a-b": b"x",
    "a.d/deep/er/x": b"deep",
    "big": bytes(range(256)) * 4096 * 3 + b"tail",
    "dir/one": b"1" * 5000,
    "dir/two": b"2" * 4095,
    "dir/ünï": "é".encode(),
    "z" * 200: b"long name",
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sealed(files: dict[str, bytes], store: MemoryStore | None = None) -> tuple[str, MemoryStore, DataKey]:
    store = store or MemoryStore()
    key = DataKey.generate()
    return write_volume(in_order(files), key, store, options=SMALL).asset, store, key


def test_the_serving_process_asks_its_own_mount_for_nothing(mountpoint: Path) -> None:
    """One that is killed while it waits for its own answer is never gone: here nobody answers, and it comes up all the same."""
    options = ServerOptions(
        ("ro", "default_permissions", "fsname=paddock", "subtype=paddock"), Init(0), 1, 4096, 1 << 20
    )
    with Mount(mountpoint, {}, options) as mount:
        assert mount.statistics.requests == 0
        with pytest.raises(OSError, match="not implemented"):
            mountpoint.stat()
        assert mount.statistics.requests == 1
    assert not mountpoint.is_mount()


@contextmanager
def mounted(mountpoint: Path, files: dict[str, bytes] = FILES) -> Iterator[Mount]:
    asset, store, key = sealed(files)
    with mount_volume(VolumeReader.open(asset, store, key, options=READING), mountpoint) as mount:
        yield mount


def test_the_files_are_those_that_were_sealed(mountpoint: Path) -> None:
    with mounted(mountpoint) as mount:
        found = {
            str(path.relative_to(mountpoint)): path.read_bytes() for path in mountpoint.rglob("*") if path.is_file()
        }
        assert found == FILES
        assert names(mountpoint) == sorted({path.split("/")[0] for path in FILES})
        assert mount.statistics.read_bytes >= sum(map(len, FILES.values()))
    assert names(mountpoint) == []


def test_what_stat_says(mountpoint: Path) -> None:
    with mounted(mountpoint):
        for path, data in FILES.items():
            status = (mountpoint / path).stat()
            assert (status.st_size, status.st_mode) == (len(data), 0o100400)
            assert status.st_uid == os.getuid()
        assert (mountpoint / "a.d/deep").stat().st_mode == 0o40500
        assert os.statvfs(mountpoint).f_files == len(FILES)
        numbers = {(mountpoint / path).stat().st_ino for path in FILES}
        assert len(numbers) == len(FILES)
    again = mountpoint
    with mounted(again):
        assert {(mountpoint / path).stat().st_ino for path in FILES} == numbers


def test_any_range_of_a_file(mountpoint: Path) -> None:
    with mounted(mountpoint):
        descriptor = os.open(mountpoint / "big", os.O_RDONLY)
        try:
            data = FILES["big"]
            for offset in (0, 1, 4079, 4080, 4096, 65535, 1 << 20, len(data) - 3, len(data), len(data) + 5000):
                for length in (1, 4096, 70000):
                    assert os.pread(descriptor, length, offset) == data[offset : offset + length]
        finally:
            os.close(descriptor)


def test_reads_at_random_places_bring_their_surroundings_and_the_same_bytes(mountpoint: Path) -> None:
    data = os.urandom(6 << 20)
    with mounted(mountpoint, {"f": data}) as mount:
        descriptor = os.open(mountpoint / "f", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        for number in range(1500):
            offset = number * 7919 * 4096 % len(data)
            assert os.pread(descriptor, 4096, offset) == data[offset : offset + 4096]
        os.close(descriptor)
        assert mount.statistics.pushed_bytes >= 5 << 20
        assert (mountpoint / "f").read_bytes() == data


def test_several_programs_read_at_once(mountpoint: Path) -> None:
    data = os.urandom(3 << 20)
    with mounted(mountpoint, {f"d{number}/f": data for number in range(4)}):
        wrong = []

        def read(number: int) -> None:
            with (mountpoint / f"d{number % 4}/f").open("rb", buffering=0) as file:
                for turn in range(200):
                    offset = (turn * 104729 + number * 4096) % len(data)
                    file.seek(offset)
                    got = file.read(9000)
                    if not got or data[offset : offset + len(got)] != got:
                        wrong.append((number, offset))

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert wrong == []


@pytest.mark.parametrize(
    "attempt",
    [
        lambda folder: (folder / "new").write_bytes(b"x"),
        lambda folder: (folder / "big").open("r+b"),
        lambda folder: (folder / "big").unlink(),
        lambda folder: (folder / "big").rename(folder / "bigger"),
        lambda folder: (folder / "sub").mkdir(),
        lambda folder: (folder / "big").chmod(0o600),
        lambda folder: os.truncate(folder / "big", 0),
    ],
)
def test_nothing_can_be_changed(mountpoint: Path, attempt) -> None:
    with mounted(mountpoint):
        with pytest.raises(OSError, match=r"Read-only file system|Permission denied"):
            attempt(mountpoint)
        assert (mountpoint / "big").read_bytes() == FILES["big"]


@pytest.mark.parametrize("name", ["nothing", "dir/three", "big/below", "z" * 256, "a.d/deep/e", "\udcff"])
def test_what_is_not_there(mountpoint: Path, name: str) -> None:
    with mounted(mountpoint):
        for _ in range(2):
            with pytest.raises(OSError, match=r"No such file|Not a directory|too long"):
                (mountpoint / name).stat()


def test_the_mount_is_its_owners_alone_and_says_so(mountpoint: Path) -> None:
    with mounted(mountpoint):
        line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if str(mountpoint) in line)
        _, _, kind, options, *_ = line.split()
        assert kind == "fuse.paddock"
        assert {"ro", "nosuid", "nodev", "noexec", "default_permissions"} <= set(options.split(","))
        assert "allow_other" not in options
        if os.getuid() == 0:
            done = subprocess.run(["cat", str(mountpoint / "big")], user=65534, capture_output=True, check=False)
            assert done.returncode != 0
            assert done.stdout == b""


def test_a_directory_of_many_names_is_listed_in_parts(mountpoint: Path) -> None:
    files = {f"d/{number:06d}": b"" for number in range(20_000)} | {"d/zz/x": b"", "e": b""}
    with mounted(mountpoint, files) as mount:
        assert names(mountpoint / "d") == sorted({path.split("/")[1] for path in files if "/" in path})
        assert mount.statistics.requests > 100
        # From the middle again, as seekdir does: the kernel asks at a position that nobody listed up to.
        done = subprocess.run(["ls", "-U", str(mountpoint / "d")], capture_output=True, check=True)
        assert len(done.stdout.splitlines()) == 20_001


@pytest.mark.parametrize("lie", ["flipped", "zeros", "vanished", "unreachable", "wrong_range", "endless"])
def test_a_store_that_lies_is_an_io_error_with_its_reason(mountpoint: Path, lie: str) -> None:
    asset, store, key = sealed(FILES)
    reader = VolumeReader.open(asset, store, key, options=READING)
    liar = LyingStore(store, "/payload", lie)
    reader = VolumeReader.open(asset, _LaterLiar(store, liar), key, options=READING)
    with mount_volume(reader, mountpoint) as mount:
        with pytest.raises(OSError, match="Input/output error") as refused:
            (mountpoint / "big").read_bytes()
        assert refused.value.errno == errno.EIO
        assert mount.errors
        assert mount.errors[0].code.startswith(("E-SEAL-", "E-STORE-"))
        assert not any(name in mount.errors[0].text for name in FILES if len(name) > 2)
        assert mount.statistics.errors >= 1
        # Names come from the index, which is whole.
        assert (mountpoint / "big").stat().st_size == len(FILES["big"])


class _LaterLiar:
    """Honest about lengths, so that the volume opens; lies about what is read."""

    def __init__(self, honest: MemoryStore, liar: LyingStore) -> None:
        self.size = honest.size
        self.read = liar.read


def test_one_bad_segment_leaves_the_others_readable(mountpoint: Path) -> None:
    asset, store, key = sealed(FILES)
    name = next(name for name in store.objects if name.endswith("/payload"))
    changed = bytearray(store.objects[name])
    changed[600_000] ^= 1
    store.objects[name] = bytes(changed)
    with mount_volume(VolumeReader.open(asset, store, key, options=READING), mountpoint) as mount:
        with pytest.raises(OSError, match="Input/output error"):
            (mountpoint / "big").read_bytes()
        assert (mountpoint / "dir/one").read_bytes() == FILES["dir/one"]
        assert mount.errors[0].code == "E-SEAL-07"


def test_the_log_holds_no_names(mountpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    asset, store, key = sealed(FILES)
    reader = VolumeReader.open(asset, _LaterLiar(store, LyingStore(store, "/payload", "flipped")), key)
    with mount_volume(reader, mountpoint), pytest.raises(OSError, match="Input/output error"):
        (mountpoint / "dir/one").read_bytes()
    assert "E-SEAL-" in caplog.text
    assert "dir" not in caplog.text


def test_unmounting_what_is_in_use_is_refused_and_then_works(mountpoint: Path) -> None:
    with mounted(mountpoint) as mount:
        with (mountpoint / "big").open("rb"):
            with pytest.raises(MountUnavailable):
                mount.unmount()
            assert (mountpoint / "dir/one").read_bytes() == FILES["dir/one"]
        mount.unmount()
        assert mount.wait(0)
        mount.unmount()


def test_somebody_else_may_unmount(mountpoint: Path) -> None:
    with mounted(mountpoint) as mount:
        device_module.detach(mountpoint, lazy=False)
        assert mount.wait(10)


def test_folders_that_cannot_be_mounted_upon(mountpoint: Path, tmp_path: Path) -> None:
    asset, store, key = sealed(FILES)
    reader = VolumeReader.open(asset, store, key)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    for bad in (tmp_path / "none", tmp_path / "file", tmp_path / "full", Path("relative")):
        with pytest.raises(MountpointInvalid):
            mount_volume(reader, bad)
    with mount_volume(VolumeReader.open(*_empty()), mountpoint), pytest.raises(MountpointInvalid, match="mounted"):
        mount_volume(reader, mountpoint)


def _empty() -> tuple[str, MemoryStore, DataKey]:
    return sealed({})


def test_an_empty_volume(mountpoint: Path) -> None:
    with mount_volume(VolumeReader.open(*_empty()), mountpoint):
        assert names(mountpoint) == []


def test_without_fusermount_it_is_said(mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = VolumeReader.open(*_empty())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MountUnavailable, match="fuse3"):
        mount_volume(reader, mountpoint)


@pytest.mark.parametrize("options", [{"workers": 1}, {"readahead_bytes": 0}, {"push_bytes": 5000}, {"workers": 99}])
def test_options_out_of_range(options) -> None:
    with pytest.raises(MountOptionsInvalid):
        MountOptions(**options)


# --- as a process ---


@contextmanager
def process(tmp_path: Path, mountpoint: Path, files: dict[str, bytes] = FILES) -> Iterator[subprocess.Popen[bytes]]:
    store, key = FolderStore(tmp_path / "store"), DataKey.generate()
    asset = write_volume(in_order(files), key, store, options=SMALL).asset
    line = {
        "asset": asset,
        "store": f"folder:{tmp_path / 'store'}",
        "data_key": key.raw().hex(),
        "mountpoint": str(mountpoint),
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "paddock.views.mount"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(line).encode() + b"\n")
        child.stdin.flush()
        told = json.loads(child.stdout.readline())
        assert told["mounted"] == str(mountpoint)
        yield child
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()
        child.wait(30)


def test_the_process_shows_its_memory_to_nobody_and_its_key_in_no_argument(tmp_path: Path, mountpoint: Path) -> None:
    with process(tmp_path, mountpoint) as child:
        assert (mountpoint / "big").read_bytes() == FILES["big"]
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        assert b"data_key" not in Path(f"/proc/{child.pid}/cmdline").read_bytes()


def test_what_hardening_does() -> None:
    code = (
        "import ctypes, resource; from paddock.views.mount.process import harden; harden();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 (0, 0)\n"


@pytest.mark.parametrize("how", ["input", "term"])
def test_the_process_ends_with_its_input_or_a_signal_and_unmounts(tmp_path: Path, mountpoint: Path, how: str) -> None:
    with process(tmp_path, mountpoint) as child:
        if how == "input":
            assert child.stdin is not None
            child.stdin.close()
        else:
            child.terminate()
        assert child.wait(15) == 0
        assert not os.path.ismount(mountpoint)


def test_a_killed_process_leaves_a_mountpoint_that_says_so_and_can_be_cleaned(tmp_path: Path, mountpoint: Path) -> None:
    with process(tmp_path, mountpoint) as child:
        opened = os.open(mountpoint / "big", os.O_RDONLY)
        child.send_signal(signal.SIGKILL)
        child.wait(15)
        with pytest.raises(OSError, match="not connected"):
            names(mountpoint)
        with contextlib.suppress(OSError):  # closing says it, too
            os.close(opened)
    assert remove_stale(mountpoint)
    assert not remove_stale(mountpoint)
    assert names(mountpoint) == []


def test_a_process_cleans_what_a_killed_one_left(tmp_path: Path, mountpoint: Path) -> None:
    with process(tmp_path, mountpoint) as child:
        child.kill()
        child.wait(15)
    with process(tmp_path, mountpoint):
        assert (mountpoint / "dir/one").read_bytes() == FILES["dir/one"]


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b"[1]\n", b'{"asset": 1, "store": 2, "data_key": 3, "mountpoint": 4}\n']
)
def test_a_process_that_is_told_nonsense_says_so(line: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paddock.views.mount"], input=line, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["code"] == "E-MOUNT-02"


def test_a_mapped_file_is_read_through_page_faults(tmp_path: Path, mountpoint: Path) -> None:
    import mmap

    with process(tmp_path, mountpoint):
        file = (mountpoint / "big").open("rb")
        with file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == FILES["big"]


def test_memory_stays_bounded_however_much_is_read(tmp_path: Path, mountpoint: Path) -> None:
    files = {"big": os.urandom(1 << 20) * 96} | {f"d/{number:05d}": b"x" * 100 for number in range(3000)}
    with process(tmp_path, mountpoint, files) as child:
        (mountpoint / "d/00001").read_bytes()
        before = _resident(child.pid)
        assert (mountpoint / "big").read_bytes() == files["big"]
        assert len(names(mountpoint / "d")) == 3000
        assert _resident(child.pid) - before < 40 << 20


def _resident(pid: int) -> int:
    for _ in range(50):
        text = Path(f"/proc/{pid}/status").read_text()
        line = next((line for line in text.splitlines() if line.startswith("VmRSS:")), None)
        if line:
            return int(line.split()[1]) * 1024
        time.sleep(0.1)
    raise AssertionError("no VmRSS")


AS_NOBODY = """
import os, sys
import paddock.views.mount.__main__ as program  # before it may no longer read where Python lies
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(program.main())
"""


def test_an_ordinary_user_mounts_too() -> None:
    """Through fusermount3, which is setuid; the kernel's readahead stays at its default then."""
    if os.getuid() != 0:
        pytest.skip("all of these tests run as an ordinary user here")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        store, key = FolderStore(folder / "store"), DataKey.generate()
        asset = write_volume(in_order(FILES), key, store, options=SMALL).asset
        for path in [folder / "store", *(folder / "store").rglob("*")]:
            os.chown(path, 65534, 65534)
        mountpoint = folder / "mnt"
        mountpoint.mkdir()
        os.chown(mountpoint, 65534, 65534)
        line = {"asset": asset, "store": f"folder:{folder / 'store'}", "data_key": key.raw().hex()}
        child = subprocess.Popen([sys.executable, "-c", AS_NOBODY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps({**line, "mountpoint": str(mountpoint)}).encode() + b"\n")
            child.stdin.flush()
            assert "mounted" in json.loads(child.stdout.readline())
            reading = subprocess.run(
                ["cat", str(mountpoint / "big")], user=65534, group=65534, capture_output=True, check=False
            )
            assert reading.stdout == FILES["big"]
            # Not even root, who did not mount it.
            with pytest.raises(PermissionError):
                (mountpoint / "big").stat()
            child.stdin.close()
            assert child.wait(15) == 0
        assert stat.S_ISDIR(mountpoint.stat().st_mode)


# --- paddock mount ---


def test_paddock_mount_shows_an_own_asset_until_it_is_interrupted(stage: Stage, tmp_path: Path) -> None:
    party = stage.parties["north"]
    mountpoint = tmp_path / "shown"
    command = [sys.executable, "-m", "paddock.cli.main", "mount", "records", str(mountpoint)]
    child = subprocess.Popen([*command, "--home", str(party.home.folder)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert "is mounted at" in child.stdout.readline()
        reader = party.open_volume("records")
        for path in reader.paths():
            assert (mountpoint / path).read_bytes() == reader.read(path, 0, reader.size(path))
        # A second one is refused, and does not take the first away.
        again = subprocess.run(
            [*command, "--home", str(party.home.folder)], capture_output=True, text=True, check=False
        )
        assert again.returncode == 5
        assert "E-MOUNT-02" in again.stderr
        child.send_signal(signal.SIGINT)
        assert child.wait(15) == 0
    assert names(mountpoint) == []
