"""The executors `gramine` and `gramine-direct`: each run is Gramine over the folder that was built for it.

An enclave of `gramine` asks Gramine's own attester; nothing that the operator names can take its place. Without SGX there is no
evidence but a simulator's, and every screen and receipt says SIMULATED.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid, PaddockError
from paddock.evidence.measurement import measure_runtime
from paddock.executors.command import Command, CommandExecutor
from paddock.executors.executor import Launch
from paddock.executors.gramine.folder import APPLICATION, DIRECT, EXPANDED, PACKAGE, SGX, SIGNED, GramineFolder
from paddock.executors.gramine.relay import Relay
from paddock.executors.room import check_room
from paddock.executors.settings import check_settings
from paddock.executors.supervision import Limits
from paddock.executors.tools import find_tool

_OWN, _NONE, _SOCKET = "gramine", "none", "unix:"
DEVICE = Path("/dev/sgx_enclave")
_LARGER = "An enclave's size is measured: build one with larger 'memory', 'scratch' or 'threads'."
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Gramine(CommandExecutor):
    """What both have in common."""

    SETTINGS: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"image": "folder that 'paddock executor build gramine' made; required"}
    )
    isolated = True
    tool: ClassVar[str]
    manifest: ClassVar[str]

    def __init__(self, *, settings: Mapping[str, str], log_folder: Path | None, limits: Limits | None) -> None:
        super().__init__(log_folder=log_folder, limits=limits)
        check_settings(settings, self.SETTINGS, required=self.SETTINGS)
        self.folder = GramineFolder(Path(settings["image"]).expanduser().absolute())

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        find_tool("", self.tool, PACKAGE)
        self.folder.room(self.manifest)

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`."""
        check_room(launch, self.folder.room(self.manifest), _LARGER)
        return self.started((find_tool("", self.tool, PACKAGE), APPLICATION))

    @abc.abstractmethod
    def started(self, arguments: tuple[str, ...]) -> Command:
        """The command with where its attester answers."""

    def _command(self, arguments: tuple[str, ...], attester: str) -> Command:
        # For Gramine's own shell script; what is seen inside stands in the manifest.
        return Command(arguments, {"PATH": _PATH, "LC_ALL": "C.UTF-8"}, attester, folder=self.folder.path)


class GramineExecutor(_Gramine):
    """Starts enclaves of Intel SGX through Gramine.

    Args:
        attester: `none` or `gramine`: an enclave attests itself.
        settings: `image`.
        log_folder: where each run's stderr is kept for the operator; None drops it.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown or missing, or another attester was named.
    """

    tool = SGX
    manifest = SIGNED

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str],
        log_folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(settings=settings, log_folder=log_folder, limits=limits)
        if attester not in {_NONE, _OWN}:
            raise ExecutorOptionInvalid(
                "An enclave attests itself: no other attester and no simulator stands in for it."
            )

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        super().prepare()
        self.folder.sigstruct()
        if not DEVICE.exists():
            raise ExecutorFailed(f"{DEVICE} is not there: SGX is off, or the kernel is older than Linux 5.11.")

    def measure(self) -> str:
        """See `Executor.measure`: read from the signed enclave, nothing is started."""
        try:
            return self.folder.measurement()
        except PaddockError as error:
            raise ExecutorFailed(f"{error.summary()} {error.detail}") from error

    def started(self, arguments: tuple[str, ...]) -> Command:
        """See `_Gramine.started`."""
        return self._command(arguments, _OWN)


class GramineDirectExecutor(_Gramine):
    """Starts Gramine without SGX, to try things out: it protects nobody. SIMULATED.

    Args:
        attester: a simulator's socket (`unix:PATH`), or `none`.
        settings: `image`.
        log_folder: where each run's stderr is kept for the operator; None drops it.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown or missing, or an attester that cannot be reached from inside.
    """

    tool = DIRECT
    manifest = EXPANDED

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str],
        log_folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(settings=settings, log_folder=log_folder, limits=limits)
        if attester != _NONE and not attester.startswith(_SOCKET):
            raise ExecutorOptionInvalid("Without SGX there is no evidence but a simulator's: serve with --simulate.")
        self._attester = attester

    def measure(self) -> str:
        """See `Executor.measure`: what a simulator of this machine states of the runtime that is installed here."""
        return measure_runtime().digest

    def started(self, arguments: tuple[str, ...]) -> Command:
        """See `_Gramine.started`."""
        if self._attester == _NONE:
            return self._command(arguments, _NONE)
        relay = Relay(Path(self._attester.removeprefix(_SOCKET)))
        made = self._command(arguments, relay.address)
        return Command(made.arguments, made.environment, made.attester, clear=relay.close, folder=made.folder)
