"""The simulator: a process of its own that stands where hardware would, measures the runtime and signs evidence.

It plays the part of the processor: it measures the installed runtime itself, holds its own key, and answers requests
for evidence on a Unix socket. It protects nobody: whoever can read its key, or change the runtime after it was
measured, can make it say anything. Its evidence is of its own type and always says SIMULATED.

    python -I -m paddock.testing.simulator --key FILE --listen PATH [--tee enclave]
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from paddock.attest.answering import RuntimeWatch, answer, load_key
from paddock.contract.levels import Tee
from paddock.crypto.moment import write_moment
from paddock.crypto.signing import SigningKey
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.providers.simulated import SimulatedStatement


class Simulator:
    """Signs what it is asked to bind."""

    def __init__(self, key: SigningKey, tee: Tee) -> None:
        self._key = key
        self.public = key.verify_key.raw.hex()
        self._tee = tee
        self.runtime = RuntimeWatch()

    def evidence(self, report_data: bytes) -> UnverifiedEvidence:
        """Signed evidence over 64 bytes of report data."""
        return SimulatedStatement(
            version="paddock/simulated-evidence/v1",
            simulated=True,
            tee=self._tee.value,
            measurement=self.runtime.measurement(),
            report_data=report_data.hex(),
            debug=False,
            issued=write_moment(datetime.now(UTC)),
        ).sign(self._key)


def main() -> int:
    """Serve until the parent closes standard input."""
    parser = argparse.ArgumentParser(description="Stand in for attestation hardware (SIMULATED; protects nobody).")
    parser.add_argument("--key", type=Path, required=True, help="the simulator's key file; made if missing")
    parser.add_argument("--listen", type=Path, required=True, help="path of the Unix socket to answer on")
    parser.add_argument("--tee", type=Tee, default=Tee.ENCLAVE, help="kind of environment to stand in for")
    arguments = parser.parse_args()
    simulator = Simulator(load_key(arguments.key), arguments.tee)

    def until() -> None:
        simulator.runtime.measurement()
        sys.stdin.buffer.read()

    answer(
        arguments.listen,
        simulator.evidence,
        ready={"ready": True, "simulator": simulator.public},
        admits=lambda _pid, _uid: True,
        until=until,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
