"""COSE_Sign1 and COSE_Key: what is accepted, and every form that is not."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from paddock.crypto.public_key import PublicKey
from paddock.errors import CryptoRefused, EvidenceMalformed, EvidenceNotTrusted, SignatureRefused
from paddock.evidence.cbor import Tagged, read_cbor, write_cbor
from paddock.evidence.cose import read_key, read_sign1
from tests.fixtures.vendors.cose import ES256, ES384, ES512, cose_key, public_pem, sign1

CURVES = {ES256: "P-256", ES384: "P-384", ES512: "P-521"}
GOOD = sign1(cose_key("a"), b"payload", tagged=False)


def key(curve: str = "P-384", label: str = "a") -> PublicKey:
    return PublicKey.from_pem(public_pem(cose_key(label, curve).public_key()))


@pytest.mark.parametrize("algorithm", CURVES)
@pytest.mark.parametrize("tagged", [False, True])
def test_a_signature_holds_for_its_key_alone(algorithm: int, tagged: bool) -> None:
    curve = CURVES[algorithm]
    data = sign1(cose_key("a", curve), b"payload", tagged=tagged, algorithm=algorithm)
    read = read_sign1(data, "test", tagged=tagged)
    assert read.payload == b"payload"
    read.verify(key(curve))
    with pytest.raises(SignatureRefused):
        read.verify(key(curve, "b"))
    for other in set(CURVES.values()) - {curve}:
        with pytest.raises(EvidenceNotTrusted):
            read.verify(key(other))
    with pytest.raises(EvidenceMalformed):
        read_sign1(data, "test", tagged=not tagged)


def test_the_structure_that_is_signed_is_the_rfc_s() -> None:
    # RFC 9052 §4.4 by hand: ["Signature1", protected, external, payload].
    signed = bytes.fromhex("846a5369676e617475726531") + bytes.fromhex("44a1013822") + b"\x40" + b"\x47payload"
    read = read_sign1(GOOD, "test", tagged=False)
    key().verify_ecdsa_raw(read.signature, signed, "sha384")


@pytest.mark.parametrize(
    "protected",
    [
        b"",
        write_cbor({}),
        write_cbor([1]),
        write_cbor(None),
        write_cbor({1: -34}),
        write_cbor({1: -8}),
        write_cbor({1: "ES384"}),
        write_cbor({1: True}),
        write_cbor({1: None}),
        write_cbor({2: ES384}),
        write_cbor({"1": ES384}),
        write_cbor({1: ES384, 3: 0}),
        write_cbor({1: ES384, 2: [1]}),
        write_cbor({1: ES384, 4: b"kid"}),
        write_cbor({1: ES384}) + b"\0",
        bytes.fromhex("a101390022"),
        bytes.fromhex("bf013822ff"),
    ],
)
def test_a_protected_header_is_an_algorithm_and_nothing_else(protected: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        read_sign1(sign1(cose_key("a"), b"payload", tagged=False, protected=protected), "test", tagged=False)


@pytest.mark.parametrize(
    ("unprotected", "plain", "with_key_id"),
    [
        ({}, True, True),
        ({4: b"kid"}, False, True),
        ({4: b""}, False, False),
        ({4: bytes(65)}, False, False),
        ({4: "kid"}, False, False),
        ({4: b"kid", 1: ES384}, False, False),
        ({1: ES384}, False, False),
        ({33: b"certificate"}, False, False),
        ([], False, False),
        (b"", False, False),
    ],
)
def test_an_unprotected_header_is_empty_or_an_id(unprotected: object, plain: bool, with_key_id: bool) -> None:
    data = sign1(cose_key("a"), b"payload", tagged=False, unprotected=unprotected)
    for allowed, key_id in ((plain, False), (with_key_id, True)):
        if allowed:
            read_sign1(data, "test", tagged=False, key_id=key_id).verify(key())
        else:
            with pytest.raises(EvidenceMalformed):
                read_sign1(data, "test", tagged=False, key_id=key_id)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrong", [None, 1, "text", [], b""])
def test_a_member_of_another_type_is_refused(place: int, wrong: object) -> None:
    members: list[Any] = read_cbor(GOOD, "good")
    members[place] = wrong
    with pytest.raises(EvidenceMalformed):
        read_sign1(write_cbor(members), "test", tagged=False)


def test_another_number_of_members_or_another_tag_is_refused() -> None:
    members: list[Any] = read_cbor(GOOD, "good")
    values: list[Any] = [members[:3], [*members, b""], [], {}, b"", None, Tagged(17, members)]
    for value in [*values, Tagged(18, Tagged(18, members))]:
        for tagged in (False, True):
            with pytest.raises(EvidenceMalformed):
                read_sign1(write_cbor(value), "test", tagged=tagged)


@pytest.mark.parametrize("length", [0, 1, 64, 95, 97, 104, 132])
def test_a_signature_has_its_algorithm_s_length(length: int) -> None:
    members: list[Any] = read_cbor(GOOD, "good")
    with pytest.raises(EvidenceMalformed):
        read_sign1(write_cbor([*members[:3], bytes(length)]), "test", tagged=False)


def test_a_key_is_read() -> None:
    for number, (curve, size) in enumerate((("P-256", 32), ("P-384", 48), ("P-521", 66)), 1):
        point = (
            cose_key("a", curve)
            .public_key()
            .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        )
        x, y = point[1 : 1 + size], point[1 + size :]
        good: dict[int, Any] = {1: 2, -1: number, -2: x, -3: y}
        assert read_key(write_cbor(good), "key") == key(curve)
        for change in (
            {1: 1},
            {1: 3},
            {1: True},
            {-1: 0},
            {-1: 4},
            {-1: number % 3 + 1},
            {-1: True},
            {-2: x[1:]},
            {-2: b"\0" + x},
            {-3: y[:-1] + bytes([y[-1] ^ 1])},
            {-3: False},  # a compressed point
            {-4: bytes(size)},  # a private key
            {3: ES384},
            {2: b"kid"},
        ):
            with pytest.raises((EvidenceMalformed, CryptoRefused)):
                read_key(write_cbor(good | change), "key")
        for missing in good:
            with pytest.raises(EvidenceMalformed):
                read_key(write_cbor({k: v for k, v in good.items() if k != missing}), "key")
