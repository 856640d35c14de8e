"""The CBOR of vendors' evidence: read strictly and in one form, and written in that form.

A subset: whole numbers of 64 bits, byte strings, texts, arrays, maps, tags that the caller names, false, true and null.
Lengths are definite and everything is as short as it can be, which is how the encoders of AWS (a Rust serde) and Arm
(QCBOR) write; keys of maps are numbers or texts, each once, in any order. Whatever is read is therefore exactly what
`write_cbor` writes for it. The one exception is asked for by name: AWS's newer documents are a map whose end is marked
(`open_map`). A tag is a mark beside its value: nothing is ever made of it.

Source: RFC 8949 §3 and §4.1 (preferred serialization); docs/adr/0013-cbor.md; docs/spec/attestation.md (A-6).
"""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass
from typing import Any

from paddock.errors import EvidenceMalformed

MAX_BYTES = 1 << 18
MAX_ITEMS = 4096
MAX_DEPTH = 16
_NUMBER, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES = {20: False, 21: True, 22: None}
_SIMPLE_NUMBERS = {False: 20, True: 21, None: 22}
_INDEFINITE = 31
_OPEN_MAP, _BREAK = b"\xbf", b"\xff"
_PLAIN, _STRINGS = frozenset({_NUMBER, _NEGATIVE, _SIMPLE}), frozenset({_BYTES, _TEXT})
_WORD = 1 << 64


@dataclass(frozen=True)
class Tagged:
    """A value under a tag."""

    number: int
    value: Any


def read_cbor(data: bytes, what: str, *, tags: Collection[int] = (), open_map: bool = False) -> Any:
    """Read one value, nothing behind it.

    Args:
        data: at most 256 KiB.
        what: what it is called in a refusal, e.g. `Nitro document`.
        tags: numbers of the tags that may stand in it.
        open_map: whether the outermost value may be a map of indefinite length.

    Returns:
        int, bytes, str, list, dict, bool, None or `Tagged`.

    Raises:
        EvidenceMalformed: not well formed, outside of the subset, in another form than the shortest, too many or too
            deep (A-6).
    """
    if len(data) > MAX_BYTES:
        raise EvidenceMalformed(f"The {what} has {len(data)} bytes; at most {MAX_BYTES} are read.")
    reader = _Reader(data, what, tags)
    value = reader.open_map() if open_map and data[:1] == _OPEN_MAP else reader.value(MAX_DEPTH)
    if reader.position != len(data):
        raise EvidenceMalformed(f"{len(data) - reader.position} bytes stand behind the {what}.")
    return value


def write_cbor(value: object) -> bytes:
    """Write a value in the one form that `read_cbor` takes; members of maps in their order.

    Args:
        value: of the types that `read_cbor` returns; tuples are arrays.

    Raises:
        RuntimeError: a value of another type, a number of more than 64 bits.
    """
    out = bytearray()
    _write(out, value)
    return bytes(out)


class Members:
    """Takes the members of a map by key, each of the type that it must have, and lets none be left over.

    Args:
        value: what was read; anything but a map is refused.
        what: what the map is called in a refusal.
    """

    __slots__ = ("_left", "_what")

    def __init__(self, value: object, what: str) -> None:
        if type(value) is not dict:
            raise EvidenceMalformed(f"The {what} is no map.")
        self._left = dict(value)
        self._what = what

    def __contains__(self, key: int | str) -> bool:
        return key in self._left

    def take(self, key: int | str) -> Any:
        """The member, of whatever type. Raises EvidenceMalformed: it is missing."""
        if key not in self._left:
            raise EvidenceMalformed(f"The {self._what} has no member {key!r}.")
        return self._left.pop(key)

    def skip_null(self, key: int | str) -> bool:
        """Whether the member is null; it is then taken."""
        if self._left.get(key, b"") is not None:
            return False
        del self._left[key]
        return True

    def octets(self, key: int | str, lengths: Container[int]) -> bytes:
        """A byte string of one of these lengths. Raises EvidenceMalformed."""
        value = self.take(key)
        if type(value) is not bytes or len(value) not in lengths:
            raise self.refuse(key)
        return value

    def text(self, key: int | str, most: int) -> str:
        """A text of at most this many characters, none of which steers a terminal. Raises EvidenceMalformed."""
        value = self.take(key)
        if type(value) is not str or len(value) > most or not value.isprintable():
            raise self.refuse(key)
        return value

    def number(self, key: int | str, values: Container[int]) -> int:
        """One of these numbers. Raises EvidenceMalformed."""
        value = self.take(key)
        if type(value) is not int or value not in values:
            raise self.refuse(key)
        return value

    def array(self, key: int | str, lengths: Container[int]) -> list[Any]:
        """An array of one of these lengths. Raises EvidenceMalformed."""
        value = self.take(key)
        if type(value) is not list or len(value) not in lengths:
            raise self.refuse(key)
        return value

    def end(self) -> None:
        """Return if every member was taken. Raises EvidenceMalformed: there is one that nobody knows."""
        if self._left:
            raise EvidenceMalformed(f"The {self._what} has {len(self._left)} members that are not known.")

    def refuse(self, key: int | str) -> EvidenceMalformed:
        """An error that names map and member, to be raised."""
        return EvidenceMalformed(f"The {self._what}: member {key!r} is not well formed.")


class _Reader:
    __slots__ = ("_data", "_items", "_tags", "_what", "position")

    def __init__(self, data: bytes, what: str, tags: Collection[int]) -> None:
        self._data = data
        self._what = what
        self._tags = tags
        self._items = MAX_ITEMS
        self.position = 0

    def value(self, depth: int) -> Any:
        """The next value, which may hold `depth` levels of others."""
        self._items -= 1
        if self._items < 0 or depth < 0:
            raise self._refuse("it holds too many values, or too deep")
        kind, argument = self._head()
        if kind in _PLAIN:
            return argument if kind == _NUMBER else -1 - argument if kind == _NEGATIVE else _SIMPLE_VALUES[argument]
        if kind in _STRINGS:
            return self._string(kind, argument)
        if kind == _TAG:
            if argument not in self._tags:
                raise self._refuse(f"the tag {argument} does not belong there")
            return Tagged(argument, self.value(depth - 1))
        # Each value takes a byte at least: a count that cannot be true is refused before anything is made for it.
        if argument * (2 if kind == _MAP else 1) > len(self._data) - self.position:
            raise self._refuse("it ends too early")
        if kind == _ARRAY:
            return [self.value(depth - 1) for _ in range(argument)]
        found: dict[int | str, Any] = {}
        for _ in range(argument):
            self._member(found, depth - 1)
        return found

    def open_map(self) -> dict[int | str, Any]:
        """A map of indefinite length."""
        self._take(1)
        found: dict[int | str, Any] = {}
        while self._data[self.position : self.position + 1] != _BREAK:
            self._member(found, MAX_DEPTH - 1)
        self._take(1)
        return found

    def _member(self, found: dict[int | str, Any], depth: int) -> None:
        key = self.value(depth)
        if type(key) is not int and type(key) is not str:
            raise self._refuse("a key is neither a number nor a text")
        if key in found:
            raise self._refuse("a key stands twice in a map")
        found[key] = self.value(depth)

    def _string(self, kind: int, length: int) -> bytes | str:
        value = self._take(length)
        if kind == _BYTES:
            return value
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._refuse("a text is not UTF-8") from error

    def _head(self) -> tuple[int, int]:
        """Major type and argument."""
        first = self._take(1)[0]
        kind, short = first >> 5, first & 31
        if kind == _SIMPLE:
            if short not in _SIMPLE_VALUES:
                raise self._refuse("it holds a value that is neither false, true nor null")
            return kind, short
        if short < 24:
            return kind, short
        if short == _INDEFINITE:
            raise self._refuse("a length is not definite")
        if short > 27:
            raise self._refuse("it holds a reserved head")
        length = 1 << (short - 24)
        argument = int.from_bytes(self._take(length), "big")
        if argument < (24 if length == 1 else 1 << 4 * length):
            raise self._refuse("a number or length has not its shortest form")
        return kind, argument

    def _take(self, length: int) -> bytes:
        start = self.position
        end = start + length
        if end > len(self._data):
            raise self._refuse("it ends too early")
        self.position = end
        return self._data[start:end]

    def _refuse(self, reason: str) -> EvidenceMalformed:
        return EvidenceMalformed(f"The {self._what}: {reason}.")


def _write(out: bytearray, value: object) -> None:
    if value is None or value is True or value is False:
        out.append(_SIMPLE << 5 | _SIMPLE_NUMBERS[value])
    elif isinstance(value, int):
        _write_head(out, _NUMBER if value >= 0 else _NEGATIVE, value if value >= 0 else -1 - value)
    elif isinstance(value, bytes):
        _write_head(out, _BYTES, len(value))
        out += value
    elif isinstance(value, str):
        text = value.encode("utf-8")
        _write_head(out, _TEXT, len(text))
        out += text
    elif isinstance(value, list | tuple):
        _write_head(out, _ARRAY, len(value))
        for each in value:
            _write(out, each)
    elif isinstance(value, dict):
        _write_head(out, _MAP, len(value))
        for key, each in value.items():
            _write(out, key)
            _write(out, each)
    elif isinstance(value, Tagged):
        _write_head(out, _TAG, value.number)
        _write(out, value.value)
    else:
        raise RuntimeError("CBOR of this kind of value is not written")


def _write_head(out: bytearray, kind: int, argument: int) -> None:
    if argument >= _WORD:
        raise RuntimeError("CBOR holds numbers of at most 64 bits")
    if argument < 24:
        out.append(kind << 5 | argument)
        return
    power = 0 if argument < 1 << 8 else 1 if argument < 1 << 16 else 2 if argument < 1 << 32 else 3
    out.append(kind << 5 | 24 + power)
    out += argument.to_bytes(1 << power, "big")
