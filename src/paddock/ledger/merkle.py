"""Merkle tree hashes and proofs. Pure: the hashes of complete subtrees come in through a function.

A complete subtree is named by `(level, index)`: it covers the leaves `index * 2**level` up to, without,
`(index + 1) * 2**level`. Once complete it never changes, so it is hashed once and kept.

Source: RFC 6962 §2.1 (hashes), RFC 9162 §2.1.3 and §2.1.4 (proofs and their verification); docs/spec/ledger.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from paddock.errors import ProofRefused

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Subtree = Callable[[int, int], bytes]
"""The hash of the complete subtree `(level, index)`."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + leaf).digest()  # G-1


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()  # G-1


def completed(index: int, leaf: bytes, subtree: Subtree) -> list[bytes]:
    """Hashes of the subtrees that the entry `index` completes, level 0 first.

    Args:
        index: of the entry that is appended, so that it is also the size before.
        leaf: its leaf hash.
        subtree: subtrees completed before.
    """
    hashes, level = [leaf], 0
    while index >> level & 1:
        hashes.append(node_hash(subtree(level, (index >> level) - 1), hashes[-1]))
        level += 1
    return hashes


def root(size: int, subtree: Subtree) -> bytes:
    """The tree hash over the first `size` entries."""
    return EMPTY_ROOT if size == 0 else _range_hash(0, size, subtree)


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The proof that entry `index` is in the tree of `size` entries, 0 <= index < size.

    Source: RFC 6962 §2.1.1.
    """
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(middle, end, subtree))
            end = middle
        else:
            path.append(_range_hash(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency_path(first: int, second: int, subtree: Subtree) -> list[bytes]:
    """The proof that the tree of `first` entries is the beginning of that of `second`, 0 <= first <= second.

    Source: RFC 6962 §2.1.2. For first = 0 and first = second there is nothing to prove: the path is empty.
    """
    if first in (0, second):
        return []
    path: list[bytes] = []
    start, end, known = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(_range_hash(middle, end, subtree))
            end = middle
        else:
            path.append(_range_hash(start, middle, subtree))
            start, known = middle, False
    if not known:
        path.append(_range_hash(start, end, subtree))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes) -> None:
    """Return if the entry with this leaf hash is entry `index` of the tree of `size` entries with this root.

    Raises:
        ProofRefused: it is not, or the path is not of the one length that fits (G-2).

    Source: RFC 9162 §2.1.3.2.
    """
    if not 0 <= index < size:  # G-2
        raise ProofRefused("The entry's index is outside the ledger.")
    _check_lengths([leaf, expected_root, *path])
    node, last, hash_ = index, size - 1, leaf
    for sibling in path:
        if last == 0:  # G-2: the path is longer than the tree is high.
            raise ProofRefused("The proof of inclusion is too long.")
        if node & 1 or node == last:
            hash_ = node_hash(sibling, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or hash_ != expected_root:  # G-2
        raise ProofRefused("The proof of inclusion does not lead to the ledger's root.")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> None:
    """Return if the tree of `second` entries begins with the tree of `first` entries.

    Raises:
        ProofRefused: it does not, the sizes run backwards, or the path is not of the length that fits (G-3).

    Source: RFC 9162 §2.1.4.2.
    """
    if not 0 <= first <= second:  # G-3
        raise ProofRefused("The ledger became smaller.")
    _check_lengths([first_root, second_root, *path])
    if first in (0, second):
        _verify_without_path(first, second, first_root, second_root, path)
        return
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not hashes:
        raise ProofRefused("The proof of consistency is too short.")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:  # G-3
            raise ProofRefused("The proof of consistency is too long.")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or old != first_root or new != second_root:  # G-3
        raise ProofRefused("The proof of consistency does not lead to both roots.")


def _verify_without_path(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> None:
    same = first != second or first_root == second_root
    if path or not same or (first == 0 and first_root != EMPTY_ROOT):  # G-3
        raise ProofRefused("The ledger has two histories of the same size.")


def _split(size: int) -> int:
    # The largest power of two below size (RFC 6962 §2.1).
    return 1 << (size - 1).bit_length() - 1


def _range_hash(start: int, end: int, subtree: Subtree) -> bytes:
    # Only ranges that the recursion of RFC 6962 yields come here: start is a multiple of the power of two >= length.
    length = end - start
    if length & (length - 1) == 0:
        level = length.bit_length() - 1
        return subtree(level, start >> level)
    middle = start + _split(length)
    return node_hash(_range_hash(start, middle, subtree), _range_hash(middle, end, subtree))


def _check_lengths(hashes: Sequence[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofRefused("A hash in the proof is not 32 bytes long.")
