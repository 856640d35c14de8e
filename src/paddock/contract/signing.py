"""Signing terms, and judging whether everyone did.

Source: docs/spec/contract.md §1 and §3 (C-1, C-4, C-11 to C-13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paddock.contract.terms import Terms, read_terms
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope, Signature, pre_authentication_encoding
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.errors import ContractSignatureRefused, KeeperMismatch, SignatureRefused, UnknownParty

CONTRACT_TYPE = "application/vnd.paddock.contract.v1+json"


@dataclass(frozen=True)
class SignedContract:
    """Terms that every party signed. Only `verify_contract` makes one."""

    id: str
    terms: Terms
    envelope: Envelope


@dataclass(frozen=True)
class Proposal:
    """Terms and who of the parties signed them so far; nobody else did."""

    id: str
    terms: Terms
    envelope: Envelope
    signed: frozenset[str]

    def missing(self) -> list[str]:
        """Parties whose signature is missing, by name."""
        return sorted(set(self.terms.parties) - self.signed)


def contract_id(payload: bytes) -> str:
    """The id of a contract: the digest of its canonical terms (C-13)."""
    return sha256_id(payload)  # C-13: over the bytes, not over what a reader made of them.


def propose(terms: Terms) -> Envelope:
    """An envelope over these terms that nobody signed yet."""
    return Envelope(CONTRACT_TYPE, terms.to_bytes(), ())


def open_proposal(envelope: Envelope) -> Proposal:
    """Read a contract that some parties signed.

    Returns:
        The proposal, after these steps: 1. type and terms are read strictly. 2. Each signature is held against the
        parties' keys.

    Raises:
        TermsRefused: the terms break a rule.
        ContractSignatureRefused: another type of message, a signature by nobody among the parties, or two by one (C-4).
    """
    # 1.
    if envelope.payload_type != CONTRACT_TYPE:
        raise ContractSignatureRefused("The envelope does not hold a contract.")
    terms = read_terms(envelope.payload)
    # 2.
    encoded = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    keys = {name: party.keys.public() for name, party in terms.parties.items()}
    signed: set[str] = set()
    for signature in envelope.signatures:
        name = _signer(signature, encoded, keys)
        if name is None or name in signed:  # C-4: only parties, each once.
            raise ContractSignatureRefused(
                "A signature on the contract is by nobody among its parties, or there twice."
            )
        signed.add(name)
    return Proposal(contract_id(envelope.payload), terms, envelope, frozenset(signed))


def verify_contract(envelope: Envelope) -> SignedContract:
    """Return the contract, if every party signed these bytes and nobody else did.

    Raises:
        TermsRefused, ContractSignatureRefused: see `open_proposal`; also when a party's signature is missing (C-4).
    """
    proposal = open_proposal(envelope)
    missing = proposal.missing()
    if missing:  # C-4
        raise ContractSignatureRefused(f"These parties have not signed: {', '.join(missing)}.")
    return SignedContract(proposal.id, proposal.terms, envelope)


def sign_contract(
    envelope: Envelope,
    keys: PrivateKeys,
    *,
    own_keeper: PublicKeys,
    is_known: Callable[[str], bool],
    known_as: Callable[[str], str | None],
) -> Envelope:
    """Add a party's signature to a contract.

    Args:
        envelope: the contract, perhaps signed by others already.
        keys: the signer's keys.
        own_keeper: the keys of the keeper that acts for the signer.
        is_known: whether a fingerprint stands in the signer's address book.
        known_as: the fingerprint that a name stands for in this home (its own name included), or None.

    Raises:
        UnknownParty: the signer is no party, a party's keys are not in the address book, or a party bears the name of
            another one there (C-11).
        KeeperMismatch: the contract lists another keeper for the signer (C-12).
        TermsRefused, ContractSignatureRefused: see `open_proposal`.
    """
    proposal = open_proposal(envelope)
    own = keys.public().fingerprint()
    name = proposal.terms.party_named_by(own)
    if name is None:
        raise UnknownParty("This home's keys are not among the contract's parties.")
    strangers = [
        n for n, fingerprint in proposal.terms.fingerprints().items() if n != name and not is_known(fingerprint)
    ]
    if strangers:  # C-11
        raise UnknownParty(f"The keys of these parties are not in your address book: {', '.join(sorted(strangers))}.")
    for called, fingerprint in proposal.terms.fingerprints().items():
        if known_as(called) not in (None, fingerprint):  # C-11: outputs are addressed by the contract's names.
            raise UnknownParty(f"'{called}' in the contract is not the party that you know by that name.")
    if proposal.terms.parties[name].keeper.public() != own_keeper:  # C-12
        raise KeeperMismatch
    return envelope.with_signature(keys.sign, own)


def _signer(signature: Signature, encoded: bytes, keys: dict[str, PublicKeys]) -> str | None:
    for name in _likely_first(signature.keyid, keys):
        try:
            keys[name].sign.verify(signature.sig, encoded)
        except SignatureRefused:
            continue
        return name
    return None


def _likely_first(keyid: str, keys: dict[str, PublicKeys]) -> Iterable[str]:
    # The key id is a hint that saves work; every key is tried in the end.
    return sorted(keys, key=lambda name: keys[name].fingerprint() != keyid)
