"""What a grant holds, and what a statement says of it."""

from __future__ import annotations

from typing import Any

from paddock.release import grant_info
from tests.fixtures.cast import NAMES, RUN, contract, member
from tests.fixtures.proof import RUN_KEYS, facts, judge, request


def test_an_asset_under_two_names_is_granted_once_in_order() -> None:
    def change(value: dict[str, Any]) -> None:
        value["inputs"]["south"].update(owner="north", asset=value["inputs"]["north"]["asset"])
        value["inputs"]["test"].update(owner="north")

    asked = request(change)
    inputs = contract(change).terms.inputs
    assert judge(asked).assets == (inputs["north"].asset, inputs["test"].asset)


def test_a_party_without_inputs_is_asked_all_the_same() -> None:
    asked = request()
    grant = judge(asked, facts(asked, "clinic"))
    assert (grant.party, grant.assets, grant.run) == ("clinic", (), RUN)


def test_every_party_decides_by_one_proof() -> None:
    asked = request()
    verdicts = [judge(asked, facts(asked, name)).verdict for name in NAMES]
    assert verdicts[0] is not None
    assert [each and each.claims for each in verdicts] == [verdicts[0].claims] * len(NAMES)
    assert verdicts[0].simulated


def test_a_retry_is_told_apart() -> None:
    asked = request()
    known = facts(asked, attempts=(RUN_KEYS.public().fingerprint(),), runs_used=2)
    assert judge(asked, known).is_retry
    assert not judge(asked).is_retry


def test_grants_of_different_runs_contracts_and_keepers_are_sealed_apart() -> None:
    keeper = member("north").keeper.public().fingerprint()
    other = member("south").keeper.public().fingerprint()
    infos = {
        grant_info("sha256:a", RUN, keeper),
        grant_info("sha256:b", RUN, keeper),
        grant_info("sha256:a", "f" * 32, keeper),
        grant_info("sha256:a", RUN, other),
    }
    assert len(infos) == 4
    assert all(info.startswith(b"paddock/grant/v1\0") for info in infos)
