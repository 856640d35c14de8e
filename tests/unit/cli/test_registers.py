"""`paddock measure --registers`: of all the registers of a vendor, or not at all."""

from __future__ import annotations

import pytest

from paddock.cli.registers import register_faults
from tests.evidence.matrix import VENDORS, samples
from tests.fixtures.command import paddock

MRENCLAVE = "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"
TDX = dict.fromkeys(("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id"), "ab" * 48)


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_registers_of_genuine_evidence_are_those_that_are_asked_for(vendor: str) -> None:
    for sample in samples(vendor):
        claims = sample.genuine.judge()
        assert register_faults(vendor, claims.registers) == ""
        done = paddock("measure", "--registers", vendor, *(f"{n}={v}" for n, v in claims.registers.items()), "--json")
        if claims.registers and vendor not in {"tpm", "azure"}:  # their names hold a colon, or are of two kinds
            assert done.json["measurement"] == claims.measurement


@pytest.mark.parametrize(
    ("provider", "registers", "words"),
    [
        ("tdx", {"mrtd": "00" * 48}, "missing: mr_config_id, rtmr0"),
        ("tdx", {**TDX, "rtmr4": "00" * 48}, "not among its registers: rtmr4"),
        ("tdx", {**TDX, "mrtd": "00"}, "of another length: mrtd"),
        ("sgx", {"mrenclave": MRENCLAVE, "mrsigner": MRENCLAVE}, "not among its registers: mrsigner"),
    ],
)
def test_half_of_the_registers_give_no_measurement(provider: str, registers: dict[str, str], words: str) -> None:
    assert words in register_faults(provider, registers)
    done = paddock("measure", "--registers", provider, *(f"{name}={value}" for name, value in registers.items()))
    assert done.code == 2


def test_registers_that_may_be_there_are_taken() -> None:
    assert register_faults("tdx", {**TDX, "mr_service_td": "00" * 48}) == ""
    assert register_faults("other", {"anything": "00"}) == ""
