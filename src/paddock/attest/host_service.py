"""The host's attester: a small process that holds the host's key, measures the runtime, and signs statements about both.

It answers this user's processes on a Unix socket, and none that runs inside walls: those are in a namespace of processes
of their own. With a TPM it first extends the register that joins its statements to quotes, once in every boot.

    python -I -m paddock.attest.host_service --key FILE --listen PATH [--tpm MEMBERS]

Source: docs/spec/attestation.md §5 (A-26, A-27); pid_namespaces(7) for NSpid in /proc/PID/status.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from paddock.attest.answering import RuntimeWatch, answer, load_key
from paddock.attest.tpm import TpmAttester
from paddock.crypto.moment import write_moment
from paddock.crypto.signing import SigningKey
from paddock.errors import PaddockError, WallsUnavailable
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.providers.host import HostStatement, Walls
from paddock.evidence.runtime_register import RUNTIME_BANK, RUNTIME_PCR, runtime_event, runtime_register
from paddock.walls import check_walls


class Host:
    """Signs statements about this host."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.public = key.verify_key.raw.hex()
        self.runtime = RuntimeWatch()

    def extend(self, tpm: TpmAttester) -> None:
        """Have the TPM hold this runtime and key, if it does not yet.

        Raises:
            AttesterUnavailable: it does not answer, or holds another runtime or key since the machine started.
        """
        measurement = self.runtime.measurement()
        tpm.hold(
            RUNTIME_BANK,
            RUNTIME_PCR,
            event=runtime_event(measurement, self.public),
            expected=runtime_register(measurement, self.public),
        )

    def evidence(self, report_data: bytes) -> UnverifiedEvidence:
        """A statement over 64 bytes of report data."""
        return HostStatement(
            version="paddock/host-statement/v1",
            measurement=self.runtime.measurement(),
            report_data=report_data.hex(),
            walls=walls_here(),
            issued=write_moment(datetime.now(UTC)),
        ).sign(self._key)


@cache
def walls_here() -> Walls | None:
    """What walls are made of here, tried once; None where they cannot be built."""
    try:
        return Walls(**asdict(check_walls()))
    except WallsUnavailable:
        return None


def admits(pid: int, uid: int) -> bool:
    """Whether a peer is answered: a process of this user, in this namespace of processes."""
    return uid == os.getuid() and _namespaces(pid) == _namespaces(os.getpid())


def _namespaces(pid: int) -> int:
    """In how many namespaces of processes it has a number, as seen from here; 0: not to be told."""
    try:
        rows = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((len(row.split()) - 1 for row in rows if row.startswith("NSpid:")), 0)


def main() -> int:
    """Serve until standard input is closed, or a signal asks for the end."""
    parser = argparse.ArgumentParser(description="Sign statements about the runtime and the walls of this host.")
    parser.add_argument("--key", type=Path, required=True, help="the host's key file; made if missing")
    parser.add_argument("--listen", type=Path, required=True, help="path of the Unix socket to answer on")
    parser.add_argument(
        "--tpm", help="extend the runtime's register of this TPM first: what follows `tpm:`, may be empty"
    )
    arguments = parser.parse_args()
    host = Host(load_key(arguments.key))
    try:
        if arguments.tpm is not None:
            host.extend(TpmAttester.from_address(arguments.tpm))
    except PaddockError as error:
        sys.stdout.write(json.dumps({"ready": False, "error": error.as_dict()}) + "\n")
        return error.exit_code

    def until() -> None:
        # What takes seconds once is done before somebody asks.
        host.runtime.measurement()
        walls_here()
        sys.stdin.buffer.read()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    answer(
        arguments.listen,
        host.evidence,
        ready={"ready": True, "host": host.public},
        admits=admits,
        until=until,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
