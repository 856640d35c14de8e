"""Folders in memory that belong to one process, and what of them a killed process leaves behind.

Their owner holds a lock on each while it lives; the kernel takes that away with the process, however it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("/dev/shm")  # noqa: S108 - memory; nothing is found there by a name that could be guessed
_PREFIX = "paddock-staged-"
_NAME = re.compile(rf"{_PREFIX}([0-9]+)-[a-z0-9_]{{8}}")
_YOUNG_SECONDS = 10.0
"""A folder that is younger may have been made and not locked yet."""


@contextlib.contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """A fresh folder of this process, readable by its user alone, removed with all that is in it when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Whoever finds the folder unlocked knows that its process is gone.
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def remove_left(parent: Path = FOLDER, *, ended: int | None = None) -> list[Path]:
    """Remove the folders of this user's processes that are gone.

    Args:
        parent: where they are.
        ended: a process that is known to have ended: its folders need not be some seconds old.

    Returns:
        The folders that were removed.
    """
    removed = []
    with contextlib.suppress(OSError):
        device = parent.stat().st_dev
        for name in os.listdir(parent):  # noqa: PTH208 - names alone: what is mounted there is not to be asked
            found = _NAME.fullmatch(name)
            if found is not None and _is_left(parent / name, device, known=found[1] == str(ended)):
                shutil.rmtree(parent / name, ignore_errors=True)
                removed.append(parent / name)
    return removed


def _is_left(folder: Path, device: int, *, known: bool) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    old = known or time.time() - status.st_ctime > _YOUNG_SECONDS
    return old and status.st_uid == os.geteuid() and status.st_dev == device
