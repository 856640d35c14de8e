"""One test or more per rule of docs/spec/checkpoint.md; each tries to break its rule."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from paddock.contract import SignedContract
from paddock.crypto.canonical import canonical
from paddock.crypto.streaming import derive
from paddock.enclave.checkpoints import Made, Resumed, RunCheckpoints, StepCheckpoints
from paddock.enclave.events import EventWriter
from paddock.enclave.files import MadeFiles
from paddock.enclave.launch import MAX_HINTS, CheckpointHint, read_launch
from paddock.enclave.steps import run_steps
from paddock.errors import (
    BodyTooLarge,
    GrantEnded,
    LaunchRefused,
    PaddockError,
    StoreDenied,
    StoreFull,
    StoreUnreachable,
)
from paddock.hub.events import read_checkpoint
from paddock.seal import DataKey, VolumeReader, in_order, write_volume
from paddock.testing.stores import LIES, LyingStore, MemoryStore
from tests.fixtures.cast import NAMES, RUN, Change, contract, merge, secret
from tests.fixtures.surroundings import surroundings

OTHER_RUN = "f" * 32
MADE: Made = {"training.weights": {"weights.safetensors": b"w" * 5000, "a/b": b""}, "training.curve": {}}
STATE = {"state.json": b"{}", "tensors": bytes(range(256)) * 300}


def parts(label: str = "part") -> dict[str, DataKey]:
    return {name: DataKey(secret(f"{label} of {name}")) for name in NAMES}


class Kept:
    """The checkpoints of a run over a store, and what is told of them."""

    def __init__(self, store: Any = None, change: Change | None = None, run: str = RUN, **values: Any) -> None:
        self.store: Any = MemoryStore() if store is None else store
        self.said = io.BytesIO()
        self.run = run
        self.agreed: SignedContract = contract(change)
        secrets = values.get("parts", parts())
        self.checkpoints = RunCheckpoints(self.agreed, run, secrets, self.store, EventWriter(self.said))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.getvalue().splitlines()]

    def hints(self) -> list[CheckpointHint]:
        return [
            CheckpointHint(id=each["id"], asset=each["asset"])
            for each in self.events()
            if each["event"] == "checkpoint"
        ]

    def save(self, step: str = "evaluation", made: Made = MADE, state: Mapping[str, bytes] | None = None) -> None:
        self.checkpoints.save(step, made, STATE if state is None else state)


def again(kept: Kept, **values: Any) -> Kept:
    """Another attempt, over the same store."""
    return Kept(values.pop("store", kept.store), **values)


def content(found: Resumed | None) -> tuple[str, Made, dict[str, bytes]]:
    assert found is not None
    assert found.state is not None
    return found.step, found.made, {name: found.state.open(name).read() for name in found.state.names()}


def test_another_attempt_finds_what_was_kept() -> None:
    kept = Kept()
    kept.save()
    later = again(kept)
    found = later.checkpoints.newest(kept.hints())
    assert content(found) == ("evaluation", MADE, STATE)
    later.save()
    assert [event["number"] for event in later.events() if event["event"] == "checkpoint"] == [2]
    kept.checkpoints.save("training", {}, None)
    begun = again(kept).checkpoints.newest(kept.hints())
    assert begun is not None
    assert (begun.step, begun.made, begun.state, begun.number) == ("training", {}, None, 2)


def test_k1_without_every_keepers_part_nothing_opens() -> None:
    kept = Kept()
    kept.save()
    for name in NAMES:
        less = again(kept, parts={**parts(), name: DataKey(secret("a guess"))})
        assert less.checkpoints.newest(kept.hints()) is None
        assert [event["phase"] for event in less.events()] == ["checkpoint-refused"]
    without = again(kept, parts={name: key for name, key in parts().items() if name != "north"})
    assert without.checkpoints.newest(kept.hints()) is None
    assert content(again(kept, parts=dict(reversed(parts().items()))).checkpoints.newest(kept.hints()))
    nothing = Kept(parts=None)
    nothing.save()
    assert (nothing.store.objects, nothing.events(), nothing.checkpoints.due()) == ({}, [], False)
    assert again(kept, parts=None).checkpoints.newest(kept.hints()) is None


def test_k2_the_key_is_the_one_of_the_specification_and_of_this_checkpoint_alone() -> None:
    kept = Kept()
    kept.save()
    (hint,) = kept.hints()
    bound = {"contract": kept.agreed.id, "id": hint.id, "run": RUN}
    joined = b"".join(parts()[name].raw() for name in sorted(NAMES))
    key = DataKey(derive(joined, b"paddock/checkpoint/v1\0" + canonical(bound)))
    moved = MemoryStore()
    for name, data in kept.store.objects.items():
        moved.put(name.removeprefix(f"checkpoints/{RUN}/{hint.id}/"), [data])
    assert "checkpoint.json" in VolumeReader.open(hint.asset, moved, key).paths()
    for run, identity in ((RUN, "0" * 32), (OTHER_RUN, hint.id)):
        elsewhere = MemoryStore()
        for name, data in moved.objects.items():
            elsewhere.put(f"checkpoints/{run}/{identity}/{name}", [data])
        other = Kept(elsewhere, run=run)
        assert other.checkpoints.newest([CheckpointHint(id=identity, asset=hint.asset)]) is None
    assert again(kept, change=merge(title="Another")).checkpoints.newest(kept.hints()) is None


def _forged(over: Kept, files: Mapping[str, bytes], **about: Any) -> list[CheckpointHint]:
    """A checkpoint under the right key that no honest run writes."""
    identity = "1" * 32
    bound = {"contract": over.agreed.id, "id": identity, "run": RUN}
    joined = b"".join(parts()[name].raw() for name in sorted(NAMES))
    key = DataKey(derive(joined, b"paddock/checkpoint/v1\0" + canonical(bound)))
    value = {
        "version": "paddock/checkpoint/v1",
        "contract": over.agreed.id,
        "run": RUN,
        "number": 1,
        "step": "evaluation",
        "kept": True,
        "made": {"training.weights": ["w"]},
        **about,
    }
    whole = {"checkpoint.json": canonical(value), **files}
    inner = MemoryStore()
    asset = write_volume(in_order(whole), key, inner).asset
    for name, data in inner.objects.items():
        over.store.put(f"checkpoints/{RUN}/{identity}/{name}", [data])
    return [CheckpointHint(id=identity, asset=asset)]


GOOD = {"made/training.weights/w": b"w", "state/s": b"s"}


def test_k3_a_checkpoint_has_one_form() -> None:
    kept = Kept()
    assert kept.checkpoints.newest(_forged(kept, GOOD)) is not None
    bad: list[tuple[Mapping[str, bytes], dict[str, Any]]] = [
        (GOOD, {"version": "paddock/checkpoint/v2"}),
        (GOOD, {"contract": "sha256:" + "0" * 64}),
        (GOOD, {"run": OTHER_RUN}),
        (GOOD, {"number": 0}),
        (GOOD, {"number": "1"}),
        (GOOD, {"step": "cleaning"}),
        (GOOD, {"step": "training"}),  # what training made cannot be there before it
        (GOOD, {"kept": False}),
        (GOOD, {"made": {}}),
        (GOOD, {"made": {"training.weights": ["w", "v"]}}),
        (GOOD, {"made": {"evaluation.metrics": ["w"]}}),
        (GOOD, {"more": 1}),
        ({**GOOD, "other": b""}, {}),
        ({**GOOD, "made/training.weights/v": b""}, {}),
        ({"state/s": b""}, {}),
        ({"made/training.weights/w": b"w"}, {}),
        ({**GOOD, "checkpoint.json": b"{"}, {}),
        ({**GOOD, "checkpoint.json": b" " * (1 << 20) + b"{}"}, {}),
        ({**GOOD, "state/s": bytes(65 << 20)}, {"kept": True}),
    ]
    for files, about in bad:
        kept = Kept(change=merge("limits", memory_bytes=64 << 20))
        assert kept.checkpoints.newest(_forged(kept, files, **about)) is None, (list(files), about)


def test_k3_its_size_tells_nothing_where_the_level_pads() -> None:
    def stored(level: str, length: int) -> int:
        kept = Kept(change=merge(level=level))
        kept.save(state={"tensors": bytes(length)})
        return sum(len(data) for name, data in kept.store.objects.items() if name.endswith("payload"))

    assert stored("L5", 40_001) == stored("L5", 40_100)
    assert stored("L4", 40_001) != stored("L4", 40_100)


class _Full(MemoryStore):
    """A store that takes some objects and then no more."""

    def __init__(self, room: int, error: type[PaddockError]) -> None:
        super().__init__()
        self.room = room
        self.error = error

    def put(self, name: str, chunks: Any) -> int:
        if len(self.objects) >= self.room:
            raise self.error
        return super().put(name, chunks)


@pytest.mark.parametrize("error", [StoreUnreachable, StoreDenied, StoreFull, BodyTooLarge, GrantEnded])
def test_k4_nothing_is_told_of_before_it_is_whole_and_the_run_goes_on(error: type[PaddockError]) -> None:
    for room in range(4):
        kept = Kept(_Full(room, error))
        kept.save()
        assert [event["event"] for event in kept.events()] == ["phase"]
        assert kept.events()[0]["phase"] == "checkpoint-failed"
        kept.store.room = 100
        kept.save()
        assert kept.events()[-1]["number"] == 1
        assert set(kept.events()[-1]["objects"]) <= set(kept.store.objects)
        assert content(again(kept).checkpoints.newest(kept.hints())) == ("evaluation", MADE, STATE)


def test_k5_the_newest_that_holds_is_taken_in_whatever_order_they_are_named() -> None:
    kept = Kept()
    for number in range(4):
        kept.save(state={"n": str(number).encode()})
    hints = kept.hints()
    for order in (hints, hints[::-1], [hints[3], hints[0]]):
        assert content(again(kept).checkpoints.newest(order))[2] == {"n": b"3"}
    assert content(again(kept).checkpoints.newest(hints[:2]))[2] == {"n": b"1"}
    assert again(kept).checkpoints.newest([]) is None


@pytest.mark.parametrize("lie", [lie for lie in LIES if lie != "unreachable"])
def test_k5_a_checkpoint_that_is_damaged_or_gone_gives_way_to_the_one_before(lie: str) -> None:
    kept = Kept()
    kept.save(state={"n": b"0" * 9000})
    kept.save(state={"n": b"1" * 9000})
    first, second = kept.hints()
    # Every object of the newer one in turn; the older one is as it was.
    for name in [each for each in kept.store.objects if second.id in each]:
        behind = MemoryStore()
        behind.objects = dict(kept.store.objects)
        later = again(kept, store=LyingStore(behind, name, lie))
        found = content(later.checkpoints.newest([second, first]))
        told = [event for event in later.events() if event.get("phase") == "checkpoint-refused"]
        assert found[2] in ({"n": b"0" * 9000}, {"n": b"1" * 9000})
        # Not every lie shows at every object: padding of the table is not read. What is taken is exact all the same.
        assert bool(told) == (found[2]["n"][:1] == b"0")
        assert told or not name.endswith("payload"), name
    mixed = [CheckpointHint(id=second.id, asset=first.asset), CheckpointHint(id=first.id, asset=second.asset)]
    assert again(kept).checkpoints.newest(mixed) is None


def test_k5_a_store_that_does_not_answer_is_no_reason_to_begin_anew() -> None:
    kept = Kept()
    kept.save()
    with pytest.raises(StoreUnreachable):
        again(kept, store=LyingStore(kept.store, "", "unreachable")).checkpoints.newest(kept.hints())


def test_k5_a_launch_names_few_checkpoints_and_only_by_number_and_id() -> None:
    hint = {"id": "0" * 32, "asset": "sha256:" + "0" * 64}
    launch = {"run": RUN, "contract": contract().envelope.to_dict(), "store": "", "keepers": {}, "attester": ""}

    def read(checkpoints: Any) -> object:
        return read_launch(json.dumps({**launch, "checkpoints": checkpoints}).encode())

    assert read([hint] * MAX_HINTS)
    for bad in (
        [hint] * (MAX_HINTS + 1),
        [{**hint, "id": "../../x"}],
        [{**hint, "asset": "x"}],
        [{**hint, "more": 1}],
        None,
    ):
        with pytest.raises(LaunchRefused):
            read(bad)


def test_k6_a_step_sees_its_own_state_and_keeps_what_was_made_before_it() -> None:
    kept = Kept()
    step = StepCheckpoints(kept.checkpoints, "evaluation", MADE, None)
    assert step.latest() is None
    step.save({"own": b"state"})
    found = again(kept).checkpoints.newest(kept.hints())
    assert content(found) == ("evaluation", MADE, {"own": b"state"})


class _Job:
    """Notes what it was given; yields its step's outputs."""

    outputs = ("weights", "curve", "metrics")
    takes_paths = False

    def __init__(self, kind: str, seen: list[tuple[str, dict[str, bytes] | None]]) -> None:
        self.kind = kind
        self.seen = seen

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        pass

    def outputs_of(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        return self.outputs

    def run(self, context: Any) -> dict[str, dict[str, bytes]]:
        state = context.checkpoints.latest()
        kept = None if state is None else {name: state.open(name).read() for name in state.names()}
        self.seen.append((self.kind, kept))
        return {name: {"file": self.kind.encode()} for name in self.outputs}


@pytest.mark.parametrize("step", ["training", "evaluation"])
def test_k6_finished_steps_are_not_done_again_and_state_is_its_steps_own(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    kept = Kept()
    names = [each.name for each in kept.agreed.terms.steps]
    made: Made = {"training.weights": {"kept": b"earlier"}} if step == "evaluation" else {}
    kept.checkpoints.save(step, made, {"own": b"state"})
    later = again(kept)
    seen: list[tuple[str, dict[str, bytes] | None]] = []
    monkeypatch.setattr("paddock.enclave.steps.job_kind", lambda kind: _Job(kind, seen))
    entered: list[str] = []
    found = run_steps(
        kept.agreed.terms,
        {name: MadeFiles({}) for name in kept.agreed.terms.inputs},
        surroundings(kept.agreed.terms, later.checkpoints, entered),
        later.checkpoints.newest(kept.hints()),
    )
    assert entered == names[names.index(step) :]
    assert [state for _, state in seen] == [{"own": b"state"}, *[None] * (len(entered) - 1)]
    assert found["training.weights"] == (made.get("training.weights") or {"file": b"train"})


def test_k6_it_is_due_by_the_contracts_time() -> None:
    kept = Kept(change=merge("limits", checkpoint_seconds=1))
    assert not kept.checkpoints.due()
    kept.checkpoints._pace._last -= 1
    assert kept.checkpoints.due()
    kept.save()
    assert not kept.checkpoints.due()


def test_k7_a_hub_notes_no_object_that_is_not_the_runs_own() -> None:
    kept = Kept()
    kept.save()
    (event,) = kept.events()
    assert read_checkpoint(event, RUN) is not None
    own = f"checkpoints/{RUN}/{event['id']}/"
    for objects in (
        ["manifests/" + "0" * 64],
        [*event["objects"], "volumes/" + "0" * 32 + "/payload"],
        [f"checkpoints/{OTHER_RUN}/{event['id']}/x"],
        [own + "../../../manifests/x"],
        [own],
        [],
        ["x"] * 5000,
        "x",
    ):
        assert read_checkpoint({**event, "objects": objects}, RUN) is None
    assert read_checkpoint(event, OTHER_RUN) is None
    assert read_checkpoint({**event, "asset": "x"}, RUN) is None
