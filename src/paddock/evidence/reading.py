"""Reading the vendors' binary structures: every length is checked before it is used, nothing is left over."""

from __future__ import annotations

from typing import Literal

from paddock.errors import EvidenceMalformed

Order = Literal["little", "big"]


class Reader:
    """Reads fields one after another from bytes that nobody vouches for.

    Args:
        data: the structure.
        what: what it is called in a refusal, e.g. `SNP report`.
    """

    __slots__ = ("_data", "_what", "position")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.position = 0

    @property
    def left(self) -> int:
        """How many bytes are not yet read."""
        return len(self._data) - self.position

    def take(self, length: int) -> bytes:
        """The next `length` bytes. Raises EvidenceMalformed if there are fewer."""
        start = self.position
        end = start + length
        if length < 0 or end > len(self._data):
            raise EvidenceMalformed(f"The {self._what} ends too early.")
        self.position = end
        return self._data[start:end]

    def number(self, length: int, order: Order) -> int:
        """The next `length` bytes as an unsigned number."""
        return int.from_bytes(self.take(length), order)

    def counted(self, length: int, order: Order, most: int) -> bytes:
        """Bytes behind a count of `length` bytes; more than `most` are refused."""
        count = self.number(length, order)
        if count > most:
            raise EvidenceMalformed(
                f"A field of the {self._what} says that it has {count} bytes; at most {most} may be."
            )
        return self.take(count)

    def expect(self, value: bytes, name: str) -> None:
        """Read exactly `value`. Raises EvidenceMalformed."""
        if self.take(len(value)) != value:
            raise EvidenceMalformed(f"The {name} of the {self._what} is not the expected one.")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Return if everything was read. Raises EvidenceMalformed: trailing bytes."""
        if self.left:
            raise EvidenceMalformed(f"{self.left} bytes stand behind the {self._what}.")

    def refuse(self, reason: str) -> EvidenceMalformed:
        """An error that names the structure, to be raised."""
        return EvidenceMalformed(f"The {self._what}: {reason}.")
