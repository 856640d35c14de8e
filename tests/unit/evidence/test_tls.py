"""Certificates of attested TLS that are not in their one form."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64
from paddock.crypto.public_key import PublicKey
from paddock.crypto.tls import EVIDENCE_OID, STATEMENT_OID, TlsKey
from paddock.errors import EvidenceMalformed, PeerRefused
from paddock.evidence import EvidenceSet, UnverifiedEvidence
from paddock.evidence.tls import MAX_WRAPPER_BYTES, Identity, TlsStatement, make_certificate, read_peer
from tests.fixtures.cast import private_keys

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
UNTIL = NOW + timedelta(minutes=4)
KEYS = private_keys("tls peer")
RUN = {"contract": "sha256:" + "a" * 64, "run": "b" * 32, "level": "L5"}
EVIDENCE = EvidenceSet.single(UnverifiedEvidence("application/x", b"evidence"))
_KEY = ec.generate_private_key(ec.SECP256R1())


def identity(**changes: Any) -> dict[str, Any]:
    return {"kind": "keeper", "keys": KEYS.public().to_dict(), **changes}


def signed(claimed: dict[str, Any]) -> bytes:
    """A statement as its maker would sign it, whatever it claims."""
    from hashlib import sha512

    value = {
        "identity": claimed,
        "key": PublicKey(_KEY.public_key()).fingerprint(),
        "not_after": "2026-11-01T12:04:00Z",
        "not_before": "2026-11-01T12:00:00Z",
        "role": "server",
    }
    signature = KEYS.sign.sign(sha512(b"paddock/tls/v1\0" + canonical(value)).digest())
    return canonical({"version": "paddock/tls/v1", "identity": claimed, "signature": b64(signature)})


def certificate(
    statement: bytes | None, evidence: bytes | None = None, *, oid: str = "", critical: bool = False
) -> bytes:
    """A certificate over the one key with these extensions."""
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(_KEY.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(UNTIL)
    values = {STATEMENT_OID: statement, EVIDENCE_OID: evidence, oid: b"\x05\x00" if oid else None}
    for each, value in values.items():
        if value is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(each), value), critical)
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def wrapped(text: str) -> bytes:
    return asn1.encode_der(text)


def test_the_one_form_is_read() -> None:
    peer = read_peer(certificate(signed(identity())), role="server", now=NOW)
    assert (peer.identity.kind, peer.evidence, peer.not_after) == ("keeper", None, UNTIL)
    run = read_peer(certificate(signed(identity(kind="run", **RUN))), role="server", now=NOW)
    assert (run.identity.contract, run.identity.run, run.identity.level) == (RUN["contract"], RUN["run"], "L5")
    text = json.dumps(EVIDENCE.to_wrapper(), separators=(",", ":"))
    shown = read_peer(certificate(signed(identity()), wrapped(text)), role="server", now=NOW)
    assert shown.evidence == EVIDENCE


@pytest.mark.parametrize(
    "claimed",
    [
        {},
        identity(kind="stranger"),
        identity(kind=["keeper"]),
        identity(extra=1),
        identity(run="b" * 32),
        identity(kind="run"),
        identity(kind="run", **RUN, more=1),
        identity(kind="run", **{**RUN, "run": "B" * 32}),
        identity(kind="run", **{**RUN, "run": 7}),
        identity(kind="run", **{**RUN, "contract": "sha256:a"}),
        identity(kind="run", **{**RUN, "level": "L6"}),
        identity(kind="run", **{**RUN, "level": ["L5"]}),
        identity(keys={"sign": "", "seal": ""}),
        identity(keys=None),
    ],
)
def test_an_identity_of_another_form_is_refused(claimed: dict[str, Any]) -> None:
    with pytest.raises(PeerRefused):
        read_peer(certificate(signed(claimed)), role="server", now=NOW)


def bodies() -> dict[str, bytes]:
    whole = json.loads(signed(identity()))
    return {
        "no JSON": b"{",
        "a list": b"[]",
        "empty": b"",
        "white space": signed(identity()) + b" ",
        "another order": json.dumps(dict(reversed(list(whole.items()))), separators=(",", ":")).encode(),
        "another version": canonical({**whole, "version": "paddock/tls/v2"}),
        "a member more": canonical({**whole, "more": 1}),
        "a member less": canonical({name: value for name, value in whole.items() if name != "signature"}),
        "a short signature": canonical({**whole, "signature": b64(bytes(63))}),
        "no signature": canonical({**whole, "signature": None}),
        "another signature": canonical({**whole, "signature": b64(bytes(64))}),
        "too large": canonical({**whole, "signature": "A" * 9000}),
    }


@pytest.mark.parametrize("name", bodies())
def test_a_statement_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(PeerRefused):
        read_peer(certificate(bodies()[name]), role="server", now=NOW)


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        b"\x0c\x02{",
        b"\x04\x02{}",
        wrapped("{}") + b"\0",
        wrapped("{"),
        wrapped("[1]"),
        wrapped("[" * 20_000),
        wrapped('["application/x", "ZXZpZGVuY2U", 2]'),
        wrapped('["application/x","ZXZpZGVuY2U=",2]'),
        wrapped('["application/x","ZXZpZGVuY2U",2.0]'),
        wrapped('["application/x","ZXZpZGVuY2U",4]'),
        wrapped(json.dumps(["application/x", "A" * MAX_WRAPPER_BYTES, 2])),
    ],
)
def test_evidence_of_another_form_is_refused(evidence: bytes) -> None:
    with pytest.raises(PeerRefused):
        read_peer(certificate(signed(identity()), evidence), role="server", now=NOW)


def test_other_extensions_and_none_are_refused() -> None:
    for given_one in (
        certificate(signed(identity()), oid="1.2.3.4"),
        certificate(signed(identity()), oid="1.2.3.4", critical=True),
        certificate(None),
        certificate(None, wrapped("{}")),
        b"",
        b"\x30\x00",
        certificate(signed(identity())) + b"\0",
    ):
        with pytest.raises(PeerRefused):
            read_peer(given_one, role="server", now=NOW)
    with pytest.raises(PeerRefused, match="no certificate"):
        read_peer(None, role="server", now=NOW)


def test_evidence_that_no_certificate_takes_is_refused_by_its_maker() -> None:
    key = TlsKey.generate()
    large = EvidenceSet.single(UnverifiedEvidence("application/x", bytes(MAX_WRAPPER_BYTES)))
    statement = TlsStatement(Identity("keeper", KEYS.public()), key.public.fingerprint(), NOW, UNTIL, "server")
    with pytest.raises(EvidenceMalformed, match="a certificate takes"):
        make_certificate(key, statement, KEYS, large)


@given(st.binary(max_size=400))
def test_whatever_stands_in_the_extensions_is_refused_in_words(data: bytes) -> None:
    for made in (certificate(data), certificate(signed(identity()), data)):
        with pytest.raises(PeerRefused):
            read_peer(made, role="server", now=NOW)


def test_a_bit_changed_anywhere_in_a_statement_is_refused() -> None:
    body = signed(identity())
    for place in range(0, len(body) * 8, 7):
        changed = bytearray(body)
        changed[place // 8] ^= 1 << (place % 8)
        with pytest.raises(PeerRefused):
            read_peer(certificate(bytes(changed)), role="server", now=NOW)
