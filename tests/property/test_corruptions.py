"""Ten thousand random corruptions of what a store holds: every one is refused, and no wrong byte comes out."""

from __future__ import annotations

import random

import pytest

from paddock.errors import PaddockError
from paddock.seal import DataKey, OpenOptions, SealOptions, VolumeReader, in_order, write_volume
from paddock.seal.tree import ContentHash
from paddock.seal.writer import Grown
from paddock.testing.stores import MemoryStore

CORRUPTIONS = 10_000
KEY = DataKey(bytes(range(32)))
SMALL = OpenOptions(threads=1, cached_segments=1, cached_tiles=1)


def _volume(chance: random.Random, kind: str) -> tuple[MemoryStore, str, dict[str, bytes]]:
    """A volume of several parts, of one, or a second version over the parts of a first."""
    store = MemoryStore()
    files = {f"d{n % 3}/{n}": chance.randbytes(chance.randrange(6000)) for n in range(12)} | {"empty": b""}
    options = SealOptions(segment_bytes=4096, threads=1, part_bytes=10_000 if kind == "parts" else 64 << 20)
    sealed = write_volume(in_order(files), KEY, store, options=options)
    if kind != "version":
        return store, sealed.asset, files
    kept = dict(VolumeReader.open(sealed.asset, store, KEY).iter_stored())
    seen = ContentHash()
    seen.update(files["d0/0"])
    grown = Grown(kept["d0/0"], seen, [b"more" * 500])
    contents = [(path, grown if path == "d0/0" else kept[path]) for path in sorted(files)]
    files["d0/0"] += b"more" * 500
    second = write_volume(contents, KEY, store, options=options, known=sealed.parts)
    # The first version's own index and manifest are no part of the second.
    for name in (f"volumes/{sealed.volume}/index", "manifests/" + sealed.asset.removeprefix("sha256:")):
        store.delete(name)
    return store, second.asset, files


def _corrupt(chance: random.Random, store: MemoryStore) -> tuple[str, bytes]:
    """Change one object in one way, and say which; it is never left as it was."""
    name = chance.choice(list(store.objects))
    whole = bytes(store.objects[name])
    damaged = whole
    while damaged == whole:
        at, other = chance.randrange(len(whole)), chance.choice(list(store.objects))
        count = chance.choice([1, 2, 16, 32, 4096])
        match chance.choice(["flip", "cut", "grow", "zero", "move", "swap", "noise", "gone"]):
            case "flip":
                damaged = whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
            case "cut":
                damaged = whole[:at]
            case "grow":
                damaged = whole + chance.randbytes(count)
            case "zero":
                damaged = whole[:at] + bytes(len(whole[at : at + count])) + whole[at + count :]
            case "move":
                begin = chance.randrange(len(whole))
                damaged = (whole[:at] + whole[begin : begin + count] + whole[at + count :])[: len(whole)]
            case "swap":
                damaged = bytes(store.objects[other])
            case "noise":
                damaged = whole[:at] + chance.randbytes(len(whole[at : at + count])) + whole[at + count :]
            case _:
                del store.objects[name]
                return name, whole
    store.objects[name] = damaged
    return name, whole


def test_ten_thousand_corruptions_are_ten_thousand_refusals() -> None:
    chance = random.Random(20261123)
    refused = done = 0
    for kind in ("one", "parts", "version"):
        store, asset, files = _volume(chance, kind)
        for _ in range(-(-CORRUPTIONS // 3)):
            name, whole = _corrupt(chance, store)
            done += 1
            with pytest.raises(PaddockError) as refusal:
                _read_all(asset, store, files)
            assert refusal.value.code.startswith("E-SEAL-")
            refused += 1
            store.objects.pop(name, None)
            store.objects[name] = whole
        _read_all(asset, store, files)
    assert refused == done >= CORRUPTIONS


def _read_all(asset: str, store: MemoryStore, files: dict[str, bytes]) -> None:
    """Read as jobs do, file by file; then all that is left: padding, and what no file uses any more."""
    reader = VolumeReader.open(asset, store, KEY, options=SMALL)
    failed: PaddockError | None = None
    for file in reader.iter_files():
        try:
            content = bytearray(file.size)
            file.read_into(0, memoryview(content))
        except PaddockError as error:
            failed = error
        else:
            assert bytes(content) == files[file.path], "a wrong byte came out"
    if failed is not None:
        raise failed
    reader.verify()
