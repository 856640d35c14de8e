"""What an executor is: prepare, measure, start, stop, status."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
            ExecutorFailed: it did not start; then no event follows.
        """

    def stop(self, execution: str) -> None:
        """End it, first asking, then by force; its final event follows. Nothing happens if it has ended."""

    def status(self, execution: str) -> ExecutionState:
        """Whether it still runs."""
