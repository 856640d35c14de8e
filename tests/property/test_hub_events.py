"""Whatever a run sends, the hub keeps a known form of bounded size or nothing, and never breaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddock.errors import CATALOGUE, RunSpokeBadly
from paddock.hub import events

_LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_JSON = st.recursive(_LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner))
_MEMBERS = {
    "phase": st.sampled_from(["booted", "opened", "x"]) | _JSON,
    "at": st.sampled_from(["2027-01-01T00:00:00Z", "2027-13-01T00:00:00Z"]) | _JSON,
    "detail": st.dictionaries(st.text(max_size=9), _JSON, max_size=5) | _JSON,
    "sequence": _JSON,
    "sealed": st.lists(st.fixed_dictionaries({"to": st.just("A") | _JSON, "data": st.just("AAAA") | _JSON})) | _JSON,
    "error": st.fixed_dictionaries({"code": st.sampled_from(sorted(CATALOGUE)) | _JSON, "detail": _JSON}) | _JSON,
    "envelope": _JSON,
}
_EVENT = st.fixed_dictionaries(
    {"event": st.sampled_from(["phase", "progress", "failed", "receipt"]) | _JSON}, optional=_MEMBERS
)


@given(_EVENT)
@example({"event": "phase", "phase": "booted", "at": "2027-01-01T00:00:00Z", "detail": {"\ud800": "\ud800"}})
@example({"event": "progress", "sealed": [], "sequence": 10**400})
def test_any_event_is_kept_in_a_known_form_or_not_at_all(event: dict[str, Any]) -> None:
    known = events.read_event(event)
    if known is not None:
        text = events.write_event(known)
        assert text is not None
        assert json.loads(text) == known
        text.encode("utf-8")


@given(_EVENT)
@example({"event": "failed", "error": {"code": "E-RUN-21", "detail": "\ud800"}})
def test_any_failure_becomes_one_of_ours(event: dict[str, Any]) -> None:
    error, kept = events.read_failure(event)
    assert type(error) in {*CATALOGUE.values()}
    text = events.write_event(kept)
    assert text is not None
    text.encode("utf-8")


@given(_EVENT)
def test_anything_that_is_no_receipt_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(RunSpokeBadly):
        events.read_receipt(event, contract="sha256:" + "0" * 64, run="0" * 32)
