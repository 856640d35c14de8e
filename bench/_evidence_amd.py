"""SEV-SNP reports of Milan, Genoa, Turin and of a cloud's key, beside the signatures of report and chain alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from paddock.evidence import Collateral, UnverifiedEvidence, read_trust_policy, verify_evidence
from paddock.evidence.collateral import certificate_item
from paddock.evidence.providers.snp import MEDIA_TYPE
from paddock.evidence.roots import named_root
from paddock.evidence.snp_report import SIGNED_BYTES

_VECTORS = Path(__file__).resolve().parents[1] / "tests" / "evidence" / "vectors" / "snp"
_AT = datetime(2025, 10, 1, tzinfo=UTC)  # while the recorded VLEK was valid
_FETCHED = "2025-10-01T00:00:00Z"


def cases() -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Name, verification, signature operations alone."""
    return [_case("milan", "vcek_milan"), _case("genoa", "vcek_genoa"), _case("turin", "vcek_turin"), _vlek()]


def _case(product: str, certificate: str) -> tuple[str, Callable[[], object], Callable[[], object]]:
    leaf = (_VECTORS / f"{certificate}.der").read_bytes()
    chain = [leaf, *(each.der for each in named_root(f"amd-{product}"))]
    return _timed(f"snp {product}", f"report_{product}.bin", product, chain, [leaf])


def _vlek() -> tuple[str, Callable[[], object], Callable[[], object]]:
    leaf = (_VECTORS / "vlek_milan.der").read_bytes()
    issuers = x509.load_pem_x509_certificates((_VECTORS / "asvk_ark_milan.pem").read_bytes())
    chain = [leaf, *(each.public_bytes(serialization.Encoding.DER) for each in issuers)]
    return _timed("snp milan vlek", "report_milan_vlek.bin", "milan", chain, chain[:2])


def _timed(
    name: str, file: str, product: str, chain: list[bytes], at_hand: list[bytes]
) -> tuple[str, Callable[[], object], Callable[[], object]]:
    report = (_VECTORS / file).read_bytes()
    policy = read_trust_policy(f'[snp]\nroots = ["amd-{product}"]\nallow = ["smt", "vmpl"]\n')
    collateral = Collateral([certificate_item(each, _FETCHED) for each in at_hand])
    evidence = UnverifiedEvidence(MEDIA_TYPE, report)
    verify = partial(verify_evidence, evidence, policy=policy, collateral=collateral, now=_AT)
    return name, verify, partial(_signatures, report, [x509.load_der_x509_certificate(each) for each in chain])


def _signatures(report: bytes, chain: list[x509.Certificate]) -> None:
    r, s = (int.from_bytes(report[start : start + 72], "little") for start in (SIGNED_BYTES, SIGNED_BYTES + 72))
    leaf = chain[0].public_key()
    if not isinstance(leaf, ec.EllipticCurvePublicKey):
        raise TypeError("the keys that sign reports are ECDSA keys")
    leaf.verify(encode_dss_signature(r, s), report[:SIGNED_BYTES], ec.ECDSA(hashes.SHA384()))
    for certificate, issuer in pairwise(chain):
        key = issuer.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError("AMD's authorities have RSA keys")
        scheme = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, scheme, hashes.SHA384())
