"""Whom a job of root's belongs to: a number of a user that nobody else on this machine has."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from paddock.errors import WallsUnavailable

_FIRST_USER = 0x6F00_0000
_LEAST_USER = 1000
_SHARED_USERS = (65534, 65535)  # nobody, whom many are; what 16 bits take for none
_TURNS = 4096


def job_user() -> int:
    """Nobody that this machine knows, and another one than other supervisors' jobs (W-3).

    Raises:
        WallsUnavailable: there is no such number here.
    """
    users, groups = _mapped("uid_map"), _mapped("gid_map")

    def is_there(number: int) -> bool:
        return any(number in each for each in users) and any(number in each for each in groups)

    wanted = _FIRST_USER + os.getpid() % (1 << 22)
    if is_there(wanted):
        return wanted
    # In a container, which has fewer numbers: among the last of them.
    for each in users:
        among = max(1, len(each) // 4)
        for turn in range(min(among, _TURNS)):
            number = each[-1] - (os.getpid() + turn) % among
            if number >= _LEAST_USER and number not in _SHARED_USERS and is_there(number) and not _is_known(number):
                return number
    raise WallsUnavailable(
        "Root has no number of a user here that a job could be given: map more of them, or do not run as root."
    )


def _mapped(name: str) -> list[range]:
    with contextlib.suppress(OSError, ValueError):
        rows = Path(f"/proc/self/{name}").read_text(encoding="ascii").splitlines()
        return [range(int(row.split()[0]), int(row.split()[0]) + int(row.split()[2])) for row in rows]
    return []


def _is_known(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True
