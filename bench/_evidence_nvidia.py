"""A Hopper and a Blackwell GPU's recorded reports, beside the signatures of report and chain alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from paddock.evidence import Collateral, UnverifiedEvidence, read_trust_policy, verify_evidence
from paddock.evidence.providers.nvidia import MEDIA_TYPE, SIGNATURE_BYTES, Architecture, gpu_body

_VECTORS = Path(__file__).resolve().parents[1] / "tests" / "evidence" / "vectors" / "nvidia"
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_POLICY = read_trust_policy('[nvidia]\nroots = ["nvidia-device"]\nallow = ["not-configured"]\n')


def cases() -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    """Name, verification, signature operations alone."""
    return [_case("hopper"), _case("blackwell")]


def _case(architecture: Architecture) -> tuple[str, Callable[[], object], Callable[[], object]]:
    report = bytes.fromhex(re.sub(r"\s", "", (_VECTORS / f"{architecture}_report.hex").read_text("ascii")))
    chain = x509.load_pem_x509_certificates((_VECTORS / f"{architecture}_cert_chain.txt").read_bytes())
    ders = [each.public_bytes(serialization.Encoding.DER) for each in chain]
    evidence = UnverifiedEvidence(MEDIA_TYPE, gpu_body(architecture, report, ders))
    verify = partial(verify_evidence, evidence, policy=_POLICY, collateral=Collateral(), now=_AT)
    return f"nvidia {architecture}", verify, partial(_signatures, report, chain)


def _signatures(report: bytes, chain: list[x509.Certificate]) -> None:
    signed, signature = report[:-SIGNATURE_BYTES], report[-SIGNATURE_BYTES:]
    r, s = (int.from_bytes(part, "big") for part in (signature[:48], signature[48:]))
    _verify(chain[0], encode_dss_signature(r, s), signed)
    for certificate, issuer in pairwise(chain):
        _verify(issuer, certificate.signature, certificate.tbs_certificate_bytes)


def _verify(signer: x509.Certificate, signature: bytes, message: bytes) -> None:
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("NVIDIA's keys are ECDSA keys")
    key.verify(signature, message, ec.ECDSA(hashes.SHA384()))
