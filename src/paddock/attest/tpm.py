"""Quotes of the machine's TPM 2.0, through the commands of tpm2-tools (over tpm2-tss).

The attestation key (AK) is a primary key of the endorsement hierarchy, which the TPM makes the same again from its own
seed, kept under a persistent handle; `prepare` makes it once. Any other restricted signing key will do, by its handle.

Address: `tpm`, or `tpm:` and members separated by `;`:

    tcti=device:/dev/tpmrm0       how tpm2-tss reaches the TPM
    ak=0x81008f01                 persistent handle of the AK
    pcrs=sha256:0,1,2             may stand more than once, each for another bank
    log=/sys/kernel/security/tpm0/binary_bios_measurements

Source: tpm2_quote(1), tpm2_createprimary(1), tpm2_evictcontrol(1), tpm2_readpublic(1) of tpm2-tools 5;
docs/adr/0014-tpm-access.md; docs/spec/attestation.md (A-3, A-24).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import AttesterUnavailable, EvidenceRefused
from paddock.evidence.binding import short_report_data
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.event_log import check_event_log, check_extended, read_event_log
from paddock.evidence.providers.tpm import MEDIA_TYPE, tpm_body
from paddock.evidence.tpm_structures import BANK_BYTES, AttestationKey, read_public, read_quote

DEFAULT_TCTI = "device:/dev/tpmrm0"
DEFAULT_AK = "0x81008f01"
DEFAULT_PCRS: Mapping[str, tuple[int, ...]] = {"sha256": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)}
KEY_KINDS: Mapping[str, str] = {"rsa": "rsa2048:rsassa-sha256:null", "ecc": "ecc256:ecdsa-sha256:null"}
_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
_TOOLS = ("tpm2_quote", "tpm2_readpublic")
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
_TIMEOUT_SECONDS, _ATTEMPTS, _MOST_LOG_BYTES = 60.0, 3, 4 << 20
# `cmd` of tpm2-tss would run a program that an address names.
_TCTI = re.compile(r"(device|swtpm|mssim|tabrmd)(:[A-Za-z0-9_./=,:@%-]{0,200})?")
_HANDLE = re.compile(r"0x81[0-9a-f]{6}")
_PCRS = re.compile(r"(sha1|sha256|sha384|sha512):([0-9]{1,2}(?:,[0-9]{1,2}){0,31})")


@dataclass(frozen=True)
class TpmAttester:
    """One TPM with one attestation key.

    Args:
        tcti: how tpm2-tss reaches the TPM.
        ak: persistent handle of the AK, as `0x81` and six hex digits.
        pcrs: numbers by bank, ascending.
        log: the firmware's event log, or None to send none.
    """

    tcti: str = DEFAULT_TCTI
    ak: str = DEFAULT_AK
    pcrs: tuple[tuple[str, tuple[int, ...]], ...] = tuple(DEFAULT_PCRS.items())
    log: Path | None = None
    name = "tpm"

    @classmethod
    def from_address(cls, text: str) -> TpmAttester:
        """Read what stands behind `tpm:`; may be empty.

        Raises:
            AttesterUnavailable: a member is unknown or ill-formed.
        """
        values: dict[str, str] = {}
        pcrs: dict[str, tuple[int, ...]] = {}
        for member in filter(None, text.split(";")):
            key, _, value = member.partition("=")
            if key == "pcrs" and (match := _PCRS.fullmatch(value)) and match[1] not in pcrs:
                pcrs[match[1]] = tuple(sorted({int(each) for each in match[2].split(",")}))
            elif key in {"tcti", "ak", "log"} and key not in values:
                values[key] = value
            else:
                raise AttesterUnavailable(f"Its address has a member that is not understood: {member[:80]!r}.")
        tcti, ak = values.get("tcti", DEFAULT_TCTI), values.get("ak", DEFAULT_AK)
        if not _TCTI.fullmatch(tcti):
            raise AttesterUnavailable("Its tcti is not device:…, swtpm:…, mssim:… or tabrmd:….")
        if not _HANDLE.fullmatch(ak):
            raise AttesterUnavailable("Its ak is not a persistent handle: 0x81 and six lower-case hex digits.")
        if any(number > 23 for numbers in pcrs.values() for number in numbers):
            raise AttesterUnavailable("A PC's TPM has PCRs 0 to 23.")
        log = Path(values["log"]) if "log" in values else None
        return cls(tcti, ak, tuple((pcrs or DEFAULT_PCRS).items()), log)

    def available(self) -> bool:
        """Whether the commands are installed, the TPM answers and its attestation key is there."""
        try:
            self.key()
        except AttesterUnavailable:
            return False
        return True

    def key(self) -> AttestationKey:
        """The attestation key; a policy names it by its `name`, which vouches for its attributes too.

        Raises:
            AttesterUnavailable: there is none, or it is not such a key.
        """
        with tempfile.TemporaryDirectory(prefix="paddock-tpm-") as folder:
            return _attestation_key(self._public(Path(folder)))

    def prepare(self, kind: str = "rsa") -> AttestationKey:
        """Make the attestation key and keep it under its handle; one that is there already stays.

        Args:
            kind: `rsa` (2048 bits, RSASSA) or `ecc` (P-256, ECDSA), both with SHA-256.

        Raises:
            AttesterUnavailable: the TPM did not, or something else is under that handle.
        """
        with tempfile.TemporaryDirectory(prefix="paddock-tpm-") as name:
            folder = Path(name)
            if self.ak not in self._run("tpm2_getcap", "handles-persistent").lower():
                context = str(folder / "ak.ctx")
                template = ("-G", KEY_KINDS[kind], "-a", _ATTRIBUTES)
                self._run("tpm2_createprimary", "-Q", "-C", "e", *template, "-c", context)
                self._run("tpm2_evictcontrol", "-Q", "-C", "o", "-c", context, self.ak)
                self._run("tpm2_flushcontext", "-t")  # where no resource manager does
            return _attestation_key(self._public(folder))

    def hold(self, bank: str, number: int, *, event: bytes, expected: bytes) -> None:
        """Extend a register that is at zero; one that holds what is expected stays.

        Args:
            bank: e.g. `sha256`.
            number: of the PCR.
            event: what it is extended with.
            expected: what it must hold then.

        Raises:
            AttesterUnavailable: the TPM did not, or something else was extended since the machine started.
        """
        if self._register(bank, number) == bytes(len(expected)):
            self._run("tpm2_pcrextend", f"{number}:{bank}={event.hex()}")
        if self._register(bank, number) != expected:
            raise AttesterUnavailable(
                f"PCR {number} holds something else since the machine started: another runtime or another key. Restart it."
            )

    def _register(self, bank: str, number: int) -> bytes:
        with tempfile.TemporaryDirectory(prefix="paddock-tpm-") as folder:
            file = Path(folder) / "value"
            self._run("tpm2_pcrread", "-Q", f"{bank}:{number}", "-o", str(file))
            return _bytes(file)

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """A quote over 64 bytes of report data.

        A TPM whose field holds fewer gets their short form (A-3). PCRs that something extends between quote and reading
        are read again with a new quote.

        Raises:
            AttesterUnavailable: the TPM did not answer with a quote; what to do.
        """
        with tempfile.TemporaryDirectory(prefix="paddock-tpm-") as name:
            folder = Path(name)
            public = self._public(folder)
            try:
                quote, signature, pcrs = self._quote(folder, report_data)
            except AttesterUnavailable:
                quote, signature, pcrs = self._quote(folder, short_report_data(report_data))
        body = tpm_body(quote, signature, public, pcrs, event_log=self._event_log(pcrs))
        return UnverifiedEvidence(MEDIA_TYPE, body)

    def _public(self, folder: Path) -> bytes:
        file = folder / "ak.pub"
        try:
            self._run("tpm2_readpublic", "-Q", "-c", self.ak, "-f", "tss", "-o", str(file))
        except AttesterUnavailable as error:
            raise AttesterUnavailable(
                f"{error.detail} Is there an attestation key under {self.ak}? docs/how-to/attest-with-a-tpm.md says how to make one."
            ) from error
        return _bytes(file)[2:]  # TPM2B_PUBLIC

    def _quote(self, folder: Path, extra_data: bytes) -> tuple[bytes, bytes, dict[str, dict[int, bytes]]]:
        message, signature, values = folder / "quote", folder / "signature", folder / "pcrs"
        chosen = "+".join(f"{bank}:{','.join(map(str, numbers))}" for bank, numbers in self.pcrs)
        what = ("-c", self.ak, "-l", chosen, "-q", extra_data.hex())
        files = ("-m", str(message), "-s", str(signature), "-o", str(values), "-F", "values")
        for attempt in range(_ATTEMPTS):
            try:
                self._run("tpm2_quote", "-Q", *what, *files)
                break
            except AttesterUnavailable as error:
                if attempt == _ATTEMPTS - 1 or "match quote" not in error.detail:
                    raise
        quote = _bytes(message)
        return quote, _bytes(signature), _values(quote, _bytes(values))

    def _event_log(self, pcrs: Mapping[str, Mapping[int, bytes]]) -> bytes | None:
        """The records of those PCRs that they explain: what was extended later is in no log of the firmware's.

        None where one of the firmware's own PCRs is not among them: such a log counts nowhere.
        """
        if self.log is None:
            return None
        try:
            with self.log.open("rb") as file:
                log = read_event_log(file.read(_MOST_LOG_BYTES), padded=True)
        except OSError as error:
            raise AttesterUnavailable(f"Its event log {self.log} cannot be read: {error.strerror}.") from error
        except EvidenceRefused as error:
            raise AttesterUnavailable(f"Its event log {self.log} is not one: {error.detail}") from error
        explained = []
        for register in sorted({event.register for event in log.events}):
            try:
                check_extended(log.only([register]), pcrs)
            except EvidenceRefused:
                continue
            explained.append(register)
        try:
            check_event_log(log.only(explained), pcrs)
        except EvidenceRefused:
            return None
        return log.only(explained).to_bytes() if explained else None

    def _run(self, tool: str, *arguments: str) -> str:
        program = shutil.which(tool, path=_ENVIRONMENT["PATH"])
        if program is None:
            raise AttesterUnavailable(f"{tool} is not installed. Debian: apt-get install tpm2-tools.")
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, arguments from an address that was checked
                [program, "-T", self.tcti, *arguments],
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AttesterUnavailable(f"{tool} did not end within {_TIMEOUT_SECONDS:.0f} s.") from error
        if done.returncode:
            said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("ERROR")]
            raise AttesterUnavailable(_reason(tool, said))
        return done.stdout.decode("utf-8", "replace")


def _reason(tool: str, said: Sequence[str]) -> str:
    text = " ".join(said)
    if "TCTI" in text or "tcti" in text:
        return "The TPM is not there, or not for this user: is there a /dev/tpmrm0, and is the user in its group (tss)?"
    return f"{tool} failed: {said[0][:200] if said else 'it says nothing'}."


def _attestation_key(public: bytes) -> AttestationKey:
    try:
        return read_public(public)
    except EvidenceRefused as error:
        raise AttesterUnavailable(f"What its handle holds is no attestation key: {error.detail}") from error


def _values(quote: bytes, data: bytes) -> dict[str, dict[int, bytes]]:
    found: dict[str, dict[int, bytes]] = {}
    try:
        selection = read_quote(quote).selection
    except EvidenceRefused as error:
        raise AttesterUnavailable(f"The TPM's quote is not what was asked for: {error.detail}") from error
    for bank, numbers in selection:
        for number in numbers:
            size = BANK_BYTES[bank]
            found.setdefault(bank, {})[number], data = data[:size], data[size:]
    return found


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AttesterUnavailable("The TPM's commands left no answer.") from error
