"""An enclave among several keepers: which of their answers decides."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from paddock.contract import SignedContract
from paddock.errors import GrantRefused, Revoked, ServiceUnreachable
from paddock.evidence import EvidenceSet
from tests.fixtures.cast import NAMES, contract
from tests.fixtures.keepers import KeptBy, deposit_all, enclave_side, make_keeper
from tests.fixtures.proof import evidence


@pytest.fixture
def agreed() -> SignedContract:
    return contract()


@pytest.fixture
def keepers(tmp_path: Path, agreed: SignedContract) -> Iterator[dict[str, KeptBy]]:
    made = {name: make_keeper(tmp_path, name) for name in NAMES}
    for kept in made.values():
        deposit_all(kept, agreed)
    yield made
    for kept in made.values():
        kept.keeper.close()


def test_a_keeper_that_says_no_is_heard_beside_one_that_is_silent(
    keepers: dict[str, KeptBy], agreed: SignedContract
) -> None:
    side, clients = enclave_side(keepers, agreed)
    first, *_, last = sorted(agreed.terms.parties)
    bound = side.challenge()
    keepers[last].revoke(agreed.id, "consent withdrawn")

    def silent(_path: str, _answer: object) -> dict[str, object]:
        raise ServiceUnreachable

    clients[first].between = silent
    with pytest.raises(Revoked, match="consent withdrawn"):
        side.release(bound, EvidenceSet.single(evidence(bound.report_data())))


@pytest.mark.parametrize(("seconds", "passes"), [(119, True), (121, False)])
def test_a_keeper_whose_clock_would_spoil_the_receipt_ends_the_run_before_it_works(
    keepers: dict[str, KeptBy], agreed: SignedContract, seconds: int, *, passes: bool
) -> None:
    one = min(agreed.terms.parties)
    keepers[one].clock.now += timedelta(seconds=seconds)
    side, _ = enclave_side(keepers, agreed)
    bound = side.challenge()
    if passes:
        assert set(side.release(bound, EvidenceSet.single(evidence(bound.report_data())))) == set(agreed.terms.parties)
        return
    with pytest.raises(GrantRefused, match=one):
        side.release(bound, EvidenceSet.single(evidence(bound.report_data())))
