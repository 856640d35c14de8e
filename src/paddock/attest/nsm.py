"""Nitro's security module inside a Nitro enclave: one ioctl of `/dev/nsm` that carries a request and its answer in CBOR.

The report data are the document's nonce; user data and public key stay empty.

Source: Linux, include/uapi/linux/nsm.h and drivers/misc/nsm.c; aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md
and its API's `Request` and `Response`; docs/spec/attestation.md (A-3).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paddock.attest.attester import Device, check_report_data_size, only_path, unavailable
from paddock.errors import AttesterUnavailable, EvidenceMalformed
from paddock.evidence.cbor import Members, read_cbor, write_cbor
from paddock.evidence.claims import UnverifiedEvidence

DEVICE = Path("/dev/nsm")
MEDIA_TYPE = "application/vnd.paddock.nitro-document.v1"
RAW = 0xC0200A00  # _IOWR(0x0A, 0, struct nsm_raw)
MAX_RESPONSE_BYTES = 0x3000
_ATTESTATION, _ERROR = "Attestation", "Error"
_MAX_ERROR_CHARACTERS = 64


class Span(ctypes.Structure):
    """`struct nsm_iovec`."""

    _fields_ = (("address", ctypes.c_uint64), ("length", ctypes.c_uint64))


class Raw(ctypes.Structure):
    """`struct nsm_raw`; the driver sets the answer's length to what it has."""

    _fields_ = (("request", Span), ("response", Span))


@dataclass(frozen=True)
class NsmAttester:
    """The security module of a Nitro enclave.

    Args:
        path: its device.
        device: how it is reached.
    """

    path: Path = DEVICE
    device: Device = field(default_factory=Device)
    name = "nsm"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`nsm` or `nsm:DEVICE`. See `Attester.from_address`."""
        return cls(only_path(text, DEVICE, "nsm"))

    def available(self) -> bool:
        """Whether the device is there."""
        return self.device.exists(self.path)

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`."""
        check_report_data_size(report_data)
        answer = self._ask(
            write_cbor({_ATTESTATION: {"user_data": None, "nonce": report_data, "public_key": None}}),
        )
        try:
            members = Members(read_cbor(answer, "security module's answer", open_map=True), "security module's answer")
            if _ERROR in members:
                reason = members.text(_ERROR, _MAX_ERROR_CHARACTERS)
                raise AttesterUnavailable(f"The Nitro security module refuses: {reason}.")
            inner = Members(members.take(_ATTESTATION), "security module's attestation")
            document = inner.octets("document", range(1, MAX_RESPONSE_BYTES))
            inner.end()
            members.end()
        except EvidenceMalformed as error:
            raise AttesterUnavailable(
                f"The Nitro security module's answer is not understood: {error.detail}"
            ) from error
        return UnverifiedEvidence(MEDIA_TYPE, document)

    def _ask(self, request: bytes) -> bytes:
        asked = ctypes.create_string_buffer(request, len(request))
        room = ctypes.create_string_buffer(MAX_RESPONSE_BYTES)
        whole = Raw(
            Span(ctypes.addressof(asked), len(request)),
            Span(ctypes.addressof(room), MAX_RESPONSE_BYTES),
        )
        try:
            self.device.ioctl(self.path, RAW, whole)
        except OSError as error:
            raise unavailable(str(self.path), error, "It is there inside a Nitro enclave.") from error
        if not 0 < whole.response.length <= MAX_RESPONSE_BYTES:
            raise AttesterUnavailable("The Nitro security module gave no answer.")
        return room.raw[: whole.response.length]
