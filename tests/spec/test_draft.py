"""docs/spec/draft.md, rule by rule."""

from __future__ import annotations

import re

import pytest

from paddock.crypto.canonical import canonical
from paddock.crypto.streaming import HEADER_BYTES
from paddock.errors import (
    DraftIncomplete,
    DraftOptionsInvalid,
    JournalRefused,
    PieceRefused,
    StoreUnreachable,
    TagRefused,
)
from paddock.seal import DataKey
from paddock.testing.stores import MemoryStore
from paddock.views.drafts import Draft, DraftFile, DraftOptions, Head
from paddock.views.drafts.journal import Record
from paddock.views.drafts.objects import Piece, object_name, open_object, seal_object

SMALL = DraftOptions(dirty_bytes=1 << 20, piece_bytes=4096)
ZEROS = "0" * 64


def new() -> tuple[MemoryStore, DataKey, Draft]:
    store, key = MemoryStore(), DataKey.generate()
    return store, key, Draft.create(store, key, options=SMALL)


def put(draft: Draft, name: str, data: bytes) -> None:
    node = draft.root.names.get(name) or draft.make_file(draft.root, name)
    assert isinstance(node, DraftFile)
    draft.truncate(node, 0)
    draft.write(node, 0, memoryview(data))
    draft.commit()


def got(draft: Draft, name: str) -> bytes:
    node = draft.find(name)
    assert isinstance(node, DraftFile)
    out = memoryview(bytearray(node.content.size))
    draft.read_into(node, 0, out)
    return bytes(out)


def copied(store: MemoryStore) -> MemoryStore:
    other = MemoryStore()
    other.objects = dict(store.objects)
    return other


def journal(draft: Draft, number: int) -> str:
    return object_name(draft.number, "j", number)


def stored(store: MemoryStore, name: str) -> memoryview:
    return memoryview(bytes(store.objects[name]))


def record(store: MemoryStore, key: DataKey, draft: Draft, number: int) -> Record:
    return Record.from_bytes(open_object(key, draft.number, "j", number, stored(store, journal(draft, number))))


def forge(store: MemoryStore, key: DataKey, draft: Draft, plain: bytes, number: int = 1) -> None:
    """What only a holder of the key can do: a well-sealed record of any content."""
    sealed, _ = seal_object(key, draft.number, "j", number, plain)
    store.objects[journal(draft, number)] = bytes(sealed)


def reopened(store: MemoryStore, key: DataKey, draft: Draft, expected: Head | None = None) -> Draft:
    return Draft.open(store, key, draft.number, expected=expected, options=SMALL)


def test_d1_every_object_has_its_own_name_and_a_second_writer_is_refused() -> None:
    store, key, draft = new()
    assert re.fullmatch(r"[0-9a-f]{32}", draft.number)
    put(draft, "f", b"1" * 9000)
    assert all(re.fullmatch(rf"drafts/{draft.number}/[jp]/(0|[1-9]\d*)", name) for name in store.objects)
    assert Draft.create(store, key).number != draft.number
    second = reopened(store, key, draft)
    put(draft, "f", b"2")
    with pytest.raises(JournalRefused, match="Another process"):
        put(second, "f", b"3")
    assert got(reopened(store, key, draft), "f") == b"2"
    for bad in ("", "../x", draft.number.upper() + "A", "0" * 31):
        with pytest.raises(DraftIncomplete):
            Draft.open(store, key, bad)


def test_d2_an_object_opens_only_where_it_belongs_and_no_header_comes_twice() -> None:
    store, key, draft = new()
    for number in range(5):
        put(draft, f"f{number}", b"x")
    headers = {bytes(data[:HEADER_BYTES]) for data in store.objects.values()}
    assert len(headers) == len(store.objects)
    sealed, _ = seal_object(key, draft.number, "j", 3, b"plain")
    view = memoryview(sealed)
    assert open_object(key, draft.number, "j", 3, view) == b"plain"
    other = DataKey.generate()
    for wrong in (
        (key, draft.number, "j", 4),
        (key, draft.number, "p", 3),
        (key, "0" * 32, "j", 3),
        (other, draft.number, "j", 3),
    ):
        with pytest.raises(TagRefused):
            open_object(*wrong, view)
    for first, second in ((1, 2), (4, 5), (0, 3)):
        bad = copied(store)
        bad.objects[journal(draft, first)] = store.objects[journal(draft, second)]
        with pytest.raises(JournalRefused):
            reopened(bad, key, draft)
    with pytest.raises(JournalRefused):
        Draft.open(store, other, draft.number)


def test_d3_records_of_two_histories_do_not_mix() -> None:
    store, key, draft = new()
    put(draft, "f", b"common")
    fork = copied(store)
    other = reopened(fork, key, draft)
    put(draft, "f", b"one")
    put(draft, "f", b"one more")
    put(other, "f", b"two")
    put(other, "f", b"two more")
    mixed = copied(store)
    mixed.objects |= {name: data for name, data in fork.objects.items() if "/p/" in name}
    mixed.objects[journal(draft, 2)] = fork.objects[journal(draft, 2)]
    with pytest.raises(JournalRefused, match="does not follow"):
        reopened(mixed, key, draft)


def test_d4_a_record_has_one_form() -> None:
    store, key, draft = new()
    previous = draft.head().digest.removeprefix("sha256:")
    good = {"changes": [], "format": "paddock/draft/v1/record", "gone": [], "next_piece": 0, "pieces": [],
            "previous": previous}  # fmt: skip

    def plain(value: object, *, body: bytes | None = None, pad: int = 4096, filler: bytes = b"\0") -> bytes:
        body = canonical(value) if body is None else body
        return (len(body).to_bytes(4, "big") + body).ljust(pad, filler)

    forge(store, key, draft, plain(good))
    assert reopened(store, key, draft).head().count == 2
    leaf = "A" * 43 + "="
    bad = [
        plain(good, pad=8192),
        plain(good, pad=4000),
        plain(good, filler=b"\1"),
        plain(good, body=b" " + canonical(good)),
        plain(good, body=b"[]"),
        plain(good, body=b"\xff"),
        plain({**good, "more": 1}),
        plain({name: value for name, value in good.items() if name != "gone"}),
        *(
            plain({**good, name: value})
            for name, value in (
                ("format", "paddock/draft/v2/record"),
                ("previous", ZEROS[:-1]),
                ("previous", None),
                ("next_piece", -1),
                ("next_piece", True),
                ("next_piece", 1.5),
                ("gone", {}),
                ("gone", ["1"]),
                ("changes", [1]),
                ("pieces", [1]),
                ("pieces", [[0, 4096]]),
                ("pieces", [[0, 4095, leaf]]),
                ("pieces", [[0, 0, leaf]]),
                ("pieces", [[0, 32 << 20, leaf]]),
                ("pieces", [[0, 4096, leaf[:-4]]]),
                ("pieces", [[0, 4096, 7]]),
            )
        ),
    ]
    for number, each in enumerate(bad):
        forge(store, key, draft, each)
        with pytest.raises(JournalRefused):
            raise AssertionError(number, reopened(store, key, draft).head())


PIECE = Piece(0, 4096, bytes(32))


@pytest.mark.parametrize(
    "changes",
    [
        [["file", 3, 0, "x"], ["file", 2, 0, "y"]],
        [["file", 1, 0, "x"]],
        [["file", 2, 9, "x"]],
        [["file", 2, 1, "x"]],
        [["file", 2, 0, "f"]],
        [["file", 2, 0, ""]],
        [["file", 2, 0, ".."]],
        [["file", 2, 0, "a/b"]],
        [["file", 2, 0, "n" * 256]],
        [["file", 2, 0, 5]],
        [["file", 2, 0]],
        [["link", 2, 0, "x"]],
        [[]],
        [["drop", 0, "none"]],
        [["folder", 2, 0, "d"], ["file", 3, 2, "x"], ["drop", 0, "d"]],
        [["folder", 2, 0, "d"], ["move", 0, "d", 2, "d"]],
        [["folder", 2, 0, "d"], ["move", 0, "f", 0, "d"]],
        [["move", 0, "none", 0, "x"]],
        [["content", 0, 1, []]],
        [["content", 7, 1, []]],
        [["content", 1, 1, [[0, 2, 0, 0]]]],
        [["content", 1, 10, [[0, 0, 0, 0]]]],
        [["content", 1, 10, [[0, 5, 0, 0], [4, 5, 0, 0]]]],
        [["content", 1, 10, [[5, 5, 0, 0], [0, 5, 0, 0]]]],
        [["content", 1, 10, [[0, 5, 1, 0]]]],
        [["content", 1, 10, [[0, 5, 0, 4092]]]],
        [["content", 1, 10, [[0, 5, 0]]]],
        [["content", 1, -1, []]],
        [["content", 1, 10, 5]],
        [["drop", 0, "f"], ["content", 1, 10, []]],
    ],
)
def test_d5_a_change_that_cannot_be_is_refused(changes: list[list[object]]) -> None:
    store, key, draft = new()
    previous = draft.head().digest.removeprefix("sha256:")
    first = Record(previous, 1, [PIECE], [], [["file", 1, 0, "f"]])
    forge(store, key, draft, first.to_bytes())
    there = reopened(store, key, draft)
    assert isinstance(there.find("f"), DraftFile)
    forge(store, key, draft, Record(there.head().digest[7:], 1, [], [], changes).to_bytes(), 2)
    with pytest.raises(JournalRefused):
        reopened(store, key, draft)


@pytest.mark.parametrize(
    "second",
    [
        {"next_piece": 0},
        {"next_piece": 1, "pieces": [PIECE]},
        {"next_piece": 1, "pieces": [Piece(1, 4096, bytes(32))]},
        {"next_piece": 1, "gone": [0]},
    ],
)
def test_d5_pieces_that_cannot_be_are_refused(second: dict[str, object]) -> None:
    store, key, draft = new()
    previous = draft.head().digest[7:]
    first = Record(previous, 1, [PIECE], [], [["file", 1, 0, "f"], ["content", 1, 9, [[0, 9, 0, 0]]]])
    forge(store, key, draft, first.to_bytes())
    head = reopened(store, key, draft).head()
    forge(store, key, draft, Record(head.digest[7:], **second).to_bytes(), 2)  # type: ignore[arg-type]  # by name
    with pytest.raises(JournalRefused):
        reopened(store, key, draft)


def test_d6_a_piece_is_the_committed_one_even_if_another_opens() -> None:
    store, key, draft = new()
    put(draft, "f", b"true" * 1000)
    name = next(name for name in store.objects if "/p/" in name)
    number = int(name.rpartition("/")[2])
    assert got(reopened(store, key, draft), "f") == b"true" * 1000
    false, _ = seal_object(key, draft.number, "p", number, (b"lies" * 1000).ljust(4096, b"\0"))
    store.objects[name] = bytes(false)
    with pytest.raises(PieceRefused):
        got(reopened(store, key, draft), "f")
    store.objects[name] = bytes(false)[:-1]
    with pytest.raises(PieceRefused):
        got(reopened(store, key, draft), "f")
    del store.objects[name]
    with pytest.raises(DraftIncomplete):
        got(reopened(store, key, draft), "f")


class Watching(MemoryStore):
    """Notes the order of what it is asked; may give no answer to records, having kept them or not."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.mute = ""

    def put(self, name, chunks):
        self.order.append(name)
        if self.mute == "before" and "/j/" in name:
            raise StoreUnreachable
        done = super().put(name, chunks)
        if self.mute == "after" and "/j/" in name:
            raise StoreUnreachable
        return done


def test_d7_pieces_come_before_the_record_that_names_them() -> None:
    store, key = Watching(), DataKey.generate()
    draft = Draft.create(store, key, options=SMALL)
    put(draft, "f", b"x" * 20_000)
    kinds = [name.split("/")[2] for name in store.order]
    assert kinds == ["j", "p", "p", "p", "p", "p", "j"]


@pytest.mark.parametrize("mute", ["before", "after"])
def test_d7_a_record_without_an_answer_is_put_again_as_it_was(mute: str) -> None:
    store, key = Watching(), DataKey.generate()
    draft = Draft.create(store, key, options=SMALL)
    store.mute = mute
    with pytest.raises(StoreUnreachable):
        put(draft, "f", b"first")
    store.mute = ""
    put(draft, "f", b"second")
    again = reopened(store, key, draft, expected=draft.head())
    assert again.head().count == 3
    assert got(again, "f") == b"second"


def test_d8_what_leaves_memory_is_sealed_and_what_stays_is_bounded() -> None:
    store, _, draft = new()
    word = b"a word that nobody may read "
    file = draft.make_file(draft.root, "name that nobody may read")
    for number in range(200):
        draft.write(file, number * 20_011, memoryview(word * 700))
        assert draft.dirty_bytes <= 1 << 20
    draft.commit()
    assert draft.dirty_bytes == 0
    assert not any(word[:10] in bytes(data) or b"nobody" in bytes(data) for data in store.objects.values())
    for bad in ({"dirty_bytes": 1}, {"piece_bytes": 5000}, {"piece_bytes": 32 << 20}, {"cached_segments": 0}):
        with pytest.raises(DraftOptionsInvalid):
            DraftOptions(**bad)


def test_d9_newest_records_held_back_are_an_earlier_state_unless_the_head_is_known() -> None:
    store, key, draft = new()
    # Nothing is deleted between the states, so that the earlier one is whole.
    put(draft, "one", b"1")
    earlier = draft.head()
    put(draft, "two", b"2")
    head = draft.head()
    held_back = copied(store)
    del held_back.objects[journal(draft, 2)]
    assert [path for path, _ in reopened(held_back, key, draft).files()] == ["one"]
    assert reopened(held_back, key, draft, expected=earlier).head() == earlier
    with pytest.raises(JournalRefused):
        reopened(held_back, key, draft, expected=head)
    with pytest.raises(JournalRefused):
        reopened(store, key, draft, expected=Head(2, head.digest))
    assert reopened(store, key, draft, expected=earlier).head() == head
    # Another history of the same length.
    other = reopened(held_back, key, draft)
    put(other, "three", b"3")
    with pytest.raises(JournalRefused):
        reopened(held_back, key, draft, expected=head)


class Undeleting(MemoryStore):
    """Notes how many records there were at each deletion."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[tuple[str, int]] = []

    def delete(self, name):
        self.deleted.append((name, sum("/j/" in each for each in self.objects)))
        super().delete(name)


def test_d10_a_piece_is_deleted_only_after_a_record_that_no_longer_needs_it() -> None:
    store, key = Undeleting(), DataKey.generate()
    draft = Draft.create(store, key, options=SMALL)
    put(draft, "f", b"old" * 100)
    assert store.deleted == []
    put(draft, "f", b"new" * 100)
    assert store.deleted == [(object_name(draft.number, "p", 0), 3)]
    put(draft, "g", b"")
    assert record(store, key, draft, 3).gone == [0]
    assert got(reopened(store, key, draft), "f") == b"new" * 100


def test_d10_what_a_killed_writer_left_behind_goes_and_its_numbers_are_not_used_again() -> None:
    store, key, draft = new()
    put(draft, "f", b"kept")
    file = draft.find("f")
    assert isinstance(file, DraftFile)
    draft.write(file, 0, memoryview(b"x" * 5000))
    draft._flush()  # put early, never committed: the process dies here
    left = [name for name in store.objects if "/p/" in name]
    assert len(left) == 3
    again = reopened(store, key, draft)
    assert [name for name in store.objects if "/p/" in name] == left[:1]
    put(again, "g", b"more")
    assert [name for name in store.objects if "/p/" in name] == [left[0], object_name(draft.number, "p", 3)]
    assert got(again, "f") == b"kept"


def test_d10_many_small_writes_become_few_pieces() -> None:
    store, key = MemoryStore(), DataKey.generate()
    draft = Draft.create(store, key)
    file = draft.make_file(draft.root, "log")
    for number in range(300):
        draft.write(file, number * 10, memoryview(b"%09d\n" % number))
        draft.commit()
    assert sum("/p/" in name for name in store.objects) < 100
    assert got(Draft.open(store, key, draft.number), "log") == b"".join(b"%09d\n" % number for number in range(300))


def test_d7_a_damaged_piece_does_not_keep_others_from_becoming_durable() -> None:
    store, key = MemoryStore(), DataKey.generate()
    draft = Draft.create(store, key)
    file = draft.make_file(draft.root, "log")
    for number in range(70):
        draft.write(file, number * 10, memoryview(b"%09d\n" % number))
        draft._flush()
    for name in [name for name in store.objects if "/p/" in name]:
        store.objects[name] = bytes(len(store.objects[name]))
    put(draft, "other", b"kept")
    assert got(Draft.open(store, key, draft.number), "other") == b"kept"
