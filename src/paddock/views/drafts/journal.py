"""The records of a draft's journal: one JSON document each, written and read in one form.

Source: docs/spec/draft.md §4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import b64, unb64
from paddock.errors import EncodingRefused, JournalRefused
from paddock.views.drafts.objects import MAX_PIECE_BYTES, PAD_BYTES, Piece, padded

FORMAT = "paddock/draft/v1/record"
MAX_RECORD_BYTES = 64 << 20
MAX_NAME_BYTES = 255
LARGEST = (1 << 53) - 1
ROOT = 0
Change: TypeAlias = list[Any]


@dataclass
class Record:
    """What one commit changes.

    Args:
        previous: 64 hex digits: SHA-256 of the stored bytes of the record before; zeros for the first.
        next_piece: no piece of this number or a higher one existed yet.
        pieces: pieces that are new.
        gone: numbers of pieces that were deleted since the record before.
        changes: in their order; see docs/spec/draft.md (D-5).
    """

    previous: str
    next_piece: int
    pieces: list[Piece] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The record's plaintext, padded."""
        body = canonical(
            {
                "changes": self.changes,
                "format": FORMAT,
                "gone": self.gone,
                "next_piece": self.next_piece,
                "pieces": [[piece.number, piece.plain_bytes, b64(piece.leaves)] for piece in self.pieces],
                "previous": self.previous,
            }
        )
        plain = len(body).to_bytes(4, "big") + body
        return plain.ljust(padded(len(plain)), b"\0")

    @classmethod
    def from_bytes(cls, plain: bytearray) -> Record:
        """Read a record's plaintext strictly (D-4).

        Raises:
            JournalRefused: any other form than the one that is written.
        """
        length = int.from_bytes(plain[:4], "big")
        # D-4
        if len(plain) != padded(4 + length) or any(plain[4 + length :]):
            raise JournalRefused("A record is not padded as it should be.")
        try:
            value = parse_canonical(bytes(plain[4 : 4 + length]), max_bytes=MAX_RECORD_BYTES)
            if set(value) != {"changes", "format", "gone", "next_piece", "pieces", "previous"}:
                raise JournalRefused("A record has other members than it should.")
            if value["format"] != FORMAT:
                raise JournalRefused("A record is of an unknown format.")
            previous = value["previous"]
            if not isinstance(previous, str) or len(previous) != 64:
                raise JournalRefused("A record does not name the one before it.")
            return cls(
                previous,
                whole(value["next_piece"]),
                [_piece(item) for item in _list(value["pieces"])],
                [whole(item) for item in _list(value["gone"])],
                [_list(item) for item in _list(value["changes"])],
            )
        except EncodingRefused as error:
            raise JournalRefused(error.detail) from None


def whole(value: object, largest: int = LARGEST) -> int:
    """A whole number from 0 on.

    Raises:
        JournalRefused: anything else.
    """
    # bool is an int in Python, and no number here.
    if type(value) is not int or not 0 <= value <= largest:
        raise JournalRefused("A record holds a number that is none.")
    return value


def checked_name(value: object) -> str:
    """A name that a directory can hold.

    Raises:
        JournalRefused: anything else.
    """
    if not isinstance(value, str) or not is_name(value):
        raise JournalRefused("A record holds a name that cannot be one.")
    return value


def is_name(name: str) -> bool:
    """Whether a directory can hold this name: 1 to 255 bytes of UTF-8, not `.` or `..`, without slash and NUL."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        return False
    try:
        return len(name.encode("utf-8")) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise JournalRefused("A record holds something else where a list is due.")
    return value


def _piece(value: object) -> Piece:
    number, plain_bytes, leaves = _list(value) if isinstance(value, list) and len(value) == 3 else (None, None, None)
    size = whole(plain_bytes, MAX_PIECE_BYTES)
    if size == 0 or size % PAD_BYTES:
        raise JournalRefused("A record holds a piece of a length that none has.")
    return Piece(whole(number), size, unb64(leaves, Piece.leaf_bytes(size)))
