"""Keys, envelopes and sealing: what was made opens, and nothing else does; nothing secret is shown."""

from __future__ import annotations

import pytest

from paddock.crypto.digest import b64
from paddock.crypto.dsse import MAX_SIGNATURES, Envelope, Signature, pre_authentication_encoding
from paddock.crypto.hpke import OVERHEAD_BYTES, PUBLIC_BYTES, OpeningKey, RecipientKey
from paddock.crypto.identity import PrivateKeys, PublicKeys, normal_fingerprint
from paddock.crypto.signing import SigningKey, VerifyKey
from paddock.errors import EncodingRefused, SignatureRefused, UnwrapRefused
from tests.fixtures.cast import member, private_keys, secret

KIND = "application/vnd.example"
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)


def test_rfc_8032_section_7_1_test_1() -> None:
    key = SigningKey(SEED)
    assert key.verify_key.raw == PUBLIC
    assert key.sign(b"") == SIGNATURE
    VerifyKey(PUBLIC).verify(SIGNATURE, b"")
    assert key.seed() == SEED
    assert VerifyKey(PUBLIC) == key.verify_key
    assert hash(VerifyKey(PUBLIC)) == hash(key.verify_key)
    assert VerifyKey(PUBLIC) != PUBLIC


def test_a_changed_signature_or_message_is_refused() -> None:
    key = SigningKey(SEED)
    group_order = 2**252 + 27742317777372353535851937790883648493
    beyond = int.from_bytes(SIGNATURE[32:], "little") + group_order  # the same value modulo the order (RFC 8032 §8.4)
    for signature, message in (
        (SIGNATURE, b"x"),
        (bytes(64), b""),
        (SIGNATURE[:-1], b""),
        (SIGNATURE[:32] + beyond.to_bytes(32, "little"), b""),
        (b"", b""),
    ):
        with pytest.raises(SignatureRefused):
            key.verify_key.verify(signature, message)


def test_dsse_encoding_is_that_of_its_specification() -> None:
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pre_authentication_encoding("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_an_envelope_comes_back_as_it_was() -> None:
    envelope = Envelope.sign(KIND, b"payload", private_keys("a").sign, "a").with_signature(private_keys("b").sign, "b")
    assert Envelope.from_json(envelope.to_json()) == envelope
    assert envelope.merge(envelope.signatures) == envelope
    with pytest.raises(SignatureRefused, match="exactly one"):
        envelope.verify_by(private_keys("b").sign.verify_key, KIND)
    envelope = Envelope.sign(KIND, b"payload", private_keys("a").sign, "a")
    assert envelope.verify_by(private_keys("a").sign.verify_key, KIND) == b"payload"
    with pytest.raises(SignatureRefused, match="another type"):
        envelope.verify_by(private_keys("a").sign.verify_key, KIND + "x")
    with pytest.raises(SignatureRefused, match="expected key"):
        envelope.verify_by(private_keys("c").sign.verify_key, KIND)


def test_an_envelope_has_one_form() -> None:
    good = Envelope.sign(KIND, b"payload", private_keys("a").sign, "a").to_dict()
    row = {"keyid": "a", "sig": b64(bytes(64))}
    bad: list[object] = [
        None,
        [],
        {},
        {**good, "more": 1},
        {**good, "payload": "?"},
        {**good, "payload": None},
        {**good, "payloadType": 1},
        {**good, "signatures": {}},
        {**good, "signatures": [row] * (MAX_SIGNATURES + 1)},
        {**good, "signatures": [None]},
        {**good, "signatures": [{**row, "cert": ""}]},
        {**good, "signatures": [{**row, "keyid": None}]},
        {**good, "signatures": [{**row, "sig": b64(bytes(63))}]},
    ]
    for value in bad:
        with pytest.raises(EncodingRefused):
            Envelope.from_dict(value)
    with pytest.raises(EncodingRefused):
        Envelope(KIND, b"", (Signature("\ud800", bytes(64)),)).to_json()


def test_what_is_sealed_opens_for_its_recipient_and_purpose_alone() -> None:
    key, other = OpeningKey(secret("one")), OpeningKey(secret("two"))
    sealed = key.recipient.seal(b"secret", b"purpose")
    assert len(sealed) == len(b"secret") + OVERHEAD_BYTES
    assert key.open(sealed, b"purpose") == b"secret"
    for opener, data, info in (
        (other, sealed, b"purpose"),
        (key, sealed, b"other"),
        (key, sealed[:-1], b"purpose"),
        (key, sealed + b"x", b"purpose"),
        (key, bytes([sealed[0] ^ 1]) + sealed[1:], b"purpose"),
        (key, b"", b"purpose"),
        (key, bytes(5000), b"purpose"),
    ):
        with pytest.raises(UnwrapRefused):
            opener.open(data, info)


_LOW_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
)


@pytest.mark.parametrize("point", _LOW_ORDER)
def test_a_recipient_key_that_seals_to_everybody_is_refused(point: int) -> None:
    mlkem = private_keys("a").seal.recipient.raw[:1184]
    with pytest.raises(EncodingRefused, match="low order"):
        RecipientKey(mlkem + point.to_bytes(32, "little"))


def test_a_recipient_key_is_a_key() -> None:
    good = private_keys("a").seal.recipient.raw
    for raw in (b"", good[:-1], good + b"x", b"\xff" * PUBLIC_BYTES):
        with pytest.raises(EncodingRefused):
            RecipientKey(raw)
    assert RecipientKey(good) == private_keys("a").seal.recipient
    assert hash(RecipientKey(good)) == hash(private_keys("a").seal.recipient)
    assert RecipientKey(good) != good


def test_keys_have_their_length() -> None:
    for make in (OpeningKey, SigningKey, VerifyKey):
        with pytest.raises(EncodingRefused):
            make(bytes(31))


def test_fresh_keys_differ() -> None:
    assert PrivateKeys.generate().public() != PrivateKeys.generate().public()


def test_private_keys_come_back_from_their_file_and_show_nothing() -> None:
    keys = private_keys("a")
    again = PrivateKeys.from_secret_dict(keys.to_secret_dict())
    assert again.public() == keys.public()
    shown = repr(keys) + repr(keys.sign) + repr(keys.seal) + str(keys)
    for hidden in (keys.sign.seed(), keys.seal.seed()):
        assert hidden.hex() not in shown
        assert b64(hidden) not in shown
        assert repr(hidden)[2:-1] not in shown
    for value in (None, {}, {"sign": b64(bytes(32))}, {"sign": b64(bytes(32)), "seal": b64(bytes(31))}):
        with pytest.raises(EncodingRefused):
            PrivateKeys.from_secret_dict(value)
    with pytest.raises(EncodingRefused):
        PublicKeys.from_dict({"sign": b64(bytes(32))})


def test_a_fingerprint_is_read_as_people_type_it() -> None:
    text = member("north").fingerprint
    for typed in (text, text.lower(), text.replace("-", ""), text.replace("-", " ")):
        assert normal_fingerprint(typed) == text
    for typed in ("", text[:-1], text + "A", text.replace(text[0], "1"), text.replace("-", "_"), "é" * 52):
        with pytest.raises(EncodingRefused):
            normal_fingerprint(typed)
