"""Every cell of the refusal matrix is tried (docs/refusals.md)."""

from __future__ import annotations

import pytest

from tests.evidence.matrix import KINDS, VENDORS, refusals, samples


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_is_genuine_is_accepted(vendor: str) -> None:
    assert samples(vendor)
    for sample in samples(vendor):
        claims = sample.genuine.judge()
        assert claims.provider == vendor
        assert claims.report_data == sample.genuine.report_data


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_spoilt_is_refused(vendor: str, kind: str) -> None:
    expected = refusals(vendor)[kind]
    attempts = [(sample, attempt) for sample in samples(vendor) for attempt in sample.attempts(kind)]
    if isinstance(expected, str):
        assert expected, "the reason for which there is no such case"
        assert not attempts, "there is such a case: name its error"
        return
    assert attempts, "no sample tries this cell"
    for sample, attempt in attempts:
        try:
            attempt.judge()
        except expected:
            continue
        pytest.fail(f"{sample.name}: {kind} was accepted")


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_cell_is_filled(vendor: str) -> None:
    assert set(refusals(vendor)) == set(KINDS)
