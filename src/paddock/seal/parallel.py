"""Doing the same for many segments in a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_WORTH_THREADS = 4
"""Starting threads costs more than they save on fewer segments than this."""


def for_each(numbers: range, work: Callable[[int], None], threads: int) -> None:
    """Call `work` for every number, in up to `threads` threads, in about ascending order.

    The first exception ends the others after the number that each is at, and is raised here.
    """
    if threads == 1 or len(numbers) < _WORTH_THREADS:
        for number in numbers:
            work(number)
        return
    waiting = iter(numbers)
    lock = threading.Lock()
    failed = threading.Event()

    def drain() -> None:
        while not failed.is_set():
            with lock:
                number = next(waiting, None)
            if number is None:
                return
            try:
                work(number)
            except BaseException:
                failed.set()
                raise

    with ThreadPoolExecutor(min(threads, len(numbers)), thread_name_prefix="paddock-open") as pool:
        futures = [pool.submit(drain) for _ in range(min(threads, len(numbers)))]
    for future in futures:
        future.result()
