"""Volumes mounted as ordinary files, beside gocryptfs over the same files, in turns in the same run.

gocryptfs (Go, over its own FUSE library) is what people use to keep an encrypted folder; it holds each file encrypted by itself,
in a folder that mirrors the tree, so its store learns number, sizes and places of the files. Cold is after the kernel's caches
were dropped and the file system was mounted afresh; warm is the same once more. The programs that read run in a process of
their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Row, row
from paddock.seal import DataKey, write_volume
from paddock.store.folder import FolderStore
from paddock.views.drafts import Draft
from paddock.views.local import local_files

AREA = "mount"
_DROP = Path("/proc/sys/vm/drop_caches")
_READ = """
import os, random, sys, time
root, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
if what == "write":
    piece, start, done = os.urandom(1 << 20), time.perf_counter(), 0
    with open(root + "/written", "wb", 0) as file:
        for _ in range(count >> 20):
            done += file.write(piece)
        os.fsync(file.fileno())
elif what == "synced":
    piece, start, done = os.urandom(4096), time.perf_counter(), 0
    for number in range(count):
        with open(f"{root}/synced", "wb", 0) as file:
            file.write(piece)
            os.fsync(file.fileno())
        done += 1
elif what == "small":
    start, done = time.perf_counter(), 0
    for folder, names, files in os.walk(root + "/small"):
        names.sort()
        for name in sorted(files):
            with open(os.path.join(folder, name), "rb", 0) as file:
                file.read()
            done += 1
else:
    descriptor, done = os.open(root + "/big", os.O_RDONLY), 0
    size = os.fstat(descriptor).st_size
    start = time.perf_counter()
    if what == "sequential":
        buffer = bytearray(1 << 20)
        while got := os.readv(descriptor, [buffer]):
            done += got
    else:
        chosen = random.Random(1)
        for _ in range(count):
            os.pread(descriptor, 4096, chosen.randrange(size // 4096) * 4096)
            done += 1
print(done / (time.perf_counter() - start))
"""


def rows(quick: bool) -> list[Row]:
    """The figures; none but a note where the machine cannot mount."""
    if reason := _missing():
        # A figure of nothing, so that a run on such a machine says why and goes on.
        return [row(f"skipped: {reason}", AREA, 0.0, "none")]
    big, files, reads, turns = (16 << 20, 200, 400, 1) if quick else (1 << 30, 20_000, 20_000, 3)
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="paddock-bench-") as folder:
        ours, theirs, draft = _prepare(Path(folder), big, files)
        for turn in range(turns):
            for system in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
                _read(system, reads, figures, drop=not quick)
            for system in (draft, theirs) if turn % 2 == 0 else (theirs, draft):
                _write(system, big, max(10, reads // 100), figures)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    told = {
        "sequential": ("read one file in order", "MB/s", 1e6, "ratio >= 2"),
        "random": ("read 4 KiB at random places", "1/s", 1, "ratio >= 1"),
        "small": (f"walk and read {files:,} files of 4 to 12 KiB", "1/s", 1, "ratio >= 1"),
    }
    return [
        row(f"{words}, {state}, beside gocryptfs", AREA, medians[f"paddock {what} {state}"] / scale, unit,
            baseline=medians[f"gocryptfs {what} {state}"] / scale, target="" if quick else target)
        for what, (words, unit, scale, target) in told.items()
        for state in ("cold", "warm")
    ] + [
        row("write one file in a draft, with one fsync, beside gocryptfs", AREA, medians["draft write"] / 1e6, "MB/s",
            baseline=medians["gocryptfs write"] / 1e6),
        row("write 4 KiB with an fsync in a draft, beside gocryptfs", AREA, medians["draft synced"], "1/s",
            baseline=medians["gocryptfs synced"]),
    ]  # fmt: skip


def _read(system: _System, reads: int, figures: dict[str, list[float]], *, drop: bool) -> None:
    for what in ("sequential", "random", "small"):
        with system.mounted() as root:
            for state in ("cold", "warm"):
                if state == "cold" and drop:  # quickly: what else runs on this machine keeps its caches
                    _drop_caches()
                figures.setdefault(f"{system.name} {what} {state}", []).append(_measure(root, what, reads))


def _write(system: _System, size: int, times: int, figures: dict[str, list[float]]) -> None:
    for what, count in (("write", size), ("synced", times)):
        with system.mounted() as root:
            figures.setdefault(f"{system.name} {what}", []).append(_measure(root, what, count))
            for name in ("written", "synced"):
                (root / name).unlink(missing_ok=True)


def _missing() -> str:
    if not Path("/dev/fuse").exists():
        return "this machine has no /dev/fuse"
    wanted = [name for name in ("fusermount3", "gocryptfs") if shutil.which(name) is None]
    packages = {"fusermount3": "fuse3", "gocryptfs": "gocryptfs"}
    if wanted and os.getuid() == 0 and shutil.which("apt-get"):
        names = [packages[name] for name in wanted]
        subprocess.run(["apt-get", "install", "-y", "-q", *names], capture_output=True, check=False, timeout=600)  # noqa: S607 - Debian's own, on root's PATH
        wanted = [name for name in wanted if shutil.which(name) is None]
    if wanted:
        return f"{', '.join(packages[name] for name in wanted)} is not installed (apt-get install)"
    return "" if os.access(_DROP, os.W_OK) else "only root may drop the kernel's caches"


@dataclass(frozen=True)
class _System:
    name: str
    mounted: Callable[[], contextlib.AbstractContextManager[Path]]


def _prepare(base: Path, big: int, files: int) -> tuple[_System, _System, _System]:
    plain, point = base / "plain", base / "mounted"
    plain.mkdir()
    point.mkdir()
    piece = os.urandom(1 << 20)
    with (plain / "big").open("wb") as file:
        for _ in range(big >> 20):
            file.write(piece)
    for number in range(files):
        folder = plain / "small" / f"{number // 1000:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05d}.png").write_bytes(piece[: 4096 + number * 37 % 8192])
    key, store = DataKey.generate(), base / "store"
    sealed = write_volume(local_files(plain), key, FolderStore(store))
    cipher, password = base / "gocryptfs", base / "password"
    cipher.mkdir()
    password.write_text("bench\n", encoding="ascii")
    _run("gocryptfs", "-q", "-init", "-passfile", str(password), str(cipher))

    @contextmanager
    def theirs() -> Iterator[Path]:
        _run("gocryptfs", "-q", "-passfile", str(password), str(cipher), str(point))
        try:
            yield point
        finally:
            _run("fusermount3", "-u", str(point))

    @contextmanager
    def served(**what: str) -> Iterator[Path]:
        line = {**what, "store": f"folder:{store}", "data_key": key.raw().hex(), "mountpoint": str(point)}
        with subprocess.Popen(
            [sys.executable, "-m", "paddock.views.mount"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("no pipes")
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            if "mounted" not in json.loads(process.stdout.readline()):
                raise RuntimeError("it was not mounted")
            try:
                yield point
            finally:
                process.stdin.close()
                process.wait(60)

    def draft() -> contextlib.AbstractContextManager[Path]:
        return served(draft=Draft.create(FolderStore(store), key).number)

    with theirs() as root:
        shutil.copytree(plain, root, dirs_exist_ok=True)
    shutil.rmtree(plain)
    return (
        _System("paddock", lambda: served(asset=sealed.asset)),
        _System("gocryptfs", theirs),
        _System("draft", draft),
    )


def _drop_caches() -> None:
    os.sync()
    _DROP.write_text("3", encoding="ascii")


def _measure(root: Path, what: str, reads: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(root), what, str(reads)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
