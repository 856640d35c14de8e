"""`python -m bench [--only AREA,AREA] [--quick]`: every figure, its baseline and whether its target holds.

An area is a module of this folder with `rows(quick: bool) -> list[Row]`. Ends with 1 if a target does not hold or an
area could not be measured.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

import bench
from bench.harness import Row, write_rows

_NOT_AREAS = {"__main__", "harness"}
_RESULT = Path(__file__).resolve().parents[1] / "build" / "bench.json"


def main(arguments: list[str] | None = None) -> int:
    """Measure the chosen areas one after another; see the module's docstring."""
    known = areas()
    options = _options(arguments, known)
    console = Console(width=None if sys.stdout.isatty() else 140)
    measured: list[Row] = []
    crashed: list[str] = []
    for number, area in enumerate(options.only, start=1):
        console.print(f"[{number}/{len(options.only)}] {area} …", markup=False, highlight=False)
        start = time.monotonic()
        try:
            measured += _rows(area, quick=options.quick)
        except Exception:  # noqa: BLE001 - one area that breaks must not hide the figures of the others
            traceback.print_exc()
            crashed.append(area)
        console.print(f"      {time.monotonic() - start:.1f} s", highlight=False)
        write_rows(measured, options.output)
    console.print(table(measured))
    missed = [row for row in measured if not row.holds]
    for row in missed:
        console.print(f"does not hold: {row.area}: {row.name}: {row.target}", markup=False, highlight=False)
    for area in crashed:
        console.print(f"could not be measured: {area}", markup=False, highlight=False)
    console.print(f"{len(measured)} figures -> {options.output}", markup=False, highlight=False)
    return 1 if missed or crashed else 0


def areas() -> list[str]:
    """The names of all areas."""
    names = (module.name for module in pkgutil.iter_modules(bench.__path__))
    return sorted(name for name in names if name not in _NOT_AREAS and not name.startswith("_"))


def table(rows: list[Row]) -> Table:
    """The rows as people read them."""
    drawn = Table(title="Figures, each beside its baseline from the same run")
    for heading in ("area", "figure"):
        drawn.add_column(heading)
    for heading in ("value", "baseline", "ratio"):
        drawn.add_column(heading, justify="right")
    for heading in ("target", ""):
        drawn.add_column(heading)
    for row in rows:
        verdict = "[green]holds[/]" if row.holds else "[red bold]missed[/]"
        drawn.add_row(
            row.area,
            row.name,
            f"{_figure(row.value)} {row.unit}",
            "" if row.baseline is None else f"{_figure(row.baseline)} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.3f}",
            row.target,
            verdict if row.target else "",
        )
    return drawn


def _rows(area: str, *, quick: bool) -> list[Row]:
    rows: list[Row] = importlib.import_module(f"bench.{area}").rows(quick)
    if not rows:
        raise RuntimeError(f"{area} measured nothing")
    return rows


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _options(arguments: list[str] | None, known: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help=f"areas with commas between them, of: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repetitions")
    parser.add_argument("--output", type=Path, default=_RESULT, help="where the JSON goes")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",") if options.only else known
    if unknown := sorted(set(options.only) - set(known)):
        parser.error(f"no such area: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
