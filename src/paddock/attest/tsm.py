"""Linux configfs-tsm: one interface of the kernel for SEV-SNP, TDX and Arm CCA guests (Linux 6.7 and newer).

A folder made under `report` is a request of its own: `inblob` takes the report data when it is closed, `outblob` then
reads as the evidence, `auxblob` as what the host gave beside it, `provider` names the kernel's driver. `generation`
counts writes; if it is not what our one write makes of it, somebody else wrote in between, and the evidence may be for
another question. A guest of SEV-SNP below a service module can ask for no lower privilege level than `privlevel_floor`,
and must say so.

Source: Linux, Documentation/ABI/testing/configfs-tsm-report and drivers/virt/coco; docs/spec/attestation.md (A-3).
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from paddock.attest.attester import Files, check_report_data_size, only_path, unavailable
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, UnverifiedEvidence
from paddock.evidence.snp_report import table_of

FOLDER = Path("/sys/kernel/config/tsm/report")
_TRIES = 5
_PAUSE_SECONDS = 0.2
_NONE = frozenset({errno.ENXIO, errno.ENODEV})
_AGAIN = frozenset({errno.EWOULDBLOCK, errno.EBUSY, errno.ETIMEDOUT, errno.EINTR})
_MEDIA_TYPES = {
    "sev_guest": "application/vnd.paddock.snp-report.v1",
    "tdx_guest": "application/vnd.paddock.tdx-quote.v1",
    "arm_cca_guest": "application/vnd.paddock.cca-token.v1",
}
_WITH_CERTIFICATES = "sev_guest"
_NO_PROVIDER = "The kernel has no driver of a confidential guest: is this one, and is tdx_guest, sev-guest or arm-cca-guest loaded?"
_NO_FOLDER = "It is there inside a confidential VM, for root: configfs is mounted and the kernel is 6.7 or newer."
_NO_REPORT = "The kernel's log (dmesg) says more; a TDX host must run a service that makes quotes."


@dataclass(frozen=True)
class TsmAttester:
    """The kernel's attester of a confidential guest.

    Args:
        folder: where configfs shows it.
        files: how it is reached.
        pause: waits between tries.
    """

    folder: Path = FOLDER
    files: Files = field(default_factory=Files)
    pause: Callable[[float], None] = time.sleep
    name = "tsm"

    @classmethod
    def from_address(cls, text: str) -> Self:
        """`tsm` or `tsm:FOLDER`. See `Attester.from_address`."""
        return cls(only_path(text, FOLDER, "tsm"))

    def available(self) -> bool:
        """Whether configfs shows it."""
        return self.files.exists(self.folder)

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """See `Attester.attest`. Tried up to five times while the kernel or the host is busy."""
        check_report_data_size(report_data)
        entry = self.folder / f"paddock-{secrets.token_hex(8)}"
        try:
            self.files.make_folder(entry)
        except OSError as error:
            raise unavailable(str(self.folder), error, _NO_PROVIDER if error.errno in _NONE else _NO_FOLDER) from error
        try:
            self._choose_level(entry)
            for _ in range(_TRIES):
                found = self._asked(entry, report_data)
                if found is not None:
                    return found
                self.pause(_PAUSE_SECONDS)
        except OSError as error:
            raise unavailable("configfs-tsm", error, _NO_REPORT) from error
        finally:
            with contextlib.suppress(OSError):
                self.files.remove_folder(entry)
        raise AttesterUnavailable("configfs-tsm stays busy, or somebody else writes to our request.")

    def _choose_level(self, entry: Path) -> None:
        """The lowest level that the kernel lets this guest ask for; 0 is the default. Verifiers see which it was."""
        path = entry / "privlevel_floor"
        floor = self._number(path) if self.files.exists(path) else 0
        if floor:
            self.files.write(entry / "privlevel", str(floor).encode("ascii"))

    def _asked(self, entry: Path, report_data: bytes) -> UnverifiedEvidence | None:
        """One try; None where another may help."""
        before = self._generation(entry)
        try:
            self.files.write(entry / "inblob", report_data)
            report = self.files.read(entry / "outblob")
            provider = self.files.read(entry / "provider").decode("ascii", "replace").strip()
            beside = self._beside(entry, report) if provider == _WITH_CERTIFICATES else b""
        except OSError as error:
            if error.errno in _AGAIN:
                return None
            raise
        if self._generation(entry) != before + 1:
            return None
        if provider not in _MEDIA_TYPES:
            raise AttesterUnavailable(
                f"The kernel's provider {provider[:40]!r} is not known here; known are {', '.join(sorted(_MEDIA_TYPES))}."
            )
        if not report or len(report) + len(beside) > MAX_EVIDENCE_BYTES:
            raise AttesterUnavailable("configfs-tsm gave no report, or one that is too large.")
        return UnverifiedEvidence(_MEDIA_TYPES[provider], report + beside)

    def _beside(self, entry: Path, report: bytes) -> bytes:
        # The certificates that the host gave, as the table of an extended report; not every host gives any.
        path = entry / "auxblob"
        return table_of(report, self.files.read(path)) if self.files.exists(path) else b""

    def _generation(self, entry: Path) -> int:
        return self._number(entry / "generation")

    def _number(self, path: Path) -> int:
        try:
            return int(self.files.read(path).strip())
        except ValueError as error:
            raise AttesterUnavailable(f"configfs-tsm gave no {path.name} that is a number.") from error
