"""Make the test vectors of docs/spec/sealed-volume.md: good volumes, and one bad volume for each kind of failure.

    python tests/vectors/make_sealed_volume.py [FOLDER]

Random bytes come from a counter, so that the same files come out each time. Each file holds `about`, `key` (the data
key, hex), `asset`, `objects` (name to base64), and either `files` (path to digest of the content) or `error` (a code).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddock.crypto.digest import b64, sha256_id
from paddock.crypto.streaming import StreamKey
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order
from paddock.seal.blobs import index_name, manifest_name, payload_name, tree_name
from paddock.seal.tree import ContentHash
from paddock.seal.writer import Content, Grown, Sealed, seal_with_entropy, stream_label
from paddock.testing.stores import MemoryStore
from paddock.testing.volumes import RawIndex, forge_volume, raw_index

FOLDER = Path(__file__).parent / "sealed_volume"
KEY = DataKey(bytes(range(32)))
FILES = {
    "notes.txt": b"Available but not visible.\n",
    "images/0001.bin": hashlib.shake_256(b"paddock").digest(9000),
    "images/empty": b"",
    "Grüße/世界": b"Unicode",
}


class Counter:
    """Bytes that look random and are the same each time."""

    def __init__(self, seed: str) -> None:
        self._seed, self._calls = seed, 0

    def __call__(self, count: int) -> bytes:
        self._calls += 1
        return hashlib.shake_256(f"{self._seed}/{self._calls}".encode()).digest(count)


def _sealed(store: MemoryStore, files: dict[str, bytes], seed: str, **options: Any) -> Sealed:
    chosen = SealOptions(**({"segment_bytes": 4096} | options))
    return seal_with_entropy(in_order(files), KEY, store, options=chosen, progress=None, entropy=Counter(seed))


def _good() -> dict[str, dict[str, Any]]:
    vectors = {}
    for name, about, files, options in (
        ("good-tree", "Several files, an empty one and one in Unicode; three segments.", FILES, {}),
        ("good-unpadded", "As good-tree, without padding.", FILES, {"padding": "none"}),
        ("good-64k", "As good-tree, in segments of 64 KiB.", FILES, {"segment_bytes": 65536}),
        ("good-no-files", "A volume without files.", {}, {}),
        ("good-empty-file", "One empty file: both streams are of one segment.", {"empty": b""}, {}),
        ("good-boundary", "The payload ends exactly with a segment.", {"a": bytes(4040)}, {"padding": "none"}),
        ("good-two-levels", "257 segments: the hash tree has two levels.",
         {"a": bytes(4040 + 255 * 4080 + 1)}, {"padding": "none"}),
        ("good-parts", "As good-tree, in parts of 4096 bytes of content.", FILES, {"part_bytes": 4096}),
    ):  # fmt: skip
        store = MemoryStore()
        sealed = _sealed(store, files, name, **options)
        vectors[name] = _vector(about, sealed.asset, store) | {
            "files": {path: sha256_id(content) for path, content in files.items()}
        }
    vectors["good-version"] = _version()
    return vectors


def _version() -> dict[str, Any]:
    """A second version: one file stays, one grew, one is new, one is gone; under another data key."""
    store = MemoryStore()
    first = _sealed(store, FILES, "first")
    kept = dict(VolumeReader.open(first.asset, store, KEY).iter_stored())
    seen = ContentHash()
    seen.update(FILES["notes.txt"])
    tail, key = b"And more of it.\n", DataKey(bytes(range(32, 64)))
    files = {"Grüße/世界": FILES["Grüße/世界"], "images/0001.bin": FILES["images/0001.bin"],
             "notes.txt": FILES["notes.txt"] + tail, "und/neu": b"new"}  # fmt: skip
    contents: list[tuple[str, Content]] = [
        ("Grüße/世界", kept["Grüße/世界"]), ("images/0001.bin", kept["images/0001.bin"]),
        ("notes.txt", Grown(kept["notes.txt"], seen, [tail])), ("und/neu", [b"new"]),
    ]  # fmt: skip
    second = seal_with_entropy(
        contents, key, store, options=SealOptions(segment_bytes=4096), progress=None, entropy=Counter("second"),
        known=first.parts,
    )  # fmt: skip
    about = "A second version under another key: files stay, grow, come and go; the first version's part is used."
    made = _vector(about, second.asset, store, key)
    return made | {"files": {path: sha256_id(content) for path, content in files.items()}}


def _vector(about: str, asset: str, store: MemoryStore, key: DataKey = KEY) -> dict[str, Any]:
    objects = {name: b64(bytes(data)) for name, data in store.objects.items()}
    return {"about": about, "asset": asset, "key": key.raw().hex(), "objects": objects}


def _stored() -> dict[str, dict[str, Any]]:
    """What a dishonest store does to an honest volume."""
    vectors: dict[str, dict[str, Any]] = {}

    def bad(name: str, error: str, about: str, change: Callable[[MemoryStore, Sealed, Sealed], None]) -> None:
        store, aside = MemoryStore(), MemoryStore()
        sealed = _sealed(store, FILES, "bad")
        other = _sealed(aside, FILES, "other")
        other_objects = dict(aside.objects)
        store.objects.update(other_objects)
        change(store, sealed, other)
        for gone in other_objects:
            store.objects.pop(gone, None)
        vectors[name] = _vector(about, sealed.asset, store) | {"error": error}

    def edit(name: str, change: Callable[[bytearray], object]) -> Callable[[MemoryStore, Sealed, Sealed], None]:
        def apply(store: MemoryStore, sealed: Sealed, other: Sealed) -> None:
            full = manifest_name(sealed.asset) if name == "manifest" else f"volumes/{sealed.volume}/{name}"
            data = bytearray(store.objects[full])
            change(data)
            store.objects[full] = bytes(data)

        return apply

    def flip(at: int) -> Callable[[bytearray], None]:
        def change(data: bytearray) -> None:
            data[at] ^= 1

        return change

    def reorder(data: bytearray) -> None:
        data[:4096], data[4096:8192] = data[4096:8192], data[:4096]

    bad("bad-manifest-changed", "E-SEAL-01", "One bit of the manifest differs.", edit("manifest", flip(-5)))
    bad("bad-manifest-rolled-back", "E-SEAL-01", "The manifest of another volume of the same files and key.",
        lambda store, sealed, other: store.objects.update({manifest_name(sealed.asset): other.manifest}))  # fmt: skip
    for part in ("payload", "index", "tree"):
        bad(f"bad-{part}-missing", "E-SEAL-04", f"The {part} is missing.",
            lambda store, sealed, other, part=part: store.objects.pop(f"volumes/{sealed.volume}/{part}"))  # type: ignore[misc]  # fmt: skip
        bad(f"bad-{part}-truncated", "E-SEAL-05", f"The last byte of the {part} is missing.",
            edit(part, lambda data: data.pop()))  # fmt: skip
        bad(f"bad-{part}-overlong", "E-SEAL-06", f"One byte follows the {part}.",
            edit(part, lambda data: data.append(0)))  # fmt: skip
    bad("bad-payload-changed", "E-SEAL-07", "One bit of the payload differs.", edit("payload", flip(5000)))
    bad("bad-index-changed", "E-SEAL-07", "One bit of the index differs.", edit("index", flip(60)))
    bad("bad-tag-changed", "E-SEAL-07", "One bit of the last tag differs.", edit("payload", flip(-1)))
    bad("bad-reordered", "E-SEAL-08", "The first two segments of the payload change places.", edit("payload", reorder))
    for part, name in (("payload", payload_name), ("index", index_name)):
        bad(f"bad-{part}-swapped", "E-SEAL-09", f"The {part} of another volume of the same files and key.",
            lambda store, sealed, other, name=name: store.objects.update(  # type: ignore[misc]
                {name(sealed.volume): store.objects[name(other.volume)]}))  # fmt: skip
    bad("bad-tree-swapped", "E-SEAL-10", "The tree of another volume of the same files and key.",
        lambda store, sealed, other: store.objects.update(
            {tree_name(sealed.volume): store.objects[tree_name(other.volume)]}))  # fmt: skip
    bad("bad-tree-changed", "E-SEAL-10", "One bit of the tree differs.", edit("tree", flip(0)))

    store = MemoryStore()
    sealed = _sealed(store, FILES, "bad")
    about = "Everything is right but the data key."
    vectors["bad-key"] = _vector(about, sealed.asset, store, DataKey(bytes(32))) | {"error": "E-SEAL-03"}
    return vectors


def _forged() -> dict[str, dict[str, Any]]:
    """What a hostile owner can seal: every hash and tag is right."""
    vectors: dict[str, dict[str, Any]] = {}

    def bad(name: str, error: str, about: str, index: bytes | RawIndex, payload: bytes = b"12345", **more: Any) -> None:
        store = MemoryStore()
        asset = forge_volume(payload, index, KEY, store, entropy=Counter(name), **more)
        vectors[name] = _vector(about, asset, store) | {"error": error}

    def put(row: int, value: Any) -> Callable[[list[Any]], None]:
        def change(rows: list[Any]) -> None:
            rows[row] = value

        return change

    one = [[(b"a", 0, 3), (b"b", 3, 2)]]
    good = raw_index(one)
    for path, what in (
        (b"../a", "leads-out"), (b"/a", "absolute"), (b"a//b", "empty-part"), (b"./a", "dot"), (b"a\0", "nul"),
        (b"", "empty"), (b"\xff", "not-utf8"), (b"x" * 1025, "too-long"),
    ):  # fmt: skip
        about = "A path that no volume may hold."
        bad(f"bad-path-{what}", "E-SEAL-12", about, raw_index([[(path, 0, 5)]]))
    for what, about, blocks in (
        ("unsorted", "Paths do not ascend.", [[(b"b", 0, 3), (b"a", 3, 2)]]),
        ("twice", "A path stands twice.", [[(b"a", 0, 3), (b"a", 3, 2)]]),
        ("file-is-directory", "A file is also a directory.", [[(b"a", 0, 3), (b"a/b", 3, 2)]]),
        ("extents-are-one", "Two extents follow each other in the content.", [[(b"a", [(0, 3), (3, 2)])]]),
        ("extent-empty", "An extent has no bytes.", [[(b"a", [(0, 0)])]]),
        ("too-many-extents", "A file has 129 extents.", [[(b"a", [(0, 1), (2, 1)] * 64 + [(0, 1)])]]),
        ("outside", "A file lies outside the content.", [[(b"a", 0, 3), (b"b", 3, 3)]]),
        ("block-not-full", "A block ends before it is full.", [[(b"a", 0, 3)], [(b"b", 3, 2)]]),
    ):
        bad(f"bad-index-{what}", "E-SEAL-12", about, raw_index(blocks))
    bad("bad-index-trailing", "E-SEAL-12", "Bytes follow the last entry.", raw_index(one, trailing=b"\0"))
    bad("bad-index-magic", "E-SEAL-12", "Another footer.", raw_index(one, change_footer=put(0, b"PDKINDX2")))
    bad("bad-index-count", "E-SEAL-12", "The footer counts a file too many.",
        raw_index(one, change_footer=put(1, 3)))  # fmt: skip
    bad("bad-index-fence", "E-SEAL-12", "A fence names another path.",
        raw_index(one, change_fences=lambda rows: rows[0].__setitem__(3, b"A")))  # fmt: skip
    bad("bad-index-too-long", "E-SEAL-12", "The index has a byte too many.", raw_index(one, after=b"\0"))
    bad("bad-index-short", "E-SEAL-12", "The index has no room for a footer.", bytes(55))
    for what, about, column, value in (
        ("content", "A part has more content than its stream.", 6, 6),
        ("empty", "A part has no content.", 6, 0),
        ("segment-bytes", "A part has a segment size that is not allowed.", 4, 2048),
        ("header", "The header of a part is of another form.", 2, bytes(40)),
    ):
        bad(f"bad-part-{what}", "E-SEAL-12", about,
            raw_index([[(b"a", 0, 3)]], change_parts=lambda rows, c=column, v=value: rows[0].__setitem__(c, v)))  # type: ignore[misc]  # fmt: skip
    bad("bad-part-twice", "E-SEAL-12", "A part stands twice in the table.",
        raw_index(one, change_parts=lambda rows: rows.append(rows[0])))  # fmt: skip
    bad("bad-part-root", "E-SEAL-10", "A part's root is another one.",
        raw_index(one, change_parts=lambda rows: rows[0].__setitem__(3, bytes(32))))  # fmt: skip
    bad("bad-part-key", "E-SEAL-11", "A part's key is another one.",
        raw_index(one, change_parts=lambda rows: rows[0].__setitem__(1, bytes(32))))  # fmt: skip
    long = raw_index([[(b"a", 0, 1000)]], padding="padme")
    bad("bad-padding-length", "E-SEAL-12", "A part without padding is longer than its content.",
        raw_index([[(b"a", 0, 5)]]), b"123456", content_bytes=5)  # fmt: skip
    bad("bad-padding-payload", "E-SEAL-13", "The payload's padding is not zero.", long, bytes(1023) + b"!",
        padding="padme", content_bytes=1000)  # fmt: skip
    bad("bad-padding-index", "E-SEAL-13", "The index's padding is not zero.",
        raw_index([[(b"%030d" % n, 0, 0) for n in range(3)]], padding="padme", filler=b"!"), b"",
        padding="padme")  # fmt: skip
    bad("bad-label", "E-SEAL-11", "The streams were sealed for another volume.", good,
        stream_key=lambda stream, header: StreamKey(KEY.raw(), header, stream_label("00" * 16, stream)))  # fmt: skip
    for what, about, change in (
        ("version", "An unknown format.", {"format": "paddock/volume/v2"}),
        ("member", "A member too many.", {"more": 1}),
        ("segment-bytes", "A segment size that is not allowed.", {"segment_bytes": 2048}),
        ("volume", "A volume number of another form.", {"volume": "../../etc/passwd"}),
        ("padding", "An unknown padding.", {"padding": "maybe"}),
    ):
        bad(f"bad-manifest-{what}", "E-SEAL-02", about, good, change_manifest=lambda v, c=change: v.update(c))
    bad("bad-manifest-form", "E-SEAL-02", "JSON, but not in canonical form.", good,
        write_manifest=lambda value: json.dumps(value, indent=1).encode())  # fmt: skip
    bad("bad-manifest-header", "E-SEAL-11", "The manifest states another header.", good,
        change_manifest=lambda value: value["index"].update(header="28" + "00" * 39))  # fmt: skip
    return vectors


def main(folder: Path) -> None:
    """Write all vectors into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, vector in (_good() | _stored() | _forged()).items():
        text = json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
