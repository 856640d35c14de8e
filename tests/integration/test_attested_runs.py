"""Whole runs over attested TLS: hub, keepers and enclave are processes and servers as in earnest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.contract.asset import AssetKind
from paddock.contract.levels import Level
from paddock.errors import PeerRefused
from paddock.evidence.measurement import measure_runtime
from paddock.keeper.home import KeeperHome
from paddock.party.party import Party
from paddock.party.results import fetch_results
from paddock.party.servers import demand_evidence, demand_no_evidence
from paddock.testing.stage import MARKER, Stage


@pytest.fixture(scope="module")
def secure(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("secure"), program, secure=True) as ready:
        yield ready


def policy(stage: Stage) -> str:
    """What north's own keeper accepts: the stage's simulator."""
    return KeeperHome.load(stage.north.home.keeper_folder).trust_file().read_text("utf-8")


def test_a_run_over_attested_tls_gives_each_party_what_the_contract_says(secure: Stage, tmp_path: Path) -> None:
    assert secure.north.home.hub.startswith("https://")
    assert secure.north.home.keeper.startswith("https://")
    seen = secure.run(secure.agree(lease_seconds=10))
    assert seen.state == "succeeded", seen.error
    got = fetch_results(secure.modelco, seen.run, tmp_path / "modelco", overwrite=False)
    assert set(got.folders) == {"weights", "curve"}


def test_a_deposit_leaves_only_after_the_keeper_proved_what_it_is(secure: Stage, tmp_path: Path) -> None:
    home = secure.north.home
    records = tmp_path / "records"
    records.mkdir()
    (records / "more.csv").write_text(f"a,b\n1,{MARKER}\n", encoding="utf-8")
    known = {row["asset"] for row in secure.north.keeper_account()["deposits"]}
    try:
        demand_evidence(home, "keeper", policy=policy(secure), measurements=["sha256:" + "0" * 64], level=Level.L5)
        with Party(home) as party, pytest.raises(PeerRefused, match="not one that is expected"):
            party.seal(records, "more", AssetKind.DATASET)
        assert {row["asset"] for row in secure.north.keeper_account()["deposits"]} == known
        demand_evidence(home, "keeper", policy=policy(secure), measurements=[measure_runtime().digest])
        with Party(home) as party:
            sealed = party.seal(records, "more", AssetKind.DATASET).own
            assert sealed.asset in {row["asset"] for row in party.keeper_account()["deposits"]}
    finally:
        demand_no_evidence(home, "keeper")


def test_evidence_is_demanded_in_vain_of_a_keeper_that_shows_none(stage: Stage, tmp_path: Path) -> None:
    home = stage.north.home  # at an address without TLS
    try:
        demand_evidence(home, "keeper", policy=policy(stage), measurements=[measure_runtime().digest])
        with Party(home) as party, pytest.raises(PeerRefused, match="can show none"):
            party.keeper_account()
    finally:
        demand_no_evidence(home, "keeper")


def test_a_hub_under_another_key_is_not_spoken_to(secure: Stage) -> None:
    home = secure.north.home
    url, other = home.hub.partition("#")[0], secure.modelco.home.fingerprint
    for hub, words in ((url, "whom to expect"), (f"{url}#{other}", "expected is")):
        with Party(replace(home, hub=hub)) as party, pytest.raises(PeerRefused, match=words):
            party.hub.info()
