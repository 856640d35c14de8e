"""The kernel's attester, before a stand-in that counts, refuses and forgets as configfs does."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from paddock.attest.tsm import FOLDER, TsmAttester
from paddock.errors import AttesterUnavailable
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.snp_report import write_table
from tests.fixtures.cast import NOW
from tests.fixtures.stand_in.configfs_tsm import (
    ConfigfsTsm,
    Driver,
    Request,
    cca_driver,
    snp_driver,
    tdx_driver,
)
from tests.fixtures.vendors.amd import AmdMaker
from tests.fixtures.vendors.arm import CcaMaker
from tests.fixtures.vendors.intel import IntelMaker

REPORT, OTHER = bytes(range(64)), bytes(64)
TDX, SNP, CCA = IntelMaker("tdx", version=4), AmdMaker(), CcaMaker()


def attester(kernel: ConfigfsTsm) -> TsmAttester:
    return TsmAttester(files=kernel, pause=lambda _seconds: None)


def judged(evidence: UnverifiedEvidence, policy: TrustPolicy, collateral: Collateral) -> Claims:
    return verify_evidence(evidence, policy=policy, collateral=collateral, now=NOW)


# --- what works ---------------------------------------------------------------------------------------------------


def test_evidence_of_a_td_is_verified() -> None:
    kernel = ConfigfsTsm(tdx_driver(TDX))
    assert attester(kernel).available()
    claims = judged(attester(kernel).attest(REPORT), TDX.policy(), TDX.collateral(NOW))
    assert (claims.provider, claims.tee, claims.report_data) == ("tdx", "confidential-vm", REPORT)
    assert not kernel.requests, "its folder is gone"


def test_evidence_of_a_realm_is_verified() -> None:
    claims = judged(attester(ConfigfsTsm(cca_driver(CCA))).attest(REPORT), CCA.policy(), Collateral())
    assert (claims.provider, claims.report_data) == ("cca", REPORT)


def test_evidence_of_an_snp_guest_comes_with_the_hosts_certificates() -> None:
    kernel = ConfigfsTsm(snp_driver(SNP, given=write_table(SNP.parts()).ljust(8192, b"\0")))
    claims = judged(attester(kernel).attest(REPORT), SNP.policy(), Collateral())
    assert (claims.provider, claims.report_data) == ("snp", REPORT)
    assert "vmpl" not in claims.settings


def test_a_host_that_gives_no_certificates_leaves_them_to_collateral() -> None:
    evidence = attester(ConfigfsTsm(snp_driver(SNP))).attest(REPORT)
    assert len(evidence.body) == 1184
    assert judged(evidence, SNP.policy(), SNP.collateral(NOW)).report_data == REPORT


def test_below_a_service_module_the_lowest_level_is_asked_for_and_shown() -> None:
    kernel = ConfigfsTsm(snp_driver(SNP, write_table(SNP.parts()), floor=2))
    evidence = attester(kernel).attest(REPORT)
    claims = judged(evidence, SNP.policy(allow=["vmpl"]), Collateral())
    assert claims.settings == {"vmpl"}


def test_the_folder_is_where_the_address_says() -> None:
    kernel = ConfigfsTsm(tdx_driver(TDX), Path("/elsewhere/report"))
    assert not attester(kernel).available()
    elsewhere = TsmAttester(Path("/elsewhere/report"), kernel)
    assert elsewhere.available()
    assert elsewhere.attest(REPORT).media_type == TDX.media_type
    assert TsmAttester.from_address("").folder == FOLDER
    assert TsmAttester.from_address("/elsewhere/report").folder == Path("/elsewhere/report")
    with pytest.raises(AttesterUnavailable, match="must be absolute"):
        TsmAttester.from_address("elsewhere")


# --- others, and a busy host ---------------------------------------------------------------------------------------


class Meddler:
    """Writes another question into our request, some times."""

    def __init__(self, kernel: ConfigfsTsm, moment: str, times: int = 1) -> None:
        self.kernel = kernel
        self.moment = moment
        self.left = times
        kernel.between = self.meddle

    def meddle(self, what: str, request: Request) -> None:
        if what == self.moment and self.left:
            self.left -= 1
            self.kernel.close_inblob(request, OTHER)


@pytest.mark.parametrize("moment", ["write inblob", "read outblob", "read provider"])
def test_a_question_that_somebody_else_changed_is_asked_again(moment: str) -> None:
    kernel = ConfigfsTsm(tdx_driver(TDX))
    Meddler(kernel, moment)
    claims = judged(attester(kernel).attest(REPORT), TDX.policy(), TDX.collateral(NOW))
    assert claims.report_data == REPORT


def test_certificates_of_another_report_are_never_put_beside_ours() -> None:
    kernel = ConfigfsTsm(snp_driver(SNP, write_table(SNP.parts())))
    Meddler(kernel, "read auxblob")
    assert judged(attester(kernel).attest(REPORT), SNP.policy(), Collateral()).report_data == REPORT


def test_somebody_who_never_stops_gets_no_evidence_out_of_us() -> None:
    kernel = ConfigfsTsm(tdx_driver(TDX))
    Meddler(kernel, "read outblob", times=100)
    with pytest.raises(AttesterUnavailable, match="stays busy, or somebody else writes"):
        attester(kernel).attest(REPORT)
    assert not kernel.requests


@pytest.mark.parametrize("error", [errno.EBUSY, errno.EWOULDBLOCK, errno.ETIMEDOUT, errno.EINTR])
def test_a_busy_host_is_asked_again(error: int) -> None:
    driver = tdx_driver(TDX)
    driver.fails = [error, error]
    waits: list[float] = []
    made = TsmAttester(files=ConfigfsTsm(driver), pause=waits.append).attest(REPORT)
    assert made.media_type == TDX.media_type
    assert len(waits) == 2


def test_a_host_that_stays_busy_is_given_up() -> None:
    driver = tdx_driver(TDX)
    driver.fails = [errno.EBUSY] * 100
    with pytest.raises(AttesterUnavailable, match="stays busy"):
        attester(ConfigfsTsm(driver)).attest(REPORT)
    assert len(driver.fails) == 95


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (ConfigfsTsm(tdx_driver(TDX), Path("/elsewhere")), "No such file or directory.*inside a confidential VM"),
        (ConfigfsTsm(tdx_driver(TDX), root=False), "Permission denied.*for root"),
        (ConfigfsTsm(None), "No such device.*tdx_guest, sev-guest or arm-cca-guest loaded"),
        (ConfigfsTsm(Driver("tdx_guest", lambda _data, _level: (b"", b""))), "gave no report"),
        (ConfigfsTsm(Driver("tdx_guest", lambda _data, _level: (bytes(40 << 10), b""))), "File too large"),
        (ConfigfsTsm(Driver("pkvm_guest", lambda data, _level: (data, b""))), "'pkvm_guest' is not known here"),
        (ConfigfsTsm(Driver("tdx_guest", lambda data, _level: (data, b""), sizes=(48,))), "Invalid argument.*dmesg"),
    ],
)
def test_what_the_kernel_refuses_is_said_in_words_that_help(kernel: ConfigfsTsm, words: str) -> None:
    with pytest.raises(AttesterUnavailable, match=words):
        attester(kernel).attest(REPORT)
    assert not kernel.requests


@pytest.mark.parametrize("error", [errno.EIO, errno.ENXIO, errno.EINVAL])
def test_a_fault_of_the_device_ends_the_question_at_once(error: int) -> None:
    driver = tdx_driver(TDX)
    driver.fails = [error] * 2
    with pytest.raises(AttesterUnavailable, match=r"dmesg.*a service that makes quotes"):
        attester(ConfigfsTsm(driver)).attest(REPORT)
    assert len(driver.fails) == 1


def test_a_counter_that_is_no_number_is_not_believed() -> None:
    class Odd(ConfigfsTsm):
        def read(self, path: Path) -> bytes:
            return b"many\n" if path.name == "generation" else super().read(path)

    with pytest.raises(AttesterUnavailable, match="gave no generation that is a number"):
        attester(Odd(tdx_driver(TDX))).attest(REPORT)


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_report_data_of_another_size_is_a_fault_of_the_caller(size: int) -> None:
    kernel = ConfigfsTsm(tdx_driver(TDX))
    with pytest.raises(RuntimeError, match="64 bytes"):
        attester(kernel).attest(bytes(size))


# --- the stand-in itself: what Linux documents ---------------------------------------------------------------------


@pytest.fixture
def entry() -> tuple[ConfigfsTsm, Path]:
    kernel = ConfigfsTsm(snp_driver(SNP))
    kernel.make_folder(FOLDER / "one")
    return kernel, FOLDER / "one"


def error_of(call: Any, *arguments: Any) -> int | None:
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is what is asked for
        call(*arguments)
    return refused.value.errno


def test_the_stand_in_refuses_what_the_kernel_refuses(entry: tuple[ConfigfsTsm, Path]) -> None:
    kernel, one = entry
    assert error_of(kernel.read, one / "outblob") == errno.EINVAL, "nothing was asked"
    assert error_of(kernel.write, one / "inblob", bytes(65)) == errno.EFBIG
    kernel.write(one / "inblob", bytes(63))
    assert error_of(kernel.read, one / "outblob") == errno.EINVAL, "the driver wants 64"
    assert error_of(kernel.read, one / "inblob") == errno.EACCES
    assert error_of(kernel.write, one / "outblob", b"x") == errno.EACCES
    assert error_of(kernel.write, one / "privlevel", b"4") == errno.EINVAL
    assert error_of(kernel.read, one / "service_guid") == errno.ENOENT, "there is no service module"
    assert error_of(kernel.make_folder, one) == errno.EEXIST
    assert error_of(kernel.make_folder, one / "below") == errno.EPERM
    kernel.remove_folder(one)
    assert error_of(kernel.read, one / "generation") == errno.ENOENT
    assert error_of(kernel.remove_folder, one) == errno.ENOENT


def test_the_stand_in_counts_writes_and_makes_one_report_for_each(entry: tuple[ConfigfsTsm, Path]) -> None:
    kernel, one = entry
    assert kernel.read(one / "generation") == b"0\n"
    kernel.write(one / "inblob", REPORT)
    kernel.write(one / "privlevel", b"1")
    assert kernel.read(one / "generation") == b"2\n"
    first = kernel.read(one / "outblob")
    assert kernel.read(one / "outblob") == first
    assert kernel.driver is not None
    assert kernel.driver.made == 1
    kernel.write(one / "inblob", OTHER)
    assert kernel.read(one / "outblob") != first
    assert kernel.driver.made == 2


def test_the_stand_in_refuses_a_counter_that_goes_round(entry: tuple[ConfigfsTsm, Path]) -> None:
    kernel, one = entry
    kernel.write(one / "inblob", REPORT)
    request = kernel.requests["one"]
    request.written = (request.read - 1) % (1 << 64)
    assert error_of(kernel.write, one / "privlevel", b"1") == errno.EBUSY
    kernel.write(one / "inblob", OTHER)
    assert request.inblob == REPORT, "at close nobody hears of it"
