"""Gramine's pseudo-files inside an SGX enclave: write 64 bytes of report data, read the quote.

They are one pair for the whole enclave and Gramine orders nothing: whoever writes between our write and our read gets
its report data into our quote. In this process a lock prevents that; the quote is looked at all the same.

Source: Gramine documentation, "Attestation and Secret Provisioning", and libos/src/fs/dev/attestation.c (a shorter write
is filled with zeros, a longer one is cut); docs/spec/attestation.md (A-3).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paddock.attest.attester import Files, check_report_data_size, only_path, unavailable
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence

FOLDER = Path("/dev/attestation")
MEDIA_TYPE = "application/vnd.paddock.sgx-quote.v1"
_ADVICE = (
    "It is there inside a Gramine SGX enclave whose manifest says sgx.remote_attestation; the host must run Intel's "
    "quoting service (aesmd)."
)
_REPORT_DATA = slice(48 + 320, 48 + 384)  # header, then the last field of the report
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class GramineAttester:
    """Gramine's attester of its own enclave.

    Args:
        folder: where Gramine shows it.
        files: how it is reached.
    """

    folder: Path = FOLDER
    files: Files = field(default_factory=Files)
    name = "gramine"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`gramine` or `gramine:FOLDER`. See `Attester.from_address`."""
        return cls(only_path(text, FOLDER, "gramine"))

    def available(self) -> bool:
        """Whether Gramine shows that it can make a quote."""
        return self.files.exists(self.folder / "quote")

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`."""
        check_report_data_size(report_data)
        try:
            kind = self.files.read(self.folder / "attestation_type").decode("ascii", "replace").strip()
            if kind != "dcap":
                raise AttesterUnavailable(
                    f'Gramine\'s manifest says sgx.remote_attestation = {kind[:20]!r}; it must be "dcap".'
                )
            with _ONE_AT_A_TIME:
                self.files.write(self.folder / "user_report_data", report_data)
                quote = self.files.read(self.folder / "quote")
        except OSError as error:
            raise unavailable(str(self.folder), error, _ADVICE) from error
        if not quote or len(quote) > MAX_EVIDENCE_BYTES:
            raise AttesterUnavailable("Gramine gave no quote, or one that is too large.")
        if quote[_REPORT_DATA] != report_data:
            raise AttesterUnavailable(
                "Gramine's quote is for another question: something else in the enclave asks, too."
            )
        return UnverifiedEvidence(MEDIA_TYPE, quote)
