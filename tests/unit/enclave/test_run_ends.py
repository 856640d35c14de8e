"""A run whose time is over after its last step has no outputs, and is not told to its keepers as one that ended."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.enclave import run
from paddock.enclave.events import EventWriter
from paddock.enclave.launch import Launch
from paddock.enclave.words import LastWords
from paddock.errors import RunTooLong
from tests.fixtures.cast import contract

LAUNCH = Launch(run="0" * 32, contract={}, store="", keepers={}, attester="none", checkpoints=[])


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("late", ["run_steps", "seal_outputs"])
def test_l13_time_that_runs_out_in_or_after_the_last_step_ends_the_run(
    late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, done = _Clock(), list[str]()

    def noted(name: str, result: Any) -> Any:
        def part(*given: Any, **__: Any) -> Any:
            done.append(name)
            if name == "run_steps":
                terms, _, around, _ = given
                around.entered(terms.steps[0])
            if name == late:
                clock.now += 10**9
            return result

        return part

    leases = SimpleNamespace(check=lambda: None, finish=noted("finish", {}))
    checkpoints = SimpleNamespace(newest=lambda _: None)
    proved = SimpleNamespace(leases=leases, checkpoints=checkpoints, inputs={}, store=None)
    monkeypatch.setattr("paddock.enclave.deadline.time", clock)
    monkeypatch.setattr(run, "_get_ready", noted("ready", None))
    monkeypatch.setattr(run, "_prove", noted("prove", proved))
    monkeypatch.setattr(run, "open_views", noted("views", ({}, 1 << 30)))
    for name in ("run_steps", "controlled", "seal_outputs"):
        monkeypatch.setattr(run, name, noted(name, {}))
    words = LastWords()
    with pytest.raises(RunTooLong):
        run.perform(LAUNCH, contract(), EventWriter(io.BytesIO()), words)
    assert done[-1] == late
    assert words.begun  # from the first step on (L-5)
