"""Small files of a home folder, replaced whole: a crash leaves the old one or the new one."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paddock.crypto.canonical import canonical, parse
from paddock.errors import CryptoRefused, HomeInvalid


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` by the canonical JSON of `value`, readable by its owner alone, and see it on disk.

    Raises:
        HomeInvalid: the folder cannot be written, or the disk is full; the old file is still there.
    """
    write_bytes(path, canonical(value))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; see `write_json`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror}.") from error


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keep other commands from changing `path` while this one reads it, changes what it read, and writes it.

    Raises:
        HomeInvalid: the folder cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go of when it is closed, also by a crash
        yield
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; an empty one if there is no such file.

    Raises:
        HomeInvalid: it cannot be read or is damaged.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror}.") from error
    except CryptoRefused as error:
        raise HomeInvalid(f"{path} is damaged.") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
