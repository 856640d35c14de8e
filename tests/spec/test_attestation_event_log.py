"""A-24: an event log proves nothing by itself. What is tried to break it: logs that do not replay to what was signed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence import Claims, Collateral, verify_evidence
from paddock.evidence.claims import registers_digest
from paddock.evidence.event_log import NO_ACTION, EventLog, confirm_cc_event_log, read_event_log, replay_cc
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.azure import AzureMaker
from tests.fixtures.vendors.intel import IntelMaker
from tests.fixtures.vendors.tpm import UNEXTENDED, SoftwareRegisters, TpmMaker, record, spec_id

RECORDED = Path(__file__).parents[1] / "evidence" / "vectors" / "eventlog"
REPORT = bytes(range(64))
# More than once into a register that the firmware does not have to itself: of such a one a log may be silent.
BOOT = ((0, b"firmware"), (4, b"boot loader"), (4, b"kernel"), (8, b"command line"), (8, b"initial file system"))
BANKS = ("sha1", "sha256")
TPM, TD = TpmMaker("p256"), IntelMaker("tdx", 5)
Change = Callable[[Sequence[bytes]], Iterator[list[bytes]]]


def changed(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """A bit of the first digest of each record, which stands behind register, type, count and algorithm."""
    for place, raw in enumerate(records):
        yield [*records[:place], raw[:14] + bytes([raw[14] ^ 1]) + raw[15:], *records[place + 1 :]]


def dropped(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    for place in range(len(records)):
        yield [*records[:place], *records[place + 1 :]]


def reordered(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Two records of one register that follow one another there."""
    for register in {raw[:4] for raw in records}:
        own = [place for place, raw in enumerate(records) if raw[:4] == register]
        for one, two in pairwise(own):
            if records[one][14:34] != records[two][14:34]:
                swapped = list(records)
                swapped[one], swapped[two] = records[two], records[one]
                yield swapped


def added(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """One of them once more, at the beginning and at the end."""
    for raw in records:
        yield [raw, *records]
        yield [*records, raw]


def moved(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    """To another register."""
    for place, raw in enumerate(records):
        other = {4: 8, 8: 4, 0: 4, 1: 2, 2: 3, 3: 1}[int.from_bytes(raw[:4], "little")]
        yield [*records[:place], other.to_bytes(4, "little") + raw[4:], *records[place + 1 :]]


CHANGES: Sequence[Change] = (changed, dropped, reordered, added, moved)


# --- a TCG crypto-agile log against PCRs --------------------------------------------------------------------------


def booted(banks: Sequence[str] = BANKS) -> SoftwareRegisters:
    registers = SoftwareRegisters(banks)
    for register, data in BOOT:
        registers.extend(register, data)
    return registers


def judged(log: bytes, pcrs: dict[str, dict[int, bytes]]) -> Claims:
    evidence = TPM.evidence(REPORT, pcrs=pcrs, event_log=log)
    return verify_evidence(evidence, policy=TPM.policy(), collateral=Collateral(), now=NOW)


def test_a24_a_log_that_gives_the_pcrs_that_were_quoted_counts() -> None:
    boot = booted()
    pcrs = {"sha256": {**UNEXTENDED, **boot.values["sha256"]}}
    claims = judged(boot.log, pcrs)
    assert claims.details["event_log"] == read_event_log(boot.log).digest()
    assert claims.details["event_log_records"] == len(BOOT)
    # It adds facts and changes none of the measurement.
    bare = verify_evidence(TPM.evidence(REPORT, pcrs=pcrs), policy=TPM.policy(), collateral=Collateral(), now=NOW)
    assert bare.measurement == claims.measurement
    assert "event_log" not in bare.details


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("bank", BANKS)
def test_a24_a_spoilt_log_of_pcrs_is_refused(change: Change, bank: str) -> None:
    boot = booted((bank,))
    # Of a weak bank, numbers that a strong one has too.
    pcrs = {"sha256": {**UNEXTENDED, **dict.fromkeys(boot.values[bank], bytes(32))}, bank: {**boot.values[bank]}}
    judged(boot.log, pcrs)
    header = spec_id((bank,))
    records = [record(register, data, banks=(bank,)) for register, data in BOOT]
    assert boot.log == header + b"".join(records)
    spoilt = list(change(records))
    assert spoilt
    for rows in spoilt:
        with pytest.raises(EvidenceNotTrusted):
            judged(header + b"".join(rows), pcrs)


def test_a24_a_log_must_explain_every_pcr_that_it_extends_in_each_bank_that_was_quoted() -> None:
    boot = booted()
    # Right in one bank, wrong in the other.
    pcrs = {"sha1": boot.values["sha1"], "sha256": {**boot.values["sha256"], 8: bytes(32)}}
    with pytest.raises(EvidenceNotTrusted, match="PCR 8"):
        judged(boot.log, pcrs)
    # It speaks of a PCR that was not quoted, or in a bank alone that was not.
    with pytest.raises(EvidenceNotTrusted, match="not quoted"):
        judged(boot.log + record(14, b"keys", banks=BANKS), {"sha256": boot.values["sha256"]})
    with pytest.raises(EvidenceNotTrusted, match="not quoted"):
        judged(booted(("sha1",)).log, {"sha256": dict(UNEXTENDED)})


def test_a24_what_was_extended_into_the_firmwares_registers_is_in_the_log() -> None:
    """Of other registers a log may be silent; then it says nothing of them."""
    boot = booted(("sha256",))
    pcrs = {"sha256": {**boot.values["sha256"], **dict.fromkeys((1, 2, 3, 5, 6, 7), bytes(32)), 11: b"\1" * 32}}
    claims = judged(boot.log, pcrs)
    assert claims.details["event_log_registers"] == "0,4,8"
    less = read_event_log(boot.log).only([0, 4]).to_bytes()
    assert judged(less, pcrs).details["event_log_registers"] == "0,4"
    for register in range(8):
        others = read_event_log(boot.log).only([each for each in (0, 4, 8) if each != register]).to_bytes()
        extended = {
            "sha256": {**pcrs["sha256"], register: pcrs["sha256"][register] if register in (0, 4) else b"\1" * 32}
        }
        with pytest.raises(EvidenceNotTrusted, match=f"leaves out .* PCR {register} "):
            judged(others, extended)


def test_a24_a_log_without_the_registers_of_the_quote_signature_proves_nothing() -> None:
    """The values that count are those that were signed: others that fit the log do not help."""
    boot = booted()
    evidence = TPM.evidence(REPORT, replaced={"pcrs": {"sha256": boot.values["sha256"]}}, event_log=boot.log)
    with pytest.raises((EvidenceNotTrusted, EvidenceMalformed)):
        verify_evidence(evidence, policy=TPM.policy(), collateral=Collateral(), now=NOW)


def test_a24_holds_behind_a_paravisor_too() -> None:
    maker, boot = AzureMaker("snp"), booted(("sha256",))
    pcrs = {"sha256": {**UNEXTENDED, **boot.values["sha256"]}}
    known: dict[str, Any] = {"policy": maker.policy(), "collateral": maker.collateral(NOW), "now": NOW}
    evidence = maker.evidence(REPORT, pcrs=pcrs, replaced={"event_log": boot.log})
    assert verify_evidence(evidence, **known).details["event_log_records"] == len(BOOT)
    records = [record(register, data) for register, data in BOOT]
    for change in CHANGES:
        for rows in change(records):
            log = spec_id() + b"".join(rows)
            with pytest.raises(EvidenceNotTrusted):
                verify_evidence(maker.evidence(REPORT, pcrs=pcrs, replaced={"event_log": log}), **known)


# --- a CC event log against RTMRs ---------------------------------------------------------------------------------


def recorded(name: str) -> EventLog:
    return read_event_log((RECORDED / f"{name}.bin").read_bytes(), padded=True)


def td(log: EventLog) -> Claims:
    """Verified claims of a TD whose run-time registers are those that the log gives."""
    registers = {name: bytes.fromhex(value) for name, value in replay_cc(log).items()}
    evidence = TD.evidence(REPORT, **{f"rtmr{number}": bytes(48) for number in range(4)} | registers)
    return verify_evidence(evidence, policy=TD.policy(), collateral=TD.collateral(NOW), now=NOW)


@pytest.mark.parametrize("name", ["ccel_grub", "ccel_ovmf"])
def test_a24_a_recorded_log_counts_for_the_machine_whose_registers_it_gives(name: str) -> None:
    log = recorded(name)
    claims = td(log)
    table = (RECORDED / f"{name}.bin").read_bytes()
    found, confirmed = confirm_cc_event_log(table, claims)
    assert confirmed.details["event_log"] == found.digest() == log.digest()
    assert confirmed.measurement == claims.measurement == registers_digest("tdx", claims.registers)
    other = td(recorded("ccel_ovmf" if name == "ccel_grub" else "ccel_grub"))
    with pytest.raises(EvidenceNotTrusted, match="RTMR"):
        confirm_cc_event_log(table, other)


@pytest.mark.parametrize("name", ["ccel_grub", "ccel_ovmf"])
@pytest.mark.parametrize("change", CHANGES)
def test_a24_a_spoilt_log_of_rtmrs_is_refused(name: str, change: Change) -> None:
    log = recorded(name)
    claims = td(log)
    records = [event.raw for event in log.events if event.kind != NO_ACTION]
    spoilt = list(change(records))
    assert spoilt
    for rows in spoilt:
        with pytest.raises(EvidenceNotTrusted):
            confirm_cc_event_log(log.header + b"".join(rows), claims)


def test_a24_what_was_extended_before_a_td_ran_is_in_the_log() -> None:
    log = recorded("ccel_grub")
    claims = td(log)
    for index in (1, 2, 3):
        less = log.only([each for each in (1, 2, 3) if each != index])
        with pytest.raises(EvidenceNotTrusted, match=f"leaves out .* RTMR{index - 1}"):
            confirm_cc_event_log(less.to_bytes(), claims)
    # What the running TD extends, RTMR3, is in no log of firmware.
    running = {**claims.registers, "rtmr3": "01" * 48}
    confirm_cc_event_log(log.to_bytes(), replace(claims, registers=running))


def test_a24_no_log_at_all_and_one_that_says_nothing_are_no_facts() -> None:
    log = recorded("ccel_grub")
    claims = td(log)
    with pytest.raises(EvidenceMalformed):
        confirm_cc_event_log(b"", claims)
    with pytest.raises(EvidenceNotTrusted, match="nothing"):
        confirm_cc_event_log(log.header, claims)
