"""Gramine's pair of files: what is written there, what is read, and who else may have written."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from paddock.attest.attester import Files
from paddock.attest.gramine import FOLDER, GramineAttester
from paddock.errors import AttesterUnavailable
from paddock.evidence import verify_evidence
from paddock.evidence.claims import MAX_EVIDENCE_BYTES
from tests.fixtures.cast import NOW
from tests.fixtures.stand_in.gramine import GramineFiles
from tests.fixtures.vendors.intel import IntelMaker

REPORT, OTHER = bytes(range(64)), bytes(64)
SGX = IntelMaker("sgx")


def test_a_quote_is_verified() -> None:
    enclave = GramineFiles(SGX)
    attester = GramineAttester(files=enclave)
    assert attester.available()
    claims = verify_evidence(attester.attest(REPORT), policy=SGX.policy(), collateral=SGX.collateral(NOW), now=NOW)
    assert (claims.provider, claims.tee, claims.report_data) == ("sgx", "enclave", REPORT)


def test_without_remote_attestation_in_the_manifest_there_is_no_attester() -> None:
    attester = GramineAttester(files=GramineFiles(SGX, "none"))
    assert not attester.available()
    with pytest.raises(AttesterUnavailable, match=r"sgx.remote_attestation = 'none'; it must be \"dcap\""):
        attester.attest(REPORT)


def test_epid_is_no_evidence_here() -> None:
    with pytest.raises(AttesterUnavailable, match="'epid'"):
        GramineAttester(files=GramineFiles(SGX, "epid")).attest(REPORT)


def test_outside_of_gramine_it_says_so() -> None:
    attester = GramineAttester(files=GramineFiles(SGX, folder=Path("/elsewhere")))
    assert not attester.available()
    with pytest.raises(AttesterUnavailable, match=r"/dev/attestation: No such file.*inside a Gramine SGX enclave"):
        attester.attest(REPORT)


def test_a_host_without_a_quoting_service_is_named() -> None:
    enclave = GramineFiles(SGX)
    enclave.quoting_service = False
    with pytest.raises(AttesterUnavailable, match=r"Permission denied.*aesmd"):
        GramineAttester(files=enclave).attest(REPORT)


@pytest.mark.parametrize("quote", [b"", bytes(MAX_EVIDENCE_BYTES + 1)])
def test_no_quote_and_too_large_a_quote_are_refused(quote: bytes) -> None:
    enclave = GramineFiles(SGX)
    enclave.quote = lambda _data: quote
    with pytest.raises(AttesterUnavailable, match="no quote, or one that is too large"):
        GramineAttester(files=enclave).attest(REPORT)


def test_a_quote_for_somebody_elses_question_is_not_passed_on() -> None:
    enclave = GramineFiles(SGX)

    def meddle(what: str) -> None:
        if what == "read quote":
            enclave.held["user_report_data"] = OTHER

    enclave.between = meddle
    with pytest.raises(AttesterUnavailable, match="for another question"):
        GramineAttester(files=enclave).attest(REPORT)


def test_threads_of_one_process_never_get_each_others_quote() -> None:
    enclave = GramineFiles(SGX)
    wanted = [bytes([number]) * 64 for number in range(8)]
    ready = threading.Barrier(len(wanted))
    got: dict[bytes, Any] = {}

    def ask(data: bytes) -> None:
        ready.wait(10)
        got[data] = GramineAttester(files=enclave).attest(data).body[368:432]

    threads = [threading.Thread(target=ask, args=(data,)) for data in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {data: data for data in wanted}


@pytest.mark.parametrize("size", [63, 65])
def test_report_data_of_another_size_is_a_fault_of_the_caller(size: int) -> None:
    with pytest.raises(RuntimeError, match="64 bytes"):
        GramineAttester(files=GramineFiles(SGX)).attest(bytes(size))


def test_the_stand_in_takes_other_sizes_as_gramine_does() -> None:
    enclave = GramineFiles(SGX)
    enclave.write(FOLDER / "user_report_data", b"x")
    assert enclave.read(FOLDER / "user_report_data") == b"x".ljust(64, b"\0")
    enclave.write(FOLDER / "user_report_data", b"y" * 65)
    assert enclave.read(FOLDER / "user_report_data") == b"y" * 64
    with pytest.raises(OSError, match="denied"):
        enclave.write(FOLDER / "quote", b"x")


# --- real files ----------------------------------------------------------------------------------------------------


def test_real_files_are_read_to_their_end_and_written_in_one_go(tmp_path: Path) -> None:
    files, path = Files(), tmp_path / "quote"
    path.write_bytes(bytes(100_000))
    assert files.exists(path)
    assert files.read(path) == bytes(100_000)
    path.write_bytes(bytes(MAX_EVIDENCE_BYTES + 5))
    assert len(files.read(path)) == MAX_EVIDENCE_BYTES + 1, "enough to be seen as too large"
    path.write_bytes(b"")
    files.write(path, REPORT)
    assert path.read_bytes() == REPORT
    files.make_folder(tmp_path / "one")
    files.remove_folder(tmp_path / "one")
    assert not files.exists(tmp_path / "one")


def test_an_attribute_that_takes_a_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "inblob"
    path.touch()
    monkeypatch.setattr(os, "write", lambda _descriptor, data: len(data) - 1)
    with pytest.raises(OSError, match="63 of 64 bytes"):
        Files().write(path, REPORT)


def test_a_folder_of_real_files_answers_through_the_address(tmp_path: Path) -> None:
    """The system's own calls, where nothing stands in between."""
    for name, data in (("attestation_type", b"dcap"), ("user_report_data", b""), ("quote", SGX.quote(REPORT))):
        (tmp_path / name).write_bytes(data)
    attester = GramineAttester.from_address(str(tmp_path))
    assert attester.available()
    assert attester.attest(REPORT).body == SGX.quote(REPORT)
    assert (tmp_path / "user_report_data").read_bytes() == REPORT
    (tmp_path / "quote").unlink()
    with pytest.raises(AttesterUnavailable, match=os.strerror(errno.ENOENT)):
        attester.attest(REPORT)
