"""What the outputs of a run may have together goes from step to step, and to a run that is resumed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from paddock.enclave.checkpoints import Resumed, RunCheckpoints
from paddock.enclave.events import EventWriter
from paddock.enclave.files import MadeFiles
from paddock.enclave.steps import run_steps
from paddock.errors import OutputTooLarge
from paddock.gateway.supervisor import Work
from paddock.testing.stores import MemoryStore
from tests.fixtures.cast import RUN, contract
from tests.fixtures.surroundings import surroundings

MOST = 1 << 16


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock.enclave.steps.check_steps", lambda _: None)


class _Workers:
    """In their place: jobs hand out as many bytes as they are told to, of each of their outputs."""

    def __init__(self, each: int) -> None:
        self.each = each

    def run(self, work: Work, *_: Any, **__: Any) -> Mapping[str, Mapping[str, bytes]]:
        for name in work.outputs:
            work.budgets[name].take(self.each)
        return {name: {"file": b""} for name in work.outputs}


def run(each: int, *, memory: int = 1 << 30, resumed: Resumed | None = None) -> None:
    """Run the cast's two steps; two outputs of the first are listed, and one of the second."""

    def change(value: dict[str, Any]) -> None:
        value["level"] = "L2"
        value["limits"]["output_bytes"] = MOST
        for row in value["outputs"].values():
            row["max_bytes"] = MOST

    agreed = contract(change)
    checkpoints = RunCheckpoints(agreed, RUN, None, MemoryStore(), EventWriter(io.BytesIO()))
    around = surroundings(agreed.terms, checkpoints, [])
    inputs = {name: MadeFiles({}) for name in agreed.terms.inputs}
    around = replace(around, workers=_Workers(each), memory_limit_bytes=memory)  # type: ignore[arg-type]
    run_steps(agreed.terms, inputs, around, resumed)


def test_w16_the_steps_of_a_run_share_what_was_signed() -> None:
    listed = len(contract().terms.outputs)
    assert listed > 1
    run(MOST // listed)
    with pytest.raises(OutputTooLarge, match="together"):
        run(MOST // listed + 1)


def test_w16_what_an_earlier_attempt_made_counts() -> None:
    made = {"training.weights": {"file": bytes(MOST)}}
    step = contract().terms.steps[1].name
    run(0, resumed=Resumed("", 1, step, made, None))
    with pytest.raises(OutputTooLarge, match="together"):
        run(1, resumed=Resumed("", 1, step, made, None))


def test_w16_what_stays_is_bounded_by_memory() -> None:
    made = {"training.weights": {}, "training.other": {"file": bytes(11)}}
    step = contract().terms.steps[1].name
    run(0, memory=11, resumed=Resumed("", 1, step, made, None))
    with pytest.raises(OutputTooLarge, match="together"):
        run(0, memory=10, resumed=Resumed("", 1, step, made, None))
