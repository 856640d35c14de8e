"""What every benchmark area uses: the row it reports, and timing that puts a thing beside its baseline.

A figure without its baseline from the same run, on the same machine, in the same minute says little. So the two are
measured in turns (`interleaved`) and the medians are compared.
"""

from __future__ import annotations

import gc
import json
import math
import operator
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: what was measured, in a few words.
        area: the module of `bench/` that measured it.
        value: the figure, in `unit`.
        unit: `MB/s`, `s`, `1/s`, `bytes`…
        baseline: the same thing done plainly, in `unit`, from the same run; None where there is nothing to compare.
        ratio: value / baseline, where there is one.
        target: what must hold, as text (`ratio >= 0.6`); empty for a figure that is only shown.
        holds: whether the target holds; True where there is none.
    """

    name: str
    area: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    target: str
    holds: bool


def row(
    name: str,
    area: str,
    value: float,
    unit: str,
    *,
    baseline: float | None = None,
    target: str = "",
) -> Row:
    """A `Row` whose ratio and verdict are worked out.

    Args:
        name: see `Row`.
        area: see `Row`.
        value: see `Row`.
        unit: see `Row`.
        baseline: see `Row`.
        target: empty, or `value|ratio <=|>=|== NUMBER`, e.g. `ratio <= 1.02`.
    """
    ratio = value / baseline if baseline else None
    return Row(name, area, value, unit, baseline, ratio, target, _holds(target, value, ratio))


def _holds(target: str, value: float, ratio: float | None) -> bool:
    if not target:
        return True
    subject, comparison, bound = target.split()
    figures = {"value": value, "ratio": ratio}
    if subject not in figures or comparison not in _COMPARISONS:
        raise ValueError(f"a target reads 'value|ratio <=|>=|== NUMBER', not {target!r}")
    figure = figures[subject]
    return figure is not None and math.isfinite(figure) and _COMPARISONS[comparison](figure, float(bound))


@dataclass(frozen=True)
class Timings:
    """The seconds of every repetition of one piece of work, in the order in which they ran."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile, 0 < percent <= 100."""
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call of `work` takes, the garbage of what ran before collected first."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(work: Mapping[str, Callable[[], object]], *, repeat: int, warmup: int = 1) -> dict[str, Timings]:
    """Time several pieces of work in turns, so that whatever else the machine does falls on all of them alike.

    Args:
        work: name to call; the order is turned round in every second repetition.
        repeat: measured repetitions of each, at least 1.
        warmup: repetitions of each that are thrown away first.
    """
    if repeat < 1:
        raise ValueError("at least one repetition must be measured")
    seconds: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    for _ in range(warmup):
        for name in names:
            timed(work[name])
    for turn in range(repeat):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds[name].append(timed(work[name]))
    return {name: Timings(tuple(taken)) for name, taken in seconds.items()}


def latencies(calls: Iterable[Callable[[], object]]) -> Timings:
    """Seconds of each call, one after another, without collecting garbage between them."""
    taken = []
    for call in calls:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return Timings(tuple(taken))


def peak_memory_bytes() -> int:
    """The largest resident size of this process since `reset_peak_memory`, or since its start.

    Source: proc(5), VmHWM.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not report VmHWM")


def reset_peak_memory() -> None:
    """Make `peak_memory_bytes` count from now.

    Source: proc(5), clear_refs (5: reset the peak resident size).
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a JSON list; numbers that JSON cannot hold become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{key: _finite(value) for key, value in asdict(each).items()} for each in rows]
    path.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
