"""A keeper's verdict as an EAT Attestation Result (EAR): what it found, by which policy, for which run.

A JSON Web Token signed by the keeper (`typ` `eat+jwt`). Beside the claims of EAR, two of our own, each one map as EAR
demands of extensions: `paddock.run` in the token, `paddock.claims` in each appraisal.

| claim | content |
| --- | --- |
| `eat_profile` | `tag:ietf.org,2026:rats/ear#04` |
| `iat` | the keeper's clock, whole seconds |
| `eat_nonce` | the report data of the binding, base64url |
| `ear_verifier_id` | `developer` `paddock`, `build` with the version |
| `ear_status` | the worst of all pieces |
| `paddock.run` | `contract`, `level`, `run`, `run_key`, `measurement`, `simulated`, `collateral` (a digest) |
| `submods` | by label: `ear_status`, `ear_trustworthiness_vector`, `ear_appraisal_policy_ids` (digest of the trust policy), `eat_profile`, `eat_nonce` (what the evidence carries), `paddock.claims` |

Source: draft-ietf-rats-ear-04; draft-ietf-rats-ar4si; RFC 9711 (EAT); docs/spec/attestation.md §4 (A-18), release.md (R-19).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.contract.levels import Level
from paddock.crypto.canonical import canonical
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.jwt import read_jwt, sign_jwt
from paddock.crypto.moment import Moment, write_moment
from paddock.crypto.signing import VerifyKey
from paddock.errors import BindingMismatch, CryptoRefused, StatementRefused
from paddock.evidence.appraisal import Verdict
from paddock.evidence.binding import REPORT_DATA_BYTES, SHORT_REPORT_DATA_BYTES, check_report_data
from paddock.evidence.claims import ENVIRONMENT, LABELS, Claims
from paddock.evidence.vector import Tier, tier_of, trust_vector, worst

PROFILE = "tag:ietf.org,2026:rats/ear#04"
APPRAISAL_PROFILE = "tag:paddock,2026:appraisal"
TOKEN_TYPE = "eat+jwt"  # noqa: S105 - RFC 9782's name of a type, no secret
DEVELOPER = "paddock"

_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Fingerprint = Annotated[str, StringConstraints(pattern=r"^[A-Z2-7]{4}(-[A-Z2-7]{4}){12}$")]
_Nonce = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43,86}$")]
_Value = Annotated[int, Field(ge=-128, le=127)]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class VerifierId(_Strict):
    """Who appraised: AR4SI's verifier id."""

    developer: Literal["paddock"]
    build: Annotated[str, StringConstraints(pattern=r"^paddock [0-9A-Za-z.+!-]{1,64}$")]


class PieceClaims(_Strict):
    """What verified evidence says, as far as others need it to read the verdict (`paddock.claims`)."""

    provider: _Word
    tee: _Word
    measurement: _Digest
    simulated: bool
    signer: _Word
    issued: Moment | None
    tcb_status: _Word | None
    advisories: list[_Word]
    settings: list[_Word]


class Appraisal(_Strict):
    """The verdict on one piece of evidence."""

    eat_profile: Literal["tag:paddock,2026:appraisal"]
    eat_nonce: _Nonce
    ear_status: Literal["none", "affirming", "warning", "contraindicated"]
    ear_trustworthiness_vector: Annotated[
        dict[
            Literal[
                "instance-identity",
                "configuration",
                "executables",
                "file-system",
                "hardware",
                "runtime-opaque",
                "storage-opaque",
                "sourced-data",
            ],
            _Value,
        ],
        Field(min_length=1),
    ]
    ear_appraisal_policy_ids: Annotated[list[_Digest], Field(min_length=1, max_length=1)]
    claims: Annotated[PieceClaims, Field(alias="paddock.claims")]


class _Run(_Strict):
    contract: _Digest
    level: Literal["L1", "L2", "L3", "L4", "L5"]
    run: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    run_key: _Fingerprint
    measurement: _Digest
    simulated: bool
    collateral: _Digest


class _Token(_Strict):
    eat_profile: Literal["tag:ietf.org,2026:rats/ear#04"]
    iat: Annotated[int, Field(ge=0, lt=1 << 40)]
    eat_nonce: _Nonce
    ear_verifier_id: VerifierId
    ear_status: Literal["none", "affirming", "warning", "contraindicated"]
    run: Annotated[_Run, Field(alias="paddock.run")]
    submods: Annotated[dict[str, Appraisal], Field(min_length=1)]


@dataclass(frozen=True)
class Ear:
    """A verdict whose signature holds.

    Args:
        issued: when the keeper made it.
        status: the worst of all pieces, one of AR4SI's tiers.
        build: the keeper's software.
        contract: the contract's id.
        level: the contract's level.
        run: the run's id.
        run_key: fingerprint of the run's keys.
        report_data: the 64 bytes that the evidence had to carry.
        measurement: of the environment.
        simulated: whether any piece is.
        collateral: digest of the collateral that it rests on.
        policy: digest of the trust policy.
        pieces: the verdict on each piece, by label.
    """

    issued: datetime
    status: Tier
    build: str
    contract: str
    level: str
    run: str
    run_key: str
    report_data: bytes
    measurement: str
    simulated: bool
    collateral: str
    policy: str
    pieces: Mapping[str, Appraisal]


def make_ear(
    verdict: Verdict,
    *,
    level: str,
    contract: str,
    run: str,
    run_key: str,
    report_data: bytes,
    policy_digest: str,
    collateral_digest: str,
    keys: PrivateKeys,
    now: datetime,
) -> str:
    """The verdict on evidence that passed, signed by the keeper.

    Args:
        verdict: as `appraise` returned it, held against the contract (R-8, R-9).
        level: the contract's level.
        contract: the contract's id.
        run: the run's id.
        run_key: fingerprint of the run's keys.
        report_data: the binding's 64 bytes.
        policy_digest: `sha256:` of the trust policy that was applied.
        collateral_digest: `sha256:` of the collateral that was used.
        keys: the keeper's.
        now: the keeper's clock.
    """
    reference = level != Level.L1  # R-9 holds no measurement against the contract at L1
    submods = {}
    tiers = []
    for label, claims in sorted(verdict.claims.items()):
        vector = trust_vector(claims, label=label, reference=reference)
        status = worst(map(tier_of, vector.values()))
        tiers.append(status)
        submods[label] = {
            "eat_profile": APPRAISAL_PROFILE,
            "eat_nonce": _nonce(claims.report_data),
            "ear_status": status.value,
            "ear_trustworthiness_vector": vector,
            "ear_appraisal_policy_ids": [policy_digest],
            "paddock.claims": _piece(claims),
        }
    claims_set = {
        "eat_profile": PROFILE,
        "iat": int(now.timestamp()),
        "eat_nonce": _nonce(report_data),
        "ear_verifier_id": {"developer": DEVELOPER, "build": _build()},
        "ear_status": worst(tiers).value,
        "paddock.run": {
            "contract": contract,
            "level": str(level),
            "run": run,
            "run_key": run_key,
            "measurement": verdict.environment.measurement,
            "simulated": verdict.simulated,
            "collateral": collateral_digest,
        },
        "submods": submods,
    }
    return sign_jwt(claims_set, keys.sign, typ=TOKEN_TYPE)


def read_ear(token: str, keeper: VerifyKey) -> Ear:
    """The verdict, if this keeper signed it.

    Raises:
        StatementRefused: another signer, type or algorithm, not well formed, or one that contradicts itself: a status
            that is better than its vector, simulated evidence that is affirmed, pieces of other policies or questions
            (A-18).
    """
    try:
        claims = read_jwt(token, keeper, typ=TOKEN_TYPE)
        read = _Token.model_validate_json(canonical(claims))
        report_data = _unnonce(read.eat_nonce)
        _check(read, report_data)
    except (CryptoRefused, ValidationError, BindingMismatch, ValueError) as error:
        raise StatementRefused("A verdict is not signed by the keeper or not well formed.") from error
    return Ear(
        issued=datetime.fromtimestamp(read.iat, UTC),
        status=Tier(read.ear_status),
        build=read.ear_verifier_id.build,
        contract=read.run.contract,
        level=read.run.level,
        run=read.run.run,
        run_key=read.run.run_key,
        report_data=report_data,
        measurement=read.run.measurement,
        simulated=read.run.simulated,
        collateral=read.run.collateral,
        policy=read.submods[ENVIRONMENT].ear_appraisal_policy_ids[0],
        pieces=dict(read.submods),
    )


def _check(read: _Token, report_data: bytes) -> None:
    """Return if the verdict does not contradict itself (A-18). Raises ValueError, BindingMismatch."""
    if len(report_data) != REPORT_DATA_BYTES or ENVIRONMENT not in read.submods or not set(read.submods) <= LABELS:
        raise ValueError("it is not of an environment")
    if len({piece.ear_appraisal_policy_ids[0] for piece in read.submods.values()}) != 1:
        raise ValueError("its pieces were judged by several policies")
    for piece in read.submods.values():
        check_report_data(report_data, _unnonce(piece.eat_nonce))
        tiers = [tier_of(value) for value in piece.ear_trustworthiness_vector.values()]
        # each status is that of the worst claim, and nothing simulated is affirmed in any respect.
        if piece.ear_status != worst(tiers) or (piece.claims.simulated and Tier.AFFIRMING in tiers):
            raise ValueError("a status is better than its claims")
    if read.ear_status != worst(Tier(piece.ear_status) for piece in read.submods.values()):
        raise ValueError("its status is not that of its worst piece")
    if read.run.measurement != read.submods[ENVIRONMENT].claims.measurement:
        raise ValueError("its measurement is not the environment's")
    if read.run.simulated != any(piece.claims.simulated for piece in read.submods.values()):
        raise ValueError("it is not what its pieces are")


def _piece(claims: Claims) -> dict[str, Any]:
    return {
        "provider": claims.provider,
        "tee": claims.tee,
        "measurement": claims.measurement,
        "simulated": claims.simulated,
        "signer": claims.signer,
        "issued": None if claims.issued is None else write_moment(claims.issued),
        "tcb_status": claims.tcb_status,
        "advisories": sorted(claims.advisories),
        "settings": sorted(claims.settings),
    }


def _nonce(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _unnonce(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if len(data) not in (SHORT_REPORT_DATA_BYTES, REPORT_DATA_BYTES) or _nonce(data) != text:
        raise ValueError("a nonce is not in its one form")
    return data


@cache
def _build() -> str:
    return f"paddock {version('paddock')}"
