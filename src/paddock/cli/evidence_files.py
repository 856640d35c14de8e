"""Evidence as people have it in files: our wrapper, a provider's body, hex text of one, or what other tools write."""

from __future__ import annotations

import re
from pathlib import Path

from paddock.cli.foreign_evidence import gpu_report, translated
from paddock.crypto.canonical import parse
from paddock.errors import CryptoRefused, EvidenceMalformed
from paddock.evidence.claims import COLLECTION_MEMBER, MAX_EVIDENCE_BYTES, EvidenceSet, UnverifiedEvidence
from paddock.evidence.provider import installed_providers

_HEX = re.compile(rb"\s*(?:[0-9A-Fa-f]\s*){2,}")
_MAX_FILE_BYTES = 16 * MAX_EVIDENCE_BYTES  # a collection of all labels in base64


def read_file(path: Path) -> bytes:
    """A bounded file.

    Raises:
        EvidenceMalformed: it cannot be read, or is too large to be evidence.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise EvidenceMalformed(f"{path}: {error.strerror}.") from error
    if len(data) > _MAX_FILE_BYTES:
        raise EvidenceMalformed(f"{path}: it is larger than evidence can be.")
    return data


def read_evidence(data: bytes, kind: str | None, certificates: bytes | None = None) -> EvidenceSet:
    """The pieces of evidence in a file.

    1. A Conceptual Message Wrapper in JSON, a record or a collection. 2. A provider's body: of `kind`, or recognised from
    its bytes by exactly one provider. 3. Hex text of such a body, where the text itself is none. 4. JSON of other tools.

    Args:
        data: the file.
        kind: a provider's name, where the caller says which.
        certificates: of a GPU in PEM, where the file holds its report alone, in bytes or hex.

    Raises:
        EvidenceMalformed: none of these, or several.
    """
    if certificates is not None:
        if kind not in (None, "nvidia"):
            raise EvidenceMalformed("Certificates beside it belong to a GPU's report.")
        return EvidenceSet.single(gpu_report(_from_hex(data) if _HEX.fullmatch(data) else data, certificates))
    # 1.
    wrapped = _wrapper(data)
    if wrapped is not None:
        if kind is not None and any(kind != name_of(piece) for piece in wrapped.pieces.values()):
            raise EvidenceMalformed(f"It is wrapped evidence, and not of kind {kind}.")
        return wrapped
    # 2.
    found = _recognised(data, kind)
    if found is not None:
        return EvidenceSet.single(found)
    # 3.
    if _HEX.fullmatch(data):
        found = _recognised(_from_hex(data), kind)
        if found is not None:
            return EvidenceSet.single(found)
    # 4.
    foreign = translated(data)
    if foreign is not None and kind in (None, name_of(foreign)):
        return EvidenceSet.single(foreign)
    if kind is not None:
        return EvidenceSet.single(UnverifiedEvidence(_provider_type(kind), data))
    raise EvidenceMalformed(
        f"It is not recognised as evidence of {', '.join(sorted(installed_providers()))}. Say which with --kind."
    )


def _from_hex(data: bytes) -> bytes:
    digits = b"".join(data.split())
    return bytes.fromhex(digits.decode("ascii")) if len(digits) % 2 == 0 else b""


def name_of(piece: UnverifiedEvidence) -> str:
    """The name of the provider that reads a piece, or its media type where none does."""
    for name, provider in installed_providers().items():
        if provider.media_type == piece.media_type:
            return name
    return piece.media_type


def _recognised(data: bytes, kind: str | None) -> UnverifiedEvidence | None:
    names = [name for name, provider in sorted(installed_providers().items()) if provider.recognises(data)]
    if kind is not None:
        return UnverifiedEvidence(_provider_type(kind), data) if kind in names else None
    if len(names) > 1:
        raise EvidenceMalformed(f"It could be evidence of {' or '.join(names)}. Say which with --kind.")
    return UnverifiedEvidence(_provider_type(names[0]), data) if names else None


def _provider_type(kind: str) -> str:
    provider = installed_providers().get(kind)
    if provider is None:
        raise EvidenceMalformed(f"There is no kind '{kind}'; known are {', '.join(sorted(installed_providers()))}.")
    return provider.media_type


def _wrapper(data: bytes) -> EvidenceSet | None:
    start = data.lstrip()[:1]
    if start not in (b"[", b"{"):
        return None
    try:
        members = parse(b'{"it":' + data + b"}", max_bytes=_MAX_FILE_BYTES + 16)
    except CryptoRefused:
        return None
    if set(members) != {"it"}:
        return None
    value = members["it"]
    if isinstance(value, dict) and COLLECTION_MEMBER not in value:
        return None  # a provider's body may be JSON as well
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return None  # no record begins so; other tools write lists of objects
    return EvidenceSet.from_wrapper(value)
