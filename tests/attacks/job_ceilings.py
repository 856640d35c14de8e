"""A malicious job uses up the machine."""

from __future__ import annotations

from dataclasses import replace

from paddock.walls import ALL, Ceilings, Defence
from tests.attacks.catalogue import Outcome
from tests.attacks.ground import Ground
from tests.attacks.jail import enter, job
from tests.fixtures.walled import SECONDS, SMALL, started

_LIMITS, _GROUP, _WATCH = Defence.RLIMITS, Defence.CGROUP, Defence.WATCH
_TOGETHER = (_GROUP, _WATCH)

job(
    "fork-bomb",
    "fork_bomb",
    "processes without end",
    "The job starts processes until the machine has no more numbers.",
    "A limit for the processes of its user namespace, and of its control group.",
    "EAGAIN",
    off=(_LIMITS, _GROUP),
)
job(
    "thread-bomb",
    "thread_bomb",
    "threads without end",
    "The job starts threads instead.",
    "Threads count as processes.",
    "EAGAIN",
    off=(_LIMITS, _GROUP),
)
job(
    "memory-bomb",
    "memory_bomb",
    "memory without end",
    "One process takes more than was signed.",
    "A limit for the data of each process, and one for all together.",
    "ENOMEM",
    off=(_LIMITS, _GROUP, _WATCH),
)
job(
    "address-bomb",
    "address_bomb",
    "addresses without end",
    "The job maps memory that is shared, and so not counted as its data.",
    "A limit for the addresses of each process.",
    "ENOMEM",
    off=(_LIMITS,),
)
job(
    "file-bomb",
    "file_bomb",
    "one huge file",
    "The job writes a file larger than was signed.",
    "A limit for the size of each file.",
    "EFBIG",
    off=(_LIMITS,),
)
job(
    "scratch-bomb",
    "scratch_bomb",
    "files without end",
    "The job fills its scratch folder, which is the machine's memory.",
    "Each memory file system has a size.",
    "ENOSPC",
    off=(Defence.SCRATCH_SIZE,),
)
job(
    "descriptor-bomb",
    "descriptor_bomb",
    "open files without end",
    "The job opens files until the kernel has no more.",
    "A limit for each process.",
    "EMFILE",
    off=(_LIMITS,),
)
job(
    "locked-memory",
    "locked_memory",
    "memory that cannot be taken back",
    "The job locks memory.",
    "A limit of none.",
    "EPERM",
    "ENOMEM",
    off=(_LIMITS,),
)
job(
    "pending-signals",
    "pending_signals",
    "signals that wait",
    "The job fills the kernel's memory with signals that nobody takes.",
    "A limit for its user namespace.",
    "EAGAIN",
    off=(_LIMITS,),
)
job(
    "raised-ceilings",
    "raise_ceilings",
    "ceilings raised from inside",
    "The job gives itself processor time without end.",
    "Its limits are hard ones, and raising those needs a capability.",
    "EPERM",
    off=(_LIMITS,),
    residual="the supervisor ends a job that waits instead of computing; how long it took is seen by the host",
)


def _together(ground: Ground, code: str, ceilings: Ceilings, got: str) -> Outcome:
    with started(code, ceilings=ceilings, defences=ALL if ground.defended else ALL - set(_TOGETHER)) as (walled, ours):
        told = b""
        while not told.endswith(b"\n") and (part := ours.recv(100)):
            told += part
        walled.kill()
        walled.wait(SECONDS)
        return Outcome.refused("SIGKILL", "memory ran out") if walled.memory_ran_out() else Outcome.success(got)


@enter(
    "many-small-processes",
    "memory in many small processes",
    "The job's processes each stay below the ceiling and are above it together.",
    "Memory is limited for all of them: by a control group, or by the supervisor where there can be none.",
    "SIGKILL",
    off=_TOGETHER,
)
def many_small_processes(ground: Ground) -> Outcome:
    code = """
import os, select, time
source, sink = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(30 << 20)
        for place in range(0, len(kept), 4096):
            kept[place] = 1
        os.write(sink, b"x")
        time.sleep(60)
        os._exit(0)
there = 0
while there < 4 and os.waitpid(-1, os.WNOHANG)[0] == 0:
    there += len(os.read(source, 1)) if select.select([source], [], [], 0.01)[0] else 0
tell("all there")
time.sleep(1)
"""
    return _together(ground, code, replace(SMALL, memory_bytes=60 << 20), "twice the memory that was signed")


@enter(
    "inode-bomb",
    "files without content",
    "The job makes empty files without number: they have no size, and cost memory of the kernel's.",
    "They count against the memory of the job.",
    "SIGKILL",
    off=_TOGETHER,
)
def inode_bomb(ground: Ground) -> Outcome:
    code = """
import os, time
for number in range(40000):
    os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, 0o600))
tell("all there")
time.sleep(1)
"""
    return _together(ground, code, replace(SMALL, memory_bytes=32 << 20), "40000 files")
