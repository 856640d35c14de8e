"""Fetching results: the receipt first, verified; then the outputs that it gives to this party.

Source: docs/spec/receipt.md (V-1 to V-10, V-13).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paddock.contract.signing import contract_id
from paddock.crypto.digest import unb64
from paddock.crypto.dsse import Envelope
from paddock.errors import EncodingRefused, HomeInvalid, LocalFileRefused, ReceiptMalformed, ReceiptMismatch
from paddock.evidence.trust import TrustPolicy, read_trust_policy
from paddock.party.files import write_bytes
from paddock.party.party import Party
from paddock.receipt import VerifiedReceipt, read_receipt, verify_receipt, wrap_purpose
from paddock.seal import DataKey, VolumeReader
from paddock.views import write_folder


@dataclass(frozen=True)
class Results:
    """What a run gave to this party.

    Args:
        verified: the verified receipt.
        folders: output name to the folder that holds it.
        others: outputs that went to others only.
        receipt_file: where the receipt was put.
    """

    verified: VerifiedReceipt
    folders: dict[str, Path]
    others: list[str]
    receipt_file: Path


def own_policy(party: Party) -> TrustPolicy:
    """The trust policy of this party's keeper, by which it verifies receipts too."""
    path = party.home.keeper_folder / "trust.toml"
    try:
        return read_trust_policy(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror}.") from error


def fetch_receipt(party: Party, run: str) -> tuple[Envelope, VerifiedReceipt]:
    """A run's receipt from the hub, verified against the contract that this home itself signed, and kept.

    Raises:
        ReceiptMismatch: of another run, of another contract than this home asked for a run of, or of one that it never
            signed (V-13).
        Refused: see `verify_receipt`.
        Unavailable: the hub cannot be reached, or the run has no receipt yet.
    """
    envelope = party.hub.receipt(run)
    claimed = read_receipt(envelope)
    if claimed.run != run:
        raise ReceiptMismatch("The hub sent the receipt of another run.")
    if party.asked_for(run) not in (None, claimed.contract_id):  # V-13
        raise ReceiptMismatch("It is of another contract than the run was asked for.")
    signed = party.signed_contract(claimed.contract_id)
    if signed is None:  # V-13: the hub does not choose which contract a result is of
        raise ReceiptMismatch("It is of a contract that was never signed in this home.")
    verified = verify_receipt(envelope, policy=own_policy(party), expected_contract=contract_id(signed.payload))
    write_bytes(party.home.receipt_file(run), envelope.to_json())
    return envelope, verified


def load_receipt(path: Path) -> Envelope:
    """A receipt from a file. Verifies nothing.

    Raises:
        ReceiptMalformed: not an envelope.
        HomeInvalid: the file cannot be read.
    """
    try:
        return Envelope.from_json(path.read_bytes())
    except EncodingRefused as error:
        raise ReceiptMalformed(error.detail) from error
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror}.") from error


def fetch_results(party: Party, run: str, folder: Path, *, overwrite: bool) -> Results:
    """Verify a run's receipt, then open every output that this party receives into `folder`.

    Raises:
        Refused: the receipt or an output does not hold; nothing of it was written.
        Unavailable: hub or store cannot be reached.
    """
    envelope, verified = fetch_receipt(party, run)
    receipt_file = folder / "receipt.json"
    if receipt_file.is_file() and not overwrite and receipt_file.read_bytes() != envelope.to_json():
        raise LocalFileRefused(f"{receipt_file} is there already.")
    own, store = party.home.fingerprint, party.store()
    folders: dict[str, Path] = {}
    others = []
    for name, output in sorted(verified.receipt.outputs.items()):
        if own not in output.to:
            others.append(name)
            continue
        purpose = wrap_purpose(verified.contract.id, run, name)
        data_key = DataKey.unwrap(unb64(output.to[own]), party.home.keys.seal, output.asset, purpose)
        folders[name] = folder / name
        write_folder(VolumeReader.open(output.asset, store, data_key), folders[name], overwrite=overwrite)
    write_bytes(receipt_file, envelope.to_json())
    return Results(verified, folders, others, receipt_file)
