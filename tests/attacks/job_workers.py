"""Where a job runs and for how long: in the process that has the keys, where walls cannot be built, for ever.

What a job can do from inside its walls is tried by the other `job_…` modules; here the walls are gone round.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

from paddock.contract.terms import OutputTerms, StepTerms
from paddock.enclave import deadline, steps, workers
from paddock.enclave.checkpoints import RunCheckpoints
from paddock.enclave.deadline import Deadline
from paddock.enclave.events import EventWriter
from paddock.enclave.files import MadeFiles
from paddock.enclave.plain import start_plain
from paddock.errors import RunTooLong, WallsUnavailable
from paddock.gateway.frames import Kind
from paddock.jobs.api import JobContext
from paddock.jobs.script import ScriptJob
from paddock.seal import DataKey
from paddock.testing.stores import MemoryStore
from paddock.walls import start as walls
from tests.attacks.catalogue import NOTHING, Actor, Outcome, at_all_levels, attack, of_jobs
from tests.attacks.ground import Ground
from tests.attacks.switches import both, instead, without
from tests.fixtures.cast import RUN, secret
from tests.fixtures.gateway import HELLO, frame, output, speak
from tests.fixtures.surroundings import surroundings

_WORKERS: dict[str, Any] = {"threats": (43,), "rules": ("L-11",), "claims": of_jobs(), "alike": True}
END = frame(Kind.END)
_RECORD = b"31.415926535897"
_LOOK = """
import gc
found = sum(type(each).__name__ == "DataKey" for each in gc.get_objects())
"""


def _script(ground: Ground, source: str) -> bytes:
    """What a script that runs as a step of a contract of this level leaves in its output."""
    step = StepTerms(
        name="work",
        kind="script",
        inputs={"script": ("code",), "data": ("records",)},
        parameters={"entry": "main.py", "outputs": ["model"]},
    )
    leaving = OutputTerms.model_validate(
        {"source": "work.model", "to": ["modelco"], "type": "files", "max_bytes": 1 << 16}, strict=False
    )
    terms = ground.contract().terms.model_copy(update={"steps": (step,), "outputs": {"model": leaving}})
    checkpoints = RunCheckpoints(ground.contract(), RUN, None, MemoryStore(), EventWriter(io.BytesIO()))
    around = surroundings(terms, checkpoints, [])
    opened = {"code": MadeFiles({"main.py": source.encode()}), "records": MadeFiles({"a.csv": _RECORD})}
    try:
        made = steps.run_steps(terms, opened, around, None)
    finally:
        around.workers.close()
    return b"".join(made["work.model"].values())


def _in_place(_job: ScriptJob, context: JobContext) -> dict[str, dict[str, bytes]]:
    """A script run as built-in jobs are at L1 and L5: in this process."""
    (code,) = context.inputs["script"]
    names: dict[str, Any] = {}
    with code.open("main.py") as file:
        exec(file.read().partition(b"open(")[0], names)
    return {"model": {"found": str(names["found"]).encode()}}


@attack(
    "job-beside-the-keys",
    Actor.JOB,
    "a script in the process that has the keys",
    what="A script looks for data keys in the memory of the process that it runs in.",
    stops="From L2 on every step's job runs in a fresh process of its own, which knows no key.",
    enforced=("enclave.workers", "enclave.steps"),
    codes=(NOTHING,),
    off=lambda: both(
        lambda: instead(steps, "in_process", lambda *_, **__: True), lambda: instead(ScriptJob, "run", _in_place)
    ),
    **_WORKERS,
)
def beside_the_keys(ground: Ground) -> str | Outcome:
    held = DataKey(secret("of an input"))
    found = int(_script(ground, f"{_LOOK}open('/outputs/model/found', 'w').write(str(found))"))
    del held
    return f"{found} data keys" if found else Outcome.refused(NOTHING, "no key in its process")


@contextlib.contextmanager
def _somebody_listens() -> Iterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def listen() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as caller:
                heard.append(caller.recv(100))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # whoever waits in vain
            thread.join()


@attack(
    "host-without-walls",
    Actor.HOST,
    "a machine that cannot build walls",
    what="The host takes bubblewrap away, so that a script, its ally, runs with the machine's network and sends the inputs out.",
    stops="Where walls cannot be built, no job of L2 to L4 runs, built-in or not.",
    enforced=("enclave.workers", "walls.start"),
    codes=(WallsUnavailable,),
    off=lambda: instead(workers, "start_walled", start_plain),
    **_WORKERS,
)
def without_walls(ground: Ground) -> str | Outcome:
    with _somebody_listens() as (port, heard):
        source = (
            "import socket\n"
            f"with socket.create_connection(('127.0.0.1', {port}), 10) as out:\n"
            "    out.sendall(open('/inputs/records/a.csv', 'rb').read())\n"
        )
        with instead(walls, "WHERE_PROGRAMS_ARE", str(ground.folder)):
            _script(ground, source)
    return f"{len(heard[0])} bytes of the records" if heard == [_RECORD] else Outcome.refused(NOTHING, "nobody called")


@attack(
    "job-without-end",
    Actor.JOB,
    "a job that never ends",
    what="A job goes on for hours after the time that all signed, sending progress so that it looks alive.",
    stops="An attempt's time is signed; it runs by a clock that only goes forward, and is looked at while a job speaks or is silent.",
    enforced=("enclave.deadline", "gateway.frames"),
    threats=(43,),
    rules=("L-13",),
    codes=(RunTooLong,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(Deadline.check, "if time.monotonic()"),
)
def without_end(ground: Ground) -> str:
    clock = _Clock()
    with instead(deadline, "time", clock):
        signed = Deadline(3600)

        def a_minute_later() -> None:
            clock.now += 60
            signed.check()

        news = frame(Kind.PROGRESS, {"step": 1, "total": 2, "values": {}})
        made, _ = speak(HELLO + news * 100 + output("model", {"late": b"1"}) + END, idle=a_minute_later)
    return f"{len(made)} output after {clock.now / 3600:.0f} hours of one"


class _Clock:
    """Stands where `time` stands."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now
