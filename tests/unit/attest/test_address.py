"""Addresses of attesters: which device, what stands beside it, and that nothing weaker takes a device's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paddock.attest import (
    NO_ATTESTER,
    SCHEMES,
    address,
    check_address,
    check_available,
    collect,
    find_attester,
    open_attester,
    usual_attesters,
)
from paddock.attest.gramine import GramineAttester
from paddock.attest.tpm import TpmAttester
from paddock.attest.tsm import TsmAttester
from paddock.errors import AttesterUnavailable
from paddock.evidence import UnverifiedEvidence

REPORT = bytes(range(64))


@dataclass
class Machine:
    """What is there; every attester of it says its own name."""

    there: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def kind(self, scheme: str) -> Any:
        machine = self

        @dataclass(frozen=True)
        class Told:
            text: str
            name = scheme

            @classmethod
            def from_address(cls, text: str) -> Told:
                if text == "wrong":
                    raise AttesterUnavailable("it is not understood")
                return cls(text)

            def available(self) -> bool:
                return scheme in machine.there

            def attest(self, report_data: bytes) -> UnverifiedEvidence:
                machine.asked.append(scheme)
                if scheme not in machine.there or scheme in machine.broken:
                    raise AttesterUnavailable(f"{scheme} does not answer")
                return UnverifiedEvidence(f"{scheme}:{self.text}", report_data)

        return Told


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(address, "_load", made.kind)
    return made


def types(where: str) -> Mapping[str, str]:
    found = collect(where, REPORT)
    assert found is not None
    assert {piece.body for piece in found.pieces.values()} == {REPORT}
    return {label: piece.media_type for label, piece in found.pieces.items()}


def test_an_address_names_a_device_and_where_it_is(machine: Machine) -> None:
    machine.there = {"tsm", "gramine"}
    assert types("tsm") == {"environment": "tsm:"}
    assert types("gramine:/dev/attestation") == {"environment": "gramine:/dev/attestation"}
    assert collect(NO_ATTESTER, REPORT) is None


def test_others_stand_beside_it_each_under_its_label(machine: Machine) -> None:
    machine.there = {"tsm", "nvidia", "tpm"}
    assert types("tsm+gpu-0=nvidia:0+gpu-1=nvidia:1+host=tpm:tcti=device:/dev/tpmrm0;pcrs=sha256:0,1") == {
        "environment": "tsm:",
        "gpu-0": "nvidia:0",
        "gpu-1": "nvidia:1",
        "host": "tpm:tcti=device:/dev/tpmrm0;pcrs=sha256:0,1",
    }


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("", "of no known kind: gramine, occlum, nsm, tsm"),
        ("sgx", "of no known kind"),
        ("TSM", "of no known kind"),
        ("none+gpu-0=nvidia", "of no known kind"),
        ("tsm:wrong", "not understood"),
        ("tsm+gpu-0=sgx", "of no known kind"),
        ("tsm+gpu-9=nvidia", "LABEL=ADDRESS, each label once, e.g. gpu-0=nvidia"),
        ("tsm+gpu-0=nvidia+gpu-0=nvidia", "each label once"),
        ("tsm+environment=tpm", "each label once"),
    ],
)
def test_an_address_that_is_not_understood_is_refused_before_anything_is_asked(
    machine: Machine, where: str, words: str
) -> None:
    machine.there = set(SCHEMES)
    for check in (check_address, check_available):
        with pytest.raises(AttesterUnavailable, match=words):
            check(where)
    assert not machine.asked


@pytest.mark.parametrize("where", [NO_ATTESTER, "auto", "tsm", "auto+gpu-0=nvidia", "unix:/run/attest", "tpm:ak=1"])
def test_an_address_that_is_understood_needs_no_device(machine: Machine, where: str) -> None:
    check_address(where)
    assert not machine.asked


def test_all_devices_of_an_address_must_be_there(machine: Machine) -> None:
    machine.there = {"tsm"}
    check_available(NO_ATTESTER)
    check_available("tsm")
    check_available("auto")
    with pytest.raises(AttesterUnavailable, match=r"'nvidia:1' \(gpu-1\) does not answer here"):
        check_available("tsm+gpu-1=nvidia:1")
    machine.there = set()
    with pytest.raises(AttesterUnavailable, match="No device of this machine makes evidence: paddock doctor"):
        check_available("auto")
    assert not machine.asked


def test_auto_takes_what_proves_most(machine: Machine) -> None:
    machine.there = {"tpm", "nvidia", "sev-guest", "tsm"}
    assert types("auto") == {"environment": "tsm:"}
    machine.there = {"nvidia", "unix"}
    with pytest.raises(AttesterUnavailable, match="No device"):
        collect("auto", REPORT)
    assert find_attester() is None


def test_nothing_weaker_takes_the_place_of_a_device_that_fails(machine: Machine) -> None:
    machine.there, machine.broken = {"tsm", "tpm"}, {"tsm"}
    with pytest.raises(AttesterUnavailable, match="tsm does not answer"):
        collect("auto", REPORT)
    assert machine.asked == ["tsm"]


def test_one_piece_that_is_missing_makes_the_whole_unavailable(machine: Machine) -> None:
    machine.there = {"tsm"}
    with pytest.raises(AttesterUnavailable, match="nvidia does not answer"):
        collect("tsm+gpu-0=nvidia", REPORT)


# --- the real ones ---------------------------------------------------------------------------------------------------


def test_every_scheme_opens_its_attester() -> None:
    places = {"unix": "unix:/run/attest", "loopback": f"loopback:80:{'0' * 64}"}
    for scheme in SCHEMES:
        opened = open_attester(places.get(scheme, scheme))
        assert opened.name == scheme
    assert isinstance(open_attester("gramine:/elsewhere"), GramineAttester)
    elsewhere = open_attester("tsm:/elsewhere")
    assert isinstance(elsewhere, TsmAttester)
    assert elsewhere.folder == Path("/elsewhere")
    assert isinstance(open_attester("tpm:tcti=device:/dev/tpm0"), TpmAttester)


def test_usual_attesters_are_all_that_have_a_place_of_their_own() -> None:
    assert list(usual_attesters()) == ["gramine", "occlum", "nsm", "tsm", "sev-guest", "host", "tpm", "nvidia"]


def test_an_address_with_a_relative_path_is_refused() -> None:
    for where in ("tsm:report", "gramine:attestation", "unix:attest", "unix:"):
        with pytest.raises(AttesterUnavailable):
            check_address(where)
