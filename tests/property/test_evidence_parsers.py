"""Whatever is done to genuine evidence, it is accepted only unchanged, and refused only in the words of the error tree."""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.crypto.canonical import canonical
from paddock.errors import PaddockError
from paddock.evidence.claims import Claims
from paddock.evidence.provider import installed_providers
from paddock.evidence.reading import Order
from tests.evidence.matrix import VENDORS, Sample, samples


def _inside(value: Any) -> list[tuple[Any, Any]]:
    """Where a JSON document holds bytes: container and key of every base64 text of some length."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: list[tuple[Any, Any]] = []
    for key, child in items:
        if isinstance(child, str) and len(child) >= 16:
            with contextlib.suppress(ValueError):
                base64.b64decode(child, validate=True)
                found.append((value, key))
        found += _inside(child)
    return found


def _spliced(data: st.DataObject, body: bytes) -> bytes:
    """Cut, copy, move, overwrite, or change a number, somewhere in it."""
    size = len(body)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, min(size, start + data.draw(st.sampled_from([1, 2, 4, 16, 64, 1024])))))
    part, place = body[start:end], data.draw(st.integers(0, size))
    match data.draw(st.sampled_from(["cut", "copy", "move", "overwrite", "number", "noise", "zero"])):
        case "cut":
            return body[:start] + body[end:]
        case "copy":
            return body[:place] + part + body[place:]
        case "move":
            rest = body[:start] + body[end:]
            return rest[:place] + part + rest[place:]
        case "overwrite":
            return body[:place] + part + body[place + len(part) :]
        case "number":
            length = data.draw(st.sampled_from([1, 2, 3, 4, 8]))
            order: Order = "little" if data.draw(st.booleans()) else "big"
            number = int.from_bytes(body[place : place + length], order)
            change = data.draw(st.sampled_from([1, -1, 2, 255, 256, -256, 1 << 31, (1 << 8 * length) - 1]))
            changed = (number + change) % (1 << 8 * length)
            return body[:place] + changed.to_bytes(length, order) + body[place + length :]
        case "noise":
            return body[:start] + data.draw(st.binary(max_size=32)) + body[end:]
        case _:
            return body[:start] + bytes(len(part)) + body[end:]


def _changed(data: st.DataObject, body: bytes) -> bytes:
    for _ in range(data.draw(st.integers(1, 3))):
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        places = _inside(value)
        which = data.draw(st.integers(-len(places), len(places) - 1)) if places else -1
        if which >= 0:
            holder, key = places[which]
            holder[key] = base64.b64encode(_spliced(data, base64.b64decode(holder[key]))).decode("ascii")
            body = canonical(value)
        else:
            body = _spliced(data, body)
    return body


def _accepted(sample: Sample, body: bytes) -> Claims | None:
    """What a provider says of it, or None; what it raises outside the tree is a fault, though the core refuses that too."""
    attempt = sample.with_body(body)
    provider = installed_providers()[sample.vendor]
    provider.recognises(body)
    with contextlib.suppress(PaddockError):
        provider.needs(body)
    trust = attempt.policy.section(sample.vendor)
    try:
        return provider.verify(body, trust=trust, collateral=attempt.collateral, now=attempt.now)
    except PaddockError:
        return None


def _says_the_same(one: Claims, other: Claims) -> bool:
    """But for what the event log is named by, and how many records it has: only its digests are extended (A-24)."""
    free = {"event_log", "event_log_records"}
    kept = [{key: value for key, value in each.details.items() if key not in free} for each in (one, other)]
    return kept[0] == kept[1] and replace(one, details=other.details) == other


def _without_log(body: bytes) -> Any:
    """The document less its event log, or the bytes where it has none."""
    with contextlib.suppress(ValueError):
        value = json.loads(body)
        if isinstance(value, dict) and isinstance(value.get("event_log"), str):
            return value | {"event_log": ""}
    return body


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_changed_evidence_is_refused(vendor: str, data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(list(samples(vendor))))
    genuine = sample.genuine.evidence.body
    _refused_or_the_same(sample, genuine, _changed(data, genuine))


def _refused_or_the_same(sample: Sample, genuine: bytes, body: bytes) -> None:
    """Of an event log, what stands beside the digests is for people, and so is the order of different registers'."""
    claims = _accepted(sample, body)
    if claims is not None and body != genuine:
        before = _accepted(sample, genuine)
        assert before is not None
        assert _without_log(body) == _without_log(genuine)
        assert _says_the_same(claims, before)


def test_what_stands_beside_a_digest_of_an_event_log_changes_no_claim() -> None:
    """Found by chance: a byte of an event's description, which is no part of what was extended."""
    logged = [each for each in samples("azure") if json.loads(each.genuine.evidence.body)["event_log"] is not None]
    assert logged
    for sample in logged:
        genuine = sample.genuine.evidence.body
        value = json.loads(genuine)
        log = base64.b64decode(value["event_log"])
        at = log.index(b"firmware")
        body = canonical(value | {"event_log": base64.b64encode(log[:at] + b"\0" + log[at + 1 :]).decode("ascii")})
        assert _accepted(sample, body) is not None
        _refused_or_the_same(sample, genuine, body)


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_two_genuine_pieces_do_not_make_a_third(vendor: str, data: st.DataObject) -> None:
    every = [each for name in VENDORS for each in samples(name)]
    sample, other = data.draw(st.sampled_from(list(samples(vendor)))), data.draw(st.sampled_from(every))
    one, two = sample.genuine.evidence.body, other.genuine.evidence.body
    cut, join = data.draw(st.integers(0, len(one))), data.draw(st.integers(0, len(two)))
    body = one[:cut] + two[join:]
    assert _accepted(sample, body) is None or body in {each.genuine.evidence.body for each in samples(vendor)}


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=2048))
def test_noise_is_refused(vendor: str, body: bytes) -> None:
    assert _accepted(samples(vendor)[0], body) is None


@pytest.mark.parametrize("vendor", VENDORS)
def test_evidence_of_every_other_vendor_is_refused(vendor: str) -> None:
    for other in VENDORS:
        for piece in samples(other) if other != vendor else ():
            assert _accepted(samples(vendor)[0], piece.genuine.evidence.body) is None


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_provider_recognises_its_own_evidence(vendor: str) -> None:
    for sample in samples(vendor):
        assert installed_providers()[vendor].recognises(sample.genuine.evidence.body)
