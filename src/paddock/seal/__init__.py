"""Sealed volumes: many files under one key, hidden from the store, readable at any byte (docs/spec/sealed-volume.md).

This room is pure: it opens no file, socket or clock, and sees a store through two small protocols.
"""

from paddock.crypto.streaming import Buffer
from paddock.seal.blobs import BlobSink, BlobSource
from paddock.seal.datakey import DataKey
from paddock.seal.options import OpenOptions, SealOptions
from paddock.seal.reader import VolumeFile, VolumeReader, read_manifest
from paddock.seal.writer import Sealed, in_order, write_volume

__all__ = [
    "BlobSink",
    "BlobSource",
    "Buffer",
    "DataKey",
    "OpenOptions",
    "SealOptions",
    "Sealed",
    "VolumeFile",
    "VolumeReader",
    "in_order",
    "read_manifest",
    "write_volume",
]
