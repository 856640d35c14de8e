"""COSE_Sign1: one signature over one payload, as vendors' evidence uses it.

ECDSA alone, each algorithm with its own curve. What is not signed (the unprotected header) says nothing here.

Source: RFC 9052 §4.2 and §4.4 (COSE_Sign1), RFC 9053 §2.1 and §7.1 (ECDSA, its keys); docs/spec/attestation.md (A-2, A-6).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from paddock.crypto.public_key import HashName, PublicKey
from paddock.errors import EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.cbor import Members, Tagged, read_cbor, write_cbor

SIGN1_TAG = 18
ALGORITHM, KEY_ID = 1, 4
"""Labels of header parameters."""
_MAX_KEY_ID_BYTES = 64
_KEY_TYPE, _CURVE, _X, _Y = 1, -1, -2, -3  # labels of a COSE_Key
_EC2 = 2
_CURVES = MappingProxyType({1: ("P-256", 32), 2: ("P-384", 48), 3: ("P-521", 66)})


class _Algorithm(NamedTuple):
    name: str
    curve: str
    hash_name: HashName
    signature_bytes: int


_ALGORITHMS = MappingProxyType(
    {
        -7: _Algorithm("ES256", "P-256", "sha256", 64),
        -35: _Algorithm("ES384", "P-384", "sha384", 96),
        -36: _Algorithm("ES512", "P-521", "sha512", 132),
    }
)


@dataclass(frozen=True)
class Sign1:
    """A COSE_Sign1 that was read and not verified.

    Args:
        protected: the protected header, as it was encoded.
        algorithm: -7, -35 or -36.
        payload: what was signed.
        signature: r || s.
    """

    protected: bytes
    algorithm: int
    payload: bytes
    signature: bytes

    def verify(self, key: PublicKey) -> None:
        """Return if `key` signed it.

        Raises:
            EvidenceNotTrusted: the key is not one that its algorithm signs with.
            SignatureRefused: the signature does not hold.
        """
        algorithm = _ALGORITHMS[self.algorithm]
        if key.kind != algorithm.curve:
            raise EvidenceNotTrusted(f"{algorithm.name} does not sign with a key of the kind {key.kind}.")
        signed = write_cbor(["Signature1", self.protected, b"", self.payload])
        key.verify_ecdsa_raw(self.signature, signed, algorithm.hash_name)


def read_sign1(data: bytes, what: str, *, tagged: bool, key_id: bool = False) -> Sign1:
    """Read a COSE_Sign1 strictly.

    Args:
        data: all of it.
        what: what it is called in a refusal.
        tagged: whether it stands under tag 18, or bare; it is one or the other.
        key_id: whether a key's id may stand in the unprotected header. It is signed by nobody and therefore not read.

    Raises:
        EvidenceMalformed: another form; a protected header of anything but an algorithm that is known; a payload that
            is elsewhere; a signature of another length than the algorithm's (A-6).
    """
    value = read_cbor(data, what, tags=(SIGN1_TAG,))
    if tagged:
        value = value.value if type(value) is Tagged else None
    if type(value) is not list or len(value) != 4:
        raise EvidenceMalformed(f"The {what} is no COSE_Sign1 of the form that it must have.")
    protected, unprotected, payload, signature = value
    if type(protected) is not bytes or type(payload) is not bytes or type(signature) is not bytes or not payload:
        raise EvidenceMalformed(f"The {what} is no COSE_Sign1 that carries its payload.")
    if not _is_allowed(unprotected, key_id=key_id):
        raise EvidenceMalformed(f"The {what} has an unprotected header.")
    header = read_cbor(protected, f"{what}'s header")
    algorithm = header.get(ALGORITHM) if type(header) is dict and len(header) == 1 else None
    if type(algorithm) is not int or algorithm not in _ALGORITHMS:
        raise EvidenceMalformed(f"The {what} has a protected header of anything but an algorithm that is known.")
    if len(signature) != _ALGORITHMS[algorithm].signature_bytes:
        raise EvidenceMalformed(f"The {what} has a signature of another length than its algorithm makes.")
    return Sign1(protected, algorithm, payload, signature)


def read_key(data: bytes, what: str) -> PublicKey:
    """Read a COSE_Key of an elliptic curve's point, both coordinates of the field's size.

    Raises:
        EvidenceMalformed: another kind of key, curve, form or member (A-6).
        EncodingRefused: no point of its curve.
    """
    members = Members(read_cbor(data, what), what)
    members.number(_KEY_TYPE, (_EC2,))
    curve, size = _CURVES[members.number(_CURVE, _CURVES)]
    x, y = members.octets(_X, (size,)), members.octets(_Y, (size,))
    members.end()
    return PublicKey.from_point(curve, x, y)


def _is_allowed(unprotected: object, *, key_id: bool) -> bool:
    if type(unprotected) is not dict:
        return False
    found = unprotected.get(KEY_ID) if key_id and len(unprotected) == 1 else None
    return not unprotected or (type(found) is bytes and 0 < len(found) <= _MAX_KEY_ID_BYTES)
