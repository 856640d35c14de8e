"""Event logs: what was extended into the registers of a TPM, or of a confidential machine, since it was started.

A log proves nothing by itself: whoever controls the machine can write another one. Only where its replay gives the
values that hardware signed are its digests facts. The bytes beside a digest are facts only where they hash to it, which
for many types of event they are not meant to.

Source: TCG PC Client Platform Firmware Profile 1.06, §10 (crypto-agile log, `Spec ID Event03`, StartupLocality); UEFI
2.10 §38 (confidential computing event log: registers instead of PCRs); docs/spec/attestation.md (A-24).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from paddock.crypto.digest import sha256_id
from paddock.errors import EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.claims import Claims
from paddock.evidence.reading import Reader
from paddock.evidence.tpm_structures import BANK_BYTES, BANKS

MAX_LOG_BYTES, MAX_EVENTS, MAX_TABLE_BYTES = 1 << 19, 1 << 13, 4 << 20
NO_ACTION = 3
_SPEC_ID, _STARTUP = b"Spec ID Event03\0", b"StartupLocality\0"
_LOCALITIES = frozenset({0, 3, 4})
_NO_REGISTER = 0xFFFFFFFF
_MOST_ALGORITHMS, _MOST_DIGEST_BYTES = 8, 64
_PCRS = range(32)
_FIRMWARE_PCRS = frozenset(range(8))
_CC_BANK = "sha384"
_CC_REGISTERS: Mapping[int, str] = {1: "rtmr0", 2: "rtmr1", 3: "rtmr2", 4: "rtmr3"}
"""TDX registers by their measurement register index; 0 is MRTD, which nothing is extended into once a TD runs."""
_BOOT_REGISTERS = frozenset({"rtmr0", "rtmr1", "rtmr2"})  # what a running TD extends, RTMR3, is in no log of firmware


@dataclass(frozen=True)
class Event:
    """One record.

    Args:
        register: number of the PCR, or index of the measurement register.
        kind: the type of event, e.g. 0x80000003 (EV_EFI_BOOT_SERVICES_APPLICATION).
        digests: what was extended, by bank; algorithms that have no bank here are left out.
        data: what the firmware wrote beside it.
        raw: the whole record.
    """

    register: int
    kind: int
    digests: Mapping[str, bytes]
    data: bytes
    raw: bytes


@dataclass(frozen=True)
class EventLog:
    """A log, read but not held against anything.

    Args:
        header: its first record, which names the hashes.
        banks: those of them that are known here.
        events: the records behind the first.
    """

    header: bytes
    banks: tuple[str, ...]
    events: tuple[Event, ...]

    def to_bytes(self) -> bytes:
        """Its one form: all records, no padding."""
        return self.header + b"".join(event.raw for event in self.events)

    def digest(self) -> str:
        """`sha256:` of its one form."""
        return sha256_id(self.to_bytes())

    def only(self, registers: Collection[int]) -> EventLog:
        """The records of these registers, and those of none: replay of one register does not depend on another."""
        kept = tuple(event for event in self.events if event.register in registers or event.register == _NO_REGISTER)
        return replace(self, events=kept)

    def replay(self, bank: str) -> dict[int, bytes]:
        """The values of the registers that the log extends, in one bank.

        Raises:
            EvidenceMalformed: the log does not name the bank, or says twice or too late where PCR 0 began.
        """
        if bank not in self.banks:
            raise EvidenceMalformed(f"The event log has no digests of {bank}.")
        size, values, began = BANK_BYTES[bank], dict[int, bytes](), False
        start = bytes(size)
        for event in self.events:
            if event.kind == NO_ACTION:
                if event.register == 0 and event.data.startswith(_STARTUP):
                    if (
                        began
                        or 0 in values
                        or len(event.data) != len(_STARTUP) + 1
                        or event.data[-1] not in _LOCALITIES
                    ):
                        raise EvidenceMalformed("The event log does not say rightly how PCR 0 began.")
                    start, began = bytes(size - 1) + event.data[-1:], True
                continue
            before = values.get(event.register, start if event.register == 0 else _beginning(event.register, size))
            values[event.register] = hashlib.new(bank, before + event.digests[bank], usedforsecurity=False).digest()
        return values


def _beginning(register: int, size: int) -> bytes:
    # PCRs 17 to 22 hold ones until a dynamic launch, whose log is another one.
    return b"\xff" * size if 17 <= register <= 22 else bytes(size)


def read_event_log(data: bytes, *, padded: bool = False) -> EventLog:
    """Read a crypto-agile log strictly.

    Args:
        data: from the first record on.
        padded: whether the log may end before the bytes do, as in a table of the firmware, whose rest is all ones or
            all zeros.

    Raises:
        EvidenceMalformed: another form, another size than is read, or a record behind the end.
    """
    end = len(data)
    if padded:
        end = min(len(data.rstrip(b"\xff")), len(data.rstrip(b"\0")))
    if end > MAX_LOG_BYTES or len(data) > MAX_TABLE_BYTES:
        raise EvidenceMalformed(f"The event log has {end} bytes; at most {MAX_LOG_BYTES} are read.")
    reader = Reader(data, "event log")
    sizes = _header(reader)
    header, events = data[: reader.position], list[Event]()
    while reader.position < end:
        if len(events) == MAX_EVENTS:
            raise reader.refuse(f"it has more than {MAX_EVENTS} records")
        events.append(_event(reader, data, sizes))
    return EventLog(header, tuple(BANKS[number] for number in sizes if number in BANKS), tuple(events))


def _header(reader: Reader) -> Mapping[int, int]:
    # About PCR 0; of a TD, firmware writes it about register 1.
    if reader.number(4, "little") > 1 or (reader.number(4, "little"), reader.take(20)) != (NO_ACTION, bytes(20)):
        raise reader.refuse("its first record does not say which hashes it has")
    inner = Reader(reader.counted(4, "little", 512), "first record of the event log")
    inner.expect(_SPEC_ID, "signature")
    inner.take(4)  # class of platform
    version, _errata, word = inner.take(2), inner.take(1), inner.number(1, "little")
    if version[1] != 2 or word not in {1, 2}:
        raise inner.refuse("it is of a version that is not known")
    sizes = {}
    count = inner.number(4, "little")
    if not 1 <= count <= _MOST_ALGORITHMS:
        raise inner.refuse(f"it names {count} hashes")
    for _ in range(count):
        number, size = inner.number(2, "little"), inner.number(2, "little")
        if (
            number in sizes
            or not 1 <= size <= _MOST_DIGEST_BYTES
            or size != BANK_BYTES.get(BANKS.get(number, ""), size)
        ):
            raise inner.refuse("it names a hash twice, or with another size than it has")
        sizes[number] = size
    inner.counted(1, "little", 255)  # the vendor's own
    inner.end()
    return sizes


def _event(reader: Reader, data: bytes, sizes: Mapping[int, int]) -> Event:
    start = reader.position
    register, kind = reader.number(4, "little"), reader.number(4, "little")
    if register not in _PCRS and not (register == _NO_REGISTER and kind == NO_ACTION):
        raise reader.refuse(f"a record is about register {register}")
    if reader.number(4, "little") != len(sizes):
        raise reader.refuse("a record has not a digest of each hash")
    digests: dict[int, bytes] = {}
    for _ in sizes:
        number = reader.number(2, "little")
        if number not in sizes or number in digests:
            raise reader.refuse("a record has not a digest of each hash")
        digests[number] = reader.take(sizes[number])
    extra = reader.counted(4, "little", MAX_LOG_BYTES)
    known = {BANKS[number]: digest for number, digest in digests.items() if number in BANKS}
    return Event(register, kind, known, extra, data[start : reader.position])


def check_event_log(log: EventLog, pcrs: Mapping[str, Mapping[int, bytes]]) -> None:
    """Return if the log explains the PCRs that were quoted (A-24).

    Every PCR that it extends, in each bank that it has. The firmware's own, 0 to 7, which nothing extends but what the
    firmware writes down, are all in it, unless nothing was extended into them. Of others it may be silent: an operating
    system has logs of its own, or none.

    Args:
        log: of the machine that was quoted.
        pcrs: values that a verified quote signed, by bank and number.

    Raises:
        EvidenceNotTrusted: it extends a PCR that was quoted in none of its banks, gives another value, or leaves out
            what was extended into the firmware's own.
    """
    check_extended(log, pcrs)
    touched = _touched(log)
    for bank, values in pcrs.items():
        for register in sorted((values.keys() & _FIRMWARE_PCRS) - touched):
            if any(values[register]):
                raise EvidenceNotTrusted(f"The event log leaves out what was extended into PCR {register} ({bank}).")


def check_extended(log: EventLog, pcrs: Mapping[str, Mapping[int, bytes]]) -> None:
    """Return if the log gives the values of the PCRs that it extends, whatever it leaves out.

    Raises:
        EvidenceNotTrusted: it extends a PCR that was quoted in none of its banks, or gives another value.
    """
    confirmed = set()
    for bank in set(log.banks) & set(pcrs):
        for register, value in log.replay(bank).items():
            if register in pcrs[bank]:
                _compare(value, pcrs[bank][register], f"PCR {register} ({bank})")
                confirmed.add(register)
    silent = _touched(log) - confirmed
    if silent:
        raise EvidenceNotTrusted(f"The event log speaks of PCRs that were not quoted: {sorted(silent)}.")


def _touched(log: EventLog) -> set[int]:
    return {event.register for event in log.events if event.kind != NO_ACTION}


def replay_cc(log: EventLog) -> dict[str, str]:
    """The run-time measurement registers of a TD that a CC event log extends, by name, as hex.

    Raises:
        EvidenceMalformed: it has no digests of SHA-384, or speaks of a register that a TD does not have.
    """
    found = log.replay(_CC_BANK)
    if not set(found) <= set(_CC_REGISTERS):
        raise EvidenceMalformed("The event log extends a register that a TD does not have.")
    return {_CC_REGISTERS[index]: value.hex() for index, value in found.items()}


def confirm_cc_event_log(data: bytes, claims: Claims) -> tuple[EventLog, Claims]:
    """Hold a CC event log (the CCEL table's, as firmware left it) against verified claims of a TD (A-24).

    Args:
        data: the log, padded or not.
        claims: of a quote that was verified, with the registers `rtmr0` to `rtmr3`.

    Returns:
        the log, and the claims with its digest and the number of its records among their details.

    Raises:
        EvidenceMalformed: it is no such log.
        EvidenceNotTrusted: its replay gives other values than were quoted, there are none to compare, or it leaves out
            what was extended before the TD ran.
    """
    log = read_event_log(data, padded=True)
    found = replay_cc(log)
    if not found:
        raise EvidenceNotTrusted("The event log says nothing about any register.")
    for name, value in sorted(found.items()):
        if name not in claims.registers:
            raise EvidenceNotTrusted(f"The evidence has no register '{name}', of which the event log speaks.")
        _compare(bytes.fromhex(value), bytes.fromhex(claims.registers[name]), name.upper())
    for name in sorted(_BOOT_REGISTERS - found.keys()):
        if any(bytes.fromhex(claims.registers.get(name, ""))):
            raise EvidenceNotTrusted(f"The event log leaves out what was extended into {name.upper()}.")
    return log, replace(claims, details={**claims.details, **log_details(log)})


def log_details(log: EventLog) -> dict[str, str | int]:
    """What claims say of a log that was held against registers."""
    registers = ",".join(map(str, sorted(_touched(log))))
    return {"event_log": log.digest(), "event_log_records": len(log.events), "event_log_registers": registers}


def _compare(replayed: bytes, quoted: bytes, name: str) -> None:
    if not hmac.compare_digest(replayed, quoted):
        raise EvidenceNotTrusted(f"The event log does not give the value of {name} that was quoted.")
