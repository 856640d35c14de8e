"""Contracts that say something else than the others believe: changed after they were signed, or written to be misread.

Another party has its own keys and what the contract says to it. A hub passes contracts on and has no party's key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from paddock.contract import CONTRACT_TYPE, levels, sign_contract, signing, terms, verify_contract
from paddock.contract.asset import ASSET_TYPE, AssetKind, read_asset
from paddock.contract.levels import Level, check_padding
from paddock.contract.terms import Terms, read_terms
from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope
from paddock.errors import (
    ContractSignatureRefused,
    FingerprintMismatch,
    KeeperMismatch,
    LevelRefused,
    ReceiptMismatch,
    RecordRefused,
    TermsRefused,
    UnknownParty,
)
from paddock.party.peers import AddressBook
from paddock.receipt import verify_receipt
from tests.attacks.catalogue import Actor, Residual, at_all_levels, at_levels, attack, remains, unclaimed
from tests.attacks.ground import Ground
from tests.attacks.switches import instead, without
from tests.fixtures.cast import NAMES, STRANGER, Member, member, merge, sign_all, terms_dict
from tests.fixtures.proof import POLICY
from tests.fixtures.receipts import receipt

Value = dict[str, Any]


def _signer_by_id(signature: Any, _encoded: bytes, keys: Any) -> str | None:
    return next((name for name, own in keys.items() if own.fingerprint() == signature.keyid), None)


def _signatures_unverified() -> Any:
    return instead(signing, "_signer", _signer_by_id)


def _moved(ground: Ground, change: Callable[[Value], object]) -> Envelope:
    """Everybody's genuine signatures, over terms that were changed afterwards."""
    return Envelope(CONTRACT_TYPE, ground.raw(change).payload, ground.signed().signatures)


# --- changed after signing ---


@attack(
    "party-level-lowered",
    Actor.PARTY,
    "the level lowered after all had signed",
    what="A party writes L1 in the place of the level that all signed, and runs the contract without evidence.",
    stops="The level is among the bytes that every party signs.",
    enforced=("contract.signing", "contract.terms"),
    rules=("C-4", "L-6"),
    threats=(8, 13),
    codes=(ContractSignatureRefused,),
    claims=at_levels(list(Level)[1:], L1=unclaimed("there is no level below L1")),
    off=_signatures_unverified,
)
def level_lowered(ground: Ground) -> str:
    contract = verify_contract(_moved(ground, lambda value: value.update(level="L1")))
    return f"a contract of {ground.level} run at {contract.terms.level}"


@attack(
    "party-recipient-added",
    Actor.PARTY,
    "one more recipient after all had signed",
    what="A party adds itself to those who receive the weights.",
    stops="Outputs and recipients are among the bytes that every party signs.",
    enforced=("contract.signing",),
    rules=("C-4", "C-7"),
    threats=(8,),
    codes=(ContractSignatureRefused,),
    claims=at_all_levels(),
    off=_signatures_unverified,
)
def recipient_added(ground: Ground) -> str:
    contract = verify_contract(_moved(ground, merge("outputs", "weights", to=["modelco", "clinic"])))
    return f"the weights go to {' and '.join(contract.terms.outputs['weights'].to)}"


@attack(
    "party-program-swapped",
    Actor.PARTY,
    "another program after all had signed",
    what="The owner of the program puts the id of another one in its place, one that memorises what it sees.",
    stops="Inputs are named by the digest of what was stored, among the bytes that every party signs.",
    enforced=("contract.signing",),
    rules=("C-4", "C-13"),
    threats=(8,),
    codes=(ContractSignatureRefused,),
    claims=at_all_levels(),
    off=_signatures_unverified,
)
def program_swapped(ground: Ground) -> str:
    other = sha256_id(b"a program that memorises")
    contract = verify_contract(_moved(ground, merge("inputs", "network", asset=other)))
    return f"the program {contract.terms.inputs['network'].asset[:20]}"


@attack(
    "hub-contract-altered",
    Actor.HUB,
    "the terms altered on the way",
    what="The hub raises the number of runs in the contract that it hands to enclaves.",
    stops="The contract's id is the digest of its bytes, and every signature covers them.",
    enforced=("contract.signing",),
    rules=("C-4", "C-13"),
    threats=(7, 8),
    codes=(ContractSignatureRefused,),
    claims=at_all_levels(),
    off=_signatures_unverified,
)
def contract_altered(ground: Ground) -> str:
    contract = verify_contract(_moved(ground, lambda value: value.update(runs=10_000)))
    return f"{contract.terms.runs} runs"


@attack(
    "hub-signature-lent",
    Actor.HUB,
    "one party's signature in another's name",
    what="The hub shows a genuine signature once more under the id of a party that did not sign.",
    stops="Each signature is verified by the keys in the contract; the id beside it only saves work.",
    enforced=("contract.signing",),
    rules=("C-4",),
    threats=(8,),
    codes=(ContractSignatureRefused,),
    claims=at_all_levels(),
    off=_signatures_unverified,
)
def signature_lent(ground: Ground) -> str:
    unsigned = ground.signed(signers=NAMES[:-1])
    lent = replace(unsigned.signatures[0], keyid=member("clinic").fingerprint)
    contract = verify_contract(replace(unsigned, signatures=(*unsigned.signatures, lent)))
    return f"a contract that {len(contract.terms.parties)} parties are said to have signed"


@attack(
    "hub-signature-stripped",
    Actor.HUB,
    "a rejection hidden behind a missing signature",
    what="A party refuses to sign; the hub hides that and hands the contract with the other signatures to an enclave.",
    stops="What counts is every party's signature, not what the hub says of states.",
    enforced=("contract.signing", "enclave.run"),
    rules=("C-4",),
    threats=(8,),
    codes=(ContractSignatureRefused,),
    claims=at_all_levels(),
    off=lambda: without(verify_contract, "if missing:"),
)
def signature_stripped(ground: Ground) -> str:
    contract = verify_contract(ground.signed(signers=("north", "modelco")))
    return f"a contract of {len(contract.terms.parties)} parties that two signed"


# --- written to be misread ---


@attack(
    "party-same-nonce",
    Actor.PARTY,
    "a second contract with the same nonce",
    what="A party has a second contract signed that has the nonce and title of the first, and shows its result as the "
    "first one's.",
    stops="A contract's id is the digest of all its bytes, and a receipt is held against the id that its reader means.",
    enforced=("contract.signing", "receipt.verify"),
    rules=("C-13", "V-2"),
    threats=(19,),
    codes=(ReceiptMismatch,),
    claims=at_all_levels(),
    off=lambda: without(verify_receipt, "if receipt.contract_id != contract.id"),
)
def same_nonce(ground: Ground) -> str:
    first = ground.contract(lambda value: value["steps"][0]["parameters"].update(seed=8))
    verified = verify_receipt(receipt(ground.receipt()), policy=POLICY, expected_contract=first.id)
    return f"a result with seed {verified.contract.terms.steps[0].parameters['seed']} taken for one with seed 8"


@attack(
    "party-two-forms",
    Actor.PARTY,
    "the same terms in other bytes",
    what="A party has the same terms signed once more in another spelling, so that they count as a contract of their own "
    "and have runs of their own.",
    stops="Terms have one canonical form; any other bytes are no contract.",
    enforced=("contract.terms", "crypto.canonical"),
    rules=("C-1",),
    threats=(7,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: instead(terms, "parse_canonical", lambda payload, **_: json.loads(payload)),
)
def two_forms(ground: Ground) -> str:
    value = terms_dict()
    ground.change()(value)
    spaced = sign_all(Envelope(CONTRACT_TYPE, json.dumps(value).encode(), ()))
    ids = {verify_contract(spaced).id, verify_contract(ground.signed()).id}
    return f"{len(ids)} contracts of {verify_contract(spaced).terms.runs} runs each"


@attack(
    "party-unknown-keys",
    Actor.PARTY,
    "a party whose keys nobody knows",
    what="The proposer adds a party of its own making among the recipients.",
    stops="Who signs refuses keys that its own address book does not hold.",
    enforced=("contract.signing", "party.peers"),
    rules=("C-11",),
    threats=(6,),
    codes=(UnknownParty,),
    claims=at_all_levels(),
    off=lambda: without(sign_contract, "if strangers:"),
)
def unknown_keys(ground: Ground) -> str:
    return _signed_by_north(ground.signed(signers=()), known=NAMES[:-1])


@attack(
    "party-borrowed-name",
    Actor.PARTY,
    "a known party under another one's name",
    what="The proposer writes the clinic's keys under the name 'modelco', so that the weights seem to go where they "
    "should.",
    stops="Who signs refuses a name that its address book gives to other keys.",
    enforced=("contract.signing",),
    rules=("C-11",),
    threats=(6, 7),
    codes=(UnknownParty,),
    claims=at_all_levels(),
    off=lambda: without(sign_contract, "for called, fingerprint in"),
)
def borrowed_name(ground: Ground) -> str:
    def exchange(value: Value) -> None:
        parties = value["parties"]
        parties["modelco"], parties["clinic"] = parties["clinic"], parties["modelco"]

    return _signed_by_north(ground.signed(exchange, signers=()))


@attack(
    "party-keeper-swapped",
    Actor.PARTY,
    "another keeper in a party's place",
    what="The proposer names a keeper of its own as the one that acts for north.",
    stops="Who signs compares the keeper in the contract with its own.",
    enforced=("contract.signing",),
    rules=("C-12",),
    threats=(8,),
    codes=(KeeperMismatch,),
    claims=at_all_levels(),
    off=lambda: without(sign_contract, "if proposal.terms.parties[name].keeper.public() != own_keeper"),
)
def keeper_swapped(ground: Ground) -> str:
    other = member(STRANGER).keeper.public().to_dict()
    return _signed_by_north(ground.signed(merge("parties", "north", keeper=other), signers=()))


def _signed_by_north(envelope: Envelope, known: tuple[str, ...] = NAMES) -> str:
    own: Member = member("north")
    others = {member(each).fingerprint for each in known if each != "north"}
    signed = sign_contract(
        envelope,
        own.keys,
        own_keeper=own.keeper.public(),
        is_known=others.__contains__,
        known_as={each: member(each).fingerprint for each in (*known, "north")}.get,
    )
    return f"north's signature, {len(signed.signatures[0].sig)} bytes"


@attack(
    "party-key-of-a-third",
    Actor.PARTY,
    "one key that speaks for two parties",
    what="A party lists its own key under a second name, to look like two that watch one another.",
    stops="A key stands once in a contract, as party or as keeper.",
    enforced=("contract.terms",),
    rules=("C-8",),
    threats=(6,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: without(terms._check_parties, "if raw in seen:"),
)
def key_of_a_third(ground: Ground) -> str:
    own = member("modelco").public.to_dict()
    read = read_terms(ground.raw(merge("parties", "clinic", keys=own)).payload)
    return f"{len(read.parties)} parties, {len(set(read.fingerprints().values()))} of them different"


@attack(
    "party-anothers-input",
    Actor.PARTY,
    "another's data listed as one's own",
    what="A party lists north's records once more as an input of its own, in a role that north never agreed to.",
    stops="An asset has one owner in a contract, and its key is taken from that owner's keeper alone.",
    enforced=("contract.terms", "enclave.run"),
    rules=("C-5",),
    threats=(8,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: without(terms._check_owners, "if owners.setdefault("),
)
def anothers_input(ground: Ground) -> str:
    asset = terms_dict()["inputs"]["north"]["asset"]
    read = read_terms(ground.raw(merge("inputs", "south", asset=asset)).payload)
    return f"north's records as an input of {read.inputs['south'].owner}"


@attack(
    "party-useless-input",
    Actor.PARTY,
    "an input whose key no step needs",
    what="A party lists another's data as an input that no step uses, to have its key brought into the enclave.",
    stops="Every input is used by a step.",
    enforced=("contract.terms",),
    rules=("C-6",),
    threats=(8,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: without(terms._check_references, "if unused:"),
)
def useless_input(ground: Ground) -> str:
    def change(value: Value) -> None:
        value["steps"][0]["inputs"]["data"] = ["north"]

    return f"the keys of {len(read_terms(ground.raw(change).payload).inputs)} inputs, one of them of no use"


@attack(
    "party-hidden-text",
    Actor.PARTY,
    "text that does not read as it looks",
    what="The proposer turns the reading order of a parameter, so that a signer reads another column than the run takes.",
    stops="No text of a contract holds control, formatting or direction characters.",
    enforced=("contract.terms",),
    rules=("C-20",),
    threats=(7,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: instead(terms, "_check_texts", lambda _terms: None),
)
def hidden_text(ground: Ground) -> str:
    def change(value: Value) -> None:
        value["steps"][0]["parameters"]["column"] = "\u202eeman\u202c_sick"

    return repr(read_terms(ground.raw(change).payload).steps[0].parameters["column"])


@attack(
    "party-name-from-another-alphabet",
    Actor.PARTY,
    "a name that looks like another",
    what="The proposer calls a party 'nоrth', with a letter of another alphabet, beside or in the place of 'north'.",
    stops="Names are of a few plain letters, digits and signs.",
    enforced=("contract.terms",),
    rules=("C-3",),
    threats=(7,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: instead(terms, "Terms", _AnyNames),
)
def name_from_another_alphabet(ground: Ground) -> str:
    def change(value: Value) -> None:
        value["outputs"]["metrics"]["to"] = ["nоrth"]

    return f"an output for {read_terms(ground.raw(change).payload).outputs['metrics'].to[0]!r}"


class _AnyNames:
    """Terms whose names are not looked at: what a reader without patterns would make of them."""

    @staticmethod
    def model_validate_json(payload: bytes) -> Terms:
        value = json.loads(payload)
        outputs = {
            name: terms.OutputTerms.model_construct(**{**row, "to": tuple(row["to"])})
            for name, row in value["outputs"].items()
        }
        return Terms.model_construct(**{**value, "outputs": outputs})


@attack(
    "party-unpadded-input",
    Actor.PARTY,
    "an input whose exact sizes show",
    what="A party brings an input that was sealed without padding, so that whoever sees the store learns exact lengths.",
    stops="At L5 keepers' parties and the enclave take padded inputs only.",
    enforced=("contract.levels", "enclave.run", "party.party"),
    rules=("L-7",),
    threats=(13,),
    codes=(LevelRefused,),
    claims=at_levels(
        (Level.L5,),
        **{name: unclaimed("below L5 sizes are not hidden") for name in ("L1", "L2", "L3", "L4")},
    ),
    off=lambda: without(check_padding, "if LEVELS[level].pads_inputs"),
)
def unpadded_input(ground: Ground) -> str:
    check_padding(ground.level, "records", padded=False)
    return "an input of exact lengths"


@attack(
    "party-free-text-at-l5",
    Actor.PARTY,
    "records carried out in an output of free text",
    what="A contract at L5 lists an output of any files, in which a job could write what it read.",
    stops="Every output has a type and a largest size, and types that hold free text are refused at L5.",
    enforced=("contract.terms", "contract.levels"),
    rules=("L-8",),
    threats=(13,),
    codes=(TermsRefused,),
    claims=at_levels(
        (Level.L5,),
        **{name: unclaimed("below L5 outputs may hold any files") for name in ("L1", "L2", "L3", "L4")},
    ),
    off=lambda: without(levels.check_output_type, "if kind.is_free"),
)
def free_text_at_l5(ground: Ground) -> str:
    read = read_terms(ground.raw(merge("outputs", "metrics", type="files")).payload)
    return f"an output of type {read.outputs['metrics'].type} at {read.level}"


@attack(
    "party-output-without-bound",
    Actor.PARTY,
    "an output as large as the inputs",
    what="A contract lets one output be larger than all outputs together may be, to carry the records out whole.",
    stops="Every output has a largest size, and all together one.",
    enforced=("contract.terms",),
    rules=("C-21",),
    threats=(13,),
    codes=(TermsRefused,),
    claims=at_all_levels(),
    off=lambda: without(terms._check_outputs, "if output.max_bytes > terms.limits.output_bytes:"),
)
def output_without_bound(ground: Ground) -> str:
    limit = terms_dict()["limits"]["output_bytes"]
    read = read_terms(ground.raw(merge("outputs", "metrics", max_bytes=limit + 1)).payload)
    return f"an output of up to {read.outputs['metrics'].max_bytes} bytes"


# --- who is who ---


@attack(
    "hub-keys-of-another-party",
    Actor.HUB,
    "the hub's keys in a party's record",
    what="The hub answers with a well signed record of keys of its own when a party looks up its partner.",
    stops="A partner is accepted by the fingerprint that it told by another way; the hub's word decides nothing.",
    enforced=("party.peers",),
    rules=("C-19",),
    threats=(6,),
    codes=(FingerprintMismatch,),
    claims=at_all_levels(),
    off=lambda: without(AddressBook.accept, "if record.fingerprint() != wanted"),
)
def keys_of_another_party(ground: Ground) -> str:
    own = member(STRANGER)
    peer = AddressBook(ground.folder).accept("south", member("south").fingerprint, own.record().sign(own.keys))
    return f"the keys {peer.record.fingerprint()[:9]} taken for south's"


@attack(
    "hub-asset-record-forged",
    Actor.HUB,
    "an asset that its owner did not publish",
    what="The hub publishes a record that names an older version as north's newest records.",
    stops="An asset's record counts if the keys of its owner signed it.",
    enforced=("contract.asset",),
    rules=("C-18",),
    threats=(6,),
    codes=(RecordRefused,),
    claims=at_all_levels(),
    off=lambda: instead(Envelope, "verify_by", lambda self, *_: self.payload),
)
def asset_record_forged(ground: Ground) -> str:
    record = member("north").asset("older-records", AssetKind.DATASET).model_dump(mode="json")
    forged = Envelope.sign(ASSET_TYPE, canonical(record), member(STRANGER).keys.sign, member("north").fingerprint)
    return f"{read_asset(forged, member('north').public).name} taken for north's newest"


remains(
    Residual(
        Actor.PARTY,
        "titles and columns from another alphabet",
        "Titles and parameters may hold letters of every script, and some look alike; names, ids and recipients may not.",
    ),
    Residual(
        Actor.PARTY,
        "what a contract gives away openly",
        "Whoever signs a contract that gives weights, curves or predictions to another gives what can be learned from them.",
    ),
)
