"""The quick benchmarks still measure what they say: a figure that cannot be had is noticed here, not when it is asked for."""

from __future__ import annotations

import importlib
import math

import pytest


@pytest.mark.parametrize("area", ["evidence", "executors", "imports", "keeper", "programs", "tls", "volumes", "walls"])
def test_an_area_can_be_measured(area: str) -> None:
    rows = importlib.import_module(f"bench.{area}").rows(quick=True)
    assert rows
    for row in rows:
        assert row.area == area
        assert math.isfinite(row.value)
        assert row.value > 0 or " minus " in row.name  # of two times, where this machine has other things to do


def test_mounts_can_be_measured() -> None:
    rows = importlib.import_module("bench.mount").rows(quick=True)
    if rows[0].name.startswith("skipped: "):
        pytest.skip(rows[0].name)
    assert len(rows) == 8
    for row in rows:
        assert row.value > 0
        assert row.baseline
