"""`/dev/sev-guest`: SEV-SNP reports from kernels that have no configfs-tsm yet (Linux 5.19 to 6.6).

Source: Linux, include/uapi/linux/sev-guest.h and Documentation/virt/coco/sev-guest.rst; docs/spec/attestation.md (A-3).
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paddock.attest.attester import Device, check_report_data_size, only_path, unavailable
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.snp_report import table_of

DEVICE = Path("/dev/sev-guest")
MEDIA_TYPE = "application/vnd.paddock.snp-report.v1"
GET_REPORT = 0xC0205300  # _IOWR('S', 0, struct snp_guest_request_ioctl)
GET_EXT_REPORT = 0xC0205302  # _IOWR('S', 2, struct snp_guest_request_ioctl)
REPORT_BYTES = 1184
RESPONSE_BYTES = 4000
MAX_CERTIFICATES_BYTES = 0x4000  # SEV_FW_BLOB_MAX_SIZE
_PAGE = 4096
_MESSAGE_VERSION = 1
_INVALID_LENGTH = 1  # SNP_GUEST_VMM_ERR_INVALID_LEN
_NO_CALL = frozenset({0, 0xFF})
_INVALID_PARAMETER = 0x16


class _NoRoom(Exception):
    """The host has more certificates than a guest can take."""


class ReportRequest(ctypes.Structure):
    """`struct snp_report_req`."""

    _fields_ = (("user_data", ctypes.c_uint8 * 64), ("vmpl", ctypes.c_uint32), ("reserved", ctypes.c_uint8 * 28))


class ExtendedRequest(ctypes.Structure):
    """`struct snp_ext_report_req`."""

    _fields_ = (("data", ReportRequest), ("certs_address", ctypes.c_uint64), ("certs_len", ctypes.c_uint32))


class GuestRequest(ctypes.Structure):
    """`struct snp_guest_request_ioctl`."""

    _fields_ = (
        ("msg_version", ctypes.c_uint8),
        ("req_data", ctypes.c_uint64),
        ("resp_data", ctypes.c_uint64),
        ("fw_error", ctypes.c_uint32),
        ("vmm_error", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class SevGuestAttester:
    """The kernel's attester of an SEV-SNP guest.

    Args:
        path: its device.
        device: how it is reached.
    """

    path: Path = DEVICE
    device: Device = field(default_factory=Device)
    name = "sev-guest"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`sev-guest` or `sev-guest:DEVICE`. See `Attester.from_address`."""
        return cls(only_path(text, DEVICE, "sev-guest"))

    def available(self) -> bool:
        """Whether the device is there."""
        return self.device.exists(self.path)

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`. With the host's certificates where it gives any."""
        check_report_data_size(report_data)
        response, table = self._extended(report_data)
        status, size = (int.from_bytes(response[at : at + 4], "little") for at in (0, 4))
        if status == _INVALID_PARAMETER:
            raise AttesterUnavailable(
                f"The firmware refuses (status {status}). Below a service module (SVSM) use tsm, on Linux 6.10 or newer."
            )
        if status != 0 or size != REPORT_BYTES:
            raise AttesterUnavailable(
                f"The firmware answered with status {status} and {size} bytes; it must be 0 and 1184."
            )
        report = response[32 : 32 + REPORT_BYTES]
        return UnverifiedEvidence(MEDIA_TYPE, report + table_of(report, table))

    def _extended(self, report_data: bytes) -> tuple[bytes, bytes]:
        # The certificates' buffer starts at a page and is whole pages.
        room = ctypes.create_string_buffer(MAX_CERTIFICATES_BYTES + _PAGE)
        start = -ctypes.addressof(room) % _PAGE
        asked = ExtendedRequest(
            certs_address=ctypes.addressof(room) + start,
            certs_len=MAX_CERTIFICATES_BYTES,
        )
        asked.data.user_data[:] = report_data
        try:
            response = self._request(GET_EXT_REPORT, asked)
        except _NoRoom:
            plain = ReportRequest()  # the same report; its certificates are collateral then
            plain.user_data[:] = report_data
            return self._request(GET_REPORT, plain), b""
        return response, room.raw[start : start + MAX_CERTIFICATES_BYTES]

    def _request(self, request: int, asked: ctypes.Structure) -> bytes:
        response = ctypes.create_string_buffer(RESPONSE_BYTES)
        whole = GuestRequest(
            msg_version=_MESSAGE_VERSION,
            req_data=ctypes.addressof(asked),
            resp_data=ctypes.addressof(response),
        )
        try:
            self.device.ioctl(self.path, request, whole)
        except OSError as error:
            if request == GET_EXT_REPORT and whole.vmm_error == _INVALID_LENGTH:
                raise _NoRoom from error
            raise self._refusal(error, whole) from error
        return response.raw

    def _refusal(self, error: OSError, whole: GuestRequest) -> AttesterUnavailable:
        if whole.vmm_error or whole.fw_error not in _NO_CALL:
            # The kernel gives its key to the firmware up then: only a restart of the guest helps.
            codes = f"firmware error {whole.fw_error:#x}, host error {whole.vmm_error:#x}"
            return unavailable(str(self.path), error, f"The kernel says {codes}; its log (dmesg) says more.")
        if error.errno == errno.ENOTTY:
            return unavailable(str(self.path), error, "The kernel's key to the firmware is gone: restart the guest.")
        return unavailable(str(self.path), error, "It is there inside an SEV-SNP guest, for root.")
