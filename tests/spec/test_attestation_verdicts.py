"""Rules about the age of collateral (A-13), its file (A-15) and verdicts (A-18)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from paddock.crypto.digest import b64, sha256_id
from paddock.crypto.jwt import read_jwt, sign_jwt
from paddock.errors import CollateralInvalid, CollateralMissing, CollateralStale, StatementRefused
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, Verdict, verify_evidence
from paddock.evidence.binding import short_report_data
from paddock.evidence.collateral import MAX_COLLATERAL_BYTES, CollateralItem
from paddock.evidence.providers.tdx import MEDIA_TYPE
from paddock.keeper.collateral import recognise
from paddock.release.ear import TOKEN_TYPE, make_ear, read_ear
from tests.fixtures.cast import NOW, member

TDX = Path(__file__).resolve().parents[1] / "evidence" / "vectors" / "tdx"
KEEPER = member("north").keeper
REPORT = bytes(range(64))
Value = dict[str, Any]


# --- A-13 -----------------------------------------------------------------------------------------------------------


def _judge(at: datetime, collateral: Collateral | None = None, **changes: Any) -> Claims:
    """A recorded TD, whose collateral Intel issued on 2025-06-19 for a month."""
    section = {"roots": ["intel-sgx"], "allow": ["cached-keys", "dynamic-platform", "smt"]}
    policy = TrustPolicy.model_validate({"tdx": section, **changes})
    if collateral is None:
        collateral = Collateral(recognise((TDX / "quote_v4.collateral.json").read_bytes(), "2025-06-20T00:00:00Z"))
    evidence = UnverifiedEvidence(MEDIA_TYPE, (TDX / "quote_v4.bin").read_bytes())
    return verify_evidence(evidence, policy=policy, collateral=collateral, now=at)


def test_a13_collateral_is_good_for_as_long_as_its_vendor_and_the_policy_say() -> None:
    at = datetime(2025, 7, 1, tzinfo=UTC)
    claims = _judge(at)
    assert claims.tcb_status == "UpToDate"
    assert claims.collateral_issued is not None
    seconds = int((at - claims.collateral_issued).total_seconds())
    assert _judge(at, max_collateral_age_seconds=seconds).collateral == ("intel/tdx/B0C06F000000/platform",)
    with pytest.raises(CollateralStale):
        _judge(at, max_collateral_age_seconds=seconds - 1)


def test_a13_collateral_that_its_vendor_issued_too_long_ago_is_refused_whenever_it_was_fetched() -> None:
    at = datetime(2025, 7, 1, tzinfo=UTC)
    with pytest.raises(CollateralStale):
        _judge(at, max_collateral_age_seconds=86_400)
    (item,) = recognise((TDX / "quote_v4.collateral.json").read_bytes(), "2025-06-30T23:59:59Z")
    with pytest.raises(CollateralStale):
        _judge(at, Collateral([item]), max_collateral_age_seconds=86_400)


def test_a13_collateral_that_its_vendor_calls_out_of_date_is_refused_by_the_laxest_policy() -> None:
    lax: Value = {"max_collateral_age_seconds": 3 * 366 * 86_400}
    with pytest.raises(CollateralStale):
        _judge(datetime(2025, 8, 1, tzinfo=UTC), **lax)
    with pytest.raises(CollateralStale):
        _judge(datetime(2025, 6, 18, tzinfo=UTC), **lax)


def test_a13_missing_collateral_is_a_refusal() -> None:
    (item,) = recognise((TDX / "quote_v4.collateral.json").read_bytes(), "2025-06-20T00:00:00Z")
    for known in (Collateral(), Collateral([replace(item, key="intel/tdx/B0C06F000000/processor")])):
        with pytest.raises(CollateralMissing):
            _judge(datetime(2025, 7, 1, tzinfo=UTC), known)


# --- A-15 -----------------------------------------------------------------------------------------------------------

ITEMS = Collateral(
    [
        CollateralItem("certificate", "amd/vcek/x", "2026-01-01T00:00:00Z", b"\x30\x00"),
        CollateralItem("other-kind", "b", "2026-01-01T00:00:00Z", b""),
    ]
)


def test_a15_a_file_of_collateral_has_one_form() -> None:
    data = ITEMS.to_bytes()
    assert list(Collateral.from_bytes(data)) == list(ITEMS)
    assert Collateral.from_bytes(data).to_bytes() == data
    assert (
        Collateral.from_bytes(Collateral().to_bytes()).to_bytes() == b'{"items":{},"version":"paddock/collateral/v1"}'
    )
    assert recognise(data, "2020-01-01T00:00:00Z") == list(ITEMS)


def _change(path: tuple[str, ...], value: object) -> bytes:
    body = json.loads(ITEMS.to_bytes())
    at = body
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        ITEMS.to_bytes() + b"\n",
        b" " + ITEMS.to_bytes(),
        ITEMS.to_bytes()[:-1],
        json.dumps(json.loads(ITEMS.to_bytes()), indent=1).encode(),
        _change(("version",), "paddock/collateral/v2"),
        _change(("more",), 1),
        _change(("items", "b"), None) + b"{}",
        _change(("items", "b", "kind"), None),
        _change(("items", "b", "kind"), "Upper"),
        _change(("items", "b", "fetched"), "yesterday"),
        _change(("items", "b", "body"), "!"),
        _change(("items", "b", "body"), "AB=="),
        _change(("items", "b", "body"), 1),
        _change(("items", "b", "more"), 1),
        _change(("items", "../b"), {"kind": "x", "fetched": "2026-01-01T00:00:00Z", "body": ""}),
        _change(("items", ""), {"kind": "x", "fetched": "2026-01-01T00:00:00Z", "body": ""}),
        _change(("items", "k" * 401), {"kind": "x", "fetched": "2026-01-01T00:00:00Z", "body": ""}),
        _change(("items", "b", "body"), b64(bytes(MAX_COLLATERAL_BYTES))),
    ],
)
def test_a15_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(CollateralInvalid):
        Collateral.from_bytes(data)


# --- A-18 -----------------------------------------------------------------------------------------------------------


def claims(**changes: Any) -> Claims:
    value: Value = {
        "provider": "sgx",
        "tee": "enclave",
        "measurement": sha256_id(b"enclave"),
        "report_data": REPORT,
        "debug": False,
        "simulated": False,
        "signer": sha256_id(b"root"),
        "issued": NOW,
        "tcb_status": "UpToDate",
        **changes,
    }
    return Claims(**value)


PIECES = {
    "environment": claims(),
    "gpu-0": claims(provider="nvidia", tee="gpu", report_data=short_report_data(REPORT), measurement=sha256_id(b"gpu")),
    "host": claims(provider="tpm", tee="tpm", measurement=sha256_id(b"host"), tcb_status=None, issued=None),
}


def token(pieces: dict[str, Claims] | None = None, **changes: Any) -> str:
    value: Value = {
        "level": "L5",
        "contract": sha256_id(b"contract"),
        "run": "0" * 32,
        "run_key": member("south").fingerprint,
        "report_data": REPORT,
        "policy_digest": sha256_id(b"policy"),
        "collateral_digest": sha256_id(b"collateral"),
        "keys": KEEPER,
        "now": NOW + timedelta(milliseconds=900),
        **changes,
    }
    return make_ear(Verdict(PIECES if pieces is None else pieces, Collateral()), **value)


def spoilt(change: Callable[[Value], object], pieces: dict[str, Claims] | None = None) -> str:
    """A token that the keeper itself signed with other claims."""
    body = read_jwt(token(pieces), KEEPER.public().sign, typ=TOKEN_TYPE)
    change(body)
    return sign_jwt(body, KEEPER.sign, typ=TOKEN_TYPE)


def test_a18_a_verdict_says_what_was_found_by_which_policy_for_which_run() -> None:
    ear = read_ear(token(), KEEPER.public().sign)
    assert ear.issued == NOW
    assert ear.status == "affirming"
    assert (ear.contract, ear.run, ear.run_key) == (sha256_id(b"contract"), "0" * 32, member("south").fingerprint)
    assert (ear.level, ear.measurement, ear.simulated) == ("L5", sha256_id(b"enclave"), False)
    assert (ear.policy, ear.collateral, ear.report_data) == (sha256_id(b"policy"), sha256_id(b"collateral"), REPORT)
    assert ear.build.startswith("paddock ")
    assert {label: piece.ear_status for label, piece in ear.pieces.items()} == dict.fromkeys(PIECES, "affirming")
    assert ear.pieces["host"].claims.provider == "tpm"
    assert ear.pieces["environment"].ear_trustworthiness_vector["runtime-opaque"] == 2


def test_a18_it_is_an_eat_attestation_result() -> None:
    body = read_jwt(token(), KEEPER.public().sign, typ="eat+jwt")
    assert body["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert body["iat"] == int(NOW.timestamp())
    assert set(body["ear_verifier_id"]) == {"developer", "build"}
    assert body["ear_status"] == "affirming"
    assert set(body) - {"eat_profile", "iat", "ear_verifier_id", "ear_status", "eat_nonce", "submods"} == {
        "paddock.run"
    }
    for piece in body["submods"].values():
        assert set(piece) - {"paddock.claims"} == {
            "eat_profile",
            "eat_nonce",
            "ear_status",
            "ear_trustworthiness_vector",
            "ear_appraisal_policy_ids",
        }


def test_a18_the_worst_piece_is_the_verdict() -> None:
    ear = read_ear(token({**PIECES, "environment": claims(tcb_status="OutOfDate")}), KEEPER.public().sign)
    assert ear.status == "warning"
    assert {label: piece.ear_status for label, piece in ear.pieces.items()} == {
        "environment": "warning",
        "gpu-0": "affirming",
        "host": "affirming",
    }


def test_a18_at_l1_nothing_is_said_of_what_runs() -> None:
    ear = read_ear(token(level="L1"), KEEPER.public().sign)
    assert all("executables" not in piece.ear_trustworthiness_vector for piece in ear.pieces.values())


def test_a18_simulated_evidence_is_never_affirmed() -> None:
    simulated = claims(provider="simulated", simulated=True)
    ear = read_ear(token({"environment": simulated}), KEEPER.public().sign)
    assert (ear.status, ear.simulated) == ("warning", True)
    assert set(ear.pieces["environment"].ear_trustworthiness_vector.values()) == {-33}

    def affirm(body: Value) -> None:
        piece = body["submods"]["environment"]
        piece["ear_trustworthiness_vector"] = dict.fromkeys(piece["ear_trustworthiness_vector"], 2)
        piece["ear_status"] = body["ear_status"] = "affirming"

    def affirm_in_part(body: Value) -> None:
        body["submods"]["environment"]["ear_trustworthiness_vector"]["hardware"] = 2

    def hide(body: Value) -> None:
        body["paddock.run"]["simulated"] = False

    for lie in (affirm, affirm_in_part, hide):
        with pytest.raises(StatementRefused):
            read_ear(spoilt(lie, {"environment": simulated}), KEEPER.public().sign)
    one_of_many = read_ear(token({**PIECES, "host": replace(PIECES["host"], simulated=True)}), KEEPER.public().sign)
    assert (one_of_many.status, one_of_many.simulated) == ("warning", True)


def test_a18_another_keepers_verdict_is_refused() -> None:
    with pytest.raises(StatementRefused):
        read_ear(token(keys=member("south").keeper), KEEPER.public().sign)
    with pytest.raises(StatementRefused):
        read_ear(token(keys=member("north").keys), KEEPER.public().sign)


def test_a18_a_token_of_another_type_is_no_verdict() -> None:
    body = read_jwt(token(), KEEPER.public().sign, typ=TOKEN_TYPE)
    with pytest.raises(StatementRefused):
        read_ear(sign_jwt(body, KEEPER.sign, typ="JWT"), KEEPER.public().sign)


def _environment(body: Value) -> Value:
    piece: Value = body["submods"]["environment"]
    return piece


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b.update(eat_profile="tag:github.com,2023:veraison/ear"),
        lambda b: b.update(iat=1.5),
        lambda b: b.update(iat=-1),
        lambda b: b.update(iat=True),
        lambda b: b.update(exp=1),
        lambda b: b.update(iss="somebody"),
        lambda b: b.pop("eat_nonce"),
        lambda b: b.update(eat_nonce="A" * 86),
        lambda b: b.update(eat_nonce="A" * 43),
        lambda b: b.update(eat_nonce=b["eat_nonce"] + "=="),
        lambda b: b.update(eat_nonce=b["eat_nonce"][:-1] + "x"),
        lambda b: b.update(ear_status="contraindicated"),
        lambda b: b.update(ear_status="good"),
        lambda b: b["ear_verifier_id"].update(developer="somebody"),
        lambda b: b["ear_verifier_id"].update(more=1),
        lambda b: b["paddock.run"].update(contract="sha256:"),
        lambda b: b["paddock.run"].update(level="L9"),
        lambda b: b["paddock.run"].update(run="x"),
        lambda b: b["paddock.run"].update(run_key="x"),
        lambda b: b["paddock.run"].update(measurement=sha256_id(b"another")),
        lambda b: b["paddock.run"].update(simulated=True),
        lambda b: b["paddock.run"].update(more=1),
        lambda b: b.pop("paddock.run"),
        lambda b: b.update(submods={}),
        lambda b: b["submods"].pop("environment"),
        lambda b: b["submods"].update(other=b["submods"]["host"]),
        lambda b: _environment(b).update(eat_nonce="A" * 86),
        lambda b: _environment(b).update(eat_nonce="A" * 43),
        lambda b: _environment(b).update(eat_nonce="A" * 60),
        lambda b: _environment(b).update(ear_status="none"),
        lambda b: _environment(b).update(ear_trustworthiness_vector={}),
        lambda b: _environment(b)["ear_trustworthiness_vector"].update(hardware=32),
        lambda b: _environment(b)["ear_trustworthiness_vector"].update(hardware=128),
        lambda b: _environment(b)["ear_trustworthiness_vector"].update(luck=2),
        lambda b: _environment(b).update(ear_appraisal_policy_ids=[]),
        lambda b: _environment(b).update(ear_appraisal_policy_ids=[sha256_id(b"another")]),
        lambda b: _environment(b).update(ear_appraisal_policy_ids=["policy"]),
        lambda b: _environment(b).update(eat_profile=b["eat_profile"]),
        lambda b: _environment(b).update(ear_raw_evidence=""),
        lambda b: _environment(b)["paddock.claims"].update(simulated=True),
        lambda b: _environment(b)["paddock.claims"].update(measurement=sha256_id(b"another")),
        lambda b: _environment(b)["paddock.claims"].update(tee=""),
        lambda b: _environment(b)["paddock.claims"].update(issued="yesterday"),
        lambda b: _environment(b)["paddock.claims"].update(more=1),
        lambda b: _environment(b)["paddock.claims"].pop("settings"),
    ],
)
def test_a18_a_verdict_that_contradicts_itself_or_has_another_form_is_refused(
    change: Callable[[Value], object],
) -> None:
    with pytest.raises(StatementRefused):
        read_ear(spoilt(change), KEEPER.public().sign)
