"""What an executor is: prepare, measure, start, stop, status. And what can be built for one beforehand."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from paddock.errors import ExecutorFailed
from paddock.evidence.claims import registers_digest

Json = dict[str, Any]
OnEvent = Callable[[Json], None]
FINAL_EVENTS = frozenset({"receipt", "failed"})
EVENTS = frozenset({"phase", "progress", "checkpoint"}) | FINAL_EVENTS


class ExecutionState(enum.StrEnum):
    """Whether what was started still runs, as far as its executor knows."""

    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Launch:
    """What an enclave is told at its start: all of it is public, none of it is trusted by the enclave.

    Args:
        run: 32 hex digits.
        contract: the signed contract's DSSE envelope as JSON values.
        store: address of the blobs.
        keepers: party fingerprint to its keeper's address.
        checkpoints: `id` and `asset` of those that earlier attempts of the run stored, newest first.
    """

    run: str
    contract: Mapping[str, Any]
    store: str
    keepers: Mapping[str, str]
    checkpoints: Sequence[Mapping[str, str]] = ()

    def line(self, attester: str) -> bytes:
        """The launch as the one JSON line that `paddock.enclave` reads.

        Args:
            attester: where the environment's attester answers; the executor knows.
        """
        value = {
            "run": self.run,
            "contract": dict(self.contract),
            "store": self.store,
            "keepers": dict(self.keepers),
            "attester": attester,
            "checkpoints": [dict(each) for each in self.checkpoints],
        }
        return json.dumps(value, separators=(",", ":")).encode("utf-8") + b"\n"


class Executor(Protocol):
    """One way to start enclaves. Implementations inherit the tests of `paddock.testing.executor_suite`.

    The promise to whoever starts something: events arrive one at a time, each a JSON object whose `event` is one of
    `EVENTS`, and the last is always one of `FINAL_EVENTS`, exactly one, whatever happens. Their content is untrusted.
    """

    def prepare(self) -> None:
        """Return if this machine can start enclaves this way.

        Raises:
            Misconfigured, Unavailable: it cannot, and what is missing.
        """

    def measure(self) -> str:
        """The measurement that an enclave started here would report, as far as this machine can tell.

        Raises:
            ExecutorFailed: it cannot tell.
        """

    def start(self, launch: Launch, on_event: OnEvent) -> str:
        """Start an enclave.

        Args:
            launch: what to run.
            on_event: called from a thread of the executor, never two calls at once.

        Returns:
            The name by which `stop` and `status` know it.

        Raises:
            ExecutorFailed, ContractTooLarge: it did not start; then no event follows.
        """

    def stop(self, execution: str) -> None:
        """End it, first asking, then by force; its final event follows. Nothing happens if it has ended."""

    def status(self, execution: str) -> ExecutionState:
        """Whether it still runs."""


@dataclass(frozen=True)
class Registers:
    """What hardware will say of an environment that an executor starts, as far as files tell it.

    Args:
        provider: of the evidence, e.g. `tdx`.
        computed: registers by name, as hex.
        missing: those that no file tells, by name, and where they come from.
        told: those that a start of it told, and nothing computed: the word of whoever ran that start.
    """

    provider: str
    computed: Mapping[str, str]
    missing: Mapping[str, str]
    told: Mapping[str, str] = field(default_factory=dict)

    def measurement(self) -> str:
        """The measurement over all of them (A-10).

        Raises:
            ExecutorFailed: some are missing.
        """
        if self.missing:
            words = "; ".join(f"{name} ({where})" for name, where in self.missing.items())
            raise ExecutorFailed(f"Not every register is computed. Missing: {words}.")
        return registers_digest(self.provider, {**self.computed, **self.told})


@runtime_checkable
class TellsRegisters(Protocol):
    """An executor that can tell the registers behind its measurement, also where some are missing for one."""

    def registers(self) -> Registers:
        """The registers of what is started here.

        Raises:
            ExecutorFailed: it cannot tell any.
        """


@dataclass(frozen=True)
class Built:
    """What was built into a folder.

    Args:
        files: what was written, relative to the folder.
        measurement: what a contract names as its measurement, where it can be told without starting anything; else None.
        notes: sentences for people: what to do with it, and what could not be done here.
    """

    files: Sequence[str]
    measurement: str | None = None
    notes: Sequence[str] = ()


class Buildable(Protocol):
    """An environment that must be built before an executor can start anything in it: an image and what describes it.

    Announced as an entry point of `paddock.builders`, under its executor's name where there is one. Made without arguments.
    """

    about: ClassVar[str]
    """What is built, in one sentence."""
    settings: ClassVar[Mapping[str, str]]
    """Name of each setting and what it means; any other is refused (`check_settings`)."""

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """The description alone: file's name to its text. Writes nothing and needs no tool of the environment.

        Raises:
            ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
        """

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """Write description and image into an empty or new folder.

        Args:
            folder: where to.
            settings: as in `describe`.
            said: called with what is being done, for people who wait.

        Raises:
            ExecutorOptionInvalid: as in `describe`.
            ExecutorFailed: a tool is missing or failed.
        """
