"""Nitro's security module: the request and the answers in CBOR, and what the driver does with sizes."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from paddock.attest import nsm
from paddock.attest.nsm import DEVICE, NsmAttester
from paddock.errors import AttesterUnavailable
from paddock.evidence import Collateral, verify_evidence
from paddock.evidence.cbor import read_cbor, write_cbor
from tests.fixtures.cast import NOW
from tests.fixtures.stand_in.devices import Nsm
from tests.fixtures.vendors.aws import NitroMaker

REPORT = bytes(range(64))
NITRO = NitroMaker()


@pytest.mark.parametrize("maker", [NITRO, NitroMaker("newer", open_map=True)], ids=lambda maker: maker.label)
def test_a_document_is_verified(maker: NitroMaker) -> None:
    device = Nsm(maker)
    attester = NsmAttester(device=device)
    assert attester.available()
    claims = verify_evidence(attester.attest(REPORT), policy=maker.policy(), collateral=Collateral(), now=NOW)
    assert (claims.provider, claims.tee, claims.report_data) == ("nitro", "confidential-vm", REPORT)
    assert device.requests == [{"Attestation": {"user_data": None, "nonce": REPORT, "public_key": None}}]


def test_the_request_and_the_structure_have_the_drivers_number_and_size() -> None:
    assert nsm.RAW == Nsm.RAW == 0xC0200A00
    assert ctypes.sizeof(nsm.Raw) == 32


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (write_cbor({"Error": "InternalError"}), "refuses: InternalError"),
        (write_cbor({"Error": "\x1b[31m"}), "not understood"),
        (write_cbor({"Error": 8}), "not understood"),
        (write_cbor("GetRandom"), "not understood.*no map"),
        (write_cbor({}), "no member 'Attestation'"),
        (write_cbor({"Attestation": {}}), "no member 'document'"),
        (write_cbor({"Attestation": {"document": b""}}), "member 'document' is not well formed"),
        (write_cbor({"Attestation": {"document": "text"}}), "member 'document' is not well formed"),
        (write_cbor({"Attestation": {"document": b"x", "more": 1}}), "members that are not known"),
        (write_cbor({"Attestation": {"document": b"x"}, "more": 1}), "members that are not known"),
        (write_cbor({"Attestation": {"document": bytes(0x4000)}}), "ends too early"),
        (b"\xa1", "ends too early"),
        (b"", "gave no answer"),
    ],
)
def test_an_answer_without_a_document_is_refused(says: bytes, words: str) -> None:
    device = Nsm(NITRO)
    device.says = says
    with pytest.raises(AttesterUnavailable, match=words):
        NsmAttester(device=device).attest(REPORT)


def test_an_answer_with_a_marked_end_is_read_too() -> None:
    device = Nsm(NITRO)
    document = NITRO.evidence(REPORT).body
    device.says = b"\xbf" + write_cbor({"Attestation": {"document": document}})[1:] + b"\xff"
    assert NsmAttester(device=device).attest(REPORT).body == document


@pytest.mark.parametrize("error", [errno.EMSGSIZE, errno.ETIMEDOUT, errno.EIO])
def test_a_fault_of_the_driver_is_said(error: int) -> None:
    device = Nsm(NITRO)
    device.error = error
    with pytest.raises(AttesterUnavailable, match=r"/dev/nsm: .*inside a Nitro enclave"):
        NsmAttester(device=device).attest(REPORT)


def test_a_device_that_does_not_open_is_named() -> None:
    with pytest.raises(AttesterUnavailable, match="Permission denied"):
        NsmAttester(device=Nsm(NITRO, opens=errno.EACCES)).attest(REPORT)


def test_the_device_is_where_the_address_says(tmp_path: Path) -> None:
    assert NsmAttester.from_address("").path == DEVICE
    other = NsmAttester(Path("/dev/other"), Nsm(NITRO))
    assert not other.available()
    with pytest.raises(AttesterUnavailable, match="No such file"):
        other.attest(REPORT)
    with pytest.raises(AttesterUnavailable, match="must be absolute"):
        NsmAttester.from_address("nsm")
    (tmp_path / "nsm").touch()
    with pytest.raises(AttesterUnavailable, match=r"(?i)inappropriate ioctl"):
        NsmAttester.from_address(str(tmp_path / "nsm")).attest(REPORT)


def test_report_data_of_another_size_is_a_fault_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="64 bytes"):
        NsmAttester(device=Nsm(NITRO)).attest(bytes(63))


# --- the stand-in itself ---------------------------------------------------------------------------------------------


def said(request: bytes, room: int = 0x3000, number: int = Nsm.RAW) -> bytes | int | None:
    """What the device answers, or its error."""
    asked, answer = ctypes.create_string_buffer(request, len(request)), ctypes.create_string_buffer(0x3000)
    spans = nsm.Span(ctypes.addressof(asked), len(request)), nsm.Span(ctypes.addressof(answer), room)
    whole = nsm.Raw(*spans)
    try:
        Nsm(NITRO).ioctl(DEVICE, number, whole)
    except OSError as error:
        return error.errno
    return answer.raw[: whole.response.length]


def test_the_stand_in_refuses_and_cuts_as_the_driver_does() -> None:
    assert said(bytes(0x1001)) == errno.EMSGSIZE
    assert said(b"", number=1) == errno.EINVAL
    cut = said(write_cbor({"Attestation": {"nonce": REPORT}}), room=100)
    assert isinstance(cut, bytes)
    assert len(cut) == 100


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"no CBOR", "InvalidOperation"),
        (write_cbor({"Attestation": {"nonse": b""}}), "InvalidArgument"),
        (write_cbor({"Attestation": {"nonce": bytes(513)}}), "InputTooLarge"),
    ],
)
def test_the_stand_in_answers_faults_as_the_module_does(request_: bytes, reason: str) -> None:
    answer = said(request_)
    assert isinstance(answer, bytes)
    assert read_cbor(answer, "answer") == {"Error": reason}
