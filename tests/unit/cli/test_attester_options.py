"""Choosing an attester on the command line: understood and there before anything is served; evidence by hand."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from paddock.attest import address
from paddock.attest.tsm import TsmAttester
from paddock.cli.services import local_engine
from tests.fixtures.command import Done, paddock, paddock_json
from tests.fixtures.stand_in.configfs_tsm import ConfigfsTsm, tdx_driver
from tests.fixtures.stand_in.socket_attester import AttesterSocket
from tests.fixtures.vendors.intel import IntelMaker

TDX, SGX = IntelMaker("tdx", version=4), IntelMaker("sgx")
NONCE = bytes(range(64)).hex()


@pytest.fixture
def socket() -> Iterator[str]:
    """The address of an enclave's attester."""
    with (
        tempfile.TemporaryDirectory(prefix="paddock-") as folder,
        AttesterSocket(Path(folder) / "attest", SGX.evidence) as listening,
    ):
        yield listening


@pytest.fixture
def confidential_vm(monkeypatch: pytest.MonkeyPatch) -> ConfigfsTsm:
    """This machine, as far as the addresses `tsm` and `auto` know it: a TD."""
    kernel = ConfigfsTsm(tdx_driver(TDX))

    class Here(TsmAttester):
        def __init__(self) -> None:
            super().__init__(files=kernel)

        @classmethod
        def from_address(cls, _text: str) -> Here:
            return cls()

    load = address._load
    monkeypatch.setattr(address, "_load", lambda scheme: Here if scheme == "tsm" else load(scheme))
    return kernel


# --- serving --------------------------------------------------------------------------------------------------------


def serve(tmp_path: Path, *options: str) -> list[Done]:
    """Both commands that place runs, where they cannot start."""
    home = tmp_path / "home"
    if not home.exists():
        assert paddock("init", "north", "--home", home).code == 0
    hub = tmp_path / "hub"
    done = [paddock("serve", "--home", home, *options), paddock("hub", "serve", "--folder", hub, *options)]
    assert not hub.exists()
    assert not (home / "hub").exists()
    return done


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("sgx", "of no known kind: gramine, occlum, nsm, tsm"),
        ("tsm+gpu=nvidia", "LABEL=ADDRESS"),
        ("tsm:report", "must be absolute"),
        ("tsm:/nowhere", "'tsm:/nowhere' (environment) does not answer here"),
        ("unix:/nowhere", "'unix:/nowhere' (environment) does not answer here"),
    ],
)
def test_an_attester_that_cannot_serve_is_refused_before_anything_starts(
    tmp_path: Path, where: str, words: str
) -> None:
    for done in serve(tmp_path, "--attester", where):
        assert done.code == 4
        assert "E-RUN-06" in done.err
        assert words in " ".join(done.err.split())
        assert "paddock doctor" in done.err


def test_a_simulator_and_an_attester_exclude_each_other(tmp_path: Path) -> None:
    for done in serve(tmp_path, "--attester", "tsm", "--simulate"):
        assert done.code == 2
        assert "choose one" in done.err


def test_help_says_what_can_be_chosen() -> None:
    for command in (("serve",), ("hub", "serve")):
        text = paddock(*command, "--help").out
        assert "--attester" in text
        assert "Example: paddock" in text
    assert "--attester tsm" in paddock("hub", "serve", "--help").out


def test_runs_are_told_where_their_attester_is(tmp_path: Path, socket: str) -> None:
    with local_engine(tmp_path / "hub", simulate=False, parallel=1, attester=socket) as placing:
        assert placing.simulator is None
        assert placing.executor._attester == socket  # type: ignore[attr-defined]


def test_without_an_attester_and_a_simulator_there_is_no_evidence(tmp_path: Path) -> None:
    with local_engine(tmp_path / "hub", simulate=False, parallel=1) as placing:
        assert placing.executor._attester == "none"  # type: ignore[attr-defined]


# --- evidence by hand -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["tsm", "auto"])
def test_evidence_is_collected_and_judged_by_hand(tmp_path: Path, confidential_vm: ConfigfsTsm, where: str) -> None:
    out = tmp_path / "evidence.json"
    done = paddock_json("evidence", "collect", "--attester", where, "--nonce", NONCE, "--output", out)
    assert done.code == 0
    assert done.json["pieces"] == {"environment": "tdx"}
    assert done.json["output"] == str(out)
    assert not confidential_vm.requests
    (tmp_path / "root.pem").write_text(TDX.root_pem, encoding="ascii")
    (tmp_path / "collateral.json").write_bytes(TDX.collateral(datetime.now(UTC)).to_bytes())
    trusted = ("--root", tmp_path / "root.pem", "--collateral", tmp_path / "collateral.json")
    judged = paddock_json("evidence", "verify", out, *trusted, "--nonce", NONCE)
    assert judged.code == 0, judged.out
    assert judged.json["pieces"]["environment"]["tee"] == "confidential-vm"
    assert paddock("evidence", "verify", out, *trusted, "--nonce", "00" * 64).code == 3


def test_several_pieces_are_one_file(tmp_path: Path, socket: str) -> None:
    out = tmp_path / "evidence.json"
    done = paddock("evidence", "collect", "--attester", f"{socket}+host={socket}", "--nonce", NONCE, "--output", out)
    assert done.code == 0, done.err
    assert "environment (sgx), host (sgx)" in " ".join(done.out.split())
    assert set(json.loads(out.read_bytes())) == {"__cmwc_t", "environment", "host"}


def test_a_device_that_refuses_leaves_no_file(tmp_path: Path, confidential_vm: ConfigfsTsm) -> None:
    assert confidential_vm.driver is not None
    confidential_vm.driver.fails = [5]
    out = tmp_path / "evidence.json"
    done = paddock("evidence", "collect", "--attester", "tsm", "--nonce", NONCE, "--output", out)
    assert done.code == 4
    assert "dmesg" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("where", "nonce", "code"),
    [
        ("none", NONCE, 4),
        ("sgx", NONCE, 4),
        ("tsm:/nowhere", NONCE, 4),
        ("none", "00" * 32, 2),
        ("none", "00" * 65, 2),
        ("none", "no hex", 2),
    ],
)
def test_what_cannot_be_collected_is_said(tmp_path: Path, where: str, nonce: str, code: int) -> None:
    out = tmp_path / "evidence.json"
    done = paddock("evidence", "collect", "--attester", where, "--nonce", nonce, "--output", out)
    assert done.code == code, done.err
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, socket: str) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "evidence.json"
    done = paddock("evidence", "collect", "--attester", socket, "--nonce", NONCE, "--output", out)
    assert done.code == 5
    assert "E-PARTY-01" in done.err
