"""Tree hashes and proofs against an implementation written from RFC 6962's definitions alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.ledger import merkle

# Inputs and roots of RFC 6962's reference tests (Certificate Transparency project, merkle_tree_test).
REFERENCE_LEAVES = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
REFERENCE_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def _h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _split(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return _h(b"\x00" + leaves[0]) if leaves else _h(b"")
    half = _split(len(leaves))
    return _h(b"\x01" + naive_root(leaves[:half]) + naive_root(leaves[half:]))


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = _split(len(leaves))
    if index < half:
        return [*naive_path(index, leaves[:half]), naive_root(leaves[half:])]
    return [*naive_path(index - half, leaves[half:]), naive_root(leaves[:half])]


def naive_proof(first: int, leaves: list[bytes], known: bool = True) -> list[bytes]:
    count = len(leaves)
    if first == count:
        return [] if known else [naive_root(leaves)]
    half = _split(count)
    if first <= half:
        return [*naive_proof(first, leaves[:half], known), naive_root(leaves[half:])]
    return [*naive_proof(first - half, leaves[half:], False), naive_root(leaves[:half])]


def build(leaves: list[bytes]) -> merkle.Subtree:
    known: dict[tuple[int, int], bytes] = {}
    for index, leaf in enumerate(leaves):
        hashes = merkle.completed(index, merkle.leaf_hash(leaf), lambda level, n: known[level, n])
        for level, each in enumerate(hashes):
            assert (level, index >> level) not in known
            known[level, index >> level] = each
    return lambda level, n: known[level, n]


@pytest.mark.parametrize(("count", "root"), REFERENCE_ROOTS.items())
def test_roots_are_those_of_the_reference_tests(count: int, root: str) -> None:
    assert naive_root(REFERENCE_LEAVES[:count]).hex() == root
    assert merkle.root(count, build(REFERENCE_LEAVES)).hex() == root


def test_every_root_and_proof_up_to_40_entries_is_that_of_the_definition() -> None:
    leaves = [b"%d" % number for number in range(40)]
    tree = build(leaves)
    roots = [naive_root(leaves[:count]) for count in range(41)]
    for size in range(41):
        assert merkle.root(size, tree) == roots[size]
        for index in range(size):
            path = merkle.inclusion_path(index, size, tree)
            assert path == naive_path(index, leaves[:size])
            merkle.verify_inclusion(merkle.leaf_hash(leaves[index]), index, size, path, roots[size])
        for first in range(1, size):
            proof = merkle.consistency_path(first, size, tree)
            assert proof == naive_proof(first, leaves[:size])
            merkle.verify_consistency(first, size, roots[first], roots[size], proof)


@given(st.integers(1, 300), st.data())
def test_proofs_of_any_size_verify(size: int, data: st.DataObject) -> None:
    leaves = [b"%d" % number for number in range(size)]
    tree = build(leaves)
    root = merkle.root(size, tree)
    index = data.draw(st.integers(0, size - 1))
    merkle.verify_inclusion(
        merkle.leaf_hash(leaves[index]), index, size, merkle.inclusion_path(index, size, tree), root
    )
    first = data.draw(st.integers(0, size))
    proof = merkle.consistency_path(first, size, tree)
    merkle.verify_consistency(first, size, merkle.root(first, tree), root, proof)
