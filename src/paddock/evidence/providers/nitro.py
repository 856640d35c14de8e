"""AWS Nitro Enclaves: attestation documents of the Nitro hypervisor.

A document is an untagged COSE_Sign1 (ES384) over a map of CBOR, signed with a key that AWS certified for three hours for
this enclave's instance. It carries its certificate and all those above it, the root first. AWS says that documents are
verified without revocation lists, and its certificates of instances name none: a section that requires them therefore
refuses every document of AWS.

**Report data** is what stands in the document's nonce; public key and user data are no claims of ours, whatever they say.

**Kind of environment**: a machine with encrypted memory for L4 (`confidential-vm`): an enclave of AWS is a virtual
machine of its own kernel, and its memory is kept from its host by a hypervisor. Its whole image is measured, so that a
policy can list its measurement as a sealed one (A-17), which L5 takes.

**Debug mode** is that PCR0, PCR1 and PCR2 are zeros. Either of them is enough here, for no image has such a digest.

Source: aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md §2.2 and §3 (form and checks); AWS, Nitro Enclaves user
guide, "Cryptographic attestation" (what each PCR measures, debug mode); docs/spec/attestation.md (A-2 to A-6, A-10, A-14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from paddock.crypto.x509 import MAX_CHAIN, Certificate, Chain, check_revocation, verify_chain
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.cbor import Members, read_cbor
from paddock.evidence.claims import Claims, registers_digest
from paddock.evidence.collateral import Collateral, CollateralNeed
from paddock.evidence.cose import Sign1, read_sign1
from paddock.evidence.roots import anchors
from paddock.evidence.trust import VendorTrust

MEDIA_TYPE = "application/vnd.paddock.nitro-document.v1"
PCR_BYTES, MAX_PCRS = 48, 32
MAX_BODY_BYTES, MAX_PAYLOAD_BYTES = 1 << 15, 1 << 14
MAX_CERTIFICATE_BYTES = 1024
LISTS = "aws/crl/"
"""What keys of AWS's revocation lists begin with."""

_HEAD = bytes.fromhex("8444a1013822a0")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = range(1, 253_402_300_800_000)  # milliseconds, to the year 9999
_ANY_USE = "2.5.29.37.0"
_IMAGE = (0, 1, 2)
_SIGNER = 8
_ZEROS = bytes(PCR_BYTES)
_OPTIONAL = {"public_key": range(1, 1025), "user_data": range(1025), "nonce": range(1025)}


@dataclass(frozen=True)
class NitroDocument:
    """An attestation document, read but not verified.

    Args:
        module_id: instance and enclave, in AWS's words.
        made: by the hypervisor's clock.
        pcrs: by number.
        certificate: whose key signed it.
        bundle: the certificates above, root first.
        nonce: empty where there is none.
    """

    module_id: str
    made: datetime
    pcrs: Mapping[int, bytes]
    certificate: Certificate
    bundle: tuple[Certificate, ...]
    nonce: bytes


class NitroProvider:
    """Verifies attestation documents of AWS Nitro Enclaves."""

    name = "nitro"
    media_type = MEDIA_TYPE
    simulated = False
    trust_type = VendorTrust

    def recognises(self, body: bytes) -> bool:
        """See `EvidenceProvider.recognises`."""
        return body.startswith(_HEAD)

    def needs(self, body: bytes) -> tuple[CollateralNeed, ...]:
        """Nothing: a document carries its certificates; see `EvidenceProvider.needs`."""
        _read(body)
        return ()

    def verify(self, body: bytes, *, trust: VendorTrust, collateral: Collateral, now: datetime) -> Claims:
        """Verify an attestation document; see `EvidenceProvider.verify`.

        1. Read it strictly. 2. Its certificates lead to a root that is trusted, and its own is for signing. 3. None of
        them was revoked. 4. Its certificate's key signed it. 5. Report what it says.
        """
        # 1. A-6
        signed, document = _read(body)
        # 2. A-2
        chain = _lead(document, trust, now)
        chain.leaf.check_use(_ANY_USE)
        # 3. A-14
        offered = collateral.revocation_lists(LISTS)
        lists = [each for _, each in offered]
        issued = check_revocation(chain, lists, now=now, required=trust.require_revocation)
        used = tuple(key for key, each in offered if any(each.is_by(issuer) for issuer in chain.certificates[1:]))
        # 4. A-2
        signed.verify(chain.leaf.public_key())
        # 5.
        pcrs = document.pcrs
        names = (*_IMAGE, _SIGNER) if pcrs.get(_SIGNER, _ZEROS) != _ZEROS else _IMAGE
        registers = {f"pcr{number}": pcrs[number].hex() for number in names}
        others = {n: value for n, value in pcrs.items() if n not in names and value != _ZEROS}
        return Claims(
            provider=self.name,
            tee="confidential-vm",
            measurement=registers_digest(self.name, registers),
            report_data=document.nonce,
            debug=any(pcrs[number] == _ZEROS for number in _IMAGE),
            simulated=False,
            signer=chain.root.public_key().fingerprint(),
            issued=document.made,
            registers=registers,
            collateral=used,
            collateral_issued=issued,
            details={"module_id": document.module_id} | {f"pcr{n}": value.hex() for n, value in sorted(others.items())},
        )


def read_document(payload: bytes) -> NitroDocument:
    """Read the payload of a document strictly.

    Raises:
        EvidenceMalformed: anything that AWS's specification does not have (A-6).
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EvidenceMalformed(f"The Nitro document has {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read.")
    members = Members(read_cbor(payload, "Nitro document", open_map=True), "Nitro document")
    module_id = members.text("module_id", 256)
    if not module_id or members.text("digest", 6) != "SHA384":
        raise EvidenceMalformed("The Nitro document names no module, or another digest than SHA384.")
    made = _EPOCH + timedelta(milliseconds=members.number("timestamp", _TIMES))
    pcrs = _pcrs(members.take("pcrs"))
    ders = [
        members.octets("certificate", range(1, MAX_CERTIFICATE_BYTES + 1)),
        *members.array("cabundle", range(1, MAX_CHAIN)),
    ]
    if any(type(der) is not bytes or len(der) > MAX_CERTIFICATE_BYTES for der in ders):
        raise EvidenceMalformed("A certificate of the Nitro document is too long.")
    found = {
        name: members.octets(name, lengths)
        for name, lengths in _OPTIONAL.items()
        if name in members and not members.skip_null(name)
    }
    members.end()
    try:
        certificate, *bundle = (Certificate.from_der(der) for der in ders)
    except CryptoRefused as error:
        raise EvidenceMalformed(error.detail) from error
    return NitroDocument(module_id, made, pcrs, certificate, tuple(bundle), found.get("nonce", b""))


def _read(body: bytes) -> tuple[Sign1, NitroDocument]:
    if len(body) > MAX_BODY_BYTES:
        raise EvidenceMalformed(f"It has {len(body)} bytes; at most {MAX_BODY_BYTES} are read.")
    signed = read_sign1(body, "Nitro document's envelope", tagged=False)
    return signed, read_document(signed.payload)


def _pcrs(value: object) -> Mapping[int, bytes]:
    members = Members(value, "map of PCRs")
    pcrs = {n: members.octets(n, (PCR_BYTES,)) for n in range(MAX_PCRS) if n in members}
    members.end()
    if not pcrs.keys() >= set(_IMAGE):
        raise EvidenceMalformed("The map of PCRs lacks one of the image.")
    return pcrs


def _lead(document: NitroDocument, trust: VendorTrust, now: datetime) -> Chain:
    trusted = anchors(trust.roots)
    roots = [each for each in document.bundle if trusted.trusts_key(each.public_key())]
    if not roots:
        raise EvidenceNotTrusted("Its certificates end in no root that the trust policy names.")
    chain = verify_chain(document.certificate, document.bundle, roots, now=now)
    # the bundle is the chain, nothing is there that it does not need; above the policy's root nobody is asked.
    above = list(reversed(document.bundle))
    if list(chain.certificates[1:]) != above[: len(chain.certificates) - 1]:
        raise EvidenceMalformed("Its certificates are not in order.")
    return chain
