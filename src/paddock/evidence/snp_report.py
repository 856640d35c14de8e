"""What an SEV-SNP guest gets from AMD's firmware: the attestation report, and behind it the host's certificate table.

A report has 1184 bytes, of which the last 512 are the signature. Its versions differ in what stands where older ones
are reserved: 3 and 4 name the CPU's family and model, 5 also the mitigation vectors. Which byte of a TCB version means
what depends on the product (`PRODUCTS`).

The table is what GHCB's extended guest request returns: rows of GUID, offset and length, ended by a row of zeros, and
the certificates. Here it has one form: known GUIDs, each at most once, the certificates in the rows' order without a gap,
in DER, and nothing behind them. `table_of` brings what a host gave into that form.

Source: AMD 56860 rev. 1.58 (SEV-SNP firmware ABI) §2.2 (TCB version), §4.3 (guest policy), §7.3 (attestation), chapter
10 (signature); AMD 56421 rev. 2.03 (GHCB) §4.1.8.1; docs/spec/attestation.md (A-6).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from paddock.crypto.x509 import Certificate
from paddock.errors import CryptoRefused, EvidenceMalformed
from paddock.evidence.reading import Reader

REPORT_BYTES, SIGNED_BYTES, TCB_BYTES = 1184, 0x2A0, 8
MAX_TABLE_BYTES = 1 << 16
VERSIONS = range(2, 6)
VCEK, VLEK, NO_KEY = 0, 1, 7

_WITH_CPUID, _WITH_MITIGATIONS = 3, 5
_ECDSA_P384_SHA384 = 1
_POLICY_SMT, _POLICY_ONE, _POLICY_MIGRATION, _POLICY_DEBUG = 1 << 16, 1 << 17, 1 << 18, 1 << 19
_POLICY_CXL = 1 << 21
_POLICY_RESERVED = ~((1 << 26) - 1)
_KEY_RESERVED = ~0b11111
_NUMBER_BYTES, _COMPONENT_BYTES = 48, 72
_HIGHEST_VMPL = 3
_PLATFORM = {
    0: "smt",
    1: "tsme",
    2: "ecc",
    3: "rapl_disabled",
    4: "ciphertext_hiding",
    5: "alias_check_complete",
    6: "iommu_write_safe",  # reserved in rev. 1.58, and set by Turin's firmware
    7: "trusted_io",
}
_UNKNOWN = "unknown"

OLDER_TCB: Final = ("bl", "tee", "", "", "", "", "snp", "microcode")
TURIN_TCB: Final = ("fmc", "bl", "tee", "snp", "", "", "", "microcode")


@dataclass(frozen=True)
class Product:
    """A line of processors, which AMD gives one root.

    Args:
        name: as AMD's key distribution service calls it.
        names: what its certificates may call the product, before the stepping.
        family: of the CPU.
        models: of the CPU, in that family.
        tcb: what each byte of a TCB version is; empty where it is reserved.
        chip_bytes: how many bytes of the chip's id are used.
        structure: version of the extensions in its certificates.
    """

    name: str
    names: frozenset[str]
    family: int
    models: tuple[range, ...]
    tcb: tuple[str, ...]
    chip_bytes: int
    structure: int


PRODUCTS: Final[Mapping[str, Product]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Product("Milan", frozenset({"Milan"}), 0x19, (range(0x10),), OLDER_TCB, 64, 0),
            Product(
                "Genoa",
                frozenset({"Genoa", "Bergamo", "Siena"}),
                0x19,
                (range(0x10, 0x20), range(0xA0, 0xB0)),
                OLDER_TCB,
                64,
                0,
            ),
            Product("Turin", frozenset({"Turin"}), 0x1A, (range(0x12),), TURIN_TCB, 8, 1),
        )
    }
)


@dataclass(frozen=True)
class SnpReport:
    """An attestation report, read but not verified. TCB versions are as the firmware writes them, 8 bytes.

    Args:
        version: of the report's form, 2 to 5.
        guest_svn: the guest's own, from its id block.
        policy: the guest's, 64 bits.
        vmpl: the privilege level for which it was asked, 0 to 3.
        platform: what is on on the platform, by name.
        signing_key: `VCEK` or `VLEK`.
        report_data: the guest's 64 bytes.
        measurement: of what the guest was started from, SHA-384.
        host_data: the host's 32 bytes.
        reported_tcb: what the signing key was derived for; the host may choose an older one than is committed.
        product: by family and model; None before version 3.
        chip_id: 64 bytes, zeros where the host masks it.
        current: firmware's major, minor, build.
        committed: the same, below which it cannot be rolled back.
        mitigations: vectors at launch and now; None before version 5.
        signed: what the signature covers.
        signature: r || s, each big-endian and of 48 bytes.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    platform: frozenset[str]
    signing_key: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    current_tcb: bytes
    reported_tcb: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    product: Product | None
    chip_id: bytes
    current: tuple[int, int, int]
    committed: tuple[int, int, int]
    mitigations: tuple[int, int] | None
    signed: bytes
    signature: bytes

    @property
    def debug(self) -> bool:
        """Whether the host may look into the guest."""
        return bool(self.policy & _POLICY_DEBUG)

    @property
    def provisional(self) -> bool:
        """Whether firmware runs that is not yet committed, so that an older one can still take its place.

        Microcode, the last byte of a TCB version, is not meant: hosts load a newer one at every start and do not commit it.
        """
        return self.current_tcb[:-1] != self.committed_tcb[:-1] or self.current != self.committed

    def settings(self) -> frozenset[str]:
        """What a relying party may not want (A-12)."""
        found = {
            "smt": self.policy & _POLICY_SMT or "smt" in self.platform,
            "migration": self.policy & _POLICY_MIGRATION,
            "cxl": self.policy & _POLICY_CXL,
            "vmpl": self.vmpl,
            "provisional-firmware": self.provisional,
            "unknown-platform": _UNKNOWN in self.platform,
        }
        return frozenset(name for name, value in found.items() if value)


def read_snp_report(data: bytes) -> SnpReport:
    """Read a report strictly, nothing behind it.

    Raises:
        EvidenceMalformed: another length, a version, product, key or algorithm that is not known, a reserved field that is
            not zero, or a report that firmware did not sign.
    """
    reader = Reader(data, "SNP report")
    version, guest_svn, policy = reader.number(4, "little"), reader.number(4, "little"), reader.number(8, "little")
    if version not in VERSIONS:
        raise reader.refuse(f"its version is {version}")
    if policy & _POLICY_RESERVED or not policy & _POLICY_ONE:
        raise reader.refuse("a reserved bit of the guest's policy is not what it must be")
    family_id, image_id = reader.take(16), reader.take(16)
    vmpl, algorithm = reader.number(4, "little"), reader.number(4, "little")
    if vmpl > _HIGHEST_VMPL:
        raise reader.refuse("there is no such privilege level")
    if algorithm != _ECDSA_P384_SHA384:
        raise reader.refuse("its signature is of an unknown algorithm")
    current_tcb, platform, keys = reader.take(TCB_BYTES), reader.number(8, "little"), reader.number(4, "little")
    reader.expect(bytes(4), "reserved field")
    if keys & _KEY_RESERVED:
        raise reader.refuse("a reserved bit is set")
    author, masked, signing_key = keys & 1, keys >> 1 & 1, keys >> 2
    if masked or signing_key == NO_KEY:
        raise reader.refuse("it is not signed: the host masks the chip's key")
    if signing_key not in (VCEK, VLEK):
        raise reader.refuse("it is signed with an unknown key")
    report_data, measurement, host_data = reader.take(64), reader.take(48), reader.take(32)
    id_key, author_key = reader.take(48), reader.take(48)
    if not author and any(author_key):
        raise reader.refuse("it has an author's key that it says it has not")
    report_id, report_id_ma, reported_tcb = reader.take(32), reader.take(32), reader.take(TCB_BYTES)
    product = _product(reader) if version >= _WITH_CPUID else None
    reader.expect(bytes(0x1A0 - reader.position), "reserved field")
    chip_id, committed_tcb = reader.take(64), reader.take(TCB_BYTES)
    current, committed = _firmware(reader), _firmware(reader)
    launch_tcb = reader.take(TCB_BYTES)
    mitigations = None
    if version >= _WITH_MITIGATIONS:
        mitigations = (reader.number(8, "little"), reader.number(8, "little"))
    reader.expect(bytes(SIGNED_BYTES - reader.position), "reserved field")
    signature = _component(reader) + _component(reader)
    reader.expect(bytes(REPORT_BYTES - SIGNED_BYTES - 2 * _COMPONENT_BYTES), "reserved field")
    reader.end()
    return SnpReport(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        family_id=family_id,
        image_id=image_id,
        vmpl=vmpl,
        platform=_platform(platform),
        signing_key=signing_key,
        report_data=report_data,
        measurement=measurement,
        host_data=host_data,
        id_key_digest=id_key,
        author_key_digest=author_key,
        report_id=report_id,
        report_id_ma=report_id_ma,
        current_tcb=current_tcb,
        reported_tcb=reported_tcb,
        committed_tcb=committed_tcb,
        launch_tcb=launch_tcb,
        product=product,
        chip_id=chip_id,
        current=current,
        committed=committed,
        mitigations=mitigations,
        signed=data[:SIGNED_BYTES],
        signature=signature,
    )


def tcb_parts(product: Product, tcb: bytes) -> dict[str, int]:
    """The security version numbers in a TCB version, by name.

    Raises:
        EvidenceMalformed: a byte that is reserved for this product is not zero.
    """
    if any(value for name, value in zip(product.tcb, tcb, strict=True) if not name):
        raise EvidenceMalformed("The SNP report: a reserved byte of a TCB version is not zero.")
    return {name: value for name, value in zip(product.tcb, tcb, strict=True) if name}


def _product(reader: Reader) -> Product:
    family, model = reader.number(1, "little"), reader.number(1, "little")
    reader.take(1)  # stepping
    for product in PRODUCTS.values():
        if family == product.family and any(model in models for models in product.models):
            return product
    raise reader.refuse(f"its processor, family {family:02X}h and model {model:02X}h, is not known")


def _platform(bits: int) -> frozenset[str]:
    # Newer firmware uses bits that were reserved, without a new version of the report: they are told and not refused.
    known = {name for bit, name in _PLATFORM.items() if bits >> bit & 1}
    return frozenset(known | ({_UNKNOWN} if bits >> len(_PLATFORM) else set()))


def _firmware(reader: Reader) -> tuple[int, int, int]:
    build, minor, major = reader.take(3)
    reader.expect(bytes(1), "reserved field")
    return major, minor, build


def _component(reader: Reader) -> bytes:
    value = reader.take(_NUMBER_BYTES)
    reader.expect(bytes(_COMPONENT_BYTES - _NUMBER_BYTES), "signature's padding")
    return value[::-1]


# --- the certificate table ----------------------------------------------------------------------------------------

TABLE_VCEK, TABLE_VLEK, TABLE_ASK, TABLE_ARK, TABLE_CRL = "vcek", "vlek", "ask", "ark", "crl"
_GUIDS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        # In the order of their bytes, as RFC 9562 writes them: so does the GHCB's table.
        uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes: TABLE_VCEK,
        uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes: TABLE_VLEK,
        uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782").bytes: TABLE_ASK,
        uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae").bytes: TABLE_ARK,
        uuid.UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea").bytes: TABLE_CRL,
    }
)
_ROW_BYTES = 24


def read_table(data: bytes) -> dict[str, bytes]:
    """Read a table in its one form: what it holds by `TABLE_VCEK` and the like, in DER as it seems.

    Raises:
        EvidenceMalformed: another form, an unknown GUID or one twice, an empty table.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise EvidenceMalformed(f"The certificate table has {len(data)} bytes; at most {MAX_TABLE_BYTES} are read.")
    reader = Reader(data, "certificate table")
    rows: list[tuple[str, int]] = []
    ends = 0
    while True:
        guid, offset, length = reader.take(16), reader.number(4, "little"), reader.number(4, "little")
        if not any(guid):
            break
        name = _GUIDS.get(guid)
        if name is None or name in dict(rows):
            raise reader.refuse("an entry is unknown or there twice")
        if not length or (rows and offset != ends):
            raise reader.refuse("its certificates do not follow one another")
        ends = offset + length
        rows.append((name, length))
        if len(rows) == 1:
            first = offset
    if offset or length or not rows or first != reader.position:
        raise reader.refuse("it does not end as it must")
    found = {name: reader.take(length) for name, length in rows}
    reader.end()
    return found


def write_table(parts: Mapping[str, bytes]) -> bytes:
    """A table in its one form, rows in the order of `parts`; nothing at all where there are none."""
    if not parts:
        return b""
    guids = {name: guid for guid, name in _GUIDS.items()}
    offset = (len(parts) + 1) * _ROW_BYTES
    rows = []
    for name, value in parts.items():
        rows.append(guids[name] + offset.to_bytes(4, "little") + len(value).to_bytes(4, "little"))
        offset += len(value)
    return b"".join([*rows, bytes(_ROW_BYTES), *parts.values()])


def table_of(report: bytes, given: bytes) -> bytes:
    """What a host gave beside a report, in the table's one form: the certificate of the key that signed it, and those
    that lead from there.

    Hosts leave zeros behind the table, write certificates in PEM, add entries of their own, and keep certificates of
    firmware that is no longer there. What is not of use is left out: it is collateral then.

    Args:
        report: the report that came with it.
        given: the buffer that the host filled.
    """
    try:
        read, rows = read_snp_report(report), _lenient(given)
        name = TABLE_VCEK if read.signing_key == VCEK else TABLE_VLEK
        last = _certificate(rows[name])
        last.public_key().verify_ecdsa_raw(read.signature, read.signed, "sha384")
    except (EvidenceMalformed, CryptoRefused, KeyError):
        return b""
    parts = {name: last.der}
    for name in (TABLE_ASK, TABLE_ARK):
        try:
            issuer = _certificate(rows[name])
        except (CryptoRefused, KeyError):
            break
        if not last.is_issued_by(issuer):
            break
        parts[name] = issuer.der
        last = issuer
    return write_table(parts)


def _lenient(given: bytes) -> dict[str, bytes]:
    reader = Reader(given, "certificate table")
    rows: dict[str, bytes] = {}
    while any(guid := reader.take(16)):
        offset, length = reader.number(4, "little"), reader.number(4, "little")
        if guid in _GUIDS:
            part = Reader(given, "certificate table")
            part.take(offset)
            rows.setdefault(_GUIDS[guid], part.take(length))
    return rows


def _certificate(data: bytes) -> Certificate:
    return Certificate.from_pem(data)[0] if data.lstrip().startswith(b"-----BEGIN") else Certificate.from_der(data)
