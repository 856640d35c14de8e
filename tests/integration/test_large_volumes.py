"""Volumes of any shape: one file of 100 GiB, a million files, deep trees; memory stays bounded."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from paddock.seal import DataKey, SealOptions, VolumeReader, write_volume
from paddock.store.folder import FolderStore
from paddock.testing.stores import MemoryStore
from paddock.testing.volumes import GeneratingStore
from paddock.views import local_files, write_folder

KEY = DataKey(bytes(range(32)))
MIB = 1 << 20


def test_one_file_of_100_gib(tmp_path: Path) -> None:
    """Sparse on this disk; the store makes its ciphertext again when it is asked for some."""
    size = 100 << 30
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(size)
    store = GeneratingStore()
    sealed = write_volume(local_files(tmp_path), KEY, store, part_done=store.learn)
    assert (sealed.files, sealed.file_bytes) == (1, size)
    assert len(sealed.parts) == 1600
    chance = random.Random(1)
    store.requests = store.sent_bytes = 0
    reader = VolumeReader.open(sealed.asset, store, KEY)
    assert reader.read("large.bin", 77 << 30, 4096) == bytes(4096)
    assert store.sent_bytes < 1.2 * MIB
    for _ in range(20):
        assert reader.read("large.bin", chance.randrange(size), 4096) == bytes(4096)
    assert reader.read("large.bin", size - 10, 4096) == bytes(10)
    # Across the border of two parts.
    assert reader.read("large.bin", (64 << 20) * 800 - MIB, 2 * MIB) == bytes(2 * MIB)


_FIRST_BYTE = """
import json, re, sys
from pathlib import Path
from paddock.seal import DataKey, VolumeReader
from paddock.store.folder import FolderStore
def most_resident():  # of this program alone: what getrusage says, a child inherits from its parent
    return int(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
reader = VolumeReader.open(sys.argv[1], FolderStore(Path(sys.argv[2])), DataKey(bytes(range(32))))
found = {name: reader.read(name, 0, 20).decode() for name in sys.argv[3:]}
resident = most_resident()
count = sum(1 for _ in reader.iter_files())
print(json.dumps([found, resident, count, most_resident()]))
"""


def test_a_million_files(tmp_path: Path) -> None:
    def name(number: int) -> str:
        return f"images/{number // 1000:03}/{number:06}.png"

    files = ((name(number), [b"%d" % number]) for number in range(1_000_000))
    sealed = write_volume(files, KEY, FolderStore(tmp_path))
    assert sealed.files == 1_000_000
    wanted = [name(number) for number in (0, 1, 499_999, 765_432, 999_999)]
    command = [sys.executable, "-c", _FIRST_BYTE, sealed.asset, str(tmp_path), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found, resident, count, resident_after = json.loads(done.stdout)
    assert found == {path: str(int(path[-10:-4])) for path in wanted}
    assert count == 1_000_000
    assert max(resident, resident_after) < 300 * 1024


def test_odd_names_and_deep_trees(tmp_path: Path) -> None:
    source = tmp_path / "in"
    deep = "/".join("d" * 20 for _ in range(40)) + "/file"
    names = [
        deep, "a-b", "a/b", "a b", "a\nb", "-rf", "~", "%00", "*", "'\"", "…", "ﬁ", "fi", "e\u0301", "é", "İ", "a" * 255,
        ".hidden", "..…", "con", "a\\b", "\u202efdp.exe", "\x7f", "🏇/🐎", "0" * 200 + "/" + "1" * 200,
    ]  # fmt: skip
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name, encoding="utf-8")
    store = MemoryStore()
    sealed = write_volume(local_files(source), KEY, store, options=SealOptions(segment_bytes=4096))
    reader = VolumeReader.open(sealed.asset, store, KEY)
    assert reader.paths() == sorted(names, key=lambda name: name.encode())
    for name in names:
        assert reader.read(name, 0, 5000).decode() == name
    written = write_folder(reader, tmp_path / "out", overwrite=False)
    assert {str(path.relative_to(tmp_path / "out")) for path in written} == set(names)
