"""A malicious job turns to other processes: of the machine, of other runs, of its supervisor."""

from __future__ import annotations

import contextlib

from paddock.walls import ALL, Defence
from tests.attacks.catalogue import Outcome
from tests.attacks.ground import Ground
from tests.attacks.jail import enter, job
from tests.fixtures.walled import SECONDS, started

_CALLS, _LANDLOCK, _PIDS, _IPC = Defence.SECCOMP, Defence.LANDLOCK, Defence.PID_NAMESPACE, Defence.IPC_NAMESPACE
_NOT_ROOTS = (Defence.ORDINARY_USER,)
_ORPHANS = (_PIDS, Defence.CGROUP)

job(
    "ptrace",
    "ptrace",
    "another process taken over (ptrace)",
    "The job attaches to a process and changes what it does.",
    "Whoever calls ptrace is ended; other processes are in other namespaces.",
    "SIGSYS",
    off=(_CALLS, Defence.DUMPS),
)
job(
    "process-memory",
    "read_memory",
    "another process's memory by a system call",
    "The job reads memory by process_vm_readv.",
    "Whoever calls it is ended, and no process of a job can be looked into.",
    "SIGSYS",
    off=(_CALLS, Defence.DUMPS),
)
job(
    "memory-file",
    "memory_by_proc",
    "another process's memory by /proc",
    "The job opens the memory of another process as a file.",
    "No process of a job is dumpable, and /proc shows none but its own.",
    "EACCES",
    off=(Defence.DUMPS,),
)
job(
    "stolen-descriptor",
    "take_descriptor",
    "an open file of another process",
    "The job copies a descriptor out of another process by pidfd_getfd.",
    "The call is refused.",
    "EPERM",
    off=(_CALLS, Defence.DUMPS),
)
job(
    "arguments-of-others",
    "arguments_of_others",
    "secrets in the arguments of others",
    "The job reads the command lines of all processes of the machine.",
    "It is in a process namespace of its own.",
    "NOTHING",
    off=(_PIDS,),
)
job(
    "signal-supervisor",
    "signal_supervisor",
    "a signal to the supervisor",
    "The job signals, stops or ends its supervisor.",
    "The supervisor has no number inside; Landlock keeps signals to its domain; a job of root's belongs to another user.",
    "ESRCH",
    off=(_PIDS, _LANDLOCK, *_NOT_ROOTS),
)
job(
    "signal-group",
    "signal_group",
    "a signal to a whole group",
    "The job signals a group of processes that it is not part of.",
    "As for the supervisor.",
    "ESRCH",
    off=(_PIDS, _LANDLOCK, *_NOT_ROOTS),
)
job(
    "terminal-session",
    "session",
    "the supervisor's terminal",
    "The job stays in the session from which the service was started, whose terminal it can write to.",
    "It has a session of its own, without a terminal.",
    "NOTHING",
    off=(Defence.SESSION,),
)
job(
    "typed-commands",
    "type_into_terminal",
    "commands typed into a terminal (TIOCSTI)",
    "The job puts characters into a terminal as if its owner had typed them, also with bits above the call's number.",
    "`ioctl` takes six requests, compared in all their bits.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "shared-memory",
    "system_v_memory",
    "shared memory of another program",
    "The job attaches to a System V segment of the machine, as another run could have left.",
    "An IPC namespace of its own, and no such calls.",
    "EPERM",
    off=(_CALLS, _IPC),
)
job(
    "message-queue",
    "system_v_queue",
    "a message queue of another program",
    "The job reads from a System V queue.",
    "An IPC namespace of its own, and no such calls.",
    "EPERM",
    off=(_CALLS, _IPC),
)
job(
    "posix-queue",
    "posix_queue",
    "a POSIX queue of another program",
    "The job reads from a POSIX message queue.",
    "An IPC namespace of its own, no such calls, and Landlock allows no such file.",
    "EPERM",
    off=(_CALLS, _IPC, _LANDLOCK),
)
job(
    "queue-listing",
    "system_v_listing",
    "what other programs share",
    "The job reads the list of the machine's shared memory.",
    "The list is that of its IPC namespace.",
    "NOTHING",
    off=(_IPC,),
)
job(
    "inherited-keyring",
    "inherited_keyring",
    "a key that a login left in the kernel",
    "The job searches the keyring that it inherits with its session.",
    "No calls of the keyring.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "left-key",
    "add_key",
    "a key left for another run",
    "The job leaves its secret in the keyring of its user, where a later run finds it.",
    "No calls of the keyring.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "host-name",
    "host_name",
    "which machine it is",
    "The job learns the host's name.",
    "A host-name namespace with a fixed name.",
    "NOTHING",
    off=(Defence.UTS_NAMESPACE,),
    residual="its processors, its memory and its load are seen inside",
)
job(
    "control-group",
    "control_group",
    "where among the host's services it is",
    "The job reads the path of its control group.",
    "A control-group namespace: it is at the root of what it sees.",
    "NOTHING",
    off=(Defence.CGROUP_NAMESPACE,),
)
job(
    "scheduling",
    "scheduling",
    "another class of scheduling",
    "The job changes how the machine's processors are shared out.",
    "No calls that change classes; priorities cannot be raised.",
    "EPERM",
    off=(_CALLS,),
    residual="which processors it runs on it may choose, and how busy they are it can feel: a way for two jobs to signal",
)


@enter(
    "orphan",
    "a process that outlives the run",
    "The job leaves a process in a session of its own behind, which goes on after the run.",
    "All processes are in one namespace; with its first process the kernel ends them all.",
    "NOTHING",
    off=_ORPHANS,
    residual="when a job ends and with which status is seen by the host",
)
def orphan(ground: Ground) -> Outcome:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        tell("started")
        os.read(3, 1)
        tell("still here")
    os._exit(0)
time.sleep(60)
"""
    with started(code, defences=ALL if ground.defended else ALL - set(_ORPHANS)) as (walled, ours):
        ours.recv(100)
        walled.kill()
        walled.wait(SECONDS)
        with contextlib.suppress(BrokenPipeError):
            ours.sendall(b"?")
        try:
            told = ours.recv(100)
        except ConnectionResetError:
            told = b""
    return Outcome.success("a process that answers after its run") if told else Outcome.refused("NOTHING", "all gone")
