"""The committed vectors of contracts, attestation and receipts still say what they said, and are made as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock.contract import verify_contract, verify_request
from paddock.contract.asset import read_asset
from paddock.contract.party import read_party
from paddock.crypto.dsse import Envelope
from paddock.crypto.hpke import OpeningKey
from paddock.crypto.identity import PublicKeys
from paddock.crypto.moment import read_moment
from paddock.errors import PaddockError
from paddock.evidence import Binding, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.receipt import verify_receipt
from paddock.release import grant_info
from tests.fixtures.cast import secret
from tests.vectors import make_signed_documents

FOLDER = Path(__file__).parent
ROOMS = ("contract", "attestation", "receipt")
VECTORS = sorted(path for room in ROOMS for path in (FOLDER / room).glob("*.json"))
Json = dict[str, Any]


def _contract(vector: Json) -> None:
    contract = verify_contract(Envelope.from_dict(vector["envelope"]))
    assert contract.id == vector["id"]
    assert contract.terms.fingerprints() == vector["fingerprints"]
    assert contract.terms.model_dump(mode="json") == vector["terms"]


def _attestation(vector: Json) -> None:
    policy = TrustPolicy.model_validate(vector["policy"])
    wrapper = UnverifiedEvidence.from_wrapper(vector["wrapper"])
    claims = verify_evidence(wrapper, policy=policy, collateral=Collateral(), now=read_moment(vector["at"]))
    bound = Binding.from_dict(vector["binding"])
    bound.check(claims.report_data)
    assert bound.report_data().hex() == vector["report_data"]
    assert (claims.measurement, claims.signer) == (vector["measurement"], vector["simulator"])


def _receipt(vector: Json) -> None:
    policy = TrustPolicy.model_validate(vector["policy"])
    verified = verify_receipt(Envelope.from_dict(vector["envelope"]), policy=policy, expected_contract=None)
    assert verified.contract.id == vector["contract"]


def _record(path: Path, vector: Json) -> None:
    envelope = Envelope.from_dict(vector["envelope"])
    if path.stem == "party-record":
        assert read_party(envelope).name == "north"
        return
    owner = PublicKeys.from_dict(vector["owner"])
    if path.stem == "asset-record":
        assert read_asset(envelope, owner).name == "records"
        return
    now, sender = read_moment(vector["at"]), owner.fingerprint()
    asked = verify_request(envelope, owner.sign, action="run.request", audience="hub", sender=sender, now=now)
    assert asked.body["contract"].startswith("sha256:")


def _read(path: Path, vector: Json) -> None:
    if path.stem in ("party-record", "asset-record", "request"):
        _record(path, vector)
        return
    {"contract": _contract, "attestation": _attestation, "receipt": _receipt}[path.parent.name](vector)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_signed_document_vector(path: Path) -> None:
    vector = json.loads(path.read_text(encoding="utf-8"))
    if "error" not in vector:
        _read(path, vector)
        return
    with pytest.raises(PaddockError) as refusal:
        _read(path, vector)
    assert refusal.value.code == vector["error"]


def test_the_script_makes_the_committed_documents(tmp_path: Path) -> None:
    make_signed_documents.main(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert made == {path.relative_to(FOLDER): path.read_bytes() for path in VECTORS}


def test_what_was_sealed_once_opens_still() -> None:
    vector = json.loads((FOLDER / "hpke.json").read_text(encoding="utf-8"))
    info = grant_info(vector["contract"], vector["run"], vector["keeper"])
    assert info.hex() == vector["info"]
    key = OpeningKey(bytes.fromhex(vector["seed"]))
    assert key.recipient.raw.hex() == vector["public"]
    assert key.open(bytes.fromhex(vector["sealed"]), info) == b"thirty-two bytes of a data key.."
    assert secret("hpke").hex() == vector["seed"]
