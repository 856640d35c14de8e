"""TPM quotes of both kinds of keys and machines behind a paravisor, beside their signature operations alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from dcap_qvl import QuoteCollateralV3, verify_with_root_ca  # type: ignore[import-untyped]  # as in the provider

from paddock.evidence import Collateral, verify_evidence
from paddock.evidence.roots import named_root
from tests.evidence.azure import RECORDED_NOW, base64url, evidence_of, policy, recorded
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.azure import AzureMaker
from tests.fixtures.vendors.tpm import TpmMaker

Case = tuple[str, Callable[[], object], Callable[[], object]]
_REPORT_DATA = bytes(range(64))
_SIGNED = 0x2A0


def cases() -> list[Case]:
    """Name, verification, signature operations alone; for TDX, dcap-qvl's own call and the vTPM's signature."""
    rsa_maker, ecc_maker = TpmMaker("rsassa"), TpmMaker("p256")
    listed = [_tpm("rsa, key listed", rsa_maker), _tpm("ecc, key listed", ecc_maker)]
    return [_certified("rsa", rsa_maker), _certified("ecc", ecc_maker), *listed, _snp(), _tdx()]


def _certified(name: str, maker: TpmMaker) -> Case:
    """An authority that the policy names vouches for the attestation key."""
    leaf = maker.certificate()
    parts = maker.parts(_REPORT_DATA)
    evidence = maker.evidence(_REPORT_DATA, certificates=[leaf])
    verify = partial(verify_evidence, evidence, policy=maker.certified_policy(), collateral=Collateral(), now=NOW)
    return f"tpm {name}", verify, partial(_certified_signatures, maker, x509.load_der_x509_certificate(leaf), parts)


def _certified_signatures(maker: TpmMaker, leaf: x509.Certificate, parts: dict[str, Any]) -> None:
    _quote(maker.key.public_key(), parts["signature"], parts["quote"])
    if leaf.signature_hash_algorithm is None:
        raise TypeError("the authority signs a hash")
    maker.authority_key.public_key().verify(
        leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(leaf.signature_hash_algorithm)
    )


def _tpm(name: str, maker: TpmMaker) -> Case:
    parts = maker.parts(_REPORT_DATA)
    evidence = maker.evidence(_REPORT_DATA)
    verify = partial(verify_evidence, evidence, policy=maker.policy(), collateral=Collateral(), now=NOW)
    return f"tpm {name}", verify, partial(_quote, maker.key.public_key(), parts["signature"], parts["quote"])


def _quote(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, signature: bytes, quote: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature[6:], quote, padding.PKCS1v15(), hashes.SHA256())
        return
    r, s = (int.from_bytes(part, "big") for part in (signature[6:38], signature[40:72]))
    key.verify(encode_dss_signature(r, s), quote, ec.ECDSA(hashes.SHA256()))


def _snp() -> Case:
    """Recorded; its VCEK comes in the report's certificate table."""
    parts = recorded("snp")
    trust = policy("amd-milan", allow=["smt"])
    verify = partial(verify_evidence, evidence_of(parts), policy=trust, collateral=Collateral(), now=RECORDED_NOW)
    leaf = parts["report"][1184 + 48 :]
    chain = [x509.load_der_x509_certificate(each) for each in (leaf, *(each.der for each in named_root("amd-milan")))]
    return "azure snp", verify, partial(_snp_signatures, parts, chain, _recorded_key(parts["runtime"]))


def _snp_signatures(parts: dict[str, Any], chain: list[x509.Certificate], key: rsa.RSAPublicKey) -> None:
    report = parts["report"]
    r, s = (int.from_bytes(report[start : start + 72], "little") for start in (_SIGNED, _SIGNED + 72))
    vcek = chain[0].public_key()
    if not isinstance(vcek, ec.EllipticCurvePublicKey):
        raise TypeError("the keys that sign reports are ECDSA keys")
    vcek.verify(encode_dss_signature(r, s), report[:_SIGNED], ec.ECDSA(hashes.SHA384()))
    for certificate, issuer in pairwise(chain):
        authority = issuer.public_key()
        if not isinstance(authority, rsa.RSAPublicKey):
            raise TypeError("AMD's authorities have RSA keys")
        scheme = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
        authority.verify(certificate.signature, certificate.tbs_certificate_bytes, scheme, hashes.SHA384())
    _quote(key, parts["signature"], parts["quote"])


def _recorded_key(runtime: bytes) -> rsa.RSAPublicKey:
    (jwk,) = (each for each in json.loads(runtime)["keys"] if each["kid"] == "HCLAkPub")
    return rsa.RSAPublicNumbers(65537, int.from_bytes(base64url(jwk["n"]), "big")).public_key()


def _tdx() -> Case:
    """Made here: no collateral was recorded for a machine on TDX."""
    maker = AzureMaker("tdx")
    parts, collateral = maker.parts(_REPORT_DATA), maker.collateral(NOW)
    trust = maker.policy()
    verify = partial(verify_evidence, evidence_of(parts), policy=trust, collateral=collateral, now=NOW)
    (item,) = collateral
    root, seconds = x509.load_pem_x509_certificate(maker.trust.roots[0].encode()), int(NOW.timestamp())
    der, key = root.public_bytes(serialization.Encoding.DER), maker.tpm.key.public_key()

    def alone() -> None:
        verify_with_root_ca(parts["report"], QuoteCollateralV3.from_json(item.body.decode()), der, seconds)
        _quote(key, parts["signature"], parts["quote"])

    return "azure tdx", verify, alone
