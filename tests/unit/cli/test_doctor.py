"""What `paddock doctor` says of attesters, on machines that have them and on those that have none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from paddock.attest import Attester, usual_attesters
from paddock.attest.gramine import GramineAttester
from paddock.attest.host import HostAttester
from paddock.attest.nsm import NsmAttester
from paddock.attest.nvidia import NvidiaAttester
from paddock.attest.occlum import OcclumAttester
from paddock.attest.sev_guest import SevGuestAttester
from paddock.attest.tpm import TpmAttester
from paddock.attest.tsm import TsmAttester
from paddock.cli import doctor, machine_commands
from paddock.cli.doctor import Finding, examine
from paddock.errors import WallsUnavailable
from paddock.evidence import UnverifiedEvidence
from paddock.walls import WallsReport
from tests.fixtures.command import paddock, paddock_json
from tests.fixtures.stand_in.configfs_tsm import ConfigfsTsm, tdx_driver
from tests.fixtures.stand_in.devices import Nsm, OcclumSgx, SevGuest
from tests.fixtures.stand_in.gramine import GramineFiles
from tests.fixtures.vendors.amd import AmdMaker
from tests.fixtures.vendors.aws import NitroMaker
from tests.fixtures.vendors.intel import IntelMaker

NOWHERE = Path("/nowhere")


@dataclass
class Present:
    """A device that is there."""

    name: str

    @classmethod
    def from_address(cls, text: str) -> Self:
        return cls(text)

    def available(self) -> bool:
        return True

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        raise AssertionError("nobody asks it")


EMPTY: dict[str, Attester] = {
    "gramine": GramineAttester(NOWHERE),
    "occlum": OcclumAttester(NOWHERE),
    "nsm": NsmAttester(NOWHERE),
    "tsm": TsmAttester(NOWHERE),
    "sev-guest": SevGuestAttester(NOWHERE),
    "host": HostAttester(NOWHERE),
    "tpm": TpmAttester(tcti="device:/nowhere"),
    "nvidia": NvidiaAttester(library="libno-such.so.1"),
}
THERE: dict[str, Attester] = {
    "gramine": GramineAttester(files=GramineFiles(IntelMaker("sgx"))),
    "occlum": OcclumAttester(device=OcclumSgx(IntelMaker("sgx"))),
    "nsm": NsmAttester(device=Nsm(NitroMaker())),
    "tsm": TsmAttester(files=ConfigfsTsm(tdx_driver(IntelMaker("tdx", version=4)))),
    "sev-guest": SevGuestAttester(device=SevGuest(AmdMaker())),
    "host": Present("host"),
    "tpm": Present("tpm"),
    "nvidia": Present("nvidia"),
}


def attesters(root: Path, known: dict[str, Attester]) -> dict[str, Finding]:
    return {row.name: row for row in examine(root, known) if row.area == "attesters"}


def test_it_looks_for_every_attester_that_has_a_place() -> None:
    assert set(EMPTY) == set(THERE) == set(usual_attesters())


def test_a_machine_without_any_can_only_simulate(tmp_path: Path) -> None:
    found = attesters(tmp_path, EMPTY)
    assert set(found) == {*EMPTY, "trusted execution environment"}
    assert all(row.ok is None and row.advice for row in found.values())
    assert "only be SIMULATED" in found["trusted execution environment"].advice


@pytest.mark.parametrize("scheme", [name for name in EMPTY if name not in {"host", "tpm", "nvidia"}])
def test_each_is_found_where_it_is_and_says_how_it_is_chosen(tmp_path: Path, scheme: str) -> None:
    found = attesters(tmp_path, EMPTY | {scheme: THERE[scheme]})
    assert found[scheme] == Finding("attesters", scheme, True, f"--attester {scheme}", "")
    assert {name for name, row in found.items() if row.ok} == {scheme}
    assert "trusted execution environment" not in found


@pytest.mark.parametrize("scheme", ["host", "tpm"])
def test_a_host_or_a_tpm_is_no_protection_from_the_operator(tmp_path: Path, scheme: str) -> None:
    found = attesters(tmp_path, EMPTY | {scheme: THERE[scheme]})
    assert found[scheme].ok
    assert "level 3 at most" in found["trusted execution environment"].advice


def test_a_gpu_stands_beside_another_attester(tmp_path: Path) -> None:
    found = attesters(tmp_path, EMPTY | {"nvidia": THERE["nvidia"]})
    assert found["nvidia"].found == "beside another: +gpu-0=nvidia"
    assert "only be SIMULATED" in found["trusted execution environment"].advice


def test_devices_are_looked_for_below_the_root_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kvm").touch()
    found = {row.name: row for row in examine(tmp_path, EMPTY) if row.area == "devices"}
    assert (found["KVM"].ok, found["KVM"].found) == (True, "/dev/kvm")
    assert (found["TPM 2.0"].ok, found["TPM 2.0"].found) == (None, "no")


def test_text_and_json_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_commands, "examine", lambda: examine(tmp_path, EMPTY | {"tsm": THERE["tsm"]}))
    rows = {row["name"]: row for row in paddock_json("doctor").json if row["area"] == "attesters"}
    assert rows["tsm"] == {"area": "attesters", "name": "tsm", "ok": True, "found": "--attester tsm", "advice": ""}
    assert rows["gramine"]["ok"] is None
    text = paddock("doctor").out
    assert "--attester tsm" in text
    assert "Inside an AWS Nitro enclave." in text


def test_it_says_what_walls_are_made_of_or_what_they_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> dict[str, Finding]:
        return {row.name: row for row in examine(tmp_path, EMPTY) if row.area == "walls"}

    def missing() -> WallsReport:
        raise WallsUnavailable("bubblewrap is not installed.")

    monkeypatch.setattr(doctor, "check_walls", lambda: WallsReport("0.8.0", "2.5.4", 7, "supervisor"))
    assert rows()["walls around jobs"].found == "bubblewrap 0.8.0, libseccomp 2.5.4, Landlock 7"
    assert rows()["ceiling of memory"].advice
    monkeypatch.setattr(doctor, "check_walls", missing)
    assert rows()["walls around jobs"].ok is None
    assert "bubblewrap is not installed." in rows()["walls around jobs"].advice
