"""GPUs: what recorded reports are known to say, and every way in which a report can break the format."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from paddock.errors import (
    BindingMismatch,
    CertificateRefused,
    CryptoRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    RevocationUnknown,
)
from paddock.evidence import Claims, Collateral, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.binding import short_report_data
from paddock.evidence.provider import installed_providers
from paddock.evidence.providers.nvidia import (
    MAX_BODY_BYTES,
    MEDIA_TYPE,
    NvidiaProvider,
    gpu_body,
    read_report,
    vbios_version,
)
from tests.evidence.nvidia import (
    BLACKWELL,
    HOPPER,
    RECORDED_POLICY,
    REPORT,
    VECTORS,
    body_of,
    recorded,
    recorded_report,
)
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.nvidia import BLOCKS, FWID, OPAQUE, NvidiaMaker, der, fwid_entry, make_response

NONCE = bytes(range(32))
HEAD = b"\x11\xe0\1\xff" + NONCE + b"\0"


def judge(body: bytes, policy: TrustPolicy = RECORDED_POLICY, collateral: Collateral | None = None) -> Claims:
    evidence = UnverifiedEvidence(MEDIA_TYPE, body)
    return verify_evidence(evidence, policy=policy, collateral=collateral or Collateral(), now=NOW)


def made(maker: NvidiaMaker, *, leaf: dict[str, Any] | None = None, **changes: Any) -> Claims:
    return judge(maker.evidence(REPORT, leaf=leaf, **changes).body, maker.policy())


def test_a_recorded_report_says_what_another_reader_finds_in_it() -> None:
    known = json.loads((VECTORS / "hopper_report_claims.txt").read_text("ascii"))
    claims = judge(body_of("hopper"))
    blocks = {f"m{int(index):02}": value for index, value in known["measurements"].items()}
    assert claims.registers == {**blocks, "fwid": known["config"]["fwid"]}
    assert (claims.tee, claims.debug, claims.simulated, claims.issued) == ("gpu", False, False, None)
    assert claims.report_data.hex() == "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb"
    assert claims.settings == frozenset()
    assert claims.svns == {}
    assert claims.device == "41431d480fe5e87274"
    assert claims.signer == "sha256:a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4"
    assert claims.details == {
        "architecture": "hopper",
        "board_id": known["config"]["board_id"],
        "chip_sku": known["config"]["chip_sku"],
        "driver_version": known["config"]["driver_version"],
        "hardware_model": "GH100 A01 GSP BROM",
        "mode": "not-reported",
        "project": known["config"]["project"],
        "project_sku": known["config"]["project_sku"],
        "vbios_version": known["config"]["vbios_version"].upper(),
    }


@pytest.mark.parametrize(
    ("name", "details", "settings", "svns"),
    [
        ("hopper_535", "535.86.09 96.00.5E.00.01 not-reported", set(), {}),
        ("hopper_590", "590.12 96.00.A5.00.01 protected-pcie", {"protected-pcie"}, {}),
        ("blackwell", "575.32 97.00.88.00.0F not-reported", {"not-configured"}, {"fmc": 1}),
    ],
)
def test_what_other_recorded_reports_say(name: str, details: str, settings: set[str], svns: dict[str, int]) -> None:
    claims = judge(body_of(name))
    assert [claims.details[each] for each in ("driver_version", "vbios_version", "mode")] == details.split()
    assert claims.settings == settings
    assert claims.svns == svns
    assert len(claims.registers) == 65


def test_the_nonce_of_a_recorded_request_is_the_one_that_was_asked_with() -> None:
    row = json.loads((VECTORS / "hopper_590.json").read_text("ascii"))[0]
    assert judge(body_of("hopper_590")).report_data == bytes.fromhex(row["nonce"])


def test_an_nvswitch_is_no_gpu_though_its_root_is_the_same() -> None:
    report, chain = recorded("switch")
    with pytest.raises(EvidenceMalformed):  # its report has fields of its own …
        judge(gpu_body("hopper", report, chain))
    # … and one without them would be refused by the name of the device.
    switch = NvidiaMaker("hopper", device="LS_10 A01 FSP BROM")
    with pytest.raises(EvidenceNotTrusted, match="not of a GPU"):
        made(switch)


@pytest.mark.parametrize("device", ["GB100 A01 GSP BROM", "XGH100 A01 GSP BROM", "GH100 A01 FSP BROM", "GH100"])
def test_the_device_must_be_of_the_architecture(device: str) -> None:
    with pytest.raises(EvidenceNotTrusted, match="not of a GPU"):
        made(NvidiaMaker("hopper", device=device))


@pytest.mark.parametrize("device", ["GB110 A01 GSP BROM", "GB202 A01 GSP BROM", "GB20X A01 GSP BROM"])
def test_every_model_of_blackwell_is_one(device: str) -> None:
    assert made(NvidiaMaker("blackwell", device=device)).details["hardware_model"] == device


def test_what_was_recorded_is_read_whole() -> None:
    for name in ("hopper", "hopper_535", "blackwell"):
        report = recorded_report(name)
        read = read_report(report)
        assert read.signed + read.signature == report
        assert list(read.blocks) == list(range(1, 65))


@pytest.mark.parametrize(
    "change",
    [
        {"request": b"\x10" + HEAD[1:]},
        {"request": b"\x11\xe1" + HEAD[2:]},
        {"request": b"\x11\xe0\0\xff" + HEAD[4:]},
        {"request": b"\x11\xe0\1\1" + HEAD[4:]},
        {"request": HEAD[:-1] + b"\x08"},
        {"request": HEAD[:-1]},
        {"request": HEAD[:-1] + b"\1"},  # the response is of slot 0
        {"response": b"\x12" + make_response()[1:]},
        {"response": b"\x11\x7f" + make_response()[2:]},
        {"response": b"\x11\x60\1" + make_response()[3:]},
        {"response": b"\x11\x60\0\1" + make_response()[4:]},
        {"response": b"\x11\x60\0\0\0\0\0\0" + bytes(34)},
        {"response": make_response() + b"\0"},
        {"blocks": {0: bytes(48)}},
        {"blocks": {255: bytes(48)}},
        {"blocks": {1: bytes(20)}},
        {"blocks": {}},
        {"opaque": {}},
        {"opaque": {3: b"590\0"}},
        {"opaque": {6: bytes(8)}},
        {"opaque": {**OPAQUE, 0: b""}},
        {"opaque": {**OPAQUE, 37: b""}},
        {"opaque": {**OPAQUE, 6: bytes(7)}},
        {"opaque": {**OPAQUE, 20: bytes(32)}},
        {"opaque": {**OPAQUE, 12: bytes(6)}},
        {"opaque": {**OPAQUE, 22: bytes(12)}},
        {"opaque": {**OPAQUE, 34: b"\2"}},
        {"opaque": {**OPAQUE, 36: bytes(9)}},
        {"opaque": {**OPAQUE, 3: b"590\n"}},
        {"opaque": {**OPAQUE, 3: b"\xff\0"}},
        {"opaque": {**OPAQUE, 23: bytes(1000)}},
    ],
)
def test_a_signed_report_that_breaks_the_format_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EvidenceMalformed):
        made(HOPPER, **change)


def _block(index: int = 1, *, specification: int = 1, kind: int = 1, value: bytes = bytes(48), over: int = 0) -> bytes:
    inner = bytes([kind]) + (len(value) + over).to_bytes(2, "little") + value
    return bytes([index, specification]) + len(inner).to_bytes(2, "little") + inner


@pytest.mark.parametrize(
    "record",
    [
        _block() + _block(),
        _block() + _block(2, specification=2),
        _block() + _block(2, kind=5),
        _block() + _block(2, kind=0x85),
        _block() + _block(2, over=1),
        _block() + _block(2, over=-1),
        _block() + _block(2) + b"\0",
        _block(),
    ],
)
def test_a_measurement_record_that_breaks_the_format_is_refused(record: bytes) -> None:
    rest = make_response()[8 + len(BLOCKS) * len(_block()) :]
    response = b"\x11\x60\0\0\2" + len(record).to_bytes(3, "little") + record + rest
    with pytest.raises(EvidenceMalformed):
        made(HOPPER, response=response)


def test_raw_values_and_other_digests_are_read() -> None:
    record = _block(1, kind=0x83, value=b"raw") + _block(254, kind=0, value=bytes(64))
    rest = make_response()[8 + len(BLOCKS) * len(_block()) :]
    response = b"\x11\x60\0\0\2" + len(record).to_bytes(3, "little") + record + rest
    assert made(HOPPER, response=response).registers == {
        "m01": b"raw".hex(),
        "m254": bytes(64).hex(),
        "fwid": FWID.hex(),
    }


def test_a_field_twice_is_refused() -> None:
    response = make_response()
    fields = b"".join(k.to_bytes(2, "little") + len(v).to_bytes(2, "little") + v for k, v in OPAQUE.items())
    place = response.index(fields)
    doubled = fields + b"\x15\0\1\0\x55"
    changed = response[: place - 2] + len(doubled).to_bytes(2, "little") + doubled
    with pytest.raises(EvidenceMalformed):
        made(HOPPER, response=changed)


@pytest.mark.parametrize("maker", [HOPPER, BLACKWELL])
@pytest.mark.parametrize(
    "extension",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        b"\x30\x82\x00\x01\x00",
        der(0x31),
        der(0x30) + b"\0",
        der(0x30, der(0x02, b"\2")),
        der(0x30, der(0x02, b"\1"), der(0x30, bytes(118)), fwid_entry(FWID)),
        der(0x30, der(0xA6)),
        der(0x30, der(0xA6, fwid_entry(bytes(32)))),
        der(0x30, der(0xA6, der(0x30, der(0x06, b"\1"), der(0x04, bytes(48))))),
        der(0x30, der(0xA6, fwid_entry(FWID)), der(0x83, b"\1")),
        der(0x30, der(0x81, b""), der(0x81, b""), der(0xA6, fwid_entry(FWID))),
        der(0x30, der(0x01, b""), der(0xA6, fwid_entry(FWID))),
        der(0x30, b"\x83\x81\x01\1", der(0xA6, fwid_entry(FWID))),
    ],
)
def test_a_leaf_that_does_not_say_its_firmware_is_refused(maker: NvidiaMaker, extension: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        made(maker, leaf={"extension": extension})


@pytest.mark.parametrize("maker", [HOPPER, BLACKWELL])
def test_the_leafs_firmware_is_the_reports(maker: NvidiaMaker) -> None:
    without = {kind: value for kind, value in OPAQUE.items() if kind != 20}
    assert made(maker, opaque=without).registers["fwid"] == FWID.hex()
    assert made(maker, opaque=without, leaf={"fwid": b"\1" * 48}).registers["fwid"] == "01" * 48
    with pytest.raises(EvidenceNotTrusted, match="another firmware"):
        made(maker, leaf={"fwid": b"\1" * 48})


def test_the_measurement_is_over_every_block_and_the_firmware() -> None:
    same = made(HOPPER).measurement
    assert made(HOPPER, opaque={**OPAQUE, 3: b"1.2\0"}).measurement == same
    assert made(HOPPER, blocks={**BLOCKS, 64: bytes(48)}).measurement != same
    assert made(HOPPER, opaque={**OPAQUE, 20: bytes(48)}, leaf={"fwid": bytes(48)}).measurement != same


@pytest.mark.parametrize(
    ("opaque", "mode"), [({36: b"\0"}, "mpt"), ({36: b"\1\0"}, "spt"), ({36: b""}, "mpt"), ({21: b"\x55"}, "spt")]
)
def test_modes_that_weaken_nothing(opaque: dict[int, bytes], mode: str) -> None:
    assert made(HOPPER, opaque={**OPAQUE, **opaque}).details["mode"] == mode


def test_certificates_stand_in_order_and_none_is_too_many() -> None:
    report, chain = HOPPER.report(short_report_data(REPORT)), HOPPER.certificates()
    policy = HOPPER.policy()
    with pytest.raises(EvidenceMalformed, match="not in order"):
        judge(gpu_body("hopper", report, [chain[0], chain[2], chain[1], *chain[3:]]), policy)
    for wrong in (chain[:4], [*chain, chain[4]], []):
        with pytest.raises(EvidenceMalformed):
            judge(gpu_body("hopper", report, wrong), policy)
    other = NvidiaMaker("hopper", "stranger").certificates()
    model = TrustPolicy.model_validate({"nvidia": {"roots": [_digest(HOPPER, 3)]}})
    assert judge(gpu_body("hopper", report, chain), model)
    with pytest.raises(EvidenceMalformed, match="belong together"):
        judge(gpu_body("hopper", report, [*chain[:4], other[4]]), model)


def _digest(maker: NvidiaMaker, place: int) -> str:
    from paddock.crypto.x509 import Certificate

    return Certificate.from_der(maker.certificates()[place]).public_key().fingerprint()


def test_a_root_can_be_named_by_the_digest_of_its_key() -> None:
    policy = TrustPolicy.model_validate({"nvidia": {"roots": [_digest(HOPPER, 4)]}})
    assert judge(HOPPER.evidence(REPORT).body, policy).signer == _digest(HOPPER, 4)
    report, chain = HOPPER.report(short_report_data(REPORT)), HOPPER.certificates()
    spoilt = bytearray(chain[4])
    spoilt[-1] ^= 1  # in the root's signature of itself, which trusting the key would not show
    with pytest.raises((EvidenceMalformed, CertificateRefused)):
        judge(gpu_body("hopper", report, [*chain[:4], bytes(spoilt)]), policy)


def test_a_leaf_of_another_kind_of_key_signs_nothing() -> None:
    report, chain = HOPPER.report(short_report_data(REPORT)), BLACKWELL.certificates()
    with pytest.raises(EvidenceNotTrusted):
        judge(gpu_body("blackwell", report, chain), BLACKWELL.policy())


def test_lists_are_used_where_they_are_at_hand_and_demanded_where_the_section_says_so() -> None:
    body, lists = HOPPER.evidence(REPORT).body, HOPPER.collateral(NOW)
    assert judge(body, HOPPER.policy()).collateral == ()
    for policy in (HOPPER.policy(), HOPPER.policy(require_revocation=True)):
        claims = judge(body, policy, lists)
        assert set(claims.collateral) == {"nvidia/crl/l1-root", "nvidia/crl/l2-gh100"}
        assert claims.collateral_issued == NOW
    with pytest.raises(RevocationUnknown):
        judge(body, HOPPER.policy(require_revocation=True), HOPPER.collateral(NOW - timedelta(days=9)))
    # A chain below the last authority that names a list cannot be covered by one.
    policy = TrustPolicy.model_validate({"nvidia": {"roots": [_digest(HOPPER, 2)], "require_revocation": True}})
    judge(body, policy.model_copy(update={"nvidia": policy.nvidia.model_copy(update={"require_revocation": False})}))  # type: ignore[union-attr]
    with pytest.raises(RevocationUnknown):
        judge(body, TrustPolicy.model_validate({"nvidia": {"roots": [_digest(HOPPER, 1)], "require_revocation": True}}))


def test_it_needs_the_lists_that_its_certificates_name() -> None:
    needs = NvidiaProvider().needs(body_of("blackwell"))
    assert [(need.kind, need.key, need.urls) for need in needs] == [
        ("crl", "nvidia/crl/l1-root", {"body": "http://crl.ndis.nvidia.com/crl/l1-root.crl"}),
        ("crl", "nvidia/crl/l2-gb100", {"body": "http://crl.ndis.nvidia.com/crl/l2-gb100.crl"}),
    ]
    with pytest.raises(EvidenceMalformed):
        NvidiaProvider().needs(b"{}")


def test_it_recognises_its_own_form_alone() -> None:
    provider = installed_providers()["nvidia"]
    assert provider.recognises(body_of("hopper"))
    for other in (b"", b"{}", recorded_report("hopper"), b'{"architecture":"hopper"}'):
        assert not provider.recognises(other)


def test_the_body_has_one_form() -> None:
    body = json.loads(body_of("hopper"))
    bodies: list[Any] = [
        {**body, "more": 1},
        {**body, "version": "paddock/nvidia-gpu/v2"},
        {**body, "architecture": "ampere"},
        {**body, "report": body["report"] + "\n"},
        {**body, "report": 1},
        {**body, "certificates": [1, 2, 3, 4, 5]},
        {**body, "certificates": ["", "", "", "", ""]},
        {name: value for name, value in body.items() if name != "report"},
        [body],
    ]
    for each in bodies:
        with pytest.raises(EvidenceMalformed):
            judge(json.dumps(each, sort_keys=True, separators=(",", ":")).encode())
    for raw in (json.dumps(body).encode(), b" " + body_of("hopper"), b"{", bytes(MAX_BODY_BYTES + 1)):
        with pytest.raises(EvidenceMalformed):
            judge(raw)


def test_a_gpu_carries_the_short_form_of_report_data() -> None:
    from paddock.evidence.binding import check_report_data

    claims = made(HOPPER)
    check_report_data(REPORT, claims.report_data)
    with pytest.raises(BindingMismatch):
        check_report_data(REPORT[::-1], claims.report_data)


def test_versions_of_vbios_are_written_as_people_do() -> None:
    assert vbios_version(base64.b64decode("AJ8AlgEAAAA=")) == "96.00.9F.00.01"


def test_a_certificate_with_an_extension_that_cannot_be_read_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    from paddock.crypto.x509 import Certificate
    from paddock.errors import EncodingRefused

    def fail(self: Certificate, oid: str) -> bytes:
        raise EncodingRefused

    monkeypatch.setattr(Certificate, "extension", fail)
    with pytest.raises(EvidenceMalformed):
        NvidiaProvider().needs(body_of("hopper"))
    with pytest.raises((EvidenceMalformed, CryptoRefused)):
        judge(body_of("hopper"))


def test_makers_differ_by_their_label() -> None:
    assert replace(HOPPER, label="x").root_pem != HOPPER.root_pem
