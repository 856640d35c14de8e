"""/dev/sev-guest: the extended request first, the plain one where the host has more certificates than fit."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from paddock.attest import sev_guest
from paddock.attest.sev_guest import DEVICE, SevGuestAttester
from paddock.errors import AttesterUnavailable
from paddock.evidence import Collateral, verify_evidence
from paddock.evidence.snp_report import write_table
from tests.fixtures.cast import NOW
from tests.fixtures.stand_in.devices import SevGuest
from tests.fixtures.vendors.amd import AmdMaker

REPORT = bytes(range(64))
SNP = AmdMaker()
TABLE = write_table(SNP.parts())


def attester(device: SevGuest) -> SevGuestAttester:
    return SevGuestAttester(device=device)


def test_an_extended_report_is_verified_without_collateral() -> None:
    device = SevGuest(SNP, TABLE)
    assert attester(device).available()
    claims = verify_evidence(attester(device).attest(REPORT), policy=SNP.policy(), collateral=Collateral(), now=NOW)
    assert (claims.provider, claims.tee, claims.report_data) == ("snp", "confidential-vm", REPORT)
    assert device.asked == 1


def test_a_host_without_certificates_leaves_them_to_collateral() -> None:
    evidence = attester(SevGuest(SNP)).attest(REPORT)
    assert len(evidence.body) == 1184
    claims = verify_evidence(evidence, policy=SNP.policy(), collateral=SNP.collateral(NOW), now=NOW)
    assert claims.report_data == REPORT


def test_more_certificates_than_fit_are_left_to_collateral() -> None:
    device = SevGuest(SNP, TABLE.ljust(SevGuest.MOST + 1, b"\0"))
    evidence = attester(device).attest(REPORT)
    assert device.asked == 2
    assert device.key, "nothing was lost by asking again"
    claims = verify_evidence(evidence, policy=SNP.policy(), collateral=SNP.collateral(NOW), now=NOW)
    assert claims.report_data == REPORT


def test_the_requests_and_structures_have_the_kernels_numbers_and_sizes() -> None:
    assert (sev_guest.GET_REPORT, sev_guest.GET_EXT_REPORT) == (SevGuest.GET_REPORT, SevGuest.GET_EXT_REPORT)
    sizes = (sev_guest.ReportRequest, sev_guest.ExtendedRequest, sev_guest.GuestRequest)
    assert tuple(map(ctypes.sizeof, sizes)) == (96, 112, 32)
    assert sev_guest.MAX_CERTIFICATES_BYTES == SevGuest.MOST


def test_a_fault_of_the_firmware_is_told_and_asked_about_once() -> None:
    device = SevGuest(SNP, TABLE)
    device.fault = (0x1A, 0)
    with pytest.raises(AttesterUnavailable, match=r"firmware error 0x1a, host error 0x0; its log \(dmesg\)"):
        attester(device).attest(REPORT)
    assert device.asked == 1, "the kernel's key is gone, a plain report would only hide why"
    with pytest.raises(AttesterUnavailable, match=r"key to the firmware is gone: restart the guest"):
        attester(device).attest(REPORT)


def test_a_fault_of_the_host_is_no_reason_to_ask_for_less() -> None:
    device = SevGuest(SNP, TABLE)
    device.fault = (0, 2)
    with pytest.raises(AttesterUnavailable, match="host error 0x2"):
        attester(device).attest(REPORT)
    assert device.asked == 1


def test_below_a_service_module_another_attester_is_named() -> None:
    with pytest.raises(AttesterUnavailable, match=r"status 22.*SVSM.*use tsm"):
        attester(SevGuest(SNP, TABLE, floor=2)).attest(REPORT)


@pytest.mark.parametrize("header", [(1, 1184), (0, 0), (0, 1183), (0, 4000)])
def test_a_status_or_size_that_is_not_as_it_must_be_is_refused(header: tuple[int, int]) -> None:
    device = SevGuest(SNP, TABLE)
    device.header = header
    with pytest.raises(AttesterUnavailable, match=f"status {header[0]} and {header[1]} bytes"):
        attester(device).attest(REPORT)


@pytest.mark.parametrize("error", [errno.EACCES, errno.ENODEV])
def test_a_device_that_does_not_open_is_named(error: int) -> None:
    with pytest.raises(AttesterUnavailable, match=r"/dev/sev-guest: .*inside an SEV-SNP guest, for root"):
        attester(SevGuest(SNP, opens=error)).attest(REPORT)


def test_the_device_is_where_the_address_says() -> None:
    assert SevGuestAttester.from_address("").path == DEVICE
    assert SevGuestAttester.from_address("/dev/other").path == Path("/dev/other")
    other = SevGuestAttester(Path("/dev/other"), SevGuest(SNP))
    assert not other.available()
    with pytest.raises(AttesterUnavailable, match="No such file"):
        other.attest(REPORT)
    with pytest.raises(AttesterUnavailable, match="must be absolute"):
        SevGuestAttester.from_address("sev")


def test_a_real_file_that_is_no_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sev-guest").touch()
    with pytest.raises(AttesterUnavailable, match=r"(?i)inappropriate ioctl"):
        SevGuestAttester.from_address(str(tmp_path / "sev-guest")).attest(REPORT)


def test_report_data_of_another_size_is_a_fault_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="64 bytes"):
        attester(SevGuest(SNP)).attest(bytes(63))


# --- the stand-in itself ---------------------------------------------------------------------------------------------


def request(device: SevGuest, kind: int, asked: ctypes.Structure, version: int = 1) -> sev_guest.GuestRequest:
    response = ctypes.create_string_buffer(sev_guest.RESPONSE_BYTES)
    whole = sev_guest.GuestRequest(version, ctypes.addressof(asked), ctypes.addressof(response))
    try:
        device.ioctl(DEVICE, kind, whole)
    except OSError as error:
        whole.msg_version = error.errno or 0
    return whole


def test_the_stand_in_says_how_much_room_certificates_need() -> None:
    device = SevGuest(SNP, TABLE.ljust(4097, b"\0"))
    room = ctypes.create_string_buffer(0x4000)
    asked = sev_guest.ExtendedRequest(certs_address=ctypes.addressof(room), certs_len=4096)
    answered = request(device, SevGuest.GET_EXT_REPORT, asked)
    assert (answered.msg_version, answered.vmm_error, asked.certs_len) == (errno.EIO, 1, 8192)
    assert request(device, SevGuest.GET_EXT_REPORT, asked).msg_version == 1
    assert room.raw.startswith(TABLE)


def test_the_stand_in_refuses_what_the_kernel_refuses() -> None:
    device = SevGuest(SNP, TABLE)
    room = ctypes.create_string_buffer(0x4000)
    for size in (0x5000, 100):
        asked = sev_guest.ExtendedRequest(certs_address=ctypes.addressof(room), certs_len=size)
        assert request(device, SevGuest.GET_EXT_REPORT, asked).msg_version == errno.EINVAL
    assert request(device, SevGuest.GET_REPORT, sev_guest.ReportRequest(), version=0).msg_version == errno.EINVAL
    assert request(device, 1, sev_guest.ReportRequest()).msg_version == errno.ENOTTY
