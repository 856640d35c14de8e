"""A keeper's verdict, as an enclave and a receipt's reader take it: beside the release that it was made for.

Source: docs/spec/release.md (R-19); docs/spec/receipt.md (V-14).
"""

from __future__ import annotations

from paddock.crypto.digest import b64, sha256_id, unb64
from paddock.crypto.signing import VerifyKey
from paddock.errors import StatementRefused
from paddock.evidence.claims import ENVIRONMENT
from paddock.release.ear import read_ear
from paddock.release.statements import ReleaseStatement


def read_verdict(
    token: object, collateral: object, statement: ReleaseStatement, keeper: VerifyKey
) -> tuple[str | None, bytes | None]:
    """The EAR token and the collateral it rests on, if they are those of this release.

    Args:
        token: the EAR token, or None where no evidence was demanded.
        collateral: base64 of the collateral, or None likewise.
        statement: the keeper's release statement, verified.
        keeper: the keeper's signing key.

    Raises:
        StatementRefused: one is missing or too many, not the one that the release names, of another run, or not signed
            by the keeper (R-19).
        EncodingRefused: the collateral is not base64.
    """
    if statement.evidence is None:
        if (token, collateral, statement.verdict) != (None, None, None):
            raise StatementRefused("There is a verdict without evidence.")
        return None, None
    if not isinstance(token, str) or not isinstance(collateral, str):
        raise StatementRefused("The verdict on the evidence is missing.")
    if not token.isascii() or sha256_id(token.encode("ascii")) != statement.verdict:
        raise StatementRefused("The verdict is not the one that the release names.")
    ear = read_ear(token, keeper)
    raw = unb64(collateral)
    own = (statement.contract, statement.run, statement.run_key, statement.measurement, statement.simulated)
    if (ear.contract, ear.run, ear.run_key, ear.measurement, ear.simulated) != own:
        raise StatementRefused("The verdict is on another run.")
    if ear.collateral != sha256_id(raw) or b64(raw) != collateral:
        raise StatementRefused("The collateral is not the one that the verdict rests on.")
    return token, raw


def environment_found(token: str, keeper: VerifyKey) -> str:
    """The kind of environment that a keeper found it to be, by its verdict.

    Raises:
        StatementRefused, CryptoRefused: it is not the keeper's verdict.
    """
    return read_ear(token, keeper).pieces[ENVIRONMENT].claims.tee
