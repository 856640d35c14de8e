"""Live progress that cannot be written is passed over, and the next one is told."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from paddock.crypto.canonical import canonical
from paddock.crypto.identity import PrivateKeys
from paddock.enclave import progress
from paddock.enclave.events import EventWriter
from paddock.enclave.progress import ProgressSealer
from paddock.errors import EncodingRefused
from tests.fixtures.cast import contract

RUN = "0" * 32


def sequence(values: list[dict[str, Any]]) -> list[int]:
    """The places of what is told of these, one after the other."""
    sink = io.BytesIO()
    sealer = ProgressSealer(contract(), RUN, PrivateKeys.generate(), EventWriter(sink))
    for each in values:
        sealer.report("evaluation", 1, 1, each)
    sealer.close()
    return [json.loads(line)["sequence"] for line in sink.getvalue().splitlines()]


def test_a_number_that_json_cannot_hold_ends_no_progress() -> None:
    assert sequence([{"loss": 1.0}, {"loss": 10**400}, {"loss": float("nan")}, {"loss": 1 << 53}, {"loss": 2}]) == [
        0,
        1,
    ]


def test_a_message_that_cannot_be_written_ends_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[Any]()

    def once_refusing(value: Any) -> bytes:
        calls.append(value)
        if len(calls) == 1:
            raise EncodingRefused("A value cannot be written as canonical JSON.")
        return canonical(value)

    monkeypatch.setattr(progress, "canonical", once_refusing)
    assert sequence([{"loss": 1.0}, {"loss": 0.5}]) == [0]
