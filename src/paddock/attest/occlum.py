"""Occlum's SGX device inside an SGX enclave: two ioctls of `/dev/sgx`.

Source: Occlum, its DCAP library's ioctls `SGXIOC_GET_DCAP_QUOTE_SIZE` and `SGXIOC_GEN_DCAP_QUOTE`;
docs/spec/attestation.md (A-3).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paddock.attest.attester import Device, check_report_data_size, only_path, unavailable
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence

DEVICE = Path("/dev/sgx")
MEDIA_TYPE = "application/vnd.paddock.sgx-quote.v1"
GET_QUOTE_SIZE = 0x80047307  # _IOR('s', 7, uint32_t)
GEN_QUOTE = 0xC0187308  # _IOWR('s', 8, 24 bytes)
_ADVICE = "It is there inside an Occlum enclave, built with DCAP; the host must run Intel's quoting service (aesmd)."


class QuoteSize(ctypes.Structure):
    """What the first ioctl fills."""

    _fields_ = (("bytes", ctypes.c_uint32),)


class QuoteRequest(ctypes.Structure):
    """What the second one reads: where report data are, where the length and the quote go."""

    _fields_ = (("report_data", ctypes.c_void_p), ("length", ctypes.c_void_p), ("quote", ctypes.c_void_p))


@dataclass(frozen=True)
class OcclumAttester:
    """Occlum's attester of its own enclave.

    Args:
        path: its device.
        device: how it is reached.
    """

    path: Path = DEVICE
    device: Device = field(default_factory=Device)
    name = "occlum"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`occlum` or `occlum:DEVICE`. See `Attester.from_address`."""
        return cls(only_path(text, DEVICE, "occlum"))

    def available(self) -> bool:
        """Whether the device is there. Outside an enclave Linux names no device so."""
        return self.device.exists(self.path) and not self.path.is_dir()

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`."""
        check_report_data_size(report_data)
        size = QuoteSize()
        try:
            self.device.ioctl(self.path, GET_QUOTE_SIZE, size)
            if not 0 < size.bytes <= MAX_EVIDENCE_BYTES:
                raise AttesterUnavailable("Occlum names a size of quotes that cannot be.")
            data = ctypes.create_string_buffer(report_data, len(report_data))
            length, quote = ctypes.c_uint32(size.bytes), ctypes.create_string_buffer(size.bytes)
            request = QuoteRequest(ctypes.addressof(data), ctypes.addressof(length), ctypes.addressof(quote))
            self.device.ioctl(self.path, GEN_QUOTE, request)
        except OSError as error:
            raise unavailable(str(self.path), error, _ADVICE) from error
        if not 0 < length.value <= size.bytes:
            raise AttesterUnavailable("Occlum gave no quote.")
        return UnverifiedEvidence(MEDIA_TYPE, exact_quote(quote.raw[: length.value]))


def exact_quote(buffer: bytes) -> bytes:
    """The quote without what stands behind it in a buffer of the largest size.

    The length of a DCAP quote stands in it: 436 bytes of header, report and that length, then the signature data.
    """
    end = 436 + int.from_bytes(buffer[432:436], "little")
    if len(buffer) < end or any(buffer[end:]):
        return buffer  # not of that form: for a verifier to refuse
    return buffer[:end]
