"""Importing PaddlePaddle without starting programs: in some environments no child process is possible, in none is one wanted.

At import it runs shell lines to learn the C library's version, whether the processor has AVX, and where compilers are. Here
the second is answered from the same file that its shell line reads; for the others it has an answer of its own when nothing
is found, and nothing that a job does depends on them.

Source: PaddlePaddle 3.3.1, base/core.py (`avx_supported`, `get_libc_ver`) and utils/cpp_extension/extension_utils.py
(`find_cuda_home`, `find_ccache_home`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_AVX = "cat /proc/cpuinfo | grep -i avx"
_POPEN = os.popen
_PROCESSOR = Path("/proc/cpuinfo")


_without: set[int] = set()
"""Threads that start nothing."""


class _Unstarted(subprocess.Popen[Any]):
    """A program that is not there; of a shell line, one that ended with a complaint. Of other threads, any program."""

    def __init__(self, args: Any, *more: Any, **settings: Any) -> None:
        self._started = threading.get_ident() not in _without
        if self._started:
            super().__init__(args, *more, **settings)
            return
        self._child_created = False  # so that nothing is waited for
        self.args = args
        self.returncode = 127
        if not settings.get("shell"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def communicate(self, *values: Any, **named: Any) -> tuple[Any, Any]:
        """Nothing, and a complaint."""
        return super().communicate(*values, **named) if self._started else (b"", b"no program is started here")


@contextlib.contextmanager
def no_children() -> Iterator[None]:
    """While the block lasts, this thread starts no program by way of `subprocess` or `os.popen`.

    Others do, for an enclave proves itself meanwhile, and some attesters ask by way of programs.
    """
    before, thread = (subprocess.Popen, os.popen), threading.get_ident()
    _without.add(thread)
    subprocess.Popen, os.popen = _Unstarted, _answered  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        subprocess.Popen, os.popen = before  # type: ignore[misc]
        _without.discard(thread)


def _answered(command: str, *more: Any) -> Any:
    if threading.get_ident() not in _without:
        return _POPEN(command, *more)
    if command != _AVX:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    lines = _PROCESSOR.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return io.StringIO("".join(line for line in lines if "avx" in line.lower()))
