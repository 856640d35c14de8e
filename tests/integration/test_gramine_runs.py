"""Whole runs at L5 in the image that is built for Gramine, over a stand-in of Gramine's tools: see its own docstring."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from paddock.cli.policy_commands import keeper_home
from paddock.errors import RunEndedSilently
from paddock.executors.gramine.build import GramineBuilder
from paddock.keeper.collateral import CollateralStore
from paddock.party.results import fetch_results
from paddock.testing.stage import Stage
from tests.fixtures.gramine import gramine, options
from tests.fixtures.stand_in.gramine_tools import Installation
from tests.fixtures.vendors.intel import IntelMaker

SGX = IntelMaker("sgx")


@dataclass
class Built:
    """An image of the installed runtime, signed, on a machine with Gramine."""

    installed: Installation
    folder: Path
    measurement: str


@pytest.fixture(scope="module")
def built() -> Iterator[Built]:
    with tempfile.TemporaryDirectory(prefix="paddock-") as short, gramine(Path(short), SGX) as installed:
        folder = Path(short) / "image"
        made = GramineBuilder().build(folder, options(installed), lambda _text: None)
        assert made.measurement is not None
        assert made.notes == []
        yield Built(installed, folder, made.measurement)


@pytest.fixture(scope="module")
def served(built: Built, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A hub that starts runs in Gramine; its keepers trust the maker of that machine."""
    trust = f"[sgx]\nroots = [{json.dumps(SGX.root_pem)}]\n"
    with Stage(
        tmp_path_factory.mktemp("gramine") / "stage",
        program,
        executor="gramine",
        executor_settings={"image": str(built.folder)},
        trust=trust,
    ) as stage:
        for party in stage.parties.values():
            CollateralStore(keeper_home(party.home).folder).store(SGX.collateral(datetime.now(UTC)))
        yield stage


def test_a_run_in_gramine_trains_and_its_receipt_names_the_enclave(built: Built, served: Stage, tmp_path: Path) -> None:
    proposal = served.agree(level="L5", simulated="false", measurement=built.measurement)
    seen = served.run(proposal)
    assert seen.state == "succeeded", seen.error
    got = fetch_results(served.modelco, seen.run, tmp_path / "modelco", overwrite=False)
    assert set(got.folders) == {"weights", "curve"}
    receipt = got.verified.receipt
    assert (receipt.simulated, receipt.measurement) == (False, built.measurement)


def test_a_changed_file_ends_the_run_before_it_begins(built: Built, served: Stage) -> None:
    changed = built.folder / "root" / "modules.pack"
    kept = built.folder / "kept"
    shutil.copyfile(changed, kept)
    try:
        with changed.open("r+b") as file:
            byte = file.read(1)
            file.seek(0)
            file.write(bytes([byte[0] ^ 1]))
        seen = served.run(served.agree(level="L5", simulated="false", measurement=built.measurement))
        assert isinstance(seen.error, RunEndedSilently)
        assert "1" in seen.error.detail
    finally:
        kept.replace(changed)


def test_without_sgx_a_run_is_simulated_and_says_so(built: Built, program: Path, tmp_path: Path) -> None:
    settings = {"image": str(built.folder)}
    with Stage(tmp_path / "stage", program, executor="gramine-direct", executor_settings=settings) as stage:
        seen = stage.run(stage.agree(level="L5"))
        assert seen.state == "succeeded", seen.error
        assert fetch_results(stage.modelco, seen.run, tmp_path / "m", overwrite=False).verified.receipt.simulated
