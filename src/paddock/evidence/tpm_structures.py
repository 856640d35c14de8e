"""What a TPM 2.0 signs, what it signs with, and the key itself: read strictly, big-endian, nothing left over.

The values of platform configuration registers (PCRs) travel beside a quote; they count only where they hash to the
digest that the quote holds.

Source: TCG Trusted Platform Module Library 2.0, Part 2 (§8.3 TPMA_OBJECT, §10.6 PCR structures, §10.12 attestation
structures, §11.3 signatures, §12.2 public areas), Part 3 §18.4 (TPM2_Quote); docs/spec/attestation.md (A-6).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from paddock.crypto.public_key import HashName, PublicKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted
from paddock.evidence.reading import Reader

MAX_STRUCTURE_BYTES = 4096

GENERATED, ATTEST_QUOTE = b"\xff\x54\x43\x47", 0x8018  # TPM_GENERATED_VALUE, TPM_ST_ATTEST_QUOTE
RSA, ECC, NULL = 0x0001, 0x0023, 0x0010
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018

BANKS: Mapping[int, str] = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
"""Hash algorithms by TPM_ALG_ID, as banks of PCRs bear their names."""
BANK_IDS: Mapping[str, int] = {name: number for number, name in BANKS.items()}
BANK_BYTES: Mapping[str, int] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
_HASHES: Mapping[int, HashName] = {0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
_CURVES: Mapping[int, tuple[str, int]] = {0x0003: ("P-256", 32), 0x0004: ("P-384", 48)}
_LEAST_RSA_BITS, _MOST_RSA_BITS, _USUAL_EXPONENT = 2048, 4096, 65537

# TPMA_OBJECT
_FIXED_TPM, _FIXED_PARENT, _OWN_ORIGIN = 1 << 1, 1 << 4, 1 << 5
_RESTRICTED, _DECRYPT, _SIGN, _X509_SIGN = 1 << 16, 1 << 17, 1 << 18, 1 << 19
_DEMANDED = {
    _FIXED_TPM: "fixedTPM",
    _FIXED_PARENT: "fixedParent",
    _OWN_ORIGIN: "sensitiveDataOrigin",
    _RESTRICTED: "restricted",
    _SIGN: "sign",
}
_FORBIDDEN = {_DECRYPT: "decrypt", _X509_SIGN: "x509sign"}
# Bits 0, 3, 12 to 15 and 20 to 31; bits 8 and 9 limit a key to a firmware since revision 1.83.
_RESERVED = (1 << 0) | (1 << 3) | 0xF000 | 0xFFF00000

_CLOCK = struct.Struct(">QIIBQ")  # TPMS_CLOCK_INFO and the firmware's version
_MOST_REGISTERS_BYTES = 4  # a selection of PCRs has a bit for each: 24 in a PC


@dataclass(frozen=True)
class Quote:
    """What a TPM signed: a TPMS_ATTEST of the type quote.

    Args:
        extra_data: what the caller of the TPM bound into it.
        signer_hash: name algorithm of the qualified name of the key.
        clock_ms: milliseconds that the TPM has been powered.
        resets: how often it was started.
        restarts: how often it was resumed.
        clock_safe: whether no larger value of the clock was ever reported.
        firmware: the vendor's version, 64 bits.
        selection: banks with their PCRs, in the TPM's order.
        pcr_digest: over the values of the selected PCRs.
    """

    extra_data: bytes
    signer_hash: int
    clock_ms: int
    resets: int
    restarts: int
    clock_safe: bool
    firmware: int
    selection: tuple[tuple[str, tuple[int, ...]], ...]
    pcr_digest: bytes


@dataclass(frozen=True)
class Signature:
    """A TPMT_SIGNATURE.

    Args:
        scheme: RSASSA, RSAPSS or ECDSA.
        hash_name: of what was signed.
        parts: the RSA signature, or r and s.
    """

    scheme: int
    hash_name: HashName
    parts: tuple[bytes, ...]


@dataclass(frozen=True)
class AttestationKey:
    """A TPMT_PUBLIC of a key that signs nothing but what the TPM itself made.

    Args:
        key: the public key.
        scheme: RSASSA, RSAPSS or ECDSA: the only one that it signs with.
        hash_name: likewise.
        name_hash: TPM_ALG_ID of its name.
        name: `sha256:` of the whole public area: the TPM's name of the key, where that is made with SHA-256.
    """

    key: PublicKey
    scheme: int
    hash_name: HashName
    name_hash: int
    name: str

    def verify(self, quote: bytes, signature: Signature) -> None:
        """Return if the signature over a TPMS_ATTEST holds.

        Raises:
            SignatureRefused: it does not.
            EvidenceNotTrusted: it is of another scheme than the key makes.
        """
        if (signature.scheme, signature.hash_name) != (self.scheme, self.hash_name):
            raise EvidenceNotTrusted("The signature is of another scheme than its attestation key makes.")
        if signature.scheme == ECDSA:
            size = {"P-256": 32, "P-384": 48}[self.key.kind]
            if any(len(part) > size for part in signature.parts):
                raise EvidenceMalformed("A part of the signature is longer than its key makes.")
            raw = b"".join(part.rjust(size, b"\0") for part in signature.parts)
            self.key.verify_ecdsa_raw(raw, quote, signature.hash_name)
        elif signature.scheme == RSASSA:
            self.key.verify_rsa_pkcs1(signature.parts[0], quote, signature.hash_name)
        else:
            # The salt is as long as fits (Part 1 §B.7), or as the hash in FIPS mode.
            self.key.verify_rsa_pss(signature.parts[0], quote, signature.hash_name)


def read_quote(data: bytes) -> Quote:
    """Read a TPMS_ATTEST that must be a quote.

    Raises:
        EvidenceMalformed: not made by a TPM, of another type, another form, or no PCR is in it.
    """
    reader = _reader(data, "TPM quote")
    reader.expect(GENERATED, "magic number")
    if reader.number(2, "big") != ATTEST_QUOTE:
        raise reader.refuse("it attests something else than PCRs")
    signer = reader.counted(2, "big", 2 + 64)
    signer_hash = int.from_bytes(signer[:2], "big")
    if signer_hash not in BANKS or len(signer) != 2 + BANK_BYTES[BANKS[signer_hash]]:
        raise reader.refuse("the name of its signer is not well formed")
    extra_data = reader.counted(2, "big", 2 + 64)
    clock, resets, restarts, safe, firmware = _CLOCK.unpack(reader.take(_CLOCK.size))
    if safe > 1:
        raise reader.refuse("a truth value is neither yes nor no")
    selection = _selection(reader)
    digest = reader.counted(2, "big", 64)
    reader.end()
    return Quote(extra_data, signer_hash, clock, resets, restarts, bool(safe), firmware, selection, digest)


def _selection(reader: Reader) -> tuple[tuple[str, tuple[int, ...]], ...]:
    count = reader.number(4, "big")
    if not 1 <= count <= len(BANKS):
        raise reader.refuse(f"it selects PCRs of {count} banks")
    found: dict[str, tuple[int, ...]] = {}
    for _ in range(count):
        bank = BANKS.get(reader.number(2, "big"))
        bits = int.from_bytes(reader.counted(1, "big", _MOST_REGISTERS_BYTES), "little")
        if bank is None or bank in found:
            raise reader.refuse("it selects PCRs of a bank that is not known, or twice of one")
        found[bank] = tuple([number for number in range(bits.bit_length()) if bits >> number & 1])
    if not any(found.values()):
        raise reader.refuse("it selects no PCR")
    return tuple(found.items())


def read_signature(data: bytes) -> Signature:
    """Read a TPMT_SIGNATURE made with RSASSA, RSAPSS or ECDSA.

    Raises:
        EvidenceMalformed: another form or scheme, or a hash that is not used here.
    """
    reader = _reader(data, "TPM signature")
    scheme, hash_name = reader.number(2, "big"), _HASHES.get(reader.number(2, "big"))
    if scheme not in {RSASSA, RSAPSS, ECDSA} or hash_name is None:
        raise reader.refuse("it is of a scheme that is not used here")
    parts = tuple(reader.counted(2, "big", 512) for _ in range(2 if scheme == ECDSA else 1))
    reader.end()
    return Signature(scheme, hash_name, parts)


@lru_cache(maxsize=256)
def read_public(data: bytes) -> AttestationKey:
    """Read a TPMT_PUBLIC that must be of an attestation key: born in its TPM, never leaving it, for signing the TPM's own
    structures alone.

    Its attributes are the TPM's word only where somebody vouches for the whole area or for the key; the verifier of the
    quote sees to that.

    Raises:
        EvidenceMalformed: another form, another kind of key.
        EvidenceNotTrusted: a key that could sign what no TPM made, or that exists outside of its TPM.
    """
    reader = _reader(data, "TPM public area")
    kind, name_hash, attributes = reader.number(2, "big"), reader.number(2, "big"), reader.number(4, "big")
    if name_hash not in _HASHES:
        raise reader.refuse("its name is made with a hash that is not used here")
    if attributes & _RESERVED:
        raise reader.refuse("an attribute that is reserved is set")
    missing = [name for bit, name in _DEMANDED.items() if not attributes & bit]
    unfit = [name for bit, name in _FORBIDDEN.items() if attributes & bit]
    if missing or unfit:
        raise EvidenceNotTrusted(f"The key is not an attestation key: {', '.join([*missing, *unfit])}.")
    policy = reader.counted(2, "big", 64)
    if len(policy) not in {0, BANK_BYTES[BANKS[name_hash]]}:
        raise reader.refuse("its policy has another length than its hash")
    if reader.number(2, "big") != NULL:
        raise reader.refuse("a signing key has a symmetric algorithm")
    try:
        scheme, hash_name, key = _rsa(reader) if kind == RSA else _ecc(reader, kind)
    except CryptoRefused as error:
        raise reader.refuse("its key is not well formed") from error
    reader.end()
    return AttestationKey(key, scheme, hash_name, name_hash, "sha256:" + hashlib.sha256(data).hexdigest())


def _scheme(reader: Reader, allowed: frozenset[int]) -> tuple[int, HashName]:
    scheme, hash_name = reader.number(2, "big"), _HASHES.get(reader.number(2, "big"))
    if scheme not in allowed or hash_name is None:
        raise reader.refuse("its scheme is not used here")
    return scheme, hash_name


def _rsa(reader: Reader) -> tuple[int, HashName, PublicKey]:
    scheme, hash_name = _scheme(reader, frozenset({RSASSA, RSAPSS}))
    bits, exponent = reader.number(2, "big"), reader.number(4, "big")
    modulus = reader.counted(2, "big", _MOST_RSA_BITS // 8)
    if not _LEAST_RSA_BITS <= bits <= _MOST_RSA_BITS or len(modulus) * 8 != bits or not modulus[0] & 0x80:
        raise reader.refuse("its modulus has another size than it says, or one that is not used here")
    return scheme, hash_name, PublicKey.from_rsa(modulus, exponent or _USUAL_EXPONENT)


def _ecc(reader: Reader, kind: int) -> tuple[int, HashName, PublicKey]:
    if kind != ECC:
        raise reader.refuse("it is neither an RSA nor an ECC key")
    scheme, hash_name = _scheme(reader, frozenset({ECDSA}))
    curve, size = _CURVES.get(reader.number(2, "big"), ("", 0))
    if not curve:
        raise reader.refuse("its curve is not used here")
    if reader.number(2, "big") != NULL:
        raise reader.refuse("a signing key has a key derivation")
    x, y = reader.counted(2, "big", size), reader.counted(2, "big", size)
    return scheme, hash_name, PublicKey.from_point(curve, x, y)


def check_pcrs(quote: Quote, hash_name: HashName, pcrs: Mapping[str, Mapping[int, bytes]]) -> None:
    """Return if these are the values of exactly the PCRs that were quoted.

    Args:
        quote: a quote whose signature holds.
        hash_name: the hash of its signature, which the TPM takes for this digest too.
        pcrs: values by bank and number.

    Raises:
        EvidenceMalformed: others than were selected, or a value of another length than its bank.
        EvidenceNotTrusted: other values than were quoted.
    """
    selected = {bank: numbers for bank, numbers in quote.selection if numbers}
    if {bank: tuple(sorted(values)) for bank, values in pcrs.items()} != selected:
        raise EvidenceMalformed("Its PCRs are not those that were quoted.")
    values = [(bank, pcrs[bank][number]) for bank, numbers in selected.items() for number in numbers]
    if any(len(value) != BANK_BYTES[bank] for bank, value in values):
        raise EvidenceMalformed("A PCR has another length than its bank.")
    digest = hashlib.new(hash_name, b"".join(value for _, value in values)).digest()
    if not hmac.compare_digest(digest, quote.pcr_digest):
        raise EvidenceNotTrusted("Its PCRs have other values than were quoted.")


def _reader(data: bytes, what: str) -> Reader:
    if len(data) > MAX_STRUCTURE_BYTES:
        raise EvidenceMalformed(f"The {what} has {len(data)} bytes; at most {MAX_STRUCTURE_BYTES} are read.")
    return Reader(data, what)
