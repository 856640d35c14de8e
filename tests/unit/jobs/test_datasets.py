"""Datasets of paddle.io over sealed volumes."""

from __future__ import annotations

import io
import json
import random
import tarfile
import threading
from typing import Any, BinaryIO

import numpy as np
import paddle
import pytest
from PIL import Image

from paddock.errors import DataUnreadable, SegmentChanged
from paddock.jobs.datasets import Ahead, ImageFolder, ImageStream, ReadAhead, Shards, Table
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, write_volume
from paddock.testing.stores import MemoryStore
from paddock.views import VolumeFiles
from tests.vectors.volumes_by_hand import Volume

KEY = DataKey(bytes(range(32)))


def _png(colour: tuple[int, int, int]) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(sink, "png")
    return sink.getvalue()


PICTURES = {f"{'cats' if n % 2 else 'dogs'}/{n:03}.png": _png((n, 2 * n, 255 - n)) for n in range(40)} | {
    "readme.txt": b"x"
}


def _sealed(files: dict[str, bytes], store: MemoryStore | None = None, **options: Any) -> VolumeFiles:
    kept = MemoryStore() if store is None else store
    asset = write_volume(in_order(files), KEY, kept, options=SealOptions(4096)).asset
    return VolumeFiles(VolumeReader.open(asset, kept, KEY, options=OpenOptions(**options)))


def test_pictures_come_with_their_class() -> None:
    data = ImageFolder(_sealed(PICTURES))
    assert (len(data), data.classes) == (40, ["cats", "dogs"])
    picture, label = data[0]
    assert (picture.shape, picture.dtype, int(label)) == ((3, 4, 6), np.float32, 0)
    assert picture[:, 0, 0] * 255 == pytest.approx([1, 2, 254])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_picture_once(workers: int) -> None:
    """Workers are forked after this process has read with threads."""
    data = ImageFolder(_sealed(PICTURES))
    list(ImageStream(data.files, seed=1))
    loader = paddle.io.DataLoader(data, batch_size=8, shuffle=True, num_workers=workers)
    reds = [round(float(value) * 255) for batch, _ in loader for value in batch[:, 0, 0, 0]]
    assert sorted(reds) == list(range(40))


def test_a_stream_has_the_order_of_its_seed_and_epoch_and_is_resumed() -> None:
    def reds(stream: ImageStream) -> list[int]:
        return [round(float(picture[0, 0, 0]) * 255) for picture, _ in stream]

    files = _sealed(PICTURES)
    first, again = ImageStream(files, seed=4), ImageStream(files, seed=4, ahead=Ahead(threads=5, files=3))
    whole = reds(first)
    assert reds(again) == whole
    assert sorted(whole) == list(range(40)) != whole
    again.set_epoch(1)
    assert reds(again) != whole
    assert reds(ImageStream(files, seed=5)) != whole
    assert reds(ImageStream(files, seed=None)) == sorted(whole, key=lambda n: (n % 2 == 0, n))
    begun = ImageStream(files, seed=4)
    taken = iter(begun)
    for _ in range(13):
        next(taken)
    resumed = ImageStream(files, seed=4)
    resumed.load_state_dict(begun.state_dict())
    assert reds(resumed) == whole[13:]


def test_what_is_read_ahead_is_bounded() -> None:
    most = 0
    opened: list[str] = []

    class Watched(Volume):
        def open(self, name: str) -> BinaryIO:
            opened.append(name)
            return super().open(name)

    volume = Watched({f"{n:03}": bytes(1000) for n in range(100)})
    taken = 0
    with ReadAhead(volume, volume.names(), Ahead(threads=2, files=10, total_bytes=5000)) as contents:
        for _ in contents:
            taken += 1
            most = max(most, len(opened) - taken)
    assert taken == 100
    assert most <= 5


def test_a_refusal_comes_where_its_file_is_asked_for_and_threads_end() -> None:
    store = MemoryStore()
    files = _sealed({f"{n:02}": bytes([n]) * 5000 for n in range(30)}, store)
    for name, data in list(store.objects.items()):
        if name.endswith("payload"):
            changed = bytearray(data)
            changed[100_000] ^= 1
            store.objects[name] = bytes(changed)
    before = threading.active_count()
    given: list[bytes] = []
    with pytest.raises(SegmentChanged):
        given.extend(content for _, content in ReadAhead(files, files.names()))
    assert 10 < len(given) < 25
    assert all(content == bytes([n]) * 5000 for n, content in enumerate(given))
    assert threading.active_count() == before
    stopped = ReadAhead(files, files.names()[:10])
    for count, _ in enumerate(stopped):
        if count == 3:
            stopped.close()
    assert threading.active_count() == before


def test_shards_give_what_belongs_together() -> None:
    def shard(first: int) -> bytes:
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as out:
            for n in range(first, first + 5):
                for ending, content in (("png", _png((n, 0, 0))), ("json", json.dumps({"n": n}).encode())):
                    entry = tarfile.TarInfo(f"s/{n:04}.{ending}")
                    entry.size = len(content)
                    out.addfile(entry, io.BytesIO(content))
        return sink.getvalue()

    files = _sealed({f"{n}.tar": shard(5 * n) for n in range(4)})
    data = Shards(files, decode=lambda members: (sorted(members), json.loads(members["json"])["n"]), seed=2)
    given = list(data)
    assert sorted(number for _, number in given) == list(range(20))
    assert {tuple(endings) for endings, _ in given} == {("json", "png")}
    state = Shards(files, decode=lambda m: json.loads(m["json"])["n"], seed=2)
    state.load_state_dict({"epoch": 0, "done": 7})
    assert list(state) == [number for _, number in given][7:]
    for bad in (b"no tar at all" * 100, shard(0)[:700]):
        with pytest.raises(DataUnreadable):
            list(Shards(_sealed({"a.tar": bad}), decode=lambda members: members, seed=None))


def test_tables_of_all_kinds_are_rows() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    npy, npz, parquet = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, np.arange(6, dtype=np.float32).reshape(3, 2))
    np.savez(npz, x=np.arange(4), y=np.arange(4) * 2)
    pq.write_table(pa.table({"y": [1, 2], "x": [3, 4]}), parquet)
    assert Table(_sealed({"a.csv": b"x,y\n1,2\n3,4\n"}), columns=["y", "x"]).rows.tolist() == [[2, 1], [4, 3]]
    both = Table(
        _sealed({"a.csv": b"x,y\n1,2\n", "b.npz": npz.getvalue(), "c.parquet": parquet.getvalue()}), columns=["x", "y"]
    )
    assert both.rows.tolist() == [[1, 2], [0, 0], [1, 2], [2, 4], [3, 6], [3, 1], [4, 2]]
    data = Table(_sealed({"a.npy": npy.getvalue()}))
    assert (len(data), data[2].tolist()) == (3, [4, 5])
    for files, columns in (
        ({"a.csv": b"x,y\n1,z\n"}, None),
        ({"a.csv": b"x\n1\n"}, ["y"]),
        ({"a.csv": b"x,y\n1\n"}, None),
        ({"a.csv": b""}, None),
        ({"a.npy": npy.getvalue()}, ["x"]),
        ({"a.npy": b"\x93NUMPY garbage"}, None),
        ({"a.parquet": b"PAR1 nothing"}, None),
        ({"a.parquet": parquet.getvalue()}, ["z"]),
        ({"a.csv": b"x,y\n1,2\n", "b.csv": b"x\n1\n"}, None),
        ({"a.txt": b""}, None),
    ):
        with pytest.raises(DataUnreadable):
            Table(_sealed(files), columns=columns)


def test_pickled_arrays_are_not_read() -> None:
    sink = io.BytesIO()
    np.save(sink, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataUnreadable):
        Table(_sealed({"a.npy": sink.getvalue()}))


@pytest.mark.parametrize("content", [b"", b"no picture", _png((1, 2, 3))[:40]])
def test_a_picture_that_cannot_be_read_is_told(content: bytes) -> None:
    data = ImageFolder(_sealed({"a/b.png": content}))
    with pytest.raises(DataUnreadable):
        data[0]
    with pytest.raises(DataUnreadable):
        ImageFolder(_sealed({"b.png": content}))


def test_random_reads_are_the_plaintext_whatever_is_kept() -> None:
    chance = random.Random(6)
    files = {f"{n}": chance.randbytes(chance.randrange(20_000)) for n in range(20)}
    sealed = _sealed(files, cached_segments=1, cached_tiles=1, cached_blocks=1)
    for _ in range(300):
        name = chance.choice(list(files))
        at = chance.randrange(len(files[name]) + 1)
        with sealed.open(name) as file:
            file.seek(at)
            assert file.read(100) == files[name][at : at + 100]
