"""What a process sees of its walls from inside. `check_walls` runs it behind them and judges what it tells.

It answers on descriptor 3 with one line of JSON: facts, no judgement.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path

_CHANNEL = 3


def main() -> None:
    """Look around and tell."""
    status = dict(
        row.split(":\t", 1)
        for row in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if ":\t" in row
    )
    facts = {
        "capabilities": status["CapEff"],
        "bounding": status["CapBnd"],
        "no_new_privileges": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),  # noqa: PTH208 - names alone
        "interfaces": [
            row.split(":")[0].strip() for row in Path("/proc/net/dev").read_text(encoding="ascii").splitlines()[2:]
        ],
        "root": sorted(os.listdir("/")),  # noqa: PTH208 - names alone
        "socket": _refusal_of_a_socket(),
        "image_written": _writes(Path(__file__).with_name("written")),
        "own_program_ran": _runs(Path(os.environ["TMPDIR"], "program")),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],  # noqa: PTH208 - names alone
    }
    os.write(_CHANNEL, json.dumps(facts).encode("ascii") + b"\n")


def _refusal_of_a_socket() -> str:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "unknown")
    return "none"


def _runs(program: Path) -> bool:
    """Whether a program that was written here can be started: Landlock alone forbids that."""
    program.write_text("#!/bin/sh\n", encoding="ascii")
    program.chmod(0o700)
    try:
        os.waitpid(os.posix_spawn(program, [program.name], {}), 0)
    except OSError:
        return False
    return True


def _writes(path: Path) -> bool:
    try:
        path.write_bytes(b"x")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
