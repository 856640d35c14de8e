"""Verifying a receipt: offline, with nothing but the receipt, a trust policy and, where known, the expected contract.

Source: docs/spec/receipt.md (V-1 to V-10).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from paddock.contract.levels import LEVELS, Tee
from paddock.contract.signing import SignedContract, verify_contract
from paddock.crypto.canonical import parse_canonical
from paddock.crypto.digest import unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment
from paddock.crypto.signing import VerifyKey
from paddock.errors import (
    BindingMismatch,
    CollateralInvalid,
    CryptoRefused,
    ReceiptMalformed,
    ReceiptMismatch,
    Refused,
)
from paddock.evidence.appraisal import Verdict, appraise
from paddock.evidence.binding import Binding
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.collateral import Collateral
from paddock.evidence.trust import TrustPolicy
from paddock.receipt.statement import PREDICATE_TYPE, RECEIPT_TYPE, STATEMENT_TYPE, KeeperReceipt, Receipt
from paddock.release.environment import check_environment
from paddock.release.statements import ReleaseStatement, read_lease, read_release
from paddock.release.verdict import read_verdict

MAX_RECEIPT_BYTES = 8 << 20


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt of which every step below held. Only `verify_receipt` makes one."""

    receipt: Receipt
    contract: SignedContract
    verdict: Verdict | None
    binding: Binding


def read_receipt(envelope: Envelope) -> Receipt:
    """Read a receipt strictly. Verifies nothing.

    Raises:
        ReceiptMalformed: not a receipt, or not in canonical form (V-1).
    """
    try:
        if envelope.payload_type != RECEIPT_TYPE:
            raise ReceiptMalformed("It is another type of message.")
        statement = parse_canonical(envelope.payload, max_bytes=MAX_RECEIPT_BYTES)  # V-1
        if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
            raise ReceiptMalformed("It is another kind of in-toto statement.")
        receipt = Receipt.model_validate(statement.get("predicate"))
    except (CryptoRefused, ValidationError) as error:
        raise ReceiptMalformed("A member is missing, unknown or ill-typed.") from error
    if receipt.statement() != envelope.payload:  # V-1: subjects are exactly the outputs
        raise ReceiptMalformed("Its subjects are not its outputs.")
    return receipt


def verify_receipt(envelope: Envelope, *, policy: TrustPolicy, expected_contract: str | None) -> VerifiedReceipt:
    """Return the receipt, if all of this holds.

    1. It is well formed (V-1). 2. Its contract is signed by all parties, and is the expected one (V-2). 3. Every
    party's keeper signed that it released keys to this run key, and its last lease covers the receipt's end (V-3); its
    verdict is on this run and rests on the collateral that is here (V-14, V-15).
    4. The evidence is genuine at the time the keepers judged it (V-4) and binds contract, run and run key (V-5).
    5. The environment satisfies the contract (V-6). 6. The attested run key signed the receipt (V-7). 7. Inputs are the
    contract's inputs (V-8); outputs and recipients are the contract's, none missing, none more (V-9). 8. What it says
    of simulation and measurement is what the evidence says (V-10).

    Args:
        envelope: the receipt as received.
        policy: the verifying party's own trust policy.
        expected_contract: id of the contract that the verifier means, or None to take the one inside.

    Raises:
        ReceiptMalformed, ReceiptMismatch, ContractRefused, EvidenceRefused, ReleaseRefused: by the step that failed.
    """
    # 1. V-1
    receipt = read_receipt(envelope)
    # 2. V-2
    contract = verify_contract(_envelope(receipt.contract))
    if receipt.contract_id != contract.id or expected_contract not in (None, contract.id):
        raise ReceiptMismatch("It is a receipt of another contract.")
    binding = Binding.from_dict(receipt.binding)
    if binding.run != receipt.run or binding.contract != contract.id:
        raise ReceiptMismatch("Its binding is for another run.")
    # 3. V-3
    judged_at, collateral = _check_keepers(receipt, contract, binding)
    # 4. V-4, V-5
    verdict = _verdict(receipt, contract, binding, policy=policy, collateral=collateral, judged_at=judged_at)
    # 5. V-6
    if verdict is not None:
        check_environment(contract.terms, verdict)
    # 6. V-7
    try:
        envelope.verify_by(binding.keys.sign, RECEIPT_TYPE)
    except CryptoRefused:
        raise ReceiptMismatch("It is not signed by the run key that was attested.") from None
    # 7. V-8
    if receipt.inputs != {name: item.asset for name, item in contract.terms.inputs.items()}:
        raise ReceiptMismatch("Its inputs are not those of the contract.")
    _check_outputs(receipt, contract)  # V-9
    # 8. V-10
    simulated = verdict.simulated if verdict is not None else False
    measurement = verdict.environment.measurement if verdict is not None else None
    if receipt.simulated != simulated or receipt.measurement != measurement:
        raise ReceiptMismatch("What it says of its environment is not what the evidence says.")
    return VerifiedReceipt(receipt, contract, verdict, binding)


def _envelope(value: object) -> Envelope:
    try:
        return Envelope.from_dict(value)
    except CryptoRefused as error:
        raise ReceiptMalformed("An envelope inside is not well formed.") from error


def _check_keepers(receipt: Receipt, contract: SignedContract, binding: Binding) -> tuple[str, Collateral]:
    """Check every keeper's statements; return the latest time at which one judged the evidence, and by what."""
    parties = contract.terms.parties
    if set(receipt.keepers) != set(parties):
        raise ReceiptMismatch("It does not carry the statements of every party's keeper.")
    if set(receipt.collateral) != {row.collateral for row in receipt.keepers.values()} - {None}:  # V-15
        raise ReceiptMismatch("The collateral in it is not that of its keepers' verdicts.")
    judged = [(_check_keeper(receipt, contract, binding, name, row), name) for name, row in receipt.keepers.items()]
    at, last = max(judged)
    digest = receipt.keepers[last].collateral
    return at, Collateral() if digest is None else _collateral(receipt, digest)


def _check_keeper(receipt: Receipt, contract: SignedContract, binding: Binding, name: str, row: KeeperReceipt) -> str:
    keeper = contract.terms.parties[name].keeper.public()
    try:
        release = read_release(_envelope(row.release), keeper.sign)
        lease = read_lease(_envelope(row.lease), keeper.sign)
    except Refused as error:
        raise ReceiptMismatch(f"A statement of the keeper of '{name}' does not hold.") from error
    expected = (contract.id, receipt.run, binding.keys.fingerprint(), keeper.fingerprint())
    evidence = None if receipt.evidence is None else EvidenceSet.from_wrapper(receipt.evidence).digest()
    if (release.contract, release.run, release.run_key, release.keeper) != expected or release.evidence != evidence:
        raise ReceiptMismatch(f"The keeper of '{name}' released keys to another run.")
    if (lease.contract, lease.run, lease.run_key, lease.keeper) != expected:
        raise ReceiptMismatch(f"The lease of the keeper of '{name}' is for another run.")
    if not lease.final:  # V-16
        raise ReceiptMismatch(f"The keeper of '{name}' did not let the run end: there may be another receipt of it.")
    if read_moment(receipt.ended) > read_moment(lease.until):
        raise ReceiptMismatch(f"The lease of the keeper of '{name}' had ended.")
    _check_verdict(receipt, name, row, release, keeper.sign)
    if set(release.assets) != {item.asset for _, item in contract.terms.inputs_of(name)}:
        raise ReceiptMismatch(f"The keeper of '{name}' released other assets.")
    return release.at


def _check_verdict(
    receipt: Receipt, name: str, row: KeeperReceipt, release: ReleaseStatement, keeper: VerifyKey
) -> None:
    """V-14: the keeper's verdict is the one that its release names, on this run, by the collateral that is here."""
    collateral = None if row.collateral is None else receipt.collateral[row.collateral]
    try:
        read_verdict(row.verdict, collateral, release, keeper)  # V-14
    except Refused as error:
        raise ReceiptMismatch(f"The verdict of the keeper of '{name}' does not hold.") from error


def _collateral(receipt: Receipt, digest: str) -> Collateral:
    try:
        return Collateral.from_bytes(unb64(receipt.collateral[digest]))
    except (CryptoRefused, CollateralInvalid) as error:
        raise ReceiptMalformed("The collateral in it cannot be read.") from error


def _verdict(
    receipt: Receipt,
    contract: SignedContract,
    binding: Binding,
    *,
    policy: TrustPolicy,
    collateral: Collateral,
    judged_at: str,
) -> Verdict | None:
    if receipt.evidence is None:
        if Tee.NONE in LEVELS[contract.terms.level].evidence:
            return None
        raise ReceiptMismatch("It carries no evidence, and the contract's level demands it.")
    try:
        return appraise(
            EvidenceSet.from_wrapper(receipt.evidence),
            level=contract.terms.level,
            report_data=binding.report_data(),
            policy=policy,
            collateral=collateral,
            now=read_moment(judged_at),
        )
    except BindingMismatch as error:
        raise ReceiptMismatch("Its evidence was made for another run.") from error


def _check_outputs(receipt: Receipt, contract: SignedContract) -> None:
    fingerprints = contract.terms.fingerprints()
    expected = {name: {fingerprints[to] for to in output.to} for name, output in contract.terms.outputs.items()}
    if {name: set(output.to) for name, output in receipt.outputs.items()} != expected:
        raise ReceiptMismatch("Its outputs or their recipients are not those of the contract.")
