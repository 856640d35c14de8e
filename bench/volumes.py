"""Large volumes: how soon the first byte of a million files comes, and how little one read of 100 GiB transfers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.harness import Row, row
from paddock.seal import DataKey, VolumeReader, write_volume
from paddock.store.folder import FolderStore
from paddock.testing.volumes import GeneratingStore

AREA = "volumes"
KEY = DataKey(bytes(range(32)))
_READ = """
import json, re, sys, time
from pathlib import Path
from paddock.seal import DataKey, VolumeReader
from paddock.store.folder import FolderStore
store, key = FolderStore(Path(sys.argv[2])), DataKey(bytes(range(32)))
began = time.perf_counter()
VolumeReader.open(sys.argv[1], store, key).read(sys.argv[3], 0, 1)
seconds = time.perf_counter() - began
resident = int(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps([seconds, resident / 1024]))
"""


def rows(quick: bool) -> list[Row]:
    return [*_files(20_000 if quick else 1_000_000), *_large((1 if quick else 100) << 30)]


def _files(count: int) -> list[Row]:
    content = os.urandom(4096)
    build = Path(__file__).resolve().parents[1] / "build"
    build.mkdir(exist_ok=True)

    def name(number: int) -> str:
        return f"images/{number // 1000:04}/{number:07}.png"

    with tempfile.TemporaryDirectory(dir=build) as folder:
        files = ((name(number), [content]) for number in range(count))
        sealed = write_volume(files, KEY, FolderStore(Path(folder)))
        command = [sys.executable, "-c", _READ, sealed.asset, str(Path(folder)), name(count // 2)]
        seconds, mib = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    what = f"{count:,} files of 4 KiB"
    return [
        row(f"open a volume of {what}, first byte", AREA, seconds, "s", target="value <= 1.5"),
        row(f"open a volume of {what}, memory of the whole process", AREA, mib, "MiB", target="value <= 300"),
    ]


def _large(size: int) -> list[Row]:
    store, zeros = GeneratingStore(), bytes(1 << 20)
    sealed = write_volume([("file", (zeros for _ in range(size >> 20)))], KEY, store, part_done=store.learn)
    store.requests = store.sent_bytes = 0
    VolumeReader.open(sealed.asset, store, KEY).read("file", size // 3, 4096)
    what = f"read 4 KiB from a volume of {size >> 30} GiB"
    return [
        row(f"{what}, transferred", AREA, store.sent_bytes / (1 << 20), "MiB", target="value <= 1.2"),
        row(f"{what}, requests for bytes", AREA, store.requests, "requests"),
    ]
