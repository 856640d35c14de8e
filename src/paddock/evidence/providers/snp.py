"""AMD SEV-SNP: attestation reports of Milan, Genoa and Turin, signed with a chip's key (VCEK) or a cloud's (VLEK).

The body is the report, or the report and the certificate table of an extended guest request in its one form
(`paddock.evidence.snp_report`). The certificate of the key comes with the table or is collateral; of what the table
holds, all is used, so that none of it can be changed.

Registers are the launch measurement and the host's data. Which firmware loaded, its version numbers, is held against the
policy's least ones: a number here is the least of what runs, is committed, is reported and ran at launch, so that a guest
that was launched by firmware since replaced is judged by that. AMD has no word for the state of a platform, and so
`tcb_status` is None. The guest's policy and the platform tell settings: `smt`, `migration` (an agent may move it),
`cxl` (its memory may lie behind CXL), `vmpl` (asked for by less than the highest privilege in the guest),
`provisional-firmware` (what runs is not yet committed, so that an older one can take its place), and `unknown-platform`
(something is on for which there is no name yet).

AMD's revocation lists are the root's: they can revoke an ASK or ASVK, while a VCEK loses its worth with its TCB. A section
that demands revocation demands a current one of these lists, and then the list's age counts (A-13): AMD renews it
seldom. Where it is not demanded, lists at hand can only revoke.

Source: AMD 56860 rev. 1.58 (SEV-SNP firmware ABI) §7.3; AMD 57230 rev. 1.00 (VCEK certificate and KDS interface);
docs/spec/attestation.md (A-2, A-3, A-5, A-6, A-10 to A-14).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from paddock.crypto.x509 import Certificate, Chain, RevocationList, check_revocation
from paddock.errors import (
    CollateralMissing,
    CryptoRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    SignatureRefused,
)
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.providers.amd import (
    KINDS,
    Endorsement,
    chain_need,
    chip_need,
    endorsement_kind,
    lead_to_root,
    list_need,
    read_endorsement,
)
from paddock.evidence.roots import anchors
from paddock.evidence.snp_report import (
    PRODUCTS,
    REPORT_BYTES,
    TABLE_ASK,
    TABLE_CRL,
    TABLE_VCEK,
    TABLE_VLEK,
    VCEK,
    VERSIONS,
    VLEK,
    Product,
    SnpReport,
    read_snp_report,
    read_table,
    tcb_parts,
)
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.snp-report.v1"
_OWN = {VCEK: TABLE_VCEK, VLEK: TABLE_VLEK}
_CURVE = "P-384"
_MAX_CANDIDATES = 16
Found = tuple[str | None, Endorsement]
Rows = Sequence[tuple[str, Certificate]]


class SnpProvider:
    """Verifies evidence of SEV-SNP guests."""

    name = "snp"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return len(body) >= REPORT_BYTES and body[:4] in _VERSIONS and body[52:56] == _ALGORITHM

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """The key's certificate, its issuer's, and a revocation list; see `EvidenceProvider.needs`.

        A report before version 3 does not say which product it is of: then what either of them needs.
        """
        report, table = _read(body)
        own = table.get(_OWN[report.signing_key])
        try:
            products = [read_endorsement(Certificate.from_der(own)).product] if own is not None else _products(report)
        except CryptoRefused as error:
            raise EvidenceMalformed(error.detail) from error
        found = []
        for product in products:
            if own is None and report.signing_key == VCEK and any(report.chip_id):
                found.append(chip_need(product, report.chip_id, report.reported_tcb))
            if TABLE_ASK not in table:
                found.append(chain_need(product, report.signing_key))
            if TABLE_CRL not in table:
                found.append(list_need(product, report.signing_key))
        return tuple(found)

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify a report; see `EvidenceProvider.verify`.

        1. Read it strictly. 2. There is a certificate of the key that it names, for this chip, product and TCB. 3. That
        leads to a root that is trusted, by way of all certificates that came with the report. 4. None of them was
        revoked. 5. The key signed the report. 6. Report what it says.
        """
        # 1. A-6
        report, table = _read(body)
        given = {name: Certificate.from_der(der) for name, der in table.items() if name != TABLE_CRL}
        # 2. A-14
        at_hand = collateral.certificates()
        key, endorsement = _endorsement(report, given.get(_OWN[report.signing_key]), at_hand, now)
        # 3. A-2
        beside = [(name, each) for name, each in at_hand if endorsement_kind(each) is None]
        chain = lead_to_root(endorsement, [*given.values(), *(each for _, each in beside)], anchors(trust.roots), now)
        if not set(given.values()) <= set(chain.certificates):
            raise EvidenceMalformed("A certificate came with it that does not belong to it.")
        # 4. A-14
        lists, issued = _check_revocation(
            chain, table.get(TABLE_CRL), collateral, now, required=trust.require_revocation
        )
        # 5. A-2
        _check_signature(report, endorsement)
        # 6.
        used = [key, *(name for name, each in beside if each in chain.certificates), *lists]
        product = endorsement.product
        registers = {"host_data": report.host_data.hex(), "measurement": report.measurement.hex()}
        return Claims(
            provider=self.name,
            tee="confidential-vm",
            measurement=registers_digest(self.name, registers),
            report_data=report.report_data,
            debug=report.debug,
            simulated=False,
            signer=chain.root.public_key().fingerprint(),
            issued=None,
            registers=registers,
            svns=_svns(report, product),
            settings=report.settings(),
            collateral=tuple(dict.fromkeys(each for each in used if each is not None)),
            collateral_issued=issued,
            details=_details(report, endorsement),
        )


_VERSIONS = frozenset(version.to_bytes(4, "little") for version in VERSIONS)
_ALGORITHM = (1).to_bytes(4, "little")


def _read(body: bytes) -> tuple[SnpReport, Mapping[str, bytes]]:
    report = read_snp_report(body[:REPORT_BYTES])
    table = read_table(body[REPORT_BYTES:]) if len(body) > REPORT_BYTES else {}
    # of the two kinds of keys, the certificate of the one that signed.
    if _OWN[VLEK if report.signing_key == VCEK else VCEK] in table:
        raise EvidenceMalformed("A certificate came with it of a key that did not sign it.")
    return report, table


def _products(report: SnpReport) -> list[Product]:
    if report.product is not None:
        return [report.product]
    return [each for each in PRODUCTS.values() if each.structure == 0]  # Turin's first firmware wrote version 3


def _endorsement(report: SnpReport, given: Certificate | None, at_hand: Rows, now: datetime) -> Found:
    """The certificate of the report's key, with its key in collateral where it is from there."""
    if given is not None:
        own = read_endorsement(given)
        if not _fits(own, report):
            raise EvidenceNotTrusted("Its certificate is of another chip, product or state of the firmware.")
        return None, own
    found = sorted(_candidates(report, at_hand), key=lambda each: _freshness(each, now))
    # A cloud has several VLEKs for one state: the one that signed is meant.
    for each in found[:_MAX_CANDIDATES] if len(found) > 1 else ():
        try:
            _check_signature(report, each[1])
        except SignatureRefused:
            continue
        return each
    if not found:
        raise CollateralMissing(f"The certificate of its {KINDS[report.signing_key].upper()} is not at hand.")
    return found[0]


def _candidates(report: SnpReport, at_hand: Rows) -> Iterator[Found]:
    for key, certificate in at_hand:
        if endorsement_kind(certificate) == report.signing_key:
            try:
                read = read_endorsement(certificate)
            except (CryptoRefused, EvidenceMalformed):
                continue
            if _fits(read, report):
                yield key, read


def _freshness(found: Found, now: datetime) -> tuple[bool, float]:
    certificate = found[1].certificate
    return not certificate.not_before <= now <= certificate.not_after, -certificate.not_after.timestamp()


def _fits(endorsement: Endorsement, report: SnpReport) -> bool:
    """Whether a certificate is of the key that the report names: kind, product, TCB, and chip where it is told."""
    product, chip_bytes = endorsement.product, endorsement.product.chip_bytes
    if endorsement.kind != report.signing_key or report.product not in (None, product):
        return False
    if endorsement.tcb != report.reported_tcb or any(report.chip_id[chip_bytes:]):
        return False
    masked = not any(report.chip_id)  # then the signature alone tells the chip
    return endorsement.kind == VLEK or masked or endorsement.hardware_id == report.chip_id[:chip_bytes]


def _check_signature(report: SnpReport, endorsement: Endorsement) -> None:
    key = endorsement.certificate.public_key()
    if key.kind != _CURVE:
        raise EvidenceNotTrusted("Its key is over another curve.")
    key.verify_ecdsa_raw(report.signature, report.signed, "sha384")


def _check_revocation(
    chain: Chain, given: bytes | None, collateral: Collateral, now: datetime, *, required: bool
) -> tuple[list[str], datetime | None]:
    issuers = chain.certificates[1:]
    offered = [(key, each) for key, each in collateral.revocation_lists() if any(map(each.is_by, issuers))]
    lists = [each for _, each in offered]
    if given is not None:
        own = RevocationList.from_bytes(given)
        if own.der != given or not own.has_whole_signature() or not any(map(own.is_by, issuers)):
            raise EvidenceMalformed("A revocation list came with it that does not belong to it.")
        lists.append(own)
    check_revocation(chain, lists, now=now, required=False)
    # AMD's lists are the root's: they are of its signers.
    issued = check_revocation(Chain(issuers), lists, now=now, required=True) if required else None
    return [key for key, _ in offered], issued


def _svns(report: SnpReport, product: Product) -> dict[str, int]:
    states = [report.reported_tcb, report.committed_tcb, report.current_tcb, report.launch_tcb]
    parts = [tcb_parts(product, each) for each in states]
    major, minor, build = min(report.current, report.committed)
    least = {name: min(each[name] for each in parts) for name in parts[0]}
    return {**least, "guest_svn": report.guest_svn, "abi_major": major, "abi_minor": minor, "abi_build": build}


def _details(report: SnpReport, endorsement: Endorsement) -> dict[str, str | int | bool]:
    found: dict[str, str | int | bool] = {
        "report_version": report.version,
        "product": endorsement.product_name,
        "signing_key": KINDS[report.signing_key],
        "chip_id": report.chip_id[: endorsement.product.chip_bytes].hex() if any(report.chip_id) else "masked",
        "vmpl": report.vmpl,
        "guest_policy": f"{report.policy:016x}",
        "platform": ",".join(sorted(report.platform)),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
        "current_tcb": report.current_tcb.hex(),
        "reported_tcb": report.reported_tcb.hex(),
        "committed_tcb": report.committed_tcb.hex(),
        "launch_tcb": report.launch_tcb.hex(),
        "firmware": _version(report.current),
        "committed_firmware": _version(report.committed),
    }
    if endorsement.provider_id:
        found["cloud"] = endorsement.provider_id
    if report.mitigations is not None:
        found["launch_mitigations"], found["mitigations"] = (f"{each:016x}" for each in report.mitigations)
    return found


def _version(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
