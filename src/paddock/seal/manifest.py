"""The public manifest of a sealed volume. Its SHA-256 is the asset's id, so it commits to everything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.streaming import HEADER_BYTES, StreamLayout, is_segment_size
from paddock.errors import EncodingRefused, ManifestRefused, VolumeTooLarge
from paddock.seal.padding import PADDINGS, Padding
from paddock.seal.tree import HASH_BYTES, TreeLayout

FORMAT = "paddock/volume/v1"
MAX_MANIFEST_BYTES = 4096
_VOLUME = re.compile(r"[0-9a-f]{32}")
_MEMBERS = {"format", "index", "key_commitment", "padding", "segment_bytes", "volume"}
_STREAM_MEMBERS = {"bytes", "header", "root", "segments"}


@dataclass(frozen=True)
class StreamFacts:
    """What commits to one stream.

    Args:
        layout: segment size and length.
        header: the stream's 40-byte header, as stored at its start.
        root: root of its hash tree.
    """

    layout: StreamLayout
    header: bytes
    root: bytes

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return {
            "bytes": self.layout.sealed_bytes,
            "header": self.header.hex(),
            "root": self.root.hex(),
            "segments": self.layout.segments,
        }


@dataclass(frozen=True)
class Manifest:
    """A manifest; see docs/spec/sealed-volume.md §5."""

    volume: str
    segment_bytes: int
    padding: Padding
    key_commitment: bytes
    index: StreamFacts

    @property
    def index_tree(self) -> TreeLayout:
        """Where the index's hashes stand: behind the index, in the same object."""
        return TreeLayout(self.index.layout.sealed_bytes, self.index.layout.segments)

    def to_bytes(self) -> bytes:
        """The manifest as canonical JSON."""
        return canonical(
            {
                "format": FORMAT,
                "index": self.index.to_dict(),
                "key_commitment": self.key_commitment.hex(),
                "padding": self.padding,
                "segment_bytes": self.segment_bytes,
                "volume": self.volume,
            }
        )

    def asset(self) -> str:
        """The asset's id."""
        return sha256_id(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest strictly.

        Args:
            data: the manifest's bytes; the caller has compared their digest with the asset's id.

        Raises:
            ManifestRefused: anything that `to_bytes` could not have written.

        Source: docs/spec/sealed-volume.md §5 (S-13, S-14).
        """
        try:
            # S-13
            value = parse_canonical(data, max_bytes=MAX_MANIFEST_BYTES)
        except EncodingRefused as error:
            raise ManifestRefused(error.detail) from None
        # S-14
        if value.get("format") != FORMAT:
            raise ManifestRefused(f"Its format is not {FORMAT}.")
        if set(value) != _MEMBERS:
            raise ManifestRefused("Its members are not those of the format.")
        volume, segment_bytes, padding = value["volume"], value["segment_bytes"], value["padding"]
        if not isinstance(volume, str) or _VOLUME.fullmatch(volume) is None:
            raise ManifestRefused("The volume number is not 32 hex digits.")
        if not is_segment_size(segment_bytes):
            raise ManifestRefused("The segment size is not a power of two from 4 KiB to 4 MiB.")
        if padding not in PADDINGS:
            raise ManifestRefused("The padding is neither padme nor none.")
        return cls(
            volume=volume,
            segment_bytes=segment_bytes,
            padding=padding,
            key_commitment=_hex(value["key_commitment"], HASH_BYTES),
            index=_stream(value["index"], segment_bytes),
        )


def _stream(value: object, segment_bytes: int) -> StreamFacts:
    if not isinstance(value, dict) or set(value) != _STREAM_MEMBERS:
        raise ManifestRefused("What it says of a stream is not well formed.")
    length, segments = value["bytes"], value["segments"]
    if type(length) is not int or type(segments) is not int:
        raise ManifestRefused("A length in it is not an integer.")
    try:
        layout = StreamLayout(segment_bytes, length)
    except (EncodingRefused, VolumeTooLarge) as error:
        raise ManifestRefused(error.detail or error.summary()) from None
    if segments != layout.segments:
        raise ManifestRefused("The number of segments does not fit the stream's length.")
    header = _hex(value["header"], HEADER_BYTES)
    if header[0] != HEADER_BYTES:
        raise ManifestRefused("The header of a stream is not well formed.")
    return StreamFacts(layout, header, _hex(value["root"], HASH_BYTES))


def _hex(value: object, length: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * length or re.fullmatch(r"[0-9a-f]*", value) is None:
        raise ManifestRefused(f"A field is not {2 * length} lower-case hex digits.")
    return bytes.fromhex(value)
