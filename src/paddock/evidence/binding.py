"""What a run binds into its evidence: one proof for many keepers.

Source: docs/spec/attestation.md §2 (A-3).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from paddock.crypto.canonical import canonical
from paddock.crypto.identity import PublicKeys
from paddock.errors import BindingMismatch, CryptoRefused, EvidenceMalformed

REPORT_DATA_BYTES = 64
SHORT_REPORT_DATA_BYTES = 32
_LABEL = b"paddock/binding/v1\0"
_SHORT_LABEL = b"paddock/report-data-32/v1\0"
MAX_CHALLENGES = 64


def short_report_data(report_data: bytes) -> bytes:
    """The 32 bytes that stand for 64 bytes of report data in evidence whose field holds no more (A-3)."""
    return hashlib.sha256(_SHORT_LABEL + report_data).digest()


def check_report_data(expected: bytes, found: bytes) -> None:
    """Return if what verified evidence carries is the expected 64 bytes, or their short form in 32.

    Raises:
        BindingMismatch: it is neither (A-3).
    """
    if len(expected) != REPORT_DATA_BYTES:
        raise RuntimeError("report data has 64 bytes")
    wanted = short_report_data(expected) if len(found) == SHORT_REPORT_DATA_BYTES else expected
    if not hmac.compare_digest(wanted, found):
        raise BindingMismatch


@dataclass(frozen=True)
class Challenge:
    """A keeper's nonce: fingerprint of the keeper's keys and 32 random bytes as hex."""

    keeper: str
    nonce: str


@dataclass(frozen=True)
class Binding:
    """Contract, run, run keys and every keeper's challenge in one hash."""

    contract: str
    run: str
    keys: PublicKeys
    challenges: tuple[Challenge, ...]

    def report_data(self) -> bytes:
        """SHA-512 over the label and the canonical JSON of this binding, 64 bytes (A-3)."""
        return hashlib.sha512(_LABEL + canonical(self.to_dict())).digest()

    def check(self, report_data: bytes) -> None:
        """Return if verified evidence carries exactly this binding.

        Raises:
            BindingMismatch: it does not (A-3).
        """
        check_report_data(self.report_data(), report_data)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "challenges": [{"keeper": c.keeper, "nonce": c.nonce} for c in self.challenges],
            "contract": self.contract,
            "keys": self.keys.to_dict(),
            "run": self.run,
        }

    @classmethod
    def from_dict(cls, value: object) -> Binding:
        """Read a binding strictly.

        Raises:
            EvidenceMalformed: anything that `to_dict` could not have written (A-6).
        """
        if not isinstance(value, dict) or set(value) != {"challenges", "contract", "keys", "run"}:
            raise EvidenceMalformed("The binding is not well formed.")
        rows = value["challenges"]
        if not isinstance(rows, list) or len(rows) > MAX_CHALLENGES:
            raise EvidenceMalformed("The binding is not well formed.")
        challenges = []
        for row in rows:
            if not isinstance(row, dict) or set(row) != {"keeper", "nonce"}:
                raise EvidenceMalformed("A challenge in the binding is not well formed.")
            challenges.append(Challenge(_text(row["keeper"]), _text(row["nonce"])))
        try:
            keys = PublicKeys.from_dict(value["keys"])
        except CryptoRefused as error:
            raise EvidenceMalformed("The run's keys in the binding are not well formed.") from error
        return cls(_text(value["contract"]), _text(value["run"]), keys, tuple(challenges))


def _text(value: object) -> str:
    # ids, fingerprints and nonces are ASCII; nothing else reaches a database or a hash.
    if not isinstance(value, str) or not 0 < len(value) <= 128 or not (value.isascii() and value.isprintable()):
        raise EvidenceMalformed("A field of the binding is not well formed.")
    return value
