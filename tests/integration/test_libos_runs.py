"""A whole run at L5 through the executor `occlum`: what the contract names is what Occlum says of the built image, and the enclave's
quote, which Occlum's device gives, says the same. Occlum's commands and the SGX device are stand-ins; all else is as in earnest.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from paddock.attest.occlum import OcclumAttester
from paddock.cli.policy_commands import keeper_home
from paddock.executors.plugins import make_executor
from paddock.keeper.collateral import CollateralStore
from paddock.party.results import fetch_results
from paddock.testing.stage import Stage
from tests.fixtures.libos import Occlum
from tests.fixtures.stand_in.devices import OcclumSgx
from tests.fixtures.stand_in.socket_attester import AttesterSocket
from tests.fixtures.vendors.intel import IntelMaker

SGX = IntelMaker("sgx")


def test_a_run_at_l5_in_an_occlum_enclave(
    program: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    occlum = Occlum(tmp_path_factory.mktemp("machine"))
    image = occlum.build()
    occlum.become([sys.executable, "-I", "-m", "paddock.enclave"])
    settings = occlum.settings(image)
    measurement = make_executor("occlum", attester="none", settings=settings).measure()
    mrenclave = bytes.fromhex(json.loads((image / "built.json").read_text(encoding="utf-8"))["mrenclave"])
    device = OcclumSgx(SGX)
    device.quote = lambda data: SGX.evidence(data, mrenclave=mrenclave).body
    trust = f"[sgx]\nroots = [{json.dumps(SGX.root_pem)}]\n"
    with tempfile.TemporaryDirectory(prefix="paddock-") as short:
        socket = AttesterSocket(Path(short) / "attest", OcclumAttester(device=device).attest)
        with (
            socket as address,
            Stage(
                tmp_path / "stage",
                program,
                attester=address,
                trust=trust,
                executor="occlum",
                executor_settings=settings,
            ) as stage,
        ):
            for party in stage.parties.values():
                CollateralStore(keeper_home(party.home).folder).store(SGX.collateral(datetime.now(UTC)))
            seen = stage.run(stage.agree(level="L5", simulated="false", measurement=measurement))
            assert seen.state == "succeeded", seen.error
            got = fetch_results(stage.modelco, seen.run, tmp_path / "modelco", overwrite=False)
            assert set(got.folders) == {"weights", "curve"}
            receipt = got.verified.receipt
            assert (receipt.simulated, receipt.measurement) == (False, measurement)
    assert not list((occlum.folder / "runs").iterdir())
