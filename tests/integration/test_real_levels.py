"""Whole runs at real levels: hub, keepers and enclave are processes and servers as in earnest; behind the attester stand
makers of evidence in the vendors' formats, under roots that these keepers name.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from paddock.attest import Attester
from paddock.attest.gramine import GramineAttester
from paddock.attest.tsm import TsmAttester
from paddock.cli.policy_commands import keeper_home
from paddock.errors import (
    AttesterUnavailable,
    BindingMismatch,
    CollateralMissing,
    EvidenceNotTrusted,
    MeasurementRefused,
    PaddockError,
)
from paddock.evidence import Collateral, UnverifiedEvidence, verify_evidence
from paddock.evidence.trust import TrustPolicy
from paddock.keeper.collateral import CollateralStore
from paddock.party.results import fetch_results
from paddock.testing.stage import Stage
from tests.fixtures.proof import evidence as simulated
from tests.fixtures.stand_in.configfs_tsm import ConfigfsTsm, snp_driver, tdx_driver
from tests.fixtures.stand_in.gramine import GramineFiles
from tests.fixtures.stand_in.socket_attester import AttesterSocket
from tests.fixtures.vendors.amd import AmdMaker
from tests.fixtures.vendors.intel import IntelMaker

SGX, TDX, SNP = IntelMaker("sgx"), IntelMaker("tdx", version=4), AmdMaker()


@dataclass
class Hardware:
    """One kind of machine."""

    name: str
    level: str
    maker: Any
    attester: Attester
    lie: Callable[[bytes], UnverifiedEvidence] | None = None

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        return self.attester.attest(report_data) if self.lie is None else self.lie(report_data)

    def trust(self) -> str:
        """A trust policy that names this maker's root and nothing else."""
        return f"[{self.name}]\nroots = [{json.dumps(self.maker.root_pem)}]\n"

    def collateral(self) -> Collateral:
        found: Collateral = self.maker.collateral(datetime.now(UTC))
        return found

    def measurement(self) -> str:
        policy: TrustPolicy = self.maker.policy()
        evidence = self.attester.attest(bytes(64))
        return verify_evidence(evidence, policy=policy, collateral=self.collateral(), now=datetime.now(UTC)).measurement


MACHINES = (
    Hardware("sgx", "L5", SGX, GramineAttester(files=GramineFiles(SGX))),
    Hardware("tdx", "L4", TDX, TsmAttester(files=ConfigfsTsm(tdx_driver(TDX)))),
    Hardware("snp", "L4", SNP, TsmAttester(files=ConfigfsTsm(snp_driver(SNP)))),
)


@contextmanager
def served(machine: Hardware, program: Path, folder: Path, *, collateral: bool = True) -> Iterator[Stage]:
    """Two parties on a hub whose runs this machine attests."""
    with tempfile.TemporaryDirectory(prefix="paddock-") as short:
        socket = AttesterSocket(Path(short) / "attest", machine.attest)
        with socket as address, Stage(folder, program, attester=address, trust=machine.trust()) as stage:
            if collateral:
                for party in stage.parties.values():
                    CollateralStore(keeper_home(party.home).folder).store(machine.collateral())
            yield stage


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_keepers_release_to_hardware_at_its_own_level(machine: Hardware, program: Path, tmp_path: Path) -> None:
    with served(machine, program, tmp_path / "stage") as stage:
        assert stage.engine.simulator is None
        proposal = stage.agree(level=machine.level, simulated="false", measurement=machine.measurement())
        seen = stage.run(proposal)
        assert seen.state == "succeeded", seen.error
        got = fetch_results(stage.modelco, seen.run, tmp_path / "modelco", overwrite=False)
        assert set(got.folders) == {"weights", "curve"}
        receipt = got.verified.receipt
        assert (receipt.simulated, receipt.measurement) == (False, machine.measurement())
        assert {keeper.collateral is None for keeper in receipt.keepers.values()} == {False}


# --- an enclave that runs wrong ------------------------------------------------------------------------------------

ENCLAVE = MACHINES[0]


@pytest.fixture(scope="module")
def enclave(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A hub on one SGX machine."""
    with served(ENCLAVE, program, tmp_path_factory.mktemp("enclave") / "stage") as stage:
        yield stage


def unavailable(_report_data: bytes) -> UnverifiedEvidence:
    raise AttesterUnavailable("the device is gone")


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (unavailable, AttesterUnavailable),
        (lambda _data: SGX.evidence(bytes(64)), BindingMismatch),
        (lambda data: SGX.evidence(data, mrenclave=bytes(32)), MeasurementRefused),
        (simulated, EvidenceNotTrusted),
    ],
    ids=["device gone", "another question", "another enclave", "simulated"],
)
def test_no_key_is_released_to_anything_else(
    enclave: Stage,
    monkeypatch: pytest.MonkeyPatch,
    lie: Callable[[bytes], UnverifiedEvidence],
    error: type[PaddockError],
) -> None:
    monkeypatch.setattr(ENCLAVE, "lie", lie)
    proposal = enclave.agree(level="L5", simulated="false", measurement=ENCLAVE.measurement())
    seen = enclave.run(proposal)
    assert seen.state == "failed"
    assert isinstance(seen.error, error)


def test_without_collateral_keepers_refuse_and_say_what_to_do(program: Path, tmp_path: Path) -> None:
    with served(ENCLAVE, program, tmp_path / "stage", collateral=False) as stage:
        seen = stage.run(stage.agree(level="L5", simulated="false", measurement=ENCLAVE.measurement()))
        assert isinstance(seen.error, CollateralMissing)


def test_a_hub_whose_attester_is_not_there_does_not_start(program: Path, tmp_path: Path) -> None:
    for address in ("unix:/nowhere/attest", "tsm:/nowhere", "sgx"):
        with pytest.raises(AttesterUnavailable), Stage(tmp_path / "stage", program, attester=address):
            pass
    assert not (tmp_path / "stage").exists()
