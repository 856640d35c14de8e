from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path

import pytest

from paddock.errors import EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence import Claims
from paddock.evidence import event_log as event_log_module
from paddock.evidence.event_log import (
    MAX_LOG_BYTES,
    MAX_TABLE_BYTES,
    NO_ACTION,
    check_event_log,
    confirm_cc_event_log,
    read_event_log,
    replay_cc,
)
from tests.fixtures.vendors.tpm import SoftwareRegisters, record, spec_id

VECTORS = Path(__file__).parents[2] / "evidence" / "vectors" / "eventlog"
# What the recorded logs replay to, as the project that published them states.
KNOWN = {
    "ccel_grub": {
        "rtmr0": "cec0a104f691f60da2387fea3c2de00c4ac035e2bb479ff02edcce69039d9e9907f0b3e55031da3dc7038f423adebd79",
        "rtmr1": "6c289e0c62182d41ebe97bdbc9872d10998a08eaa86adcdc684001a363207ee72942c7522cdf00a4bbc3d784bed7b670",
        "rtmr2": "08919d017ba0e52cd6d966351c7de16fe76c1d3d3d3da4554239e4c7d16cb8b82a94e7eaea3a0e6e18eb690b999fd31e",
    },
    "ccel_ovmf": {
        "rtmr0": "8566f998798db09443b244c62de9a3041fb02e2e6936c4396d784bba2e90177329ec5aba3bb484404f2ab9cc90abe193",
        "rtmr1": "775b9f6bfe99f8a31396f0d0218e67ffa796d3b96ccf961cbb0deba48c79c00f082cda1a5567c1c16305f1fc210c13c6",
        "rtmr2": "94eaf7a7bf398ed8d888c91057ae0261802e4f3df084213a76ca7f0b5055ac9d2241de43cd58d9e8b49c503bbf25f34a",
    },
}


def table(name: str) -> bytes:
    return (VECTORS / f"{name}.bin").read_bytes()


def claims(registers: dict[str, str]) -> Claims:
    zero = {f"rtmr{number}": "00" * 48 for number in range(4)}
    return Claims(
        provider="tdx",
        tee="confidential-vm",
        measurement="sha256:" + "0" * 64,
        report_data=bytes(64),
        debug=False,
        simulated=False,
        signer="",
        issued=None,
        registers={**zero, **registers},
    )


@pytest.mark.parametrize("name", KNOWN)
def test_recorded_logs_give_the_registers_that_were_recorded(name: str) -> None:
    log = read_event_log(table(name), padded=True)
    assert replay_cc(log) == KNOWN[name]
    found, confirmed = confirm_cc_event_log(table(name), claims(KNOWN[name]))
    assert found == log
    registers = {"event_log_registers": "1,2,3"}
    assert confirmed.details == {"event_log": log.digest(), "event_log_records": len(log.events), **registers}
    assert confirm_cc_event_log(log.to_bytes(), claims(KNOWN[name]))[1] == confirmed, "padding says nothing"


def test_every_record_is_read_as_another_reader_read_it() -> None:
    rows = json.loads((VECTORS / "ccel_grub.json").read_text("utf-8"))["uefi_event_logs"]
    events = read_event_log(table("ccel_grub"), padded=True).events
    assert len(events) == len(rows)
    for event, row in zip(events, rows, strict=True):
        assert event.register == row["index"]
        assert event.digests == {"sha384": bytes.fromhex(row["digests"][0]["digest"])}
        assert event.data == base64.b64decode(row["event"])


def test_any_changed_digest_gives_other_registers() -> None:
    data = read_event_log(table("ccel_ovmf"), padded=True).to_bytes()
    position = len(read_event_log(data).header)
    for event in read_event_log(data).events:
        if event.kind != NO_ACTION:
            for bit in (0, 7, 383):
                changed = bytearray(data)
                changed[position + 14 + bit // 8] ^= 1 << bit % 8
                with pytest.raises(EvidenceNotTrusted):
                    confirm_cc_event_log(bytes(changed), claims(KNOWN["ccel_ovmf"]))
        position += len(event.raw)


def test_a_record_more_less_or_elsewhere_gives_other_registers() -> None:
    log = read_event_log(table("ccel_ovmf"), padded=True)
    raws = [event.raw for event in log.events]
    for changed in (raws[:-1], [*raws, raws[-1]], [*raws[::-1]], []):
        with pytest.raises(EvidenceNotTrusted):
            confirm_cc_event_log(log.header + b"".join(changed), claims(KNOWN["ccel_ovmf"]))


def test_a_log_of_a_register_that_the_evidence_lacks_proves_nothing() -> None:
    good = claims(KNOWN["ccel_ovmf"])
    less = Claims(**{**vars(good), "registers": {"rtmr0": KNOWN["ccel_ovmf"]["rtmr0"]}})
    with pytest.raises(EvidenceNotTrusted, match="rtmr1"):
        confirm_cc_event_log(table("ccel_ovmf"), less)


def test_only_registers_of_a_td_can_be_in_its_log() -> None:
    for register in (0, 5, 31):
        data = spec_id(["sha384"]) + record(register, b"x", banks=["sha384"])
        with pytest.raises(EvidenceMalformed):
            replay_cc(read_event_log(data))
    with pytest.raises(EvidenceMalformed, match="sha384"):
        replay_cc(read_event_log(spec_id() + record(1, b"x")))


def test_pcr_0_begins_with_the_locality_that_the_log_says() -> None:
    first = record(0, b"StartupLocality\0\3", kind=NO_ACTION)
    log = read_event_log(spec_id() + first + record(0, b"code"))
    digest = hashlib.sha256(b"code").digest()
    assert log.replay("sha256") == {0: hashlib.sha256(bytes(31) + b"\3" + digest).digest()}
    for wrong in (
        first + first,
        record(0, b"code") + first,
        record(0, b"StartupLocality\0\1", kind=NO_ACTION),
        record(0, b"StartupLocality\0", kind=NO_ACTION),
        record(0, b"StartupLocality\0\3\0", kind=NO_ACTION),
    ):
        with pytest.raises(EvidenceMalformed):
            read_event_log(spec_id() + wrong).replay("sha256")


def test_registers_of_a_dynamic_launch_begin_with_ones() -> None:
    log = read_event_log(spec_id() + record(17, b"x") + record(23, b"x"))
    digest = hashlib.sha256(b"x").digest()
    assert log.replay("sha256") == {
        17: hashlib.sha256(b"\xff" * 32 + digest).digest(),
        23: hashlib.sha256(bytes(32) + digest).digest(),
    }


def test_a24_a_log_counts_only_where_its_replay_is_what_was_quoted() -> None:
    machine = SoftwareRegisters(("sha1", "sha256"))
    for register, data in ((0, b"firmware"), (4, b"loader"), (4, b"kernel"), (7, b"keys")):
        machine.extend(register, data)
    log = read_event_log(machine.log)
    check_event_log(log, machine.values)
    check_event_log(log, {"sha256": {**machine.values["sha256"], 9: bytes(32)}})
    check_event_log(log.only([4]), {"sha256": {4: machine.values["sha256"][4]}})
    for pcrs in (
        {},
        {"sha384": {0: bytes(48), 4: bytes(48), 7: bytes(48)}},
        {"sha256": {0: machine.values["sha256"][0], 4: machine.values["sha256"][4]}},
        {"sha256": {**machine.values["sha256"], 4: bytes(32)}},
        {"sha256": machine.values["sha256"], "sha1": {**machine.values["sha1"], 7: bytes(20)}},
    ):
        with pytest.raises(EvidenceNotTrusted):
            check_event_log(log, pcrs)


def test_what_touches_no_register_may_name_none() -> None:
    data = spec_id() + record(0xFFFFFFFF, b"platform", kind=NO_ACTION) + record(1, b"x")
    log = read_event_log(data)
    assert set(log.replay("sha256")) == {1}
    assert len(log.only([2]).events) == 1
    with pytest.raises(EvidenceMalformed):
        read_event_log(spec_id() + record(0xFFFFFFFF, b"x"))
    with pytest.raises(EvidenceMalformed):
        read_event_log(spec_id() + record(32, b"x"))


def test_an_algorithm_that_is_not_known_is_passed_over() -> None:
    inner = b"Spec ID Event03\0" + bytes(4) + b"\0\2\0\1" + struct.pack("<IHHHH", 2, 0x12, 32, 0x0B, 32) + b"\3abc"
    header = struct.pack("<II", 0, NO_ACTION) + bytes(20) + struct.pack("<I", len(inner)) + inner
    digest = hashlib.sha256(b"x").digest()
    body = struct.pack("<III", 1, 13, 2) + b"\x0b\0" + digest + b"\x12\0" + bytes(32) + struct.pack("<I", 1) + b"x"
    log = read_event_log(header + body)
    assert log.banks == ("sha256",)
    assert log.replay("sha256") == {1: hashlib.sha256(bytes(32) + digest).digest()}


def _header(**changes: object) -> bytes:
    values = {"register": 0, "kind": NO_ACTION, "digest": bytes(20), "inner": spec_id()[32:], **changes}
    inner = values["inner"]
    assert isinstance(inner, bytes)
    assert isinstance(values["digest"], bytes)
    return (
        struct.pack("<II", values["register"], values["kind"])
        + values["digest"]
        + struct.pack("<I", len(inner))
        + inner
    )


@pytest.mark.parametrize(
    "header",
    [
        b"",
        _header(register=2),
        _header(kind=1),
        _header(digest=b"\1" + bytes(19)),
        _header(inner=b"Spec ID Event02\0" + spec_id()[48:]),
        _header(inner=spec_id()[32:] + b"\0"),
        _header(inner=spec_id()[32:-1] + b"\1"),
        _header(inner=spec_id(version=b"\0\1\0")[32:]),
        _header(inner=spec_id(word=3)[32:]),
        _header(inner=spec_id([])[32:]),
        _header(inner=spec_id(["sha256", "sha256"])[32:]),
        _header(inner=spec_id()[32:].replace(b"\x0b\0\x20\0", b"\x0b\0\x14\0")),
        _header(inner=spec_id()[32:].replace(b"\x0b\0\x20\0", b"\x12\0\0\0")),
        _header(inner=spec_id()[32:].replace(b"\x0b\0\x20\0", b"\x12\0\x41\0")),
        _header(inner=spec_id(vendor=bytes(255))[32:] + bytes(300)),
    ],
)
def test_a_first_record_in_another_form_is_refused(header: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        read_event_log(header)


def test_records_in_another_form_are_refused() -> None:
    good = record(1, b"some data", banks=("sha1", "sha256"))
    head = spec_id(("sha1", "sha256"))
    assert read_event_log(head + good).events
    for wrong in (
        record(1, b"x"),
        good.replace(
            b"\x0b\0" + hashlib.sha256(b"some data").digest()[:2], b"\x04\0" + hashlib.sha256(b"some data").digest()[:2]
        ),
        good.replace(struct.pack("<I", 2), struct.pack("<I", 3), 1),
        good.replace(struct.pack("<I", 9) + b"some", struct.pack("<I", 10) + b"some"),
        good + b"\0",
        good + b"\xff",
        good + bytes(8),
        *(good[:length] for length in range(1, len(good))),
    ):
        with pytest.raises(EvidenceMalformed):
            read_event_log(head + wrong)


def test_padding_is_of_one_kind_and_only_where_it_is_expected() -> None:
    data = spec_id() + record(1, b"ends with \xff\xff") + record(1, b"ends with \0\0")
    log = read_event_log(data)
    for padding in (bytes(5000), b"\xff" * 5000, b"\0", b"\xff"):
        assert read_event_log(data + padding, padded=True) == log
        with pytest.raises(EvidenceMalformed):
            read_event_log(data + padding)
    for padding in (b"\0\xff", b"\1", bytes(100) + b"\1", bytes(100) + b"\xff" * 4):
        with pytest.raises(EvidenceMalformed):
            read_event_log(data + padding, padded=True)


def test_a_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvidenceMalformed, match="at most"):
        read_event_log(spec_id() + bytes(MAX_LOG_BYTES))
    with pytest.raises(EvidenceMalformed, match="at most"):
        read_event_log(spec_id() + b"\xff" * MAX_TABLE_BYTES, padded=True)
    monkeypatch.setattr(event_log_module, "MAX_EVENTS", 3)
    assert read_event_log(spec_id() + record(1, b"x") * 3)
    with pytest.raises(EvidenceMalformed, match="more than 3"):
        read_event_log(spec_id() + record(1, b"x") * 4)
