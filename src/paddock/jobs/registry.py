"""Kinds of jobs by name, from the entry-point group `paddock.jobs`."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from paddock.errors import JobUnknown
from paddock.jobs.api import JobKind

GROUP = "paddock.jobs"


def job_kinds() -> list[str]:
    """The names of all installed kinds, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


@cache
def job_kind(name: str) -> JobKind:
    """The kind of that name.

    Raises:
        JobUnknown: there is none, or two packages bring it.
    """
    found = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if len(found) != 1:
        raise JobUnknown(f"'{name[:100]}' is not one of: {', '.join(job_kinds())}.")
    kind: JobKind = next(iter(found.values())).load()()
    return kind
