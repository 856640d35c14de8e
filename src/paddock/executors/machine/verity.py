"""dm-verity: a tree of hashes over a disk, whose root stands for every byte of it.

The tree is that of format version 1 without a superblock: what it was made with stands on the kernel's command line. It lies behind
the data in the same file, root first.

Source: Linux, Documentation/admin-guide/device-mapper/verity.rst; cryptsetup wiki, DMVerity (on-disk format, hash tree).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

ARGUMENT = "paddock.verity"
BLOCK_BYTES = 4096
_DIGEST_BYTES = 32
_READ_BLOCKS = 1024


@dataclass(frozen=True)
class Verity:
    """What the kernel needs to know to check a disk.

    Args:
        root: the digest of the tree's first block.
        salt: 32 bytes, hashed before every block.
        data_blocks: of 4096 bytes; the tree begins behind them.
    """

    root: bytes
    salt: bytes
    data_blocks: int

    def argument(self) -> str:
        """The word of the kernel's command line that names the disk."""
        return f"{ARGUMENT}={self.data_blocks}:{self.root.hex()}:{self.salt.hex()}"


def append_tree(disk: Path, salt: bytes) -> Verity:
    """Append the tree to a disk's data.

    Args:
        disk: the file; filled up to a whole block first.
        salt: 32 bytes. A fixed one makes the disk reproducible and is no secret: the root is pinned, not guessed.
    """
    with disk.open("r+b") as file:
        size = file.seek(0, 2)
        file.write(bytes(-size % BLOCK_BYTES))
        data_blocks = file.tell() // BLOCK_BYTES
        file.seek(0)
        started = hashlib.sha256(salt)
        hashes = bytearray()
        while part := file.read(_READ_BLOCKS * BLOCK_BYTES):
            hashes += _hashes(part, started)
        levels = [_padded(hashes)]
        while len(levels[-1]) > BLOCK_BYTES:
            levels.append(_padded(_hashes(levels[-1], started)))
        for level in reversed(levels):
            file.write(level)
        root = _hashes(levels[-1], started)
    return Verity(bytes(root), salt, data_blocks)


def _hashes(blocks: bytes | bytearray, started: hashlib._Hash) -> bytearray:
    out = bytearray()
    view = memoryview(blocks)
    for start in range(0, len(blocks), BLOCK_BYTES):
        digest = started.copy()
        digest.update(view[start : start + BLOCK_BYTES])
        out += digest.digest()
    return out


def _padded(level: bytearray) -> bytes:
    return bytes(level) + bytes(-len(level) % BLOCK_BYTES)
