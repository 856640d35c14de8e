"""Make the test vectors of contracts, attestation and receipts from fixed keys: the formats must not drift.

    python -m tests.vectors.make_signed_documents [FOLDER]

Signatures are Ed25519, so that the same files come out each time; what HPKE seals differs each time and is not made
here. Each file holds `about`, the document, and either what it must say or `error` (a code).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddock.contract import Request
from paddock.contract.asset import AssetKind
from paddock.crypto.moment import write_moment
from tests.fixtures.cast import (
    MEASUREMENT,
    NAMES,
    NONCE,
    NOW,
    OTHER_SIMULATOR,
    SIMULATOR,
    STRANGER,
    contract,
    member,
    raw_envelope,
    sign_all,
    signed,
    terms_dict,
)
from tests.fixtures.proof import POLICY, binding, evidence
from tests.fixtures.receipts import receipt, receipt_dict

FOLDER = Path(__file__).parent
Json = dict[str, Any]


def _changed(change: Callable[[Json], object]) -> Json:
    value = terms_dict()
    change(value)
    return value


def _contracts() -> dict[str, Json]:
    def bad(about: str, error: str, change: Callable[[Json], object]) -> Json:
        return {"about": about, "envelope": raw_envelope(_changed(change)).to_dict(), "error": error}

    north = member("north")
    asked = Request("run.request", {"contract": contract().id}, "hub", north.fingerprint, NOW, NONCE)
    return {
        "good": {
            "about": "A contract that five parties signed.",
            "envelope": signed().to_dict(),
            "id": contract().id,
            "fingerprints": contract().terms.fingerprints(),
            "terms": terms_dict(),
        },
        "bad-missing-signature": {
            "about": "One party did not sign.",
            "envelope": signed(signers=NAMES[:-1]).to_dict(),
            "error": "E-CONTRACT-02",
        },
        "bad-foreign-signature": {
            "about": "Somebody else signed too.",
            "envelope": sign_all(signed(), (STRANGER,)).to_dict(),
            "error": "E-CONTRACT-02",
        },
        "bad-unknown-member": bad("A member that nobody knows.", "E-CONTRACT-01", lambda v: v.update(budget=1)),
        "bad-type": bad("A number as a text.", "E-CONTRACT-01", lambda v: v.update(runs="2")),
        "bad-recipient": bad(
            "An output for somebody who is no party.",
            "E-CONTRACT-01",
            lambda v: v["outputs"]["weights"].update(to=[STRANGER]),
        ),
        "bad-script-at-l5": bad(
            "A party's code at level 5.", "E-CONTRACT-01", lambda v: v["steps"][0].update(kind="script")
        ),
        "bad-title": bad(
            "A title that turns the reading order.", "E-CONTRACT-01", lambda v: v.update(title="a\u202eb")
        ),
        "party-record": {"about": "A party's record.", "envelope": north.record().sign(north.keys).to_dict()},
        "asset-record": {
            "about": "An asset's record.",
            "envelope": north.asset("records", AssetKind.DATASET).sign(north.keys).to_dict(),
            "owner": north.public.to_dict(),
        },
        "request": {
            "about": "A request.",
            "envelope": asked.sign(north.keys.sign).to_dict(),
            "owner": north.public.to_dict(),
            "at": write_moment(NOW),
        },
    }


def _attestation() -> dict[str, Json]:
    bound = binding(contract())
    data = bound.report_data()
    policy = POLICY.model_dump(mode="json", exclude_none=True)
    common: Json = {"binding": bound.to_dict(), "policy": policy, "at": write_moment(NOW)}

    def bad(about: str, error: str, **changes: Any) -> Json:
        return {"about": about, **common, "wrapper": evidence(data, **changes).to_wrapper(), "error": error}

    return {
        "good": {
            "about": "Simulated evidence that carries the binding.",
            **common,
            "report_data": data.hex(),
            "measurement": MEASUREMENT,
            "simulator": SIMULATOR.verify_key.raw.hex(),
            "wrapper": evidence(data).to_wrapper(),
        },
        "bad-simulator": bad("Another simulator.", "E-EVIDENCE-02", key=OTHER_SIMULATOR),
        "bad-debug": bad("A debug environment.", "E-EVIDENCE-04", debug=True),
        "bad-stale": bad("Evidence of an hour ago.", "E-EVIDENCE-03", issued="2026-11-01T11:00:00Z"),
        "bad-binding": {
            "about": "Evidence over other report data.",
            **common,
            "wrapper": evidence(bytes(64)).to_wrapper(),
            "error": "E-EVIDENCE-05",
        },
    }


def _receipts() -> dict[str, Json]:
    policy = POLICY.model_dump(mode="json", exclude_none=True)

    def bad(about: str, error: str, change: Callable[[Json], object]) -> Json:
        value = receipt_dict()
        change(value)
        return {"about": about, "policy": policy, "envelope": receipt(value).to_dict(), "error": error}

    digest = "sha256:" + "0" * 64
    return {
        "good": {
            "about": "The receipt of a run.",
            "policy": policy,
            "contract": contract().id,
            "envelope": receipt().to_dict(),
        },
        "bad-input": bad("Another input.", "E-RECEIPT-02", lambda v: v["inputs"].update(north=digest)),
        "bad-outputs": bad("An output is missing.", "E-RECEIPT-02", lambda v: v["outputs"].pop("metrics")),
        "bad-keeper": bad("A keeper's word is missing.", "E-RECEIPT-02", lambda v: v["keepers"].pop("north")),
        "bad-simulated": bad("It hides that it is SIMULATED.", "E-RECEIPT-02", lambda v: v.update(simulated=False)),
        "bad-contract": bad(
            "Its contract lacks a signature.",
            "E-CONTRACT-02",
            lambda v: v.update(contract=signed(signers=NAMES[1:]).to_dict()),
        ),
    }


def main(folder: Path) -> None:
    """Write every vector into the folder."""
    for room, vectors in (("contract", _contracts()), ("attestation", _attestation()), ("receipt", _receipts())):
        (folder / room).mkdir(parents=True, exist_ok=True)
        for name, vector in vectors.items():
            text = json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=True)
            (folder / room / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
