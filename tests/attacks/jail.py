"""Attacks by a job from inside its walls: scripts of the folder `inside`, tried by a real walled process.

Each is tried with every defence and without the fewest that stop it. Attacks that want the same defences share one
walled process, in which each is a process of its own.
"""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from paddock.walls import ALL, Binding, Defence, Defences, start_walled
from tests.attacks.allies import allies
from tests.attacks.catalogue import Actor, Outcome, attack, of_jobs
from tests.attacks.ground import Ground
from tests.fixtures.walled import SECONDS, SMALL

_SCRIPTS = Path(__file__).with_name("inside")
_SHOWN_AT = PurePosixPath("/inputs/attacks")
THREAT = 41
_RUNNER = f"import sys; sys.path.insert(0, {str(_SHOWN_AT)!r}); __import__('runner').main"
_WHERE: Mapping[Defence, tuple[str, str]] = {
    Defence.NETWORK_NAMESPACE: ("W-1", "walls.start"),
    Defence.PID_NAMESPACE: ("W-1", "walls.start"),
    Defence.IPC_NAMESPACE: ("W-1", "walls.start"),
    Defence.UTS_NAMESPACE: ("W-1", "walls.start"),
    Defence.CGROUP_NAMESPACE: ("W-1", "walls.start"),
    Defence.NESTED_NAMESPACES: ("W-1", "walls.start"),
    Defence.CAPABILITIES: ("W-1", "walls.start"),
    Defence.SESSION: ("W-1", "walls.start"),
    Defence.ORDINARY_USER: ("W-3", "walls.outside"),
    Defence.IMAGE: ("W-2", "walls.image"),
    Defence.READ_ONLY: ("W-2", "walls.start"),
    Defence.DEVICES: ("W-2", "walls.start"),
    Defence.DESCRIPTORS: ("W-4", "walls.inside"),
    Defence.ENVIRONMENT: ("W-4", "walls.start"),
    Defence.SECCOMP: ("W-5", "walls.syscalls"),
    Defence.LANDLOCK: ("W-6", "walls.inside"),
    Defence.RLIMITS: ("W-7", "walls.ceilings"),
    Defence.CGROUP: ("W-7", "walls.cgroups"),
    Defence.WATCH: ("W-7", "walls.watch"),
    Defence.SCRATCH_SIZE: ("W-7", "walls.start"),
    Defence.DUMPS: ("W-8", "walls.outside"),
}
"""For each defence its rule and the module that raises it."""
_LAST = frozenset({"pivot"})
"""Where it succeeds it changes the root of the others too."""
_OFF: dict[str, Defences] = {}


def job(
    name: str,
    script: str,
    title: str,
    what: str,
    stops: str,
    *codes: str,
    off: tuple[Defence, ...],
    residual: str = "",
) -> None:
    """Enter a script into the catalogue.

    Args:
        name: without the actor's prefix.
        script: function of the folder `inside`.
        title: as in the catalogue.
        what: as in the catalogue.
        stops: as in the catalogue.
        codes: the system's errors or signals that stop it with all defences.
        off: the fewest defences without which it succeeds.
        residual: as in the catalogue.
    """
    _OFF[script] = frozenset(off)

    def attempt(ground: Ground) -> Outcome:
        return _tried(ALL if ground.defended else ALL - _OFF[script])[script]

    enter(name, title, what, stops, *codes, off=off, residual=residual)(attempt)


def enter(
    name: str, title: str, what: str, stops: str, *codes: str, off: tuple[Defence, ...], residual: str = ""
) -> Callable[[Callable[[Ground], str | Outcome]], Callable[[Ground], str | Outcome]]:
    """As `attack`, with what all attacks on walls have in common."""
    return attack(
        f"job-{name}",
        Actor.JOB,
        title,
        what=what,
        stops=stops,
        enforced=tuple(dict.fromkeys(_WHERE[each][1] for each in off)),
        rules=tuple(sorted({_WHERE[each][0] for each in off})),
        threats=(THREAT,),
        codes=codes,
        claims=of_jobs(),
        alike=True,
        residual=residual,
    )


@functools.cache
def _tried(defences: Defences) -> Mapping[str, Outcome]:
    """What becomes of all attacks that want these defences."""
    names = [name for name, off in _OFF.items() if defences in {ALL, ALL - off}]
    names.sort(key=lambda name: (name in _LAST, name))
    setting = json.dumps(allies().setting | {each: getattr(SMALL, each) for each in SMALL.__dataclass_fields__})
    told = b""
    ours, theirs = socket.socketpair()
    with ours, allies().temptations():
        ours.settimeout(SECONDS * 2)
        with theirs:
            walled = start_walled(
                "timeit",
                ["-n", "1", "-r", "1", f"{_RUNNER}({names!r}, {json.loads(setting)!r})"],
                channel=theirs,
                bindings=[Binding(_SCRIPTS, _SHOWN_AT)],
                ceilings=SMALL,
                defences=defences,
            )
        while part := ours.recv(1 << 16):
            told += part
        walled.kill()
        walled.wait(SECONDS)
    rows = [json.loads(line) for line in told.splitlines()]
    outcomes = {name: Outcome(succeeded, code, seen) for name, succeeded, code, seen in rows}
    missing = set(names) - outcomes.keys()
    if missing:
        raise AssertionError(f"nothing was told of {sorted(missing)}")
    return outcomes
