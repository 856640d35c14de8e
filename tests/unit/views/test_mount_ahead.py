"""Which reads bring their surroundings with them."""

from __future__ import annotations

from paddock.views.mount.ahead import Surroundings

MIB = 1 << 20


def test_scattered_small_reads_bring_each_block_once() -> None:
    around = Surroundings(MIB)
    places = [5 * MIB, 1 * MIB, 7 * MIB]
    assert [around.block(2, 8 * MIB + 100, place + 4096, 4096) for place in places] == [None] * 3
    assert around.block(2, 8 * MIB + 100, 3 * MIB + 8192, 4096) == (3 * MIB, MIB)
    assert around.block(2, 8 * MIB + 100, 3 * MIB + 65536, 4096) is None
    assert around.block(2, 8 * MIB + 100, 8 * MIB, 100) == (8 * MIB, 100)
    assert around.block(3, 8 * MIB, 4096, 4096) is None


def test_reading_in_order_brings_nothing() -> None:
    around = Surroundings(MIB)
    assert all(around.block(2, 8 * MIB, at, 4096) is None for at in range(0, 8 * MIB, 4096))


def test_what_the_kernel_reads_ahead_brings_nothing_in_whatever_order_it_comes() -> None:
    around = Surroundings(MIB)
    for at in range(0, 64 * MIB, 2 * MIB):
        assert around.block(2, 64 * MIB, at + MIB, MIB) is None
        assert around.block(2, 64 * MIB, at, 4096) is None
        assert around.block(2, 64 * MIB, at + 8192, MIB - 8192) is None


def test_files_that_would_fill_the_memory_and_mounts_that_push_nothing() -> None:
    assert all(Surroundings(MIB).block(2, 1 << 60, at * MIB * 7, 4096) is None for at in range(10))
    none = Surroundings(0)
    assert all(none.block(2, 8 * MIB, at * 7919 * 4096 % MIB, 4096) is None for at in range(10))


def test_only_so_many_files_are_remembered() -> None:
    around = Surroundings(MIB)
    for node in range(1000):
        around.block(node, MIB, 4096, 4096)
    assert len(around._seen) <= 256
