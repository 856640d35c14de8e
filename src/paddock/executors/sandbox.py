"""The executor `sandbox`: as `process`, on a machine that can build walls around jobs, in a frame of its own.

Walls are built by the enclave, which refuses a job of levels 2 to 4 without them whoever started it; this executor asks
beforehand whether they can be built, so that an operator learns it when the service starts and not by a failed run. The
frame around the enclave's own process (`frame`) keeps a fault of it from writing to the machine.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, environment
from paddock.executors.process import ENCLAVE, MEASURE, WARM, ProcessExecutor
from paddock.executors.settings import check_settings
from paddock.executors.supervision import Limits
from paddock.walls import check_walls

_FRAME = Path(__file__).with_name("frame.py")
_COVERED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - covered by fresh memory
_WRITABLE = ("/proc", "/sys/fs/cgroup", "/sys/kernel/config")
"""Where the kernel is spoken to: processes, control groups, evidence of confidential machines."""
_PATH_IN_AN_ADDRESS = re.compile(r"(?:^|[:=])(/[^+#?]+)")
_LOG_FOLDER = "log-folder"
_TRY_SECONDS = 30


class SandboxExecutor(ProcessExecutor):
    """Levels 2 and 3: a process in a frame, whose jobs run behind walls. Nothing of hardware.

    Args:
        attester: as for `process`.
        settings: `log-folder`: an existing folder that gets each run's stderr; `warm`: as for `process`.
        program: as for `process`.
        measure_command: as for `process`.
        limits: as for `process`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, or the folder is not there.
    """

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = ENCLAVE,
        measure_command: Sequence[str] = MEASURE,
        limits: Limits | None = None,
    ) -> None:
        settings = settings or {}
        check_settings(settings, (_LOG_FOLDER, WARM))
        log = Path(settings[_LOG_FOLDER]) if _LOG_FOLDER in settings else None
        if log is not None and not (log.is_absolute() and log.is_dir()):
            raise ExecutorOptionInvalid(f"'{_LOG_FOLDER}' is an absolute path of a folder that exists.")
        super().__init__(
            attester=attester,
            log_folder=log,
            program=program,
            measure_command=measure_command,
            limits=limits,
            settings={name: value for name, value in settings.items() if name == WARM},
        )
        self._tried = False

    def prepare(self) -> None:
        """See `Executor.prepare`.

        Raises:
            WallsUnavailable: walls cannot be built here, and what is missing.
            ExecutorFailed: the frame cannot be built here.
        """
        super().prepare()
        if self._tried:  # once is enough: every enclave builds its walls and its frame itself, or ends
            return
        check_walls()
        trial = [sys.executable, "-I", "-S", "-c", ""]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter
                self._framed(trial, ()),
                env=environment(None),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TRY_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ExecutorFailed("The frame around an enclave could not be tried.") from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()[-200:]
            raise ExecutorFailed(f"A trial said: {said}.")
        self._tried = True

    def _started(self, store: str) -> Command:
        plain = super()._started(store)
        # A store in a folder is what an enclave may write to; any other it reaches over the network.
        folder = store.removeprefix("folder:") if store.startswith("folder:/") else None
        writable = () if folder is None or not Path(folder).is_dir() else (folder,)
        return Command(self._framed(plain.arguments, writable), plain.environment, plain.attester)

    def _framed(self, command: Sequence[str], writable: Iterable[str]) -> list[str]:
        return [sys.executable, "-I", "-S", str(_FRAME), json.dumps(self._plan(command, writable)), *command]

    def _plan(self, command: Sequence[str], writable: Iterable[str]) -> dict[str, Any]:
        covered = [folder for folder in _COVERED if Path(folder).is_dir() and not Path(folder).is_symlink()]
        # Whatever the enclave needs may lie in a folder that is covered.
        places = [*command, sys.prefix, sys.base_prefix, *sys.path, str(Path(__file__).parent.parent)]
        places += [str(Path(found).parent) for found in _PATH_IN_AN_ADDRESS.findall(self._attester)]
        return {
            "covered": covered,
            "kept": _outermost(place for place in places if _below(place, covered)),
            "writable": _outermost([*(each for each in _WRITABLE if Path(each).is_dir()), *writable]),
        }


def _below(place: str, folders: Iterable[str]) -> bool:
    path = Path(place)
    return path.is_absolute() and path.exists() and any(path.is_relative_to(folder) for folder in folders)


def _outermost(places: Iterable[str]) -> list[str]:
    kept: list[Path] = []
    for path in sorted({Path(place) for place in places}):  # sorted: a folder comes before what is in it
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return [str(path) for path in kept]
