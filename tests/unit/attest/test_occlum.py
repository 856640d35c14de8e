"""Occlum's device: the size first, then the quote, whose buffer may be longer than it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from paddock.attest.occlum import DEVICE, GEN_QUOTE, GET_QUOTE_SIZE, OcclumAttester, exact_quote
from paddock.errors import AttesterUnavailable
from paddock.evidence import verify_evidence
from tests.fixtures.cast import NOW
from tests.fixtures.stand_in.devices import OcclumSgx
from tests.fixtures.vendors.intel import IntelMaker

REPORT = bytes(range(64))
SGX = IntelMaker("sgx")


@pytest.mark.parametrize("more", [0, 1, 4096])
def test_a_quote_is_verified_however_long_its_buffer_is(more: int) -> None:
    device = OcclumSgx(SGX, len(SGX.quote(REPORT)) + more)
    attester = OcclumAttester(device=device)
    assert attester.available()
    claims = verify_evidence(attester.attest(REPORT), policy=SGX.policy(), collateral=SGX.collateral(NOW), now=NOW)
    assert (claims.provider, claims.tee, claims.report_data) == ("sgx", "enclave", REPORT)
    assert device.asked == 2


def test_the_requests_have_the_numbers_of_their_structures() -> None:
    assert (GET_QUOTE_SIZE, GEN_QUOTE) == (OcclumSgx.GET_SIZE, OcclumSgx.GEN_QUOTE)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (OcclumSgx(SGX, dcap=False), r"/dev/sgx: Input/output error\. .*aesmd"),
        (OcclumSgx(SGX, opens=errno.EACCES), "Permission denied"),
        (OcclumSgx(SGX, room=0), "a size of quotes that cannot be"),
        (OcclumSgx(SGX, room=(1 << 20) + 1), "a size of quotes that cannot be"),
    ],
)
def test_what_the_device_refuses_is_said(device: OcclumSgx, words: str) -> None:
    with pytest.raises(AttesterUnavailable, match=words):
        OcclumAttester(device=device).attest(REPORT)


@pytest.mark.parametrize("length", [0, 8193])
def test_a_length_that_cannot_be_is_refused(length: int) -> None:
    device = OcclumSgx(SGX)
    device.length = length
    with pytest.raises(AttesterUnavailable, match="gave no quote"):
        OcclumAttester(device=device).attest(REPORT)


def test_what_is_no_quote_is_left_as_it_is_for_a_verifier_to_refuse() -> None:
    assert exact_quote(b"") == b""
    assert exact_quote(b"short") == b"short"
    odd = SGX.quote(REPORT) + b"\0x"
    assert exact_quote(odd) == odd


def test_the_device_is_where_the_address_says() -> None:
    assert OcclumAttester.from_address("").path == DEVICE
    assert OcclumAttester.from_address("/dev/other").path == Path("/dev/other")
    assert not OcclumAttester(Path("/dev/other"), OcclumSgx(SGX)).available()
    with pytest.raises(AttesterUnavailable, match=r"/dev/other: No such file.*inside an Occlum enclave"):
        OcclumAttester(Path("/dev/other"), OcclumSgx(SGX)).attest(REPORT)
    with pytest.raises(AttesterUnavailable, match="must be absolute"):
        OcclumAttester.from_address("sgx")


def test_report_data_of_another_size_is_a_fault_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="64 bytes"):
        OcclumAttester(device=OcclumSgx(SGX)).attest(bytes(63))
