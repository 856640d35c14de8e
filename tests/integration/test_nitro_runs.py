"""A whole run at L5 through the executor `nitro`: what the contract names is what was computed of the image when it was built, and the
security module's document says the same. `nitro-cli`, vsock and the module are stand-ins; all else is as in earnest: launch, keepers, store
and events go through both ends of the passage.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from paddock.executors.nitro import NitroExecutor
from paddock.executors.nitro.description import read_enclave
from paddock.party.results import fetch_results
from paddock.testing.stage import Stage
from tests.fixtures.nitro import Nitro
from tests.fixtures.stand_in.socket_attester import AttesterSocket
from tests.fixtures.vendors.aws import NitroMaker

AWS = NitroMaker()


def test_a_run_at_l5_in_a_nitro_enclave(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="paddock-") as short:
        nitro = Nitro(Path(short) / "instance")
        image = nitro.build()
        nitro.become([sys.executable, "-I", "-m", "paddock.enclave"])
        enclave = read_enclave(image)
        pcrs = {number: bytes(48) for number in range(16)}
        pcrs |= {int(name.removeprefix("pcr")): bytes.fromhex(value) for name, value in enclave.registers.items()}
        module = AttesterSocket(Path(short) / "nsm", lambda data: AWS.evidence(data, made=datetime.now(UTC), pcrs=pcrs))
        trust = f"sealed_images = [{json.dumps(enclave.measurement)}]\n[nitro]\nroots = [{json.dumps(AWS.root_pem)}]\n"
        with module as address:
            monkeypatch.setattr(NitroExecutor, "attester_inside", address)
            monkeypatch.setattr(NitroExecutor, "passage", nitro.folder / "passage")
            settings = nitro.settings(image)
            with Stage(tmp_path / "stage", program, trust=trust, executor="nitro", executor_settings=settings) as stage:
                seen = stage.run(stage.agree(level="L5", simulated="false", measurement=enclave.measurement))
                assert seen.state == "succeeded", seen.error
                got = fetch_results(stage.modelco, seen.run, tmp_path / "modelco", overwrite=False)
                assert set(got.folders) == {"weights", "curve"}
                receipt = got.verified.receipt
                assert (receipt.simulated, receipt.measurement) == (False, enclave.measurement)
        assert [words[0] for words in nitro.asked()][:2] == ["run-enclave", "describe-enclaves"]
