"""The executor `process`: a fresh Python process per run, for development and for levels that a host may serve.

It isolates the run from the service's own memory and environment, and nothing more: hardware comes from other
executors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Launch
from paddock.executors.settings import check_settings
from paddock.executors.supervision import Limits

# -B: what it compiled would be readable by its own user alone, and a job in walls, another user, would compile it anew.
ENCLAVE = (sys.executable, "-I", "-B", "-m", "paddock.enclave")
MEASURE = (sys.executable, "-I", "-m", "paddock.cli.main", "measure", "--json")
WARM = "warm"
"""The setting of how many enclaves wait ready."""
_MOST_WARM = 16
_MEASURE_SECONDS = 120


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _MOST_WARM:
        raise ExecutorOptionInvalid(f"'{WARM}' is a number from 0 to {_MOST_WARM}.")
    return int(text)


class ProcessExecutor(CommandExecutor):
    """Starts `python -I -m paddock.enclave`.

    Args:
        attester: where the attestation device answers (`unix:/path`), or `none`.
        threads: of the numeric libraries, where the enclave does not fix them itself; None leaves the service's own setting.
        log_folder: where each run's stderr is kept for the operator; None drops it.
        program: what to start; tests put their own in.
        measure_command: prints the measurement as JSON with a member `digest`.
        limits: see `Limits`.
        settings: `warm`: how many enclaves wait ready for a run (`WarmPool`), 0 to 16; 0 unless it is given.

    Raises:
        ExecutorOptionInvalid: a setting is unknown or no such number.
    """

    def __init__(
        self,
        *,
        attester: str,
        threads: int | None = None,
        log_folder: Path | None = None,
        program: Sequence[str] = ENCLAVE,
        measure_command: Sequence[str] = MEASURE,
        limits: Limits | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        settings = settings or {}
        check_settings(settings, (WARM,))
        warm = _count(settings.get(WARM, "0"))
        super().__init__(log_folder=log_folder, limits=limits, warm=warm)
        self._attester = attester
        if warm and tuple(program) == ENCLAVE:
            program = (*ENCLAVE, "--warm")
        self._threads = threads
        self._program = tuple(program)
        self._measure_command = tuple(measure_command)

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        if not sys.platform.startswith("linux"):
            raise ExecutorFailed("The executor 'process' needs Linux.")
        if not os.access(self._program[0], os.X_OK):
            raise ExecutorFailed("The Python interpreter cannot be run.")

    def get_warm(self, store: str) -> None:
        """See `CommandExecutor.get_warm`."""
        self.fill(self._started(store))

    def _started(self, store: str) -> Command:  # noqa: ARG002 - a plain process is started alike wherever its store is
        return Command(self._program, environment(self._threads), self._attester)

    def measure(self) -> str:
        """See `Executor.measure`."""
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                self._measure_command,
                env=environment(self._threads),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_MEASURE_SECONDS,
                check=True,
            )
            digest = json.loads(done.stdout)["digest"]
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
            raise ExecutorFailed("The runtime could not be measured.") from error
        return str(digest)

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`."""
        return self._started(launch.store)
