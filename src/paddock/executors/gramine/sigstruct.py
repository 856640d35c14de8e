"""Reading a SIGSTRUCT: what an enclave's author signed, and the measurement in it. Pure: bytes in, facts out.

Source: Intel SDM volume 3D §38.13 (SIGSTRUCT), §38.7.1 (ATTRIBUTES); RFC 8017 §9.2 (EMSA-PKCS1-v1_5).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from paddock.errors import SigstructInvalid

BYTES = 1808
_HEADER = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
_DEBUG = 1 << 1
_KEY_BYTES, _EXPONENT = 384, 3
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True)
class Sigstruct:
    """What a signer states of an enclave.

    Args:
        mrenclave: its measurement, 32 bytes.
        mrsigner: SHA-256 of the signer's modulus, 32 bytes.
        debug: whether it is an enclave whose memory the host can read.
        isv_prod_id: the signer's number for it.
        isv_svn: the signer's version of it.
    """

    mrenclave: bytes
    mrsigner: bytes
    debug: bool
    isv_prod_id: int
    isv_svn: int


def read_sigstruct(body: bytes) -> Sigstruct:
    """Read it strictly, signature included; whose key signed is for nobody to care: a contract names what was measured.

    Raises:
        SigstructInvalid: not one, or its signature is not by the key in it.
    """
    if len(body) != BYTES or body[:16] != _HEADER or body[24:40] != _HEADER2:
        raise SigstructInvalid("It is no SIGSTRUCT.")
    modulus, signature = (int.from_bytes(body[at : at + _KEY_BYTES], "little") for at in (128, 516))
    (exponent,) = struct.unpack_from("<L", body, 512)
    digest = hashlib.sha256(body[:128] + body[900:1028]).digest()
    padded = b"\x00\x01" + b"\xff" * (_KEY_BYTES - 3 - len(_SHA256) - len(digest)) + b"\x00" + _SHA256 + digest
    if exponent != _EXPONENT or modulus == 0 or pow(signature, _EXPONENT, modulus) != int.from_bytes(padded, "big"):
        raise SigstructInvalid("Its signature does not hold.")
    (flags,) = struct.unpack_from("<Q", body, 928)
    (mask,) = struct.unpack_from("<Q", body, 944)
    isv_prod_id, isv_svn = struct.unpack_from("<HH", body, 1024)
    return Sigstruct(
        mrenclave=body[960:992],
        mrsigner=hashlib.sha256(body[128 : 128 + _KEY_BYTES]).digest(),
        debug=bool(flags & _DEBUG) or not mask & _DEBUG,  # a mask without the bit lets whoever starts it choose
        isv_prod_id=isv_prod_id,
        isv_svn=isv_svn,
    )
