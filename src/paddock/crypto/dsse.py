"""DSSE envelopes: signatures over typed bytes (github.com/secure-systems-lab/dsse, version 1.0.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paddock.crypto.canonical import MAX_DOCUMENT_BYTES, canonical, parse
from paddock.crypto.digest import b64, unb64
from paddock.crypto.signing import SIGNATURE_BYTES, SigningKey, VerifyKey
from paddock.errors import EncodingRefused, SignatureRefused

MAX_SIGNATURES = 256
MAX_KEYID_CHARACTERS = 128


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: type and payload, each with its length (DSSE protocol, PAE)."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Signature:
    """One signature. `keyid` is a hint only (DSSE): it never decides which key verifies."""

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """Typed bytes and the signatures over them. Nothing in it is verified until `verify_by` returned."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, key: SigningKey, keyid: str) -> Envelope:
        """A new envelope with one signature."""
        return cls(payload_type, payload, ()).with_signature(key, keyid)

    def with_signature(self, key: SigningKey, keyid: str) -> Envelope:
        """This envelope with one more signature, over the same bytes."""
        sig = key.sign(pre_authentication_encoding(self.payload_type, self.payload))
        return self.merge([Signature(keyid, sig)])

    def merge(self, more: Iterable[Signature]) -> Envelope:
        """This envelope with further signatures over the same bytes; one already there is not added twice."""
        merged = dict.fromkeys((*self.signatures, *more))
        return Envelope(self.payload_type, self.payload, tuple(sorted(merged, key=lambda s: (s.keyid, s.sig))))

    def verify_by(self, key: VerifyKey, payload_type: str) -> bytes:
        """The payload, if its only signature was made by `key` over it and it is of this type.

        Raises:
            SignatureRefused: another type, another signer, or further signatures, which whoever passes it on could add.
        """
        if self.payload_type != payload_type:
            raise SignatureRefused(f"The envelope holds another type of message, {payload_type} was expected.")
        if len(self.signatures) != 1:
            raise SignatureRefused("The envelope does not bear exactly one signature.")
        try:
            key.verify(self.signatures[0].sig, pre_authentication_encoding(self.payload_type, self.payload))
        except SignatureRefused:
            raise SignatureRefused("The envelope's signature is not by the expected key.") from None
        return self.payload

    def to_json(self) -> bytes:
        """The envelope as canonical JSON."""
        return canonical(self.to_dict())

    def to_dict(self) -> dict[str, object]:
        """The envelope as JSON values."""
        return {
            "payload": b64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": s.keyid, "sig": b64(s.sig)} for s in self.signatures],
        }

    @classmethod
    def from_json(cls, data: bytes, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Envelope:
        """Read an envelope strictly: its three members and no others. Verifies no signature.

        Raises:
            EncodingRefused: anything that `to_json` could not have written.
        """
        return cls.from_dict(parse(data, max_bytes=max_bytes))

    @classmethod
    def from_dict(cls, value: object) -> Envelope:
        """Read an envelope from JSON values; see `from_json`."""
        if not isinstance(value, dict) or set(value) != {"payload", "payloadType", "signatures"}:
            raise EncodingRefused("This is not a DSSE envelope.")
        kind, rows = value["payloadType"], value["signatures"]
        if not isinstance(kind, str) or not isinstance(rows, list) or len(rows) > MAX_SIGNATURES:
            raise EncodingRefused("This is not a DSSE envelope.")
        signatures = []
        for row in rows:
            if not isinstance(row, dict) or set(row) != {"keyid", "sig"} or not _is_keyid(row["keyid"]):
                raise EncodingRefused("A signature in the envelope is not well formed.")
            signatures.append(Signature(row["keyid"], unb64(row["sig"], SIGNATURE_BYTES)))
        return cls(kind, unb64(value["payload"]), tuple(signatures))


def _is_keyid(value: object) -> bool:
    # No signature covers a key id: a bound keeps whoever passes an envelope on from swelling it.
    return isinstance(value, str) and len(value) <= MAX_KEYID_CHARACTERS
