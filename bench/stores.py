"""S3: sealing 1 GiB into it beside the plain upload of as many bytes by the same library, and reading it back.

The server is OpenStack Swift with its s3api on loopback (Debian's packages; installed where this may be done).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import obstore
import obstore.store

from bench.harness import Row, interleaved, row
from paddock.seal import DataKey, OpenOptions, VolumeReader, write_volume
from paddock.store import open_store
from tests.fixtures.object_stores import S3Server, swift_server

AREA = "stores"
BUCKET = "bench"
MIB = 1 << 20


def rows(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=_build()) as folder, swift_server(Path(folder)) as server:
        os.environ.update(server.environment())
        server.client().create_bucket(Bucket=BUCKET)
        return _rows(server, (128 if quick else 1024) * MIB, 1 if quick else 3)


def _build() -> Path:
    folder = Path(__file__).resolve().parents[1] / "build"
    folder.mkdir(exist_ok=True)
    return folder


def _rows(server: S3Server, size: int, repeat: int) -> list[Row]:
    content = os.urandom(MIB) * (size // MIB)
    store, key = open_store(server.address(BUCKET, "ours")), DataKey.generate()
    plain: Any = obstore.store.S3Store(
        BUCKET, prefix="plain", endpoint=server.endpoint, region=server.region, client_options={"allow_http": True}
    )
    written = 0
    sealed = write_volume([("file", [content])], key, store)
    obstore.put(plain, "kept", content, chunk_size=8 * MIB, max_concurrency=8)

    def ours() -> None:
        write_volume([("file", [content])], key, store)

    def objects() -> None:
        nonlocal written
        written += 1
        store.put(f"object-{written}", (content[at : at + MIB] for at in range(0, size, MIB)))

    def theirs() -> None:
        obstore.put(plain, "again", content, chunk_size=8 * MIB, max_concurrency=8)

    def read_ours() -> None:
        out = bytearray(size)
        options = OpenOptions(fetch_bytes=8 * MIB)
        VolumeReader.open(sealed.asset, store, key, options=options).find("file").read_into(0, memoryview(out))

    def read_theirs() -> None:
        for at in range(0, size, 8 * MIB):
            bytes(obstore.get_range(plain, "kept", start=at, end=at + 8 * MIB))

    taken = interleaved(
        {"theirs": theirs, "ours": ours, "objects": objects, "read theirs": read_theirs, "read ours": read_ours},
        repeat=repeat,
    )
    rates = {name: size / times.median / 1e6 for name, times in taken.items()}
    what = f"{size // MIB} MiB"
    return [
        row(f"seal {what} into S3, beside obstore's plain upload", AREA, rates["ours"], "MB/s",
            baseline=rates["theirs"], target="ratio >= 0.8"),
        row(f"put an object of {what} into S3, beside obstore's plain upload", AREA, rates["objects"], "MB/s",
            baseline=rates["theirs"], target="ratio >= 0.8"),
        row(f"read {what} of a volume in S3, beside obstore's plain ranges one after another", AREA,
            rates["read ours"], "MB/s", baseline=rates["read theirs"]),
    ]  # fmt: skip
