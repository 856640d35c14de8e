"""What an attester is, and how it reaches files and devices, so that tests can put a stand-in in their place."""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path
from typing import Protocol, Self

from paddock.errors import AttesterUnavailable
from paddock.evidence.binding import REPORT_DATA_BYTES
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence


class Attester(Protocol):
    """One device of the environment."""

    name: str

    @classmethod
    def from_address(cls, text: str) -> Self:
        """The attester that the text behind `NAME:` describes; empty for the usual one.

        Raises:
            AttesterUnavailable: the text is not understood.
        """

    def available(self) -> bool:
        """Whether its device is there. Asks it nothing and changes nothing."""

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """Evidence that carries this report data.

        Args:
            report_data: 64 bytes.

        Raises:
            AttesterUnavailable: the device is not there, refuses, or answers otherwise than it must.
        """


class Files:
    """The few things that attesters do with files of the kernel."""

    def exists(self, path: Path) -> bool:
        """Whether there is such a file or folder."""
        return path.exists()

    def read(self, path: Path) -> bytes:
        """All of it; at most what evidence may have. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            left = MAX_EVIDENCE_BYTES + 1
            while left > 0 and (part := os.read(descriptor, left)):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes) -> None:
        """Write all of it in one call, as attributes of the kernel want it. Raises OSError."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)  # configfs takes binary attributes over when they are closed
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes were taken")

    def make_folder(self, path: Path) -> None:
        """Make one folder. Raises OSError."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """Remove it. Raises OSError."""
        path.rmdir()


class Device:
    """A device that answers ioctls."""

    def exists(self, path: Path) -> bool:
        """Whether the device is there."""
        return path.exists()

    def ioctl(self, path: Path, request: int, argument: ctypes.Array[ctypes.c_char] | ctypes.Structure) -> None:
        """Open the device, hand it the argument, which it may change, and close it. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, request, argument, True)
        finally:
            os.close(descriptor)


def check_report_data_size(report_data: bytes) -> None:
    """Return if there are 64 bytes. Another size is a fault of the caller."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise RuntimeError(f"report data has {REPORT_DATA_BYTES} bytes")


def unavailable(what: str, error: OSError, advice: str = "") -> AttesterUnavailable:
    """The refusal for an error of the system, to be raised."""
    reason = error.strerror or str(error) or type(error).__name__
    return AttesterUnavailable(f"{what}: {reason}.{' ' + advice if advice else ''}")


def only_path(text: str, usual: Path, scheme: str) -> Path:
    """The path that an address names, absolute, or the usual one.

    Raises:
        AttesterUnavailable: it is not absolute.
    """
    if not text:
        return usual
    path = Path(text)
    if not path.is_absolute():
        raise AttesterUnavailable(f"The path behind '{scheme}:' must be absolute.")
    return path
