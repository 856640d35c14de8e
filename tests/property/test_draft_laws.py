"""Drafts beside a model: whatever is done, a draft holds what plain memory holds; whatever is stored wrong is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.errors import PaddockError, StoreFull, StoreUnreachable
from paddock.seal import DataKey
from paddock.testing.stores import MemoryStore
from paddock.views.drafts import Draft, DraftFile, DraftFolder, DraftOptions

SMALL = DraftOptions(dirty_bytes=1 << 20, piece_bytes=4096, cached_segments=1)
NAMES = ("a", "b", "ü")
Model = dict[str, bytes | None]
"""Path to content; None for a folder."""


def held(draft: Draft) -> Model:
    found: Model = {}

    def walk(folder: DraftFolder, above: str) -> None:
        for name, node in folder.names.items():
            if isinstance(node, DraftFolder):
                found[above + name] = None
                walk(node, f"{above}{name}/")
            else:
                found[above + name] = content(draft, node)

    walk(draft.root, "")
    return found


def content(draft: Draft, file: DraftFile) -> bytes:
    out = bytearray(file.content.size + 10)
    return bytes(out[: draft.read_into(file, 0, memoryview(out))])


def do(draft: Draft, model: Model, chosen: random.Random) -> None:
    """One operation on both; where one refuses, so does the other."""
    kind = chosen.choice(["write"] * 4 + ["make", "make", "folder", "drop", "move", "truncate"])
    paths = [f"{above}{name}" for above in ("", "a/", "b/") for name in NAMES]
    path, other = chosen.choice(paths), chosen.choice(paths)
    folder = path.rpartition("/")[0]
    if folder and model.get(folder, b"") is not None:
        with pytest.raises((OSError, AssertionError)):
            assert isinstance(draft.find(folder), DraftFolder)
        return
    if kind in {"make", "folder"}:
        _make(draft, model, path, is_folder=kind == "folder")
    elif kind == "move":
        _move(draft, model, path, other)
    elif path not in model:
        with pytest.raises(OSError, match="No such"):
            draft.find(path)
    elif kind == "drop":
        _drop(draft, model, path)
    else:
        _change(draft, model, path, kind, chosen)


def _parent(draft: Draft, path: str) -> tuple[DraftFolder, str]:
    folder, _, name = path.rpartition("/")
    parent = draft.find(folder)
    assert isinstance(parent, DraftFolder)
    return parent, name


def _make(draft: Draft, model: Model, path: str, *, is_folder: bool) -> None:
    parent, name = _parent(draft, path)
    if path in model:
        with pytest.raises(OSError, match="exists"):
            draft.make_file(parent, name)
    elif is_folder:
        draft.make_folder(parent, name)
        model[path] = None
    else:
        draft.make_file(parent, name)
        model[path] = b""


def _drop(draft: Draft, model: Model, path: str) -> None:
    parent, name = _parent(draft, path)
    before = model[path]
    if before is None and any(each.startswith(path + "/") for each in model):
        with pytest.raises(OSError, match="not empty"):
            draft.drop(parent, name, is_folder=True)
    else:
        draft.release(draft.drop(parent, name, is_folder=before is None))
        del model[path]


def _change(draft: Draft, model: Model, path: str, kind: str, chosen: random.Random) -> None:
    data, file = model[path], draft.find(path)
    if data is None:
        return
    assert isinstance(file, DraftFile)
    if kind == "truncate":
        size = chosen.randrange(12_000)
        draft.truncate(file, size)
        model[path] = data[:size].ljust(size, b"\0")
        return
    offset, new = chosen.randrange(12_000), chosen.randbytes(chosen.choice([0, 1, 100, 5000]))
    draft.write(file, offset, memoryview(new))
    if new:
        model[path] = data[:offset].ljust(offset, b"\0") + new + data[offset + len(new) :]


def _move(draft: Draft, model: Model, path: str, other: str) -> None:
    folder, name = path.rpartition("/")[0], path.rpartition("/")[2]
    to, to_name = other.rpartition("/")[0], other.rpartition("/")[2]
    if to and model.get(to, b"") is not None:
        return
    parent, target = draft.find(folder), draft.find(to)
    assert isinstance(parent, DraftFolder)
    assert isinstance(target, DraftFolder)
    moved = model.get(path, b"")
    there = model.get(other, b"")
    full = any(each.startswith(other + "/") for each in model)
    refused = (
        path not in model
        or (moved is None and (to == path or to.startswith(path + "/")))
        or (path != other and other in model and ((moved is None) != (there is None) or (there is None and full)))
    )
    if refused:
        with pytest.raises(OSError, match=r"\[Errno"):
            draft.move(parent, name, target, to_name)
        return
    before = draft.move(parent, name, target, to_name)
    if before is not None:
        draft.release(before)
    if path != other:
        model.pop(other, None)
        for each in [each for each in model if each == path or each.startswith(path + "/")]:
            model[other + each[len(path) :]] = model.pop(each)


class Uncertain(MemoryStore):
    """Sometimes gives no answer, whether or not it did what was asked; sometimes has no room."""

    def __init__(self, chosen: random.Random) -> None:
        super().__init__()
        self.chosen = chosen
        self.well = True

    def put(self, name, chunks):
        trouble = "" if self.well else self.chosen.choice(["", "", "before", "after", "full"])
        if trouble == "full":
            raise StoreFull
        if trouble == "before":
            raise StoreUnreachable
        done = super().put(name, chunks)
        if trouble == "after":
            raise StoreUnreachable
        return done


@given(st.integers(0, 1 << 32), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_draft_holds_what_a_model_holds_and_is_found_again_as_it_was_committed(seed: int, well: bool) -> None:
    chosen = random.Random(seed)
    store, key, model = Uncertain(chosen), DataKey.generate(), dict[str, bytes | None]()
    draft = Draft.create(store, key, options=SMALL)
    committed, unsure = dict(model), [dict(model)]
    store.well = well
    for _ in range(60):
        step = chosen.random()
        if step < 0.8:
            do(draft, model, chosen)
        elif step < 0.92:
            unsure.append(dict(model))
            try:
                draft.commit()
            except (StoreFull, StoreUnreachable):
                continue
            committed, unsure = dict(model), [dict(model)]
        else:
            # The process dies: what is in memory is gone.
            head = draft.head()
            draft = Draft.open(store, key, draft.number, expected=head, options=SMALL)
            found = held(draft)
            assert found in unsure
            model, committed, unsure = dict(found), dict(found), [dict(found)]
        assert {path: content is None for path, content in held(draft).items()} == {
            path: content is None for path, content in model.items()
        }
    assert held(draft) == model
    store.well = True
    draft.commit()
    again = Draft.open(store, key, draft.number, expected=draft.head(), options=SMALL)
    assert held(again) == model
    assert committed is not None
    assert [(path, b"".join(map(bytes, chunks))) for path, chunks in again.files()] == sorted(
        ((path, data) for path, data in model.items() if data is not None), key=lambda item: item[0].encode()
    )


def busy_draft() -> tuple[MemoryStore, DataKey, str, list[Model]]:
    """A store with a draft of many commits, and every state that was committed."""
    chosen = random.Random(5)
    store, key, model = MemoryStore(), DataKey.generate(), dict[str, bytes | None]()
    draft = Draft.create(store, key, options=SMALL)
    states = [dict(model)]
    for _ in range(25):
        for _ in range(12):
            do(draft, model, chosen)
        draft.commit()
        states.append(dict(model))
    return store, key, draft.number, states


def corrupted(
    whole: dict[str, bytes], foreign: list[bytes], records: list[str], chosen: random.Random
) -> tuple[str, MemoryStore]:
    """The store with one thing wrong, and what."""
    bad = _copy(whole)
    name, second = chosen.choice(sorted(whole)), chosen.choice(sorted(whole))
    how = chosen.choice(["flip", "cut", "more", "swap", "foreign", "drop", "tail", "zero", "repeat"])
    data = bytearray(whole[name])
    at = chosen.randrange(len(data))
    if how == "tail":
        for each in records[chosen.randrange(1, len(records)) :]:
            del bad.objects[each]
    elif how == "drop":
        del bad.objects[name]
    elif how == "swap":
        bad.objects[name], bad.objects[second] = whole[second], whole[name]
    elif how == "repeat":
        bad.objects[records[-1].rpartition("/")[0] + f"/{len(records)}"] = whole[chosen.choice(records)]
    else:
        bad.objects[name] = {
            "flip": bytes(data[:at] + bytes([data[at] ^ 1 << chosen.randrange(8)]) + data[at + 1 :]),
            "cut": bytes(data[:at]),
            "more": bytes(data) + bytes(chosen.choice([1, 16, 5000])),
            "foreign": chosen.choice(foreign),
            "zero": bytes(data[:at] + bytes(len(data[at : at + 64])) + data[at + 64 :]),
        }[how]
    return how, bad


def test_a_thousand_corruptions_are_refused_or_an_earlier_state() -> None:
    store, key, number, states = busy_draft()
    other, other_key, other_number, _ = busy_draft()
    whole = {name: bytes(data) for name, data in store.objects.items()}
    foreign = [bytes(data) for data in other.objects.values()]
    records = sorted((name for name in whole if "/j/" in name), key=lambda name: int(name.rpartition("/")[2]))
    assert states[-1] == held(Draft.open(_copy(whole), key, number))
    refused = rolled_back = 0
    for turn in range(1000):
        how, bad = corrupted(whole, foreign, records, random.Random(turn))
        if bad.objects == whole:
            continue
        try:
            found = held(Draft.open(bad, key, number, options=SMALL))
        except PaddockError:
            refused += 1
            continue
        assert found in states, how
        rolled_back += 1
        if found != states[-1]:
            assert how in {"tail", "drop"}, how
    assert refused > 500
    assert rolled_back > 30
    with pytest.raises(PaddockError):
        Draft.open(_copy(whole), other_key, number)
    with pytest.raises(PaddockError):
        Draft.open(_copy(whole), key, other_number)


def _copy(objects: dict[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    store.objects = dict(objects)
    return store
