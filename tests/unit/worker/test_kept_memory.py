"""A worker keeps what a step freed for the next one."""

from __future__ import annotations

import subprocess
import sys

_STEPS = """
import ctypes, resource, sys
from paddock.worker import __main__ as worker
if sys.argv[1] == "kept":
    worker._keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 24 << 20
def step():
    taken = [libc.malloc(size) for _ in range(4)]
    for each in taken:
        ctypes.memset(each, 1, size)
    for each in taken:
        libc.free(each)
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    command = [sys.executable, "-I", "-c", _STEPS, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_a_step_after_the_first_ones_touches_no_new_pages() -> None:
    given_back, kept = _faults("given back"), _faults("kept")
    assert given_back > 20_000  # glibc by itself: each of the pages anew, in each step
    assert kept < 500
