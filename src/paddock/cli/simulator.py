"""Starting the simulator beside a hub that has no hardware to attest with."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from paddock.contract.levels import Tee
from paddock.errors import SimulatorFailed

MODULE = "paddock.testing.simulator"
COMMAND = (sys.executable, "-I", "-m", MODULE)


class SimulatorProcess:
    """A running simulator: a process of its own, as a processor would be a thing of its own.

    Args:
        key_file: its key; made at first use.
        tee: the kind of environment that it stands in for.
        command: how to start it; the demo starts a changed runtime.
    """

    def __init__(self, key_file: Path, *, tee: Tee = Tee.ENCLAVE, command: Sequence[str] = COMMAND) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="paddock-sim-")
        # A Unix socket's path holds about 100 bytes: a home's own folder may be too deep.
        self._socket = Path(self._folder.name) / "attest"
        arguments = ["--key", str(key_file.resolve()), "--listen", str(self._socket), "--tee", tee.value]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            line = self._process.stdout.readline() if self._process.stdout else b""
            self.key = str(json.loads(line)["simulator"])
        except (OSError, ValueError, KeyError) as error:
            raise SimulatorFailed from error

    @property
    def attester(self) -> str:
        """The address that a launch names."""
        return f"unix:{self._socket}"

    def close(self) -> None:
        """End it."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def simulator_key_file(folder: Path) -> Path:
    """Where the simulator of a hub's folder keeps its key."""
    return folder / "simulator.key"


def simulator_key(folder: Path) -> str:
    """The public key of the simulator of a hub's folder; its key is made at first use.

    Raises:
        SimulatorFailed: it does not start.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with SimulatorProcess(simulator_key_file(folder)) as running:
        return running.key
