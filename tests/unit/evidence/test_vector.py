"""What evidence is worth, in AR4SI's words."""

from __future__ import annotations

from typing import Any

import pytest

from paddock.crypto.digest import sha256_id
from paddock.evidence.claims import Claims
from paddock.evidence.vector import NAMES, SIMULATED, Tier, tier_of, trust_vector, worst


def claims(**changes: Any) -> Claims:
    value: dict[str, Any] = {
        "provider": "sgx",
        "tee": "enclave",
        "measurement": sha256_id(b""),
        "report_data": bytes(64),
        "debug": False,
        "simulated": False,
        "signer": sha256_id(b"root"),
        "issued": None,
        "tcb_status": "UpToDate",
        **changes,
    }
    return Claims(**value)


def vector(*, label: str = "environment", reference: bool = True, **changes: Any) -> dict[str, int]:
    return trust_vector(claims(**changes), label=label, reference=reference)


def test_an_enclave_of_an_up_to_date_platform_is_affirmed_in_all_that_is_said() -> None:
    affirmed = {"instance-identity": 2, "configuration": 2, "executables": 2, "hardware": 2, "runtime-opaque": 2}
    assert vector() == affirmed
    assert vector(tcb_status=None) == affirmed  # a vendor without such a word
    assert vector(tee="sealed-vm") == affirmed
    assert vector(tee="confidential-vm") == affirmed | {"executables": 3}


def test_what_nothing_was_held_against_is_not_said_to_be_approved() -> None:
    assert "executables" not in vector(reference=False)
    assert "executables" not in vector(tee="something else")


@pytest.mark.parametrize("changes", [{"tcb_status": "SWHardeningNeeded"}, {"advisories": ("INTEL-SA-1",)}])
def test_a_platform_with_known_faults_is_warned_of(changes: dict[str, Any]) -> None:
    assert vector(**changes)["hardware"] == 32


def test_a_setting_that_was_allowed_is_warned_of_and_debug_is_contraindicated() -> None:
    assert vector(settings=frozenset({"smt"}))["configuration"] == 32
    assert vector(debug=True)["configuration"] == 96


@pytest.mark.parametrize("tee", ["tpm", "software"])
def test_memory_that_is_not_encrypted_is_warned_of(tee: str) -> None:
    assert vector(tee=tee)["runtime-opaque"] == 32


def test_only_the_environment_says_what_its_memory_is_like() -> None:
    assert "runtime-opaque" not in vector(tee="tpm", label="host")
    assert "runtime-opaque" not in vector(tee="gpu", label="gpu-0")


def test_nothing_simulated_is_affirmed_in_any_respect() -> None:
    for tee in ("enclave", "confidential-vm", "sealed-vm", "tpm", "software", "gpu", "another"):
        for reference in (True, False):
            made = vector(tee=tee, reference=reference, simulated=True)
            assert set(made.values()) == {SIMULATED}
            assert worst(map(tier_of, made.values())) is Tier.WARNING


def test_every_name_is_one_of_the_eight() -> None:
    assert set(vector()) <= set(NAMES)
    assert len(NAMES) == 8


def test_tiers_are_those_of_ar4si() -> None:
    ranges = {
        Tier.NONE: [-1, 0, 1],
        Tier.AFFIRMING: [*range(-32, -1), *range(2, 32)],
        Tier.WARNING: [*range(-96, -32), *range(32, 96)],
        Tier.CONTRAINDICATED: [*range(-128, -96), *range(96, 128)],
    }
    assert sum(map(len, ranges.values())) == 256
    for tier, values in ranges.items():
        assert {tier_of(value) for value in values} == {tier}


def test_the_worst_counts() -> None:
    assert worst([]) is Tier.NONE
    order = [Tier.AFFIRMING, Tier.NONE, Tier.WARNING, Tier.CONTRAINDICATED]
    for place, tier in enumerate(order):
        assert worst(order[: place + 1]) is tier
