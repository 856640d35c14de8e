"""What every test run prints last: how many tests were skipped, by reason."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report) for report in skipped)
    tally = os.environ.get("PADDOCK_TEST_TALLY")
    if tally:  # scripts.run_tests adds up what several processes counted
        counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error")}
        names = [report.nodeid for name in ("failed", "error") for report in terminalreporter.stats.get(name, [])]
        Path(tally).write_text(json.dumps({**counts, "skipped": reasons, "names": names}), encoding="utf-8")
    terminalreporter.section("skipped tests by reason")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5d}  {reason}")
    terminalreporter.write_line(f"{len(skipped):5d}  in all")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ") or "no reason given"
