"""Whether a keeper releases its party's data keys to a run.

Everything that decides is an argument: the request as received, the facts of the keeper's own durable state, its trust
policy, its clock. The caller loads the facts and records the grant in one transaction (R-13, `keeper/`).

Source: docs/spec/release.md (R-1 to R-12, R-21 to R-23).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from paddock.contract.levels import LEVELS, Tee
from paddock.contract.signing import SignedContract, verify_contract
from paddock.contract.terms import Terms, check_level
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PublicKeys
from paddock.crypto.moment import read_moment
from paddock.errors import (
    AssetNotDeposited,
    AttemptSuperseded,
    ChallengeRefused,
    ContractNotInForce,
    EvidenceMissing,
    NotOurContract,
    Revoked,
    RunFinished,
    RunKeyChanged,
    RunsUsedUp,
)
from paddock.evidence.appraisal import Verdict, appraise
from paddock.evidence.binding import Binding
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.collateral import Collateral
from paddock.evidence.trust import TrustPolicy
from paddock.release.environment import check_environment

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_CLOCK_SKEW = timedelta(seconds=60)


@dataclass(frozen=True)
class ReleaseRequest:
    """What an enclave sends: nothing in it is trusted yet."""

    contract: Envelope
    binding: Binding
    evidence: EvidenceSet | None


@dataclass(frozen=True)
class IssuedChallenge:
    """A nonce that this keeper gave out, for which contract and run, and whether keys were released on it."""

    nonce: str
    contract: str
    run: str
    expires: datetime
    used: bool


@dataclass(frozen=True)
class KeeperFacts:
    """The keeper's own durable state, as far as it bears on one request.

    Args:
        party: the keys of the party that this keeper acts for.
        keeper: the keeper's own keys.
        challenge: the challenge whose nonce the request quotes, if this keeper ever issued it.
        revoked: why the contract or one of its assets was revoked, or None.
        runs_used: how many runs under this contract were granted keys.
        attempts: fingerprints of the run keys that this very run was granted keys for, one for each attempt, in order.
        finished: whether its last lease was given.
        deposits: asset ids whose data keys are deposited here.
    """

    party: PublicKeys
    keeper: PublicKeys
    challenge: IssuedChallenge | None
    revoked: str | None
    runs_used: int
    attempts: tuple[str, ...]
    finished: bool
    deposits: frozenset[str]


@dataclass(frozen=True)
class Grant:
    """A decision to release. Only `decide` makes one.

    Args:
        contract: the contract it is under.
        party: the name of the keeper's party in it.
        run: the run's id.
        assets: assets whose keys are released, in input-name order.
        verdict: what the evidence was found to be; None only at a level that demands none.
        attempt: which one of the run's attempts it is, from 1.
        is_retry: the same run with the same key was granted before; it does not count again.
    """

    contract: SignedContract
    party: str
    run: str
    assets: tuple[str, ...]
    verdict: Verdict | None
    attempt: int
    is_retry: bool


def decide(
    request: ReleaseRequest, facts: KeeperFacts, *, policy: TrustPolicy, collateral: Collateral, now: datetime
) -> Grant:
    """Decide on one request, in this order.

    1. The contract is signed by every party over the same bytes (R-1).
    2. It lists this keeper for this keeper's party (R-2).
    3. Nothing of it was revoked (R-3).
    4. It is in force by this keeper's clock (R-4).
    5. The binding is for this contract and a well-formed run (R-5).
    6. It answers a live challenge of this keeper, and lists one of every party's keeper, in order (R-6).
    7. The evidence is what the policy demands: genuine, fresh, and each piece carries this binding (R-7).
    8. The level allows what the contract says, the evidence satisfies it, and is simulated only if all parties signed
       that (R-8, L-1, L-2, L-8, L-9).
    9. The measurement of each piece is one that all parties signed (R-9).
    10. Runs are left; or this is the same run again, which has not ended: with the same key, or with a new one while
        attempts are left (R-10, R-11, R-21 to R-23).
    11. Every input of this party is deposited here (R-12).

    Raises:
        ContractRefused, EvidenceRefused, ReleaseRefused: by the step that failed. No other outcome exists.
    """
    # 1. R-1
    contract = verify_contract(request.contract)
    # 2. R-2
    party = _own_party(contract.terms, facts)
    # 3. R-3
    if facts.revoked is not None:
        raise Revoked(facts.revoked)
    # 4. R-4
    _check_in_force(contract.terms, now)
    # 5. R-5
    if request.binding.contract != contract.id or not _RUN_ID.fullmatch(request.binding.run):
        raise ChallengeRefused("The binding is for another contract or no proper run.")
    # 6. R-6
    _check_challenge(contract, request.binding, facts, now)
    # 7. R-7
    verdict = _verdict(contract.terms, request, policy, collateral, now)
    # 8. and 9.
    check_level(contract.terms)
    if verdict is not None:
        check_environment(contract.terms, verdict)
    # 10.
    attempt = _check_runs(contract.terms, request.binding, facts)
    # 11. R-12
    assets = []
    for name, item in sorted(contract.terms.inputs_of(party)):
        if item.asset not in facts.deposits:
            raise AssetNotDeposited(f"The key of input '{name}' is not deposited here.")
        assets.append(item.asset)
    return Grant(
        contract=contract,
        party=party,
        run=request.binding.run,
        assets=tuple(dict.fromkeys(assets)),
        verdict=verdict,
        attempt=attempt,
        is_retry=attempt <= len(facts.attempts),
    )


def _own_party(terms: Terms, facts: KeeperFacts) -> str:
    name = terms.party_named_by(facts.party.fingerprint())
    if name is None or terms.parties[name].keeper.public() != facts.keeper:
        raise NotOurContract
    return name


def _check_in_force(terms: Terms, now: datetime) -> None:
    if now + _CLOCK_SKEW < read_moment(terms.created):
        raise ContractNotInForce(f"It begins at {terms.created}.")
    if now >= read_moment(terms.expires):
        raise ContractNotInForce(f"It expired at {terms.expires}.")


def _check_challenge(contract: SignedContract, binding: Binding, facts: KeeperFacts, now: datetime) -> None:
    keepers = [contract.terms.parties[name].keeper.public().fingerprint() for name in sorted(contract.terms.parties)]
    if [challenge.keeper for challenge in binding.challenges] != keepers:
        raise ChallengeRefused("It does not list one challenge of every party's keeper, in order.")
    own = binding.challenges[keepers.index(facts.keeper.fingerprint())]
    issued = facts.challenge
    if issued is None or issued.nonce != own.nonce:
        raise ChallengeRefused("The nonce was not issued by this keeper.")
    if issued.contract != contract.id or issued.run != binding.run:
        raise ChallengeRefused("The nonce was issued for another contract or run.")
    if now >= issued.expires:
        raise ChallengeRefused("The nonce has expired.")
    if issued.used and facts.attempts[-1:] != (binding.keys.fingerprint(),):
        raise ChallengeRefused("The nonce was used already.")


def _verdict(
    terms: Terms, request: ReleaseRequest, policy: TrustPolicy, collateral: Collateral, now: datetime
) -> Verdict | None:
    if request.evidence is None:
        if Tee.NONE in LEVELS[terms.level].evidence:
            return None
        raise EvidenceMissing(f"{terms.level} demands evidence.")
    return appraise(
        request.evidence,
        level=terms.level,
        report_data=request.binding.report_data(),
        policy=policy,
        collateral=collateral,
        now=now,
    )


def _check_runs(terms: Terms, binding: Binding, facts: KeeperFacts) -> int:
    """The number of the attempt that this is."""
    key = binding.keys.fingerprint()
    if facts.finished:  # it has had its results.
        raise RunFinished
    used = len(facts.attempts)
    if not used:
        if facts.runs_used >= terms.runs:
            raise RunsUsedUp(f"{terms.runs} of {terms.runs} runs were used.")
        return 1
    if key == facts.attempts[-1]:  # a retry
        return used
    if key in facts.attempts:  # what was given up does not come back.
        raise AttemptSuperseded
    if used >= terms.limits.attempts:
        raise RunKeyChanged(f"{used} of {terms.limits.attempts} attempts were used.")
    return used + 1
