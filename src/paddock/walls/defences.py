"""The defences that walls are made of, by name.

Product code never chooses among them: `start_walled` raises all unless the attack suite asks for fewer, to show that an
attack which a defence stops succeeds without it.
"""

from __future__ import annotations

import enum


class Defence(enum.StrEnum):
    """One of the defences. Those that stand in for one another are told in docs/spec/walls.md."""

    NETWORK_NAMESPACE = "network-namespace"
    PID_NAMESPACE = "pid-namespace"
    IPC_NAMESPACE = "ipc-namespace"
    UTS_NAMESPACE = "uts-namespace"
    CGROUP_NAMESPACE = "cgroup-namespace"
    NESTED_NAMESPACES = "nested-namespaces"
    CAPABILITIES = "capabilities"
    ORDINARY_USER = "ordinary-user"
    IMAGE = "image"
    READ_ONLY = "read-only"
    DEVICES = "devices"
    SESSION = "session"
    DESCRIPTORS = "descriptors"
    ENVIRONMENT = "environment"
    SECCOMP = "seccomp"
    LANDLOCK = "landlock"
    RLIMITS = "rlimits"
    CGROUP = "cgroup"
    WATCH = "watch"
    SCRATCH_SIZE = "scratch-size"
    DUMPS = "dumps"


Defences = frozenset[Defence]
ALL: Defences = frozenset(Defence)


def without(*names: Defence) -> Defences:
    """All defences but these. For the attack suite alone."""
    return ALL - set(names)
