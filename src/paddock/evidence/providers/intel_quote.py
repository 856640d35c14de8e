"""Intel's DCAP quotes, read strictly: SGX quotes of version 3, TDX quotes of versions 4 and 5.

A quote is a header, the report of an enclave or a TD, and what authenticates both: the signature of an attestation key,
the report of the quoting enclave (QE) that vouches for that key, and the PCK certificate chain of the platform that
signed that report. Reading proves nothing; `intel` verifies.

Source: Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4 (version 3); Intel TDX DCAP Quoting Library API,
appendix A.3 (versions 4 and 5); Intel SDM volume 3D §38.15 (REPORT); docs/spec/attestation.md (A-6).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from paddock.crypto.x509 import Certificate
from paddock.errors import CryptoRefused, EvidenceMalformed
from paddock.evidence.reading import Reader

SGX, TDX = "sgx", "tdx"
TEE_TYPES: Mapping[str, bytes] = {SGX: bytes(4), TDX: b"\x81\0\0\0"}
VERSIONS: Mapping[str, tuple[int, ...]] = {SGX: (3,), TDX: (4, 5)}
QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")  # Intel's quoting enclaves
ENCLAVE, TD_1_0, TD_1_5 = 1, 2, 3
REPORT_BYTES: Mapping[int, int] = {ENCLAVE: 384, TD_1_0: 584, TD_1_5: 648}
MAX_AUTHENTICATION_BYTES, MAX_CHAIN_BYTES = 1 << 16, 1 << 15

_ECDSA_P256, _PCK_CHAIN, _QE_REPORT = b"\2\0", b"\5\0", b"\6\0"
_MAX_QE_AUTHENTICATION_BYTES = 1024
# Quoting enclaves write a quote of version 4 into a buffer of version 5's size, and Intel's service hands out all of it.
_PADDING = REPORT_BYTES[TD_1_5] - REPORT_BYTES[TD_1_0] + 6
_BLOCK = rb"-----BEGIN CERTIFICATE-----(\r?\n(?:[A-Za-z0-9+/]{4,76}\r?\n)*[A-Za-z0-9+/]{2,76}={0,2}\r?\n)-----END CERTIFICATE-----"
_CHAIN = re.compile(_BLOCK + rb"\r?\n" + _BLOCK + rb"\r?\n" + _BLOCK + rb"(?:\r?\n)?\0?")


@dataclass(frozen=True)
class EnclaveReport:
    """An SGX enclave's report, read but not verified. Numbers as the CPU writes them, the rest as bytes."""

    cpu_svn: bytes
    misc_select: int
    isv_ext_prod_id: bytes
    attributes: int
    xfrm: int
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes


@dataclass(frozen=True)
class Quote:
    """A quote, read but not verified.

    Args:
        version: 3, 4 or 5.
        kind: of the report: `ENCLAVE`, `TD_1_0` or `TD_1_5`.
        data: the quote from its first to its last byte, without padding.
        report: the report's bytes, 384, 584 or 648.
        signed: what the attestation key signed: header and report.
        signature: ECDSA P-256, r || s.
        attestation_key: x || y.
        qe_report: of the quoting enclave, as bytes and read.
        qe_report_signature: of the PCK certificate's key.
        qe_authentication: what the quoting enclave binds beside the attestation key.
        chain: PCK certificate, its issuer, root.
        pem: the chain as it stands in the quote.
    """

    version: int
    kind: int
    data: bytes
    report: bytes
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: tuple[bytes, EnclaveReport]
    qe_report_signature: bytes
    qe_authentication: bytes
    chain: tuple[Certificate, Certificate, Certificate]
    pem: bytes


def looks_like_quote(data: bytes, tee: str) -> bool:
    """Whether it begins as a quote of this kind."""
    versions = {each.to_bytes(2, "little") for each in VERSIONS[tee]}
    return data[:2] in versions and data[4:8] == TEE_TYPES[tee] and data[12:28] == QE_VENDOR


def read_quote(data: bytes, tee: str) -> Quote:
    """Read a quote strictly.

    Args:
        data: the quote. Behind one of version 4 there may be the 70 zeros that quoting enclaves leave there, all or none.
        tee: `sgx` or `tdx`.

    Raises:
        EvidenceMalformed: another version, kind of key or certificate, length, reserved field, or a byte too many (A-6).
    """
    reader = Reader(data, "quote")
    version = reader.number(2, "little")
    if version not in VERSIONS[tee]:
        raise reader.refuse(f"its version is {version}")
    reader.expect(_ECDSA_P256, "type of the attestation key")
    reader.expect(TEE_TYPES[tee], "type of the environment")
    if version == 3:
        reader.take(4)  # version numbers of QE and PCE, which the signed reports and certificates tell
    else:
        reader.expect(bytes(4), "reserved field")
    reader.expect(QE_VENDOR, "quoting enclave's vendor")
    reader.take(20)  # the quoting enclave's own note of the platform
    kind = _kind(reader, version)
    report = reader.take(REPORT_BYTES[kind])
    signed = data[: reader.position]
    authentication = reader.counted(4, "little", MAX_AUTHENTICATION_BYTES)
    end = reader.position
    if not (version == 4 and reader.left == _PADDING and not any(data[end:])):
        reader.end()
    inner = Reader(authentication, "quote's authentication data")
    signature, key = inner.take(64), inner.take(64)
    if version != 3:
        inner.expect(_QE_REPORT, "type of certification data")
        nested = inner.counted(4, "little", MAX_AUTHENTICATION_BYTES)
        inner.end()
        inner = Reader(nested, "quote's certification data")
    qe_report, qe_signature = inner.take(REPORT_BYTES[ENCLAVE]), inner.take(64)
    qe_authentication = inner.counted(2, "little", _MAX_QE_AUTHENTICATION_BYTES)
    inner.expect(_PCK_CHAIN, "type of certification data")
    pem = inner.counted(4, "little", MAX_CHAIN_BYTES)
    inner.end()
    return Quote(
        version=version,
        kind=kind,
        data=data[:end],
        report=report,
        signed=signed,
        signature=signature,
        attestation_key=key,
        qe_report=(qe_report, read_enclave_report(qe_report)),
        qe_report_signature=qe_signature,
        qe_authentication=qe_authentication,
        chain=read_pck_chain(pem),
        pem=pem,
    )


def _kind(reader: Reader, version: int) -> int:
    if version != 5:
        return ENCLAVE if version == 3 else TD_1_0
    kind, size = reader.number(2, "little"), reader.number(4, "little")
    if kind not in (TD_1_0, TD_1_5) or size != REPORT_BYTES[kind]:
        raise reader.refuse(f"its report is of kind {kind} and {size} bytes")
    return kind


def read_enclave_report(data: bytes) -> EnclaveReport:
    """Read the 384 bytes of an enclave's report. Raises EvidenceMalformed: a reserved field is not zero (A-6)."""
    reader = Reader(data, "enclave's report")
    cpu_svn, misc_select = reader.take(16), reader.number(4, "little")
    reader.expect(bytes(12), "reserved field")
    isv_ext_prod_id = reader.take(16)
    attributes, xfrm = reader.number(8, "little"), reader.number(8, "little")
    mrenclave = reader.take(32)
    reader.expect(bytes(32), "reserved field")
    mrsigner = reader.take(32)
    reader.expect(bytes(32), "reserved field")
    config_id = reader.take(64)
    isv_prod_id, isv_svn, config_svn = (reader.number(2, "little") for _ in range(3))
    reader.expect(bytes(42), "reserved field")
    isv_family_id, report_data = reader.take(16), reader.take(64)
    reader.end()
    return EnclaveReport(
        cpu_svn=cpu_svn,
        misc_select=misc_select,
        isv_ext_prod_id=isv_ext_prod_id,
        attributes=attributes,
        xfrm=xfrm,
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        config_id=config_id,
        isv_prod_id=isv_prod_id,
        isv_svn=isv_svn,
        config_svn=config_svn,
        isv_family_id=isv_family_id,
        report_data=report_data,
    )


@lru_cache(maxsize=64)
def read_pck_chain(pem: bytes) -> tuple[Certificate, Certificate, Certificate]:
    """Read a quote's certificates: PCK, issuer, root, in PEM and nothing between; a zero byte may end them.

    Raises:
        EvidenceMalformed: another number of certificates, other text, base64 or DER in another form (A-6).
    """
    found = _CHAIN.fullmatch(pem)
    if found is None:
        raise EvidenceMalformed("The quote's certificates are not three in PEM.")
    try:
        leaf, issuer, root = (Certificate.from_der(_unwrapped(found[part])) for part in (1, 2, 3))
    except CryptoRefused as error:
        raise EvidenceMalformed(error.detail) from error
    return leaf, issuer, root


def _unwrapped(text: bytes) -> bytes:
    joined = text.replace(b"\r", b"").replace(b"\n", b"")
    try:
        der = binascii.a2b_base64(joined, strict_mode=True)
    except binascii.Error as error:
        raise EvidenceMalformed("A certificate of the quote is not base64.") from error
    if binascii.b2a_base64(der, newline=False) != joined:
        raise EvidenceMalformed("A certificate of the quote is not canonical base64.")
    return der
