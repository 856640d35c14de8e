"""What walls cost: starting a job, and starting an enclave in the frame. Both of a pair are taken in turns.

What a step of training costs inside is in `executors`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

from bench.harness import Row, interleaved, row
from paddock.executors import Executor
from paddock.executors.process import ProcessExecutor
from paddock.executors.sandbox import SandboxExecutor
from paddock.testing.executor_suite import Recorder, launch
from paddock.walls.start import ENVIRONMENT
from tests.fixtures.walled import SMALL, TELL, run_inside

AREA = "walls"
_CEILINGS = replace(SMALL, memory_bytes=4 << 30, processes=256, cpu_seconds=600)
_NOTHING = "tell(1)"
_RECEIPT = 'import sys; sys.stdin.readline(); print(\'{"event": "receipt", "envelope": {}}\', flush=True)'


def rows(quick: bool) -> list[Row]:
    """Start of a job and of an enclave."""
    repeat = 3 if quick else 40
    starts = interleaved({"walls": partial(_walled, _NOTHING), "plain": partial(_plain, _NOTHING)}, repeat=repeat)
    command = (sys.executable, "-I", "-S", "-c", _RECEIPT)
    runs = interleaved(
        {
            "sandbox": partial(_run, SandboxExecutor(attester="none", program=command)),
            "process": partial(_run, ProcessExecutor(attester="none", program=command)),
        },
        repeat=repeat,
    )
    job = (starts["walls"].median - starts["plain"].median) * 1000
    frame = (runs["sandbox"].median - runs["process"].median) * 1000
    return [
        row("start of a job behind walls, minus of a plain process", AREA, job, "ms", target="value <= 150"),
        row("start of an enclave in the sandbox's frame, minus in process", AREA, frame, "ms"),
        row("both together: start in sandbox minus in process", AREA, job + frame, "ms", target="value <= 150"),
    ]


def _walled(code: str) -> list[float]:
    told = run_inside(code, ceilings=_CEILINGS)
    return list(told.only) if isinstance(told.only, list) else []


def _plain(code: str) -> list[float]:
    """The same program by the same way of running it, without walls."""
    source, sink = os.pipe()
    with open(source, encoding="utf-8") as told:  # noqa: PTH123 - a descriptor
        command = ["-n", "1", "-r", "1", "-s", TELL.replace("os.write(3", f"os.write({sink}"), f"exec({code!r})"]
        subprocess.run(
            [sys.executable, "-I", "-B", "-m", "timeit", *command],
            env=dict(ENVIRONMENT),
            pass_fds=(sink,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        os.close(sink)
        value = json.loads(told.read())
    return list(value) if isinstance(value, list) else []


def _run(executor: Executor) -> None:
    recorder = Recorder()
    executor.start(launch(), recorder)
    recorder.final()
