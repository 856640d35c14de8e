"""Fuzz the parsers, each in a process of its own: `make fuzz SECONDS=60`, or `python -m tests.fuzz --help`.

Inputs that reach new code are kept in build/fuzz and are where the next run begins. What is found is written there too;
`python -m tests.fuzz --only NAME --input FILE` shows it again.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import atheris

with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["paddock"]):
    from paddock.crypto.canonical import canonical
    from paddock.evidence.provider import installed_providers
    from tests.fuzz.targets import Target, faults, signatures_off, targets

    installed_providers()

MAX_SECONDS_PER_INPUT = 1.0
MAX_MEGABYTES = 1024
_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Fuzz, and return 0 if nothing was found."""
    options = _options()
    chosen = targets(options.only) + [each for each in faults() if each.name in (options.only or ())]
    if options.input is not None:
        with signatures_off():
            for target in chosen:
                _one(target)(options.input.read_bytes())
        return 0
    folder = options.folder or _ROOT / "build" / "fuzz"
    waiting, running, found = list(reversed(chosen)), dict[int, Target](), 0
    while waiting or running:
        while waiting and len(running) < options.jobs:
            target = waiting.pop()
            running[_start(target, folder, options)] = target
        process, status = os.wait()
        target = running.pop(process)
        log = (folder / target.name / "log.txt").read_text("utf-8", "replace")
        good = os.waitstatus_to_exitcode(status) == 0
        found += not good
        print(f"{'ok   ' if good else 'FOUND'} {target.name}: {_summary(log)}", flush=True)  # noqa: T201 - for the terminal
        if not good:
            print(log[-4000:], flush=True)  # noqa: T201 - as above
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of parsers, by comma")
    parser.add_argument("--seconds", type=int, default=0, help="for each parser")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each parser: the same at every run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parsers at once")
    parser.add_argument("--folder", type=Path, help="where inputs are kept instead of build/fuzz")
    parser.add_argument("--input", type=Path, help="read this one file alone")
    return parser.parse_args()


def _start(target: Target, folder: Path, options: argparse.Namespace) -> int:
    """Fuzz in a child, and return its process id. A fuzzer never returns: it ends its process."""
    place = folder / target.name
    seeds = place / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    for part in (seeds, place / "inputs"):
        part.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (seeds / f"{number:03}").write_bytes(seed)
    process = os.fork()
    if not process:
        _fuzz(target, place, seeds, options)
    return process


def _fuzz(target: Target, place: Path, seeds: Path, options: argparse.Namespace) -> NoReturn:
    log = os.open(place / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    most = max((len(seed) for seed in target.seeds), default=4096)
    arguments = [
        "fuzz",
        f"-runs={options.runs}",
        f"-max_total_time={options.seconds}",
        f"-max_len={2 * most + 64}",
        f"-rss_limit_mb={MAX_MEGABYTES}",
        "-seed=1",
        "-timeout=20",
        "-len_control=0",
        f"-artifact_prefix={place}/",
        str(place / "inputs"),
        str(seeds),
    ]
    more: dict[str, Any] = {"custom_mutator": _change_inside} if target.text else {}
    with signatures_off():
        atheris.Setup(arguments, _one(target), **more)
        atheris.Fuzz()
    os._exit(1)  # not reached


def _one(target: Target) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        begun = time.process_time()
        target.run(data)
        if time.process_time() - begun > MAX_SECONDS_PER_INPUT:
            raise RuntimeError(f"it took longer than {MAX_SECONDS_PER_INPUT} s")

    return run


def _change_inside(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one text of a JSON document, in what it encodes where it is base64 or hex; at times the document itself."""
    choose = random.Random(seed)
    changed: bytes
    try:
        value = json.loads(data)
        places = list(_places(value))
        if not places or choose.random() < 0.2:
            raise ValueError
        holder, key = choose.choice(places)
        holder[key] = _changed_text(holder[key], max_size)
        changed = canonical(value)
    except Exception:  # noqa: BLE001 - no JSON, or none any more: then it is only bytes
        changed = atheris.Mutate(data, max_size)
    return changed[:max_size]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        if isinstance(child, str):
            yield value, key
        yield from _places(child)


def _changed_text(text: str, max_size: int) -> str:
    for decode, encode in (
        (bytes.fromhex, bytes.hex),
        (lambda each: base64.b64decode(each, validate=True), lambda each: base64.b64encode(each).decode("ascii")),
        (_unb64url, lambda each: base64.urlsafe_b64encode(each).decode("ascii").rstrip("=")),
    ):
        try:
            inside = decode(text)
        except ValueError:
            continue
        if len(inside) > 8:
            return encode(atheris.Mutate(inside, max_size // 2))
    return str(atheris.Mutate(text.encode("utf-8"), max_size // 4).decode("utf-8", "replace"))


def _unb64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _summary(log: str) -> str:
    lines = [line for line in log.splitlines() if line.startswith(("Done", "#"))]
    return lines[-1] if lines else "no input was read"


if __name__ == "__main__":
    sys.exit(main())
