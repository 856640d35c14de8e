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
        try:
            response, table = self._extended(report_data)
        except OSError as error:
            raise unavailable(str(self.path), error, "It is there inside an SEV-SNP guest, for root.") from error
        status, size = (int.from_bytes(response[at : at + 4], "little") for at in (0, 4))
        if status != 0 or size != REPORT_BYTES:
            raise AttesterUnavailable(f"The firmware answered with status {status}.")
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
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.ENOTTY, errno.EINVAL, errno.EIO}:
                raise
            plain = ReportRequest()  # a host without certificates for guests: they are collateral then
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
        self.device.ioctl(self.path, request, whole)
        return response.raw
