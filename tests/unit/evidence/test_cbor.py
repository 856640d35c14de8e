"""CBOR: the examples of RFC 8949, every form that is refused, and that what is read is what would be written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paddock.errors import EvidenceMalformed
from paddock.evidence.cbor import MAX_BYTES, MAX_DEPTH, MAX_ITEMS, Members, Tagged, read_cbor, write_cbor

# RFC 8949, appendix A: those of its examples that are in the subset.
EXAMPLES: dict[str, object] = {
    "00": 0,
    "01": 1,
    "0a": 10,
    "17": 23,
    "1818": 24,
    "1819": 25,
    "1864": 100,
    "1903e8": 1000,
    "1a000f4240": 1_000_000,
    "1b000000e8d4a51000": 1_000_000_000_000,
    "1bffffffffffffffff": 18_446_744_073_709_551_615,
    "3bffffffffffffffff": -18_446_744_073_709_551_616,
    "20": -1,
    "29": -10,
    "3863": -100,
    "3903e7": -1000,
    "f4": False,
    "f5": True,
    "f6": None,
    "40": b"",
    "4401020304": bytes([1, 2, 3, 4]),
    "60": "",
    "6161": "a",
    "6449455446": "IETF",
    "62225c": '"\\',
    "62c3bc": "ü",
    "63e6b0b4": "水",
    "64f0908591": "𐅑",
    "80": [],
    "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]],
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819": list(range(1, 26)),
    "a0": {},
    "a201020304": {1: 2, 3: 4},
    "a26161016162820203": {"a": 1, "b": [2, 3]},
    "826161a161626163": ["a", {"b": "c"}],
    "a56161614161626142616361436164614461656145": {"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"},
    "c074323031332d30332d32315432303a30343a30305a": Tagged(0, "2013-03-21T20:04:00Z"),
    "c11a514b67b0": Tagged(1, 1_363_896_240),
    "d74401020304": Tagged(23, bytes([1, 2, 3, 4])),
    "d818456449455446": Tagged(24, b"dIETF"),
    "d82076687474703a2f2f7777772e6578616d706c652e636f6d": Tagged(32, "http://www.example.com"),
    "c249010000000000000000": Tagged(2, b"\1" + bytes(8)),  # a big number is a mark and bytes
    "c349010000000000000000": Tagged(3, b"\1" + bytes(8)),
}
# Those of its examples that are not.
OUTSIDE = [
    *("f90000", "f98000", "f93c00", "fb3ff199999999999a", "f93e00", "f97bff", "fa47c35000", "fa7f7fffff"),
    *("fb7e37e43c8800759c", "f90001", "f90400", "f9c400", "fbc010666666666666", "f97c00", "f97e00", "f9fc00"),
    *("fa7f800000", "fa7fc00000", "faff800000", "fb7ff0000000000000", "fb7ff8000000000000", "fbfff0000000000000"),
    *("f7", "f0", "f8ff", "c1fb41d452d9ec200000"),
    *("5f42010243030405ff", "7f657374726561646d696e67ff", "9fff", "9f018202039f0405ffff", "9f01820203820405ff"),
    *(
        "83018202039f0405ff",
        "83019f0203ff820405",
        "bf61610161629f0203ffff",
        "826161bf61626163ff",
        "bf6346756ef563416d7421ff",
    ),
    "9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff",
]
TAGS = (0, 1, 2, 3, 23, 24, 32)
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 64), (1 << 64) - 1),
    st.binary(max_size=300),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
_KEYS = st.one_of(st.integers(-(1 << 64), (1 << 64) - 1), st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=30),
        st.dictionaries(_KEYS, inner, max_size=30),
        st.builds(Tagged, st.sampled_from(TAGS), inner),
    ),
    max_leaves=30,
)


def read(data: str, **options: Any) -> Any:
    return read_cbor(bytes.fromhex(data), "test", **options)


@pytest.mark.parametrize("data", EXAMPLES)
def test_an_example_of_the_rfc_reads_and_writes(data: str) -> None:
    value = read(data, tags=TAGS)
    assert value == EXAMPLES[data]
    assert type(value) is type(EXAMPLES[data])
    assert write_cbor(value).hex() == data


@pytest.mark.parametrize("data", OUTSIDE)
def test_an_example_of_the_rfc_that_is_outside_of_the_subset_is_refused(data: str) -> None:
    with pytest.raises(EvidenceMalformed):
        read(data, tags=TAGS)


@given(VALUES)
def test_what_was_written_is_read(value: object) -> None:
    assert read_cbor(write_cbor(value), "test", tags=TAGS) == value


@given(st.binary(max_size=40))
def test_what_is_read_has_one_form(data: bytes) -> None:
    try:
        value = read_cbor(data, "test", tags=TAGS)
    except EvidenceMalformed:
        return
    assert write_cbor(value) == data


@given(VALUES, st.data())
def test_a_changed_value_has_one_form(value: object, draw: st.DataObject) -> None:
    data = bytearray(write_cbor(value))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] = draw.draw(st.integers(0, 255))
    try:
        found = read_cbor(bytes(data), "test", tags=TAGS)
    except EvidenceMalformed:
        return
    assert write_cbor(found) == data


@pytest.mark.parametrize(
    "data",
    [
        *("", "18", "19", "1900", "1a000000", "1b00000000000000"),  # ends within a number
        *("41", "61", "5818", "81", "8201", "a1", "a101", "d8", "d818", "c0"),  # ends within a value
        *("0000", "f600", "8000", "a000", "4000", "01ff"),  # bytes behind the end
        *("1800", "1817", "190017", "1900ff", "1a0000ffff", "1b00000000ffffffff"),  # longer numbers than needed
        *("3800", "3817", "390001", "580100", "780161", "980100", "b80101f6", "d800f6"),  # longer lengths than needed
        *("1c", "1d", "1e", "1f", "3c", "3f", "5c", "5f", "7d", "7f", "9e", "9f", "bc", "bf", "dc", "df", "fc", "ff"),
        *("f814", "f8f6", "e0", "f3", "f7", "f8", "f9", "fa", "fb"),  # other simple values
        *("61ff", "62c328", "63eda080", "61c3"),  # not UTF-8
        *("a201020103", "a2616101616102", "a4010203040506 0106"),  # a key twice
        *("a14001", "a1f601", "a1f501", "a18001", "a1a001", "a1c00001"),  # keys of other types
        *("5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff", "9a00100000"),
        *("d9018ff6", "d82360", "c5820001", "d81c80", "d81d00", "c60a"),  # tags that nobody asked for
    ],
)
def test_anything_else_is_refused(data: str) -> None:
    with pytest.raises(EvidenceMalformed, match=r"test"):
        read(data, tags=(0,))


def test_no_tag_is_read_that_was_not_asked_for() -> None:
    assert read("d29f".replace("9f", "80"), tags=(18,)) == Tagged(18, [])
    with pytest.raises(EvidenceMalformed, match="tag 18"):
        read("d280")


def test_how_much_it_holds_is_bounded() -> None:
    assert read_cbor(write_cbor([0] * (MAX_ITEMS - 1)), "test") == [0] * (MAX_ITEMS - 1)
    deep = b"\x81" * MAX_DEPTH + b"\x80"
    assert read_cbor(deep, "test")
    for data in (write_cbor([0] * MAX_ITEMS), b"\x81" + deep, b"\xc0" * 20 + b"\0", write_cbor(bytes(MAX_BYTES))):
        with pytest.raises(EvidenceMalformed):
            read_cbor(data, "test", tags=(0,))


def test_a_map_of_indefinite_length_is_read_where_it_may_stand() -> None:
    assert read("bfff", open_map=True) == {}
    assert read("bf6161016162a10203ff", open_map=True) == {"a": 1, "b": {2: 3}}
    assert read("a10102", open_map=True) == {1: 2}
    assert read("00", open_map=True) == 0
    with pytest.raises(EvidenceMalformed):
        read("bf0102ff")
    for data in ("bf", "bf01", "bf0102", "bf01ff", "bf0102ff00", "bf01020103ff", "bf01bfffff", "bf019fffff", "81bfff"):
        with pytest.raises(EvidenceMalformed):
            read(data, open_map=True)


@pytest.mark.parametrize("value", [1.5, {1}, object(), 1 << 64, -(1 << 64) - 1, [1.5], {"a": {1}}])
def test_other_values_are_not_written(value: object) -> None:
    with pytest.raises(RuntimeError):
        write_cbor(value)


def test_a_tuple_is_written_as_an_array() -> None:
    assert write_cbor((1, (2,))) == bytes.fromhex("82018102")


def test_members_are_taken_by_their_types() -> None:
    members = Members({1: b"ab", "b": "text", 3: 7, 4: [1], 5: None, 6: b""}, "thing")
    assert 1 in members
    assert 9 not in members
    assert members.octets(1, (2,)) == b"ab"
    assert members.text("b", 4) == "text"
    assert members.number(3, range(8)) == 7
    assert members.array(4, range(2)) == [1]
    assert members.skip_null(5)
    assert not members.skip_null(6)
    with pytest.raises(EvidenceMalformed, match="1 members that are not known"):
        members.end()
    assert members.take(6) == b""
    members.end()
    with pytest.raises(EvidenceMalformed, match="no member 6"):
        members.take(6)


@pytest.mark.parametrize("value", [None, [], b"", "", 1, True, Tagged(1, {})])
def test_members_are_those_of_a_map(value: object) -> None:
    with pytest.raises(EvidenceMalformed, match="no map"):
        Members(value, "thing")


def test_a_member_of_another_type_or_size_is_refused() -> None:
    for wrong in (b"abc", "ab", [1, 2], None, 2, True):
        for take in (
            lambda members: members.octets(1, (2,)),
            lambda members: members.text(1, 1),
            lambda members: members.number(1, (1, 3)),
            lambda members: members.array(1, (1,)),
        ):
            with pytest.raises(EvidenceMalformed, match="member 1"):
                take(Members({1: wrong}, "thing"))
    with pytest.raises(EvidenceMalformed):
        Members({1: "a\x1b[2J"}, "thing").text(1, 9)
