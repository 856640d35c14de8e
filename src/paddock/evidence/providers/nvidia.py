"""NVIDIA GPUs in confidential-computing mode: Hopper and Blackwell.

The GPU answers an SPDM 1.1 GET_MEASUREMENTS request that holds the verifier's nonce, and signs request and response
with a key that its boot ROM certified for this very firmware (FMC). The chain goes leaf, device (boot ROM),
provisioner, model, NVIDIA Device Identity CA; NVSwitches and other devices share all but the first three, so the device
certificate must be a GPU's.

Every measurement block is a register, and so is the firmware's identity (FWID) from the leaf. For one GPU model,
firmware (VBIOS) and driver they are the same on every device and after every start, so their digest is a reference
value; another driver or VBIOS gives another one. The serial number of the device is a fact beside it. Whether the
values are those that NVIDIA publishes in its reference integrity manifests (RIM) is not judged here: the parties sign
the values that they accept (R-9).

Source: DMTF DSP0274 1.1.1 (SPDM) §10.11; TCG DICE Attestation Architecture 1.1 §6.1.1 (DiceTcbInfo); the layout of the
opaque data, and what a leaf says, as NVIDIA's attestation SDK reads them (NVIDIA/attestation-sdk, Apache-2.0);
docs/spec/attestation.md (A-2, A-3, A-5, A-6, A-11, A-12, A-14).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import b64, unb64
from paddock.crypto.x509 import Certificate, Chain, check_revocation, verify_chain
from paddock.errors import (
    CryptoRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    RevocationUnknown,
)
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import REVOCATION_LIST, Collateral, CollateralNeed
from paddock.evidence.reading import Reader
from paddock.evidence.roots import anchors
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.nvidia-gpu.v1+json"
VERSION = "paddock/nvidia-gpu/v1"
NONCE_BYTES, REQUEST_BYTES, SIGNATURE_BYTES = 32, 37, 96
CERTIFICATES = 5  # leaf, device, provisioner, model, root
MAX_BODY_BYTES, MAX_OPAQUE_BYTES = 1 << 16, 1024

_SPDM_1_1, _GET_MEASUREMENTS, _MEASUREMENTS = 0x11, 0xE0, 0x60
_SIGNED, _ALL_BLOCKS, _DMTF = 1, 0xFF, 1
_DIGEST_BYTES = frozenset({32, 48, 64})
_HIGHEST_VALUE_TYPE, _RAW = 4, 0x80
_OPAQUE_TYPES = range(1, 37)
_DRIVER, _VBIOS, _NVDEC0, _COUNTS, _BOARD, _CHIP_SKU, _PROJECT, _PROJECT_SKU = 3, 6, 11, 12, 14, 15, 17, 18
_FWID, _PROTECTED_PCIE, _SWITCH_PDI, _CHIP, _OPAQUE_VERSION, _FEATURES = 20, 21, 22, 35, 34, 36
_OFF, _ON = b"\x55", b"\xaa"
_FIXED = {_VBIOS: 8, _NVDEC0: 1, _BOARD: 4, _FWID: 48, _PROTECTED_PCIE: 1}
_MODES = {0: "mpt", 1: "spt", 2: "protected-pcie"}  # several GPUs, one GPU, several behind NVSwitches

_COMPOSITE_ID, _TCB_INFO = "2.23.133.5.4.1", "2.23.133.5.4.1.1"
_SHA384 = bytes.fromhex("608648016503040202")
_DEBUG_FLAG = 3
_FLAGS = {0: "not-configured", 1: "not-secure", 2: "recovery", 4: "not-replay-protected", 5: "not-integrity-protected"}
_DISTRIBUTION_POINTS = "2.5.29.31"
_LIST_URL = re.compile(rb"http://crl\.ndis\.nvidia\.com/crl/([a-z0-9-]{1,64})\.crl")
_LISTS = "nvidia/crl/"
# `LS_10 A01 FSP BROM`, an NVSwitch under the same model certificate, is none of these.
_DEVICE = re.compile(r"CN=(G([HB])[0-9][0-9A-Z]{2} [A-Z][0-9]{2} GSP BROM),O=NVIDIA Corporation(,|$)")
_ARCHITECTURES = {"H": "hopper", "B": "blackwell"}
_NUMBER, _BITS, _OCTETS, _OID, _SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30
Architecture = Literal["hopper", "blackwell"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal["paddock/nvidia-gpu/v1"]
    architecture: Architecture
    report: str
    certificates: Annotated[list[str], Field(min_length=CERTIFICATES, max_length=CERTIFICATES)]


@dataclass(frozen=True)
class GpuReport:
    """A GPU's attestation report, read but not verified.

    Args:
        nonce: the verifier's 32 bytes in the request.
        blocks: measurement values by index, 1 to 254.
        opaque: NVIDIA's own fields by type.
        signed: what the signature covers: request and response up to it.
        signature: ECDSA P-384, r || s.
    """

    nonce: bytes
    blocks: Mapping[int, bytes]
    opaque: Mapping[int, bytes]
    signed: bytes
    signature: bytes


@dataclass(frozen=True)
class _Firmware:
    fwid: bytes
    svns: Mapping[str, int]
    debug: bool
    settings: frozenset[str]


def gpu_body(architecture: Architecture, report: bytes, certificates: list[bytes]) -> bytes:
    """The body of a piece of evidence.

    Args:
        architecture: of the GPU.
        report: SPDM request and response, exactly.
        certificates: five in DER, leaf first, the root last.
    """
    rows = [b64(each) for each in certificates]
    return canonical({"version": VERSION, "architecture": architecture, "report": b64(report), "certificates": rows})


class NvidiaProvider:
    """Verifies evidence of NVIDIA GPUs."""

    name = "nvidia"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(b'{"architecture":"') and body.endswith(b'"version":"' + VERSION.encode("ascii") + b'"}')

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """The revocation lists that its certificates name; see `EvidenceProvider.needs`."""
        try:
            points = [each.extension(_DISTRIBUTION_POINTS) or b"" for each in _read(body)[2]]
        except CryptoRefused as error:
            raise EvidenceMalformed(error.detail) from error
        found = [url for url in map(_LIST_URL.search, points) if url]
        names = {url[1].decode("ascii"): url[0].decode("ascii") for url in found}
        return tuple(
            CollateralNeed(REVOCATION_LIST, _LISTS + name, {"body": url}) for name, url in sorted(names.items())
        )

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify a GPU's report; see `EvidenceProvider.verify`.

        1. Read it strictly. 2. Its certificates lead to a root that is trusted. 3. None of them was revoked. 4. The
        device is a GPU of the architecture that the evidence names. 5. Its key signed request and response. 6. The
        firmware that the leaf was made for is the one that the report names. 7. Report what it says.
        """
        # 1. A-6
        architecture, report, certificates = _read(body)
        # 2. A-2
        chain = _lead(certificates, trust, now)
        # 3. A-14
        used, issued = _check_revocation(chain, collateral, now, required=trust.require_revocation)
        # 4. A-7
        model = _DEVICE.match(certificates[1].subject)
        if model is None or _ARCHITECTURES[model[2]] != architecture:
            raise EvidenceNotTrusted(f"It is not of a GPU of the architecture {architecture}.")
        # 5. A-2
        certificates[0].public_key().verify_ecdsa_raw(report.signature, report.signed, "sha384")
        # 6. A-2; drivers before 550 report no firmware id, and then the leaf's is the only one.
        firmware = _composite(certificates) if architecture == "hopper" else _tcb_info(certificates[0])
        if report.opaque.get(_FWID, firmware.fwid) != firmware.fwid:
            raise EvidenceNotTrusted("Its certificate was made for another firmware than the report's.")
        # 7.
        mode = _mode(report.opaque)
        settings = firmware.settings | ({mode} & {"protected-pcie", "unknown-mode"})
        registers = {f"m{index:02}": value.hex() for index, value in report.blocks.items()} | {
            "fwid": firmware.fwid.hex()
        }
        return Claims(
            provider=self.name,
            tee="gpu",
            measurement=registers_digest(self.name, registers),
            report_data=report.nonce,
            debug=firmware.debug,
            simulated=False,
            signer=chain.root.public_key().fingerprint(),
            issued=None,
            registers=registers,
            svns=firmware.svns,
            settings=settings,
            device=f"{certificates[1].serial:x}",
            collateral=used,
            collateral_issued=issued,
            details={
                "architecture": architecture,
                "board_id": report.opaque.get(_BOARD, b"").hex(),
                "chip_sku": _text(report.opaque, _CHIP_SKU),
                "driver_version": _text(report.opaque, _DRIVER),
                "hardware_model": model[1],
                "mode": mode,
                "project": _text(report.opaque, _PROJECT),
                "project_sku": _text(report.opaque, _PROJECT_SKU),
                "vbios_version": vbios_version(report.opaque[_VBIOS]),
            },
        )


def read_report(data: bytes) -> GpuReport:
    """Read SPDM request and response strictly, nothing behind them.

    Raises:
        EvidenceMalformed: anything that a GPU asked for all measurements with a signature does not answer (A-6).
    """
    request = Reader(data[:REQUEST_BYTES], "SPDM request")
    head = tuple(request.take(4))
    if head != (_SPDM_1_1, _GET_MEASUREMENTS, _SIGNED, _ALL_BLOCKS):
        raise request.refuse("it is not a GET_MEASUREMENTS 1.1 for all measurements with a signature")
    nonce = request.take(NONCE_BYTES)
    slot = request.number(1, "little")
    if slot > 7:
        raise request.refuse("there is no such slot")
    request.end()
    reader = Reader(data[REQUEST_BYTES:], "SPDM response")
    if tuple(reader.take(4)) != (_SPDM_1_1, _MEASUREMENTS, 0, slot):
        raise reader.refuse("it is not the MEASUREMENTS 1.1 of the request's slot")
    count = reader.number(1, "little")
    blocks = _blocks(reader.take(reader.number(3, "little")), count)
    reader.take(NONCE_BYTES)  # the GPU's own
    opaque = _opaque(reader.counted(2, "little", MAX_OPAQUE_BYTES))
    signed = data[: REQUEST_BYTES + reader.position]
    signature = reader.take(SIGNATURE_BYTES)
    reader.end()
    return GpuReport(nonce, blocks, opaque, signed, signature)


def report_length(data: bytes) -> int:
    """How long the report at the beginning of a buffer is, by its own fields.

    Raises:
        EvidenceMalformed: the buffer ends within it.
    """
    reader = Reader(data, "SPDM report")
    reader.take(REQUEST_BYTES + 5)
    reader.take(reader.number(3, "little") + NONCE_BYTES)
    reader.take(reader.number(2, "little") + SIGNATURE_BYTES)
    return reader.position


def vbios_version(field: bytes) -> str:
    """The VBIOS version as people write it, `96.00.9F.00.01`, from the report's eight little-endian bytes."""
    digits = field[::-1]
    return ".".join(f"{byte:02X}" for byte in (*digits[4:], digits[3]))


def _read(body: bytes) -> tuple[Architecture, GpuReport, list[Certificate]]:
    try:
        parse_canonical(body, max_bytes=MAX_BODY_BYTES)
        read = _Body.model_validate_json(body)
        report = unb64(read.report)
        certificates = [Certificate.from_der(unb64(each)) for each in read.certificates]
    except (CryptoRefused, ValidationError) as error:
        raise EvidenceMalformed("It is not a GPU's report with its certificates.") from error
    return read.architecture, read_report(report), certificates


def _blocks(record: bytes, count: int) -> Mapping[int, bytes]:
    reader = Reader(record, "measurement record")
    blocks: dict[int, bytes] = {}
    for _ in range(count):
        index = reader.number(1, "little")
        if index in blocks or not 1 <= index <= 0xFE or reader.number(1, "little") != _DMTF:
            raise reader.refuse("a block has a wrong index or is not of the DMTF's kind")
        block = Reader(reader.take(reader.number(2, "little")), "measurement block")
        kind = block.number(1, "little")
        value = block.take(block.number(2, "little"))
        block.end()
        if kind & ~_RAW > _HIGHEST_VALUE_TYPE or not (kind & _RAW or len(value) in _DIGEST_BYTES):
            raise reader.refuse("a block's value is of an unknown kind or length")
        blocks[index] = value
    reader.end()
    if not blocks:
        raise reader.refuse("it has no block")
    return blocks


def _opaque(data: bytes) -> Mapping[int, bytes]:
    reader = Reader(data, "opaque data")
    fields: dict[int, bytes] = {}
    while reader.left:
        kind = reader.number(2, "little")
        value = reader.counted(2, "little", MAX_OPAQUE_BYTES)
        if kind in fields or kind not in _OPAQUE_TYPES or len(value) != _FIXED.get(kind, len(value)):
            raise reader.refuse("a field is there twice, unknown, or of a wrong length")
        fields[kind] = value
    if len(fields.get(_COUNTS, b"")) % 4 or len(fields.get(_SWITCH_PDI, b"")) % 8:
        raise reader.refuse("a list has a wrong length")
    if len(fields.get(_FEATURES, b"")) > 8 or _number(fields, _OPAQUE_VERSION) > 1:
        raise reader.refuse("its version is unknown")
    if not {_DRIVER, _VBIOS} <= fields.keys():
        raise reader.refuse("the version of driver or VBIOS is missing")
    for kind in (_DRIVER, _CHIP_SKU, _PROJECT, _PROJECT_SKU):
        if not all(byte in range(0x20, 0x7F) for byte in fields.get(kind, b"").rstrip(b"\0")):
            raise reader.refuse("a text has other characters")
    return fields


def _number(fields: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(fields.get(kind, b""), "little")


def _text(fields: Mapping[int, bytes], kind: int) -> str:
    return fields.get(kind, b"").rstrip(b"\0").decode("ascii")


def _mode(fields: Mapping[int, bytes]) -> str:
    # Drivers before 590 report no features, but whether NVSwitches are in between.
    if fields.get(_PROTECTED_PCIE, _OFF) != _OFF:
        return "protected-pcie" if fields[_PROTECTED_PCIE] == _ON else "unknown-mode"
    if _FEATURES not in fields:
        return "not-reported"
    return _MODES.get(_number(fields, _FEATURES), "unknown-mode")


def _lead(certificates: list[Certificate], trust: VendorTrust, now: datetime) -> Chain:
    trusted = anchors(trust.roots)
    roots = [each for each in certificates if trusted.trusts_key(each.public_key())]
    if not roots:
        raise EvidenceNotTrusted("Its certificates end in no root that the trust policy names.")
    chain = verify_chain(certificates[0], certificates[1:], roots, now=now)
    # the chain as it was sent, each issued by the next and the last by itself: nothing is there that it does not need.
    if list(chain.certificates) != certificates[: len(chain.certificates)]:
        raise EvidenceMalformed("Its certificates are not in order.")
    if chain.root not in trusted.certificates or chain.root != certificates[-1]:
        beyond = [*certificates[len(chain.certificates) - 1 :], certificates[-1]]
        if not all(one.is_issued_by(another) for one, another in pairwise(beyond)):
            raise EvidenceMalformed("Its certificates do not belong together.")
    return chain


def _check_revocation(
    chain: Chain, collateral: Collateral, now: datetime, *, required: bool
) -> tuple[tuple[str, ...], datetime | None]:
    offered = collateral.revocation_lists(_LISTS)
    lists = [each for _, each in offered]
    issued = check_revocation(chain, lists, now=now, required=False)
    if required:
        # NVIDIA publishes lists for its own authorities alone: those whose certificates name one.
        named = [n for n, each in enumerate(chain.certificates) if each.extension(_DISTRIBUTION_POINTS) is not None]
        if not named:
            raise RevocationUnknown("No certificate of the chain names a revocation list.")
        check_revocation(Chain(chain.certificates[named[0] :]), lists, now=now, required=True)
    used = tuple(key for key, each in offered if any(each.is_by(issuer) for issuer in chain.certificates[1:]))
    return used, issued


def _composite(certificates: list[Certificate]) -> _Firmware:
    # Hopper's leaf: a version, the key of the device that issued it, and the firmware's id.
    reader = Reader(certificates[0].extension(_COMPOSITE_ID) or b"", "leaf's composite id")
    inner = Reader(_expect(reader, _SEQUENCE), "leaf's composite id")
    reader.end()
    version, key = _expect(inner, _NUMBER), _expect(inner, _SEQUENCE)
    fwid = _fwid(inner)
    inner.end()
    if version != b"\1" or certificates[1].public_key().der != bytes((_SEQUENCE, len(key))) + key:
        raise inner.refuse("it is not of the device that issued it")
    return _Firmware(fwid, {}, debug=False, settings=frozenset())


def _tcb_info(leaf: Certificate) -> _Firmware:
    # Blackwell's leaf: DiceTcbInfo, whose members are implicitly tagged [0] to [9], each at most once and in order.
    reader = Reader(leaf.extension(_TCB_INFO) or b"", "leaf's TCB information")
    inner = Reader(_expect(reader, _SEQUENCE), "leaf's TCB information")
    reader.end()
    fields: dict[int, bytes] = {}
    while inner.left:
        tag, value = _der(inner)
        number = tag & 0x1F
        if tag not in (0x80 | number, 0xA0 | number) or number <= max(fields, default=-1):
            raise inner.refuse("a field is unknown or out of order")
        fields[number] = value
    ids = Reader(fields.get(6, b""), "leaf's firmware ids")
    fwid = _fwid(ids)
    while ids.left:  # of layers that are not there: only the first is the FMC's
        _fwid(ids)
    flags = _flags(fields.get(7, b"\0"))
    svns = {"fmc": int.from_bytes(fields[3], "big", signed=True)} if 3 in fields else {}
    settings = frozenset(name for bit, name in _FLAGS.items() if bit in flags)
    return _Firmware(fwid, svns, debug=_DEBUG_FLAG in flags, settings=settings)


def _flags(bits: bytes) -> frozenset[int]:
    # A BIT STRING: how many bits of its last byte are unused, then bits from the highest down.
    return frozenset(n for n in range((len(bits) - 1) * 8) if bits[1 + n // 8] >> (7 - n % 8) & 1)


def _fwid(reader: Reader) -> bytes:
    inner = Reader(_expect(reader, _SEQUENCE), "leaf's firmware id")
    if _expect(inner, _OID) != _SHA384:
        raise inner.refuse("it is not made with SHA-384")
    value = _expect(inner, _OCTETS)
    inner.end()
    if len(value) != 48:
        raise inner.refuse("it has another length")
    return value


def _expect(reader: Reader, tag: int) -> bytes:
    found, value = _der(reader)
    if found != tag:
        raise reader.refuse("a field is of another type")
    return value


def _der(reader: Reader) -> tuple[int, bytes]:
    tag = reader.number(1, "big")
    length = reader.number(1, "big")
    if length == 0x81:
        length = reader.number(1, "big")
        if length < 0x80:
            raise reader.refuse("a length is not the shortest")
    elif length >= 0x80:  # such an extension has less than 256 bytes
        raise reader.refuse("a length is too long")
    return tag, reader.take(length)
