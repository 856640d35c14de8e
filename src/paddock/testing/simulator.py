"""The simulator: a process of its own that stands where hardware would, measures the runtime and signs evidence.

It plays the part of the processor: it measures the installed runtime itself, holds its own key, and answers requests
for evidence on a Unix socket. It protects nobody: whoever can read its key, or change the runtime after it was
measured, can make it say anything. Its evidence is of its own type and always says SIMULATED.

    python -I -m paddock.testing.simulator --key FILE --listen PATH [--tee enclave]
"""

from __future__ import annotations

import argparse
import json
import os
import socketserver
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from paddock.contract.levels import Tee
from paddock.crypto.moment import write_moment
from paddock.crypto.signing import SigningKey
from paddock.evidence.binding import REPORT_DATA_BYTES
from paddock.evidence.measurement import measure_runtime, runtime_stamp
from paddock.evidence.providers.simulated import SimulatedStatement

_MAX_REQUEST_BYTES = 4096


class Simulator:
    """Measures once and again whenever a file of the runtime was touched; signs what it is asked to bind."""

    def __init__(self, key: SigningKey, tee: Tee) -> None:
        self._key = key
        self.public = key.verify_key.raw.hex()
        self._tee = tee
        self._lock = threading.Lock()
        self._stamp = ""
        self._measurement = ""

    def measurement(self) -> str:
        """The runtime's measurement as it is now."""
        with self._lock:
            stamp = runtime_stamp()
            if stamp != self._stamp:
                self._measurement = measure_runtime().digest
                self._stamp = stamp
            return self._measurement

    def evidence(self, report_data: bytes) -> list[object]:
        """Signed evidence over `report_data` (64 bytes), as a wrapper record."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {len(report_data)} bytes, not {REPORT_DATA_BYTES}")
        statement = SimulatedStatement(
            version="paddock/simulated-evidence/v1",
            simulated=True,
            tee=self._tee.value,
            measurement=self.measurement(),
            report_data=report_data.hex(),
            debug=False,
            issued=write_moment(datetime.now(UTC)),
        )
        return statement.sign(self._key).to_wrapper()


def load_key(path: Path) -> SigningKey:
    """The simulator's key; made at first use, readable by its owner alone."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(SigningKey.generate().seed().hex() + "\n")
    return SigningKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    simulator: Simulator


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Answer one request line."""
        server = self.server
        if not isinstance(server, _Server):
            raise TypeError("this handler serves the simulator only")
        try:
            request = json.loads(self.rfile.readline(_MAX_REQUEST_BYTES))
            answer: dict[str, object] = {"evidence": server.simulator.evidence(bytes.fromhex(request["report_data"]))}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"{type(error).__name__}"}
        self.wfile.write(json.dumps(answer).encode("ascii") + b"\n")


def main() -> int:
    """Serve until the parent closes standard input."""
    parser = argparse.ArgumentParser(description="Stand in for attestation hardware (SIMULATED; protects nobody).")
    parser.add_argument("--key", type=Path, required=True, help="the simulator's key file; made if missing")
    parser.add_argument("--listen", type=Path, required=True, help="path of the Unix socket to answer on")
    parser.add_argument("--tee", type=Tee, default=Tee.ENCLAVE, help="kind of environment to stand in for")
    arguments = parser.parse_args()
    simulator = Simulator(load_key(arguments.key), arguments.tee)
    arguments.listen.unlink(missing_ok=True)
    with _Server(str(arguments.listen), _Connection) as server:
        arguments.listen.chmod(0o600)
        server.simulator = simulator
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(json.dumps({"ready": True, "simulator": simulator.public}) + "\n")
        sys.stdout.flush()
        simulator.measurement()
        sys.stdin.buffer.read()
        server.shutdown()
    arguments.listen.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
