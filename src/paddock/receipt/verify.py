"""Verifying a receipt: offline, with nothing but the receipt, a trust policy and, where known, the expected contract.

Source: docs/spec/receipt.md (V-1 to V-10).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from paddock.contract.levels import LEVELS, Tee
from paddock.contract.signing import SignedContract, verify_contract
from paddock.crypto.canonical import parse_canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment
from paddock.errors import CryptoRefused, EvidenceRefused, ReceiptMalformed, ReceiptMismatch, Refused
from paddock.evidence.binding import Binding
from paddock.evidence.claims import Claims, UnverifiedEvidence
from paddock.evidence.provider import verify_evidence
from paddock.evidence.trust import TrustPolicy
from paddock.receipt.statement import PREDICATE_TYPE, RECEIPT_TYPE, STATEMENT_TYPE, KeeperReceipt, Receipt
from paddock.release.environment import check_environment
from paddock.release.statements import read_lease, read_release

MAX_RECEIPT_BYTES = 8 << 20


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt of which every step below held. Only `verify_receipt` makes one."""

    receipt: Receipt
    contract: SignedContract
    claims: Claims | None
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
    party's keeper signed that it released keys to this run key, and its last lease covers the receipt's end (V-3).
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
    judged_at = _check_keepers(receipt, contract, binding)
    # 4. V-4, V-5
    claims = _claims(receipt, contract, binding, policy, judged_at)
    # 5. V-6
    if claims is not None:
        check_environment(contract.terms, claims)
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
    simulated = claims.simulated if claims is not None else False
    measurement = claims.measurement if claims is not None else None
    if receipt.simulated != simulated or receipt.measurement != measurement:
        raise ReceiptMismatch("What it says of its environment is not what the evidence says.")
    return VerifiedReceipt(receipt, contract, claims, binding)


def _envelope(value: object) -> Envelope:
    try:
        return Envelope.from_dict(value)
    except CryptoRefused as error:
        raise ReceiptMalformed("An envelope inside is not well formed.") from error


def _check_keepers(receipt: Receipt, contract: SignedContract, binding: Binding) -> str:
    """Check every keeper's statements; return the latest time at which one judged the evidence."""
    parties = contract.terms.parties
    if set(receipt.keepers) != set(parties):
        raise ReceiptMismatch("It does not carry the statements of every party's keeper.")
    return max(_check_keeper(receipt, contract, binding, name, row) for name, row in receipt.keepers.items())


def _check_keeper(receipt: Receipt, contract: SignedContract, binding: Binding, name: str, row: KeeperReceipt) -> str:
    keeper = contract.terms.parties[name].keeper.public()
    try:
        release = read_release(_envelope(row.release), keeper.sign)
        lease = read_lease(_envelope(row.lease), keeper.sign)
    except Refused as error:
        raise ReceiptMismatch(f"A statement of the keeper of '{name}' does not hold.") from error
    expected = (contract.id, receipt.run, binding.keys.fingerprint(), keeper.fingerprint())
    evidence = None if receipt.evidence is None else _evidence_digest(receipt.evidence)
    if (release.contract, release.run, release.run_key, release.keeper) != expected or release.evidence != evidence:
        raise ReceiptMismatch(f"The keeper of '{name}' released keys to another run.")
    if (lease.contract, lease.run, lease.run_key, lease.keeper) != expected:
        raise ReceiptMismatch(f"The lease of the keeper of '{name}' is for another run.")
    if read_moment(receipt.ended) > read_moment(lease.until):
        raise ReceiptMismatch(f"The lease of the keeper of '{name}' had ended.")
    if set(release.assets) != {item.asset for _, item in contract.terms.inputs_of(name)}:
        raise ReceiptMismatch(f"The keeper of '{name}' released other assets.")
    return release.at


def _evidence_digest(wrapper: list[object]) -> str:
    return sha256_id(UnverifiedEvidence.from_wrapper(wrapper).body)


def _claims(
    receipt: Receipt, contract: SignedContract, binding: Binding, policy: TrustPolicy, judged_at: str
) -> Claims | None:
    if receipt.evidence is None:
        if Tee.NONE in LEVELS[contract.terms.level].evidence:
            return None
        raise ReceiptMismatch("It carries no evidence, and the contract's level demands it.")
    evidence = UnverifiedEvidence.from_wrapper(receipt.evidence)
    claims = verify_evidence(evidence, policy=policy, now=read_moment(judged_at))
    try:
        binding.check(claims.report_data)
    except EvidenceRefused as error:
        raise ReceiptMismatch("Its evidence was made for another run.") from error
    return claims


def _check_outputs(receipt: Receipt, contract: SignedContract) -> None:
    fingerprints = contract.terms.fingerprints()
    expected = {name: {fingerprints[to] for to in output.to} for name, output in contract.terms.outputs.items()}
    if {name: set(output.to) for name, output in receipt.outputs.items()} != expected:
        raise ReceiptMismatch("Its outputs or their recipients are not those of the contract.")
