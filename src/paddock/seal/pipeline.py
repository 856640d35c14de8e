"""Sealing a stream: plaintext of unknown length in, sealed segments out, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from paddock.crypto.streaming import (
    HEADER_BYTES,
    MAX_SEGMENTS,
    MAX_STREAM_BYTES,
    TAG_BYTES,
    Buffer,
    StreamKey,
    StreamLayout,
    first_capacity,
)
from paddock.errors import VolumeTooLarge
from paddock.seal.tree import leaf_hash


class _Slot:
    """The buffers of one segment under way; used again and again."""

    __slots__ = ("plain", "sealed")

    def __init__(self, segment_bytes: int) -> None:
        self.plain = memoryview(bytearray(segment_bytes))
        self.sealed = memoryview(bytearray(segment_bytes))


class StreamSealer:
    """Seals one stream.

    Args:
        key: the stream's key; used for this stream alone.
        header: the header that the key was made from.
        segment_bytes: size of a stored segment.
        threads: how many segments are sealed at the same time.
    """

    def __init__(self, key: StreamKey, header: bytes, segment_bytes: int, threads: int) -> None:
        self._key = key
        self.header = header
        self._segment_bytes = segment_bytes
        self._threads = threads
        self._finished = False
        self.leaves = bytearray()
        self.sealed_bytes = 0

    @property
    def finished(self) -> bool:
        """Whether every segment has been taken."""
        return self._finished

    def layout(self) -> StreamLayout:
        """The layout of the finished stream."""
        return StreamLayout(self._segment_bytes, self.sealed_bytes)

    def run(self, chunks: Iterable[Buffer]) -> Iterator[memoryview]:
        """Yield the stored segments; each is valid until the next one is asked for. To be called once.

        Args:
            chunks: the plaintext in pieces of any size; each piece may be reused by its producer once the next one
                is asked for. What stands in `bytes`, which nobody can change, is sealed without a copy.
        """
        with ThreadPoolExecutor(self._threads, thread_name_prefix="paddock-seal") as pool:
            pending: deque[tuple[_Slot, Future[tuple[memoryview, bytes]]]] = deque()
            try:
                yield from self._segments(chunks, pool, pending)
            finally:
                # A consumer that gave up, or a producer that failed: what is queued would be thrown away.
                for _, future in pending:
                    future.cancel()
        self._finished = True

    def _segments(
        self,
        chunks: Iterable[Buffer],
        pool: ThreadPoolExecutor,
        pending: deque[tuple[_Slot, Future[tuple[memoryview, bytes]]]],
    ) -> Iterator[memoryview]:
        free = [_Slot(self._segment_bytes) for _ in range(2 * self._threads)]
        slot, filled, number = free.pop(), 0, 0
        capacity = first_capacity(self._segment_bytes)
        for chunk in chunks:
            view, at = memoryview(chunk).cast("B"), 0
            lasting = isinstance(view.obj, bytes)
            while at < len(view):
                if filled == capacity or (filled == 0 and lasting and len(view) - at > capacity):
                    # More plaintext is at hand, so this segment is not the last one.
                    plain = slot.plain[:filled] if filled else view[at : at + capacity]
                    if not filled:
                        at += capacity
                    pending.append((slot, pool.submit(self._seal, number, False, plain, slot.sealed)))
                    if not free:
                        yield from self._take(pending, free)
                    slot, filled, number = free.pop(), 0, self._next(number)
                    capacity = self._segment_bytes - TAG_BYTES
                    continue
                count = min(capacity - filled, len(view) - at)
                slot.plain[filled : filled + count] = view[at : at + count]
                filled, at = filled + count, at + count
        pending.append((slot, pool.submit(self._seal, number, True, slot.plain[:filled], slot.sealed)))
        while pending:
            yield from self._take(pending, free)

    def _seal(self, number: int, last: bool, plain: memoryview, out: memoryview) -> tuple[memoryview, bytes]:
        skip = HEADER_BYTES if number == 0 else 0
        stored = out[: skip + len(plain) + TAG_BYTES]
        if skip:
            stored[:skip] = self.header
        self._key.seal_segment(number, last, plain, stored[skip:])
        return stored, leaf_hash(stored)

    def _take(
        self, pending: deque[tuple[_Slot, Future[tuple[memoryview, bytes]]]], free: list[_Slot]
    ) -> Iterator[memoryview]:
        slot, future = pending.popleft()
        stored, leaf = future.result()
        self.leaves += leaf
        self.sealed_bytes += len(stored)
        if self.sealed_bytes > MAX_STREAM_BYTES:
            raise VolumeTooLarge
        yield stored
        free.append(slot)

    @staticmethod
    def _next(number: int) -> int:
        # S-6: the counter never wraps, since a nonce used twice reveals both plaintexts.
        if number + 1 >= MAX_SEGMENTS:
            raise VolumeTooLarge
        return number + 1
