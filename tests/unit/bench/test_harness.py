from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench import __main__ as program
from bench.harness import Row, Timings, interleaved, latencies, row, write_rows


def test_a_row_works_out_its_ratio_and_verdict() -> None:
    assert row("a", "x", 3.0, "s", baseline=2.0, target="ratio <= 1.5") == Row(
        "a", "x", 3.0, "s", 2.0, 1.5, "ratio <= 1.5", holds=True
    )
    assert not row("a", "x", 3.0, "s", baseline=2.0, target="ratio <= 1.49").holds
    assert not row("a", "x", 3.0, "s", target="ratio <= 1.5").holds
    assert not row("a", "x", math.nan, "s", target="value >= 0").holds
    assert row("a", "x", 3.0, "s").holds


def test_a_target_in_another_form_is_a_fault() -> None:
    with pytest.raises(ValueError, match="a target reads"):
        row("a", "x", 3.0, "s", target="speed < 3")


def test_interleaved_work_takes_turns_and_throws_the_warm_up_away() -> None:
    order: list[str] = []
    timings = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeat=2, warmup=1)
    assert "".join(order) == "ababba"
    assert {name: len(each.seconds) for name, each in timings.items()} == {"a": 2, "b": 2}


def test_percentiles_are_by_nearest_rank() -> None:
    timings = Timings(tuple(float(n) for n in range(100, 0, -1)))
    assert (timings.median, timings.percentile(50), timings.percentile(99), timings.percentile(100)) == (
        50.5,
        50,
        99,
        100,
    )
    assert len(latencies([lambda: None] * 3).seconds) == 3


def test_rows_are_written_as_a_list_without_what_json_cannot_hold(tmp_path: Path) -> None:
    write_rows([row("a", "x", math.inf, "s", baseline=1.0)], tmp_path / "new" / "bench.json")
    (written,) = json.loads((tmp_path / "new" / "bench.json").read_text(encoding="utf-8"))
    assert (written["name"], written["value"], written["ratio"], written["holds"]) == ("a", None, None, True)


@pytest.mark.parametrize(("value", "code"), [(1.0, 0), (3.0, 1)])
def test_the_program_fails_on_a_target_that_does_not_hold(
    value: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(program, "areas", lambda: ["one"])
    monkeypatch.setattr(program, "_rows", lambda area, *, quick: [row("r", area, value, "s", target="value <= 2")])
    assert program.main(["--output", str(tmp_path / "b.json")]) == code
    assert ("does not hold" in capsys.readouterr().out) == bool(code)


def test_an_area_that_crashes_fails_the_program_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(area: str, *, quick: bool) -> list[Row]:
        if area == "bad":
            raise RuntimeError("broken")
        return [row("r", area, 1.0, "s")]

    monkeypatch.setattr(program, "areas", lambda: ["bad", "good"])
    monkeypatch.setattr(program, "_rows", rows)
    assert program.main(["--output", str(tmp_path / "b.json")]) == 1
    assert "could not be measured: bad" in capsys.readouterr().out
    assert [each["area"] for each in json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))] == ["good"]
