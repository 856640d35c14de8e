"""A receipt is an in-toto statement that any in-toto reader reads."""

from __future__ import annotations

import json

from paddock.crypto.dsse import Envelope
from paddock.receipt import Receipt, read_receipt, verify_receipt, wrap_purpose
from tests.fixtures.cast import RUN, contract
from tests.fixtures.proof import POLICY
from tests.fixtures.receipts import receipt, receipt_dict


def test_its_statement_has_the_form_of_in_toto() -> None:
    statement = json.loads(receipt().payload)
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [row["name"] for row in statement["subject"]] == ["metrics", "weights"]
    for row in statement["subject"]:
        assert row["digest"] == {"sha256": statement["predicate"]["outputs"][row["name"]]["asset"].split(":")[1]}


def test_it_survives_a_file() -> None:
    envelope = Envelope.from_json(receipt().to_json())
    assert read_receipt(envelope) == Receipt.model_validate(receipt_dict())
    verified = verify_receipt(envelope, policy=POLICY, expected_contract=contract().id)
    assert verified.contract.envelope == contract().envelope


def test_a_purpose_names_contract_run_and_output() -> None:
    purposes = {
        wrap_purpose("sha256:a", RUN, "weights"),
        wrap_purpose("sha256:b", RUN, "weights"),
        wrap_purpose("sha256:a", "f" * 32, "weights"),
        wrap_purpose("sha256:a", RUN, "metrics"),
    }
    assert len(purposes) == 4
