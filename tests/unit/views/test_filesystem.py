"""The file system of fsspec, alone and under the libraries that read through it."""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from paddock.errors import SegmentChanged
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, write_volume
from paddock.testing.stores import MemoryStore
from paddock.views.filesystem import VolumeFileSystem, forget_volume, register_volume

KEY = DataKey(bytes(range(32)))
CHANCE = random.Random(3)
FILES = {
    "patients.csv": b"height,weight\n1.70,61\n1.80,75\n",
    "scans/a/1.bin": CHANCE.randbytes(50_000),
    "scans/a/2.bin": b"",
    "scans/b": b"file beside a",
    "scans-of-old/x": b"not in scans",
    "Grüße/世界.txt": b"Welt",
}


def _reader(files: dict[str, bytes], store: MemoryStore | None = None) -> VolumeReader:
    kept = MemoryStore() if store is None else store
    asset = write_volume(in_order(files), KEY, kept, options=SealOptions(4096, part_bytes=16 << 10)).asset
    return VolumeReader.open(asset, kept, KEY)


@pytest.fixture
def files() -> VolumeFileSystem:
    return VolumeFileSystem(_reader(FILES))


@pytest.fixture
def registered() -> Iterator[str]:
    register_volume("records", _reader(FILES))
    yield "records"
    forget_volume("records")


def test_directories_are_listed(files: VolumeFileSystem) -> None:
    assert files.ls("", detail=False) == ["Grüße", "patients.csv", "scans-of-old", "scans"]  # as their files stand
    assert files.ls("scans", detail=False) == ["scans/a", "scans/b"]
    assert files.ls("scans/a") == [
        {"name": "scans/a/1.bin", "size": 50_000, "type": "file"},
        {"name": "scans/a/2.bin", "size": 0, "type": "file"},
    ]
    assert files.ls("patients.csv", detail=False) == ["patients.csv"]
    assert (files.isdir("scans"), files.isfile("scans"), files.isfile("scans/b")) == (True, False, True)
    assert (files.exists("scan"), files.exists("scans/a/3.bin"), files.exists("")) == (False, False, True)
    assert files.size("scans/a/1.bin") == 50_000
    assert files.find("scans") == ["scans/a/1.bin", "scans/a/2.bin", "scans/b"]
    assert files.find("scans/b") == ["scans/b"]
    assert files.glob("scans/*/*.bin") == ["scans/a/1.bin", "scans/a/2.bin"]
    assert [place for place, _, _ in files.walk("scans")] == ["scans", "scans/a"]
    for missing in ("nothing", "scans/a/1.bin/x", "../etc/passwd", "scans//a//..", "a\0b"):
        with pytest.raises(FileNotFoundError):
            files.info(missing)


def test_bytes_are_read(files: VolumeFileSystem) -> None:
    content = FILES["scans/a/1.bin"]
    assert files.cat_file("scans/a/1.bin") == content
    assert files.cat_file("scans/a/1.bin", 100, 200) == content[100:200]
    assert files.cat_file("scans/a/1.bin", -5) == content[-5:]
    assert files.cat("scans/a/*") == {"scans/a/1.bin": content, "scans/a/2.bin": b""}
    assert files.cat_ranges(["scans/a/1.bin"] * 2, [0, 4000], [10, 9000]) == [content[:10], content[4000:9000]]
    with files.open("scans/a/1.bin") as file:
        file.seek(49_990)
        assert file.read(100) == content[-10:]
    with files.open("Grüße/世界.txt", "r", encoding="utf-8") as text:
        assert text.read() == "Welt"
    for path, error in (("scans", IsADirectoryError), ("nothing", FileNotFoundError)):
        with pytest.raises(error):
            files.open(path)


def test_nothing_is_written(files: VolumeFileSystem) -> None:
    for mode in ("wb", "ab", "r+b", "xb"):
        with pytest.raises((OSError, NotImplementedError, ValueError)):
            files.open("new", mode)
    for change in (
        lambda: files.rm("patients.csv"),
        lambda: files.pipe_file("new", b"x"),
        lambda: files.mv("patients.csv", "b"),
        lambda: files.cp_file("patients.csv", "b"),
    ):
        with pytest.raises((OSError, NotImplementedError)):
            change()


def test_an_open_volume_is_not_pickled(files: VolumeFileSystem) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(files)


def test_a_million_files_do_not_make_a_root_slow() -> None:
    """Names of a directory are found without what lies deeper: blocks that hold none of them are not read."""
    store = MemoryStore()
    names = [f"{n // 5000:02}/{n:06}" for n in range(60_000)]
    asset = write_volume(((name, []) for name in names), KEY, store).asset
    reader = VolumeReader.open(asset, store, KEY)
    assert [name for name, _ in reader.iter_directory()] == [f"{n:02}" for n in range(12)]
    assert len(reader._blocks._values) < 30 < len(reader._fences)


def test_damage_is_refused_by_name() -> None:
    store = MemoryStore()
    reader = _reader(FILES, store)
    for name, data in list(store.objects.items()):
        if name.endswith("payload"):
            changed = bytearray(data)
            changed[100] ^= 1
            store.objects[name] = bytes(changed)
    with pytest.raises(SegmentChanged):
        VolumeFileSystem(reader).cat_file("scans/a/1.bin")


def test_volumes_are_registered_and_forgotten(registered: str) -> None:
    with fsspec.open(f"paddock://{registered}/patients.csv") as file:
        assert file.read() == FILES["patients.csv"]
    system = fsspec.filesystem("paddock")
    assert system.ls("", detail=False) == ["records"]
    assert system.ls("paddock://records/scans", detail=False) == ["records/scans/a", "records/scans/b"]
    forget_volume(registered)
    with pytest.raises(FileNotFoundError, match="registered"):
        system.info("paddock://records/patients.csv")


def test_threads_may_share_it(files: VolumeFileSystem) -> None:
    content = FILES["scans/a/1.bin"]
    places = [CHANCE.randrange(49_000) for _ in range(200)]
    with ThreadPoolExecutor(6) as pool:
        got = pool.map(lambda at: files.cat_file("scans/a/1.bin", at, at + 900), places)
        assert list(got) == [content[at : at + 900] for at in places]


def test_pandas_and_pyarrow_read_it(registered: str) -> None:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    frame = pd.read_csv(f"paddock://{registered}/patients.csv")
    assert frame["weight"].tolist() == [61, 75]
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(10_000))}), sink, row_group_size=1000)
    register_volume("tables", _reader({"t/1.parquet": sink.getvalue(), "t/2.parquet": sink.getvalue()}))
    try:
        assert pd.read_parquet("paddock://tables/t/1.parquet")["a"].sum() == sum(range(10_000))
        table = ds.dataset("tables/t", filesystem=fsspec.filesystem("paddock"), format="parquet")
        assert table.count_rows(filter=ds.field("a") < 5) == 10
    finally:
        forget_volume("tables")


def test_duckdb_reads_it(registered: str) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.register_filesystem(fsspec.filesystem("paddock"))
        rows = connection.sql(f"SELECT sum(weight) FROM read_csv('paddock://{registered}/patients.csv')").fetchall()
    assert rows == [(136,)]


def test_pictures_are_read() -> None:
    from PIL import Image

    sink = io.BytesIO()
    Image.new("RGB", (8, 6), (10, 20, 30)).save(sink, "png")
    system = VolumeFileSystem(_reader({"p.png": sink.getvalue()}))
    with system.open("p.png") as file, Image.open(file) as picture:
        assert (picture.size, picture.getpixel((1, 1))) == ((8, 6), (10, 20, 30))
