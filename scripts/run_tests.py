"""The whole test suite, in as many processes as there are parts below: `python -m scripts.run_tests [options of pytest]`.

`--coverage` alone counts the lines that run, which takes half as long again. Each part is one pytest of its own, in the order in which its tests are found; parts share nothing, so a part alone behaves as
it does beside the others. Words that name tests (`-k`, a path) are for one process: `make test ARGS="-k seal"`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).resolve().parents[1]
_DATA = _ROOT / "build" / "coverage"
# Of about the same length on two cores: whole runs and real processes here, everything else there.
PARTS = {"runs": ("tests/integration",), "rest": ("",)}
_NOTHING_FOUND = 5
_COVERAGE = "--coverage"


def parts() -> dict[str, tuple[str, ...]]:
    """Each part's folders; the part without any takes all that no other names."""
    named = {folder for folders in PARTS.values() for folder in folders if folder}
    found = sorted(
        f"tests/{path.name}" for path in (_ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))
    )
    rest = tuple(folder for folder in found if folder not in named)
    return {name: tuple(folders) if all(folders) else rest for name, folders in PARTS.items()}


def main(arguments: Sequence[str]) -> int:
    """Run all parts side by side, or what the arguments ask for; the exit status is the worst one."""
    counted = list(arguments) == [_COVERAGE]
    if arguments and not counted:
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=_ROOT, check=False).returncode  # noqa: S603 - our own interpreter, no shell
    options = ("--cov", "--cov-report=") if counted else ()
    _DATA.mkdir(parents=True, exist_ok=True)
    for old in (*_DATA.glob(".coverage*"), *_DATA.glob("tally-*")):
        old.unlink()
    began = time.monotonic()
    print_lock = threading.Lock()
    running = []
    for name, folders in parts().items():
        process = subprocess.Popen(  # noqa: S603 - as above
            [sys.executable, "-m", "pytest", *options, "-o", f"cache_dir=build/cache-{name}", *folders],
            cwd=_ROOT,
            env={
                **os.environ,
                "COVERAGE_FILE": str(_DATA / f".coverage.{name}"),
                "PYTHONUNBUFFERED": "1",
                "PADDOCK_TEST_TALLY": str(_DATA / f"tally-{name}"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        reader = threading.Thread(target=_pass_on, args=(name, process.stdout, print_lock))
        reader.start()
        running.append((name, process, reader))
    codes = {}
    for name, process, reader in running:
        codes[name] = process.wait()
        reader.join()
    if counted:
        _coverage()
    words = ", ".join(f"{name} {_word(code)}" for name, code in codes.items())
    print(f"\nall parts: {time.monotonic() - began:.0f} s; {words}")
    _add_up(list(codes))
    return max(codes.values(), key=abs)


def _add_up(names: Sequence[str]) -> None:
    """The closing lines: skips by reason, the tests that failed by name, and how many passed and failed in all."""
    counts, reasons, failed = Counter[str](), Counter[str](), list[str]()
    for name in names:
        try:
            tally = json.loads((_DATA / f"tally-{name}").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            counts["failed"] += 1  # a process that ended before it had counted
            continue
        reasons.update(tally.pop("skipped"))
        failed += tally.pop("names")
        counts.update(tally)
    for reason, count in reasons.most_common():
        print(f"{count:5d} skipped: {reason}")
    for name in failed:
        print(f"failed: {name}")
    print(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed, {reasons.total()} skipped")


def _pass_on(name: str, source: IO[bytes] | None, lock: threading.Lock) -> None:
    if source is None:
        return
    for line in source:
        with lock:
            print(f"{name:>7} | {line.decode('utf-8', 'replace')}", end="", flush=True)


def _coverage() -> None:
    environment = {**os.environ, "COVERAGE_FILE": str(_ROOT / ".coverage")}
    for words in (("combine", "--quiet", str(_DATA)), ("report",)):
        subprocess.run([sys.executable, "-m", "coverage", *words], cwd=_ROOT, env=environment, check=False)  # noqa: S603 - as above


def _word(code: int) -> str:
    return "passed" if code == 0 else "found no tests" if code == _NOTHING_FOUND else f"failed ({code})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
