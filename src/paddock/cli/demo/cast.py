"""Who plays: five parties, each with a home, keys and a keeper of its own, and an operator with a hub and a simulator."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from paddock.cli.identity_commands import create_home
from paddock.cli.policy_commands import allow_simulator, keeper_home
from paddock.cli.services import LocalEngineService, hub_service, keeper_service, local_engine
from paddock.party.party import Party
from paddock.service.serve import BackgroundServer, Served

NAMES = ("north", "south", "lakeside", "modelco", "clinic")
ABOUT = {
    "north": "a hospital with records",
    "south": "a hospital with records",
    "lakeside": "a hospital with the test records",
    "modelco": "a developer with a network",
    "clinic": "a clinic with new patients",
}
OPERATOR = "operator"
_ANY_PORT = "http://127.0.0.1:0"


@dataclass(frozen=True)
class Operator:
    """Runs the machines, and is not trusted."""

    folder: Path
    engine: LocalEngineService


class Cast:
    """Everybody, served on loopback while the block lasts.

    Args:
        folder: below which each home is made.
        names: of the parties.
    """

    def __init__(self, folder: Path, names: Sequence[str] = NAMES) -> None:
        self._folder = folder
        self._names = tuple(names)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            operator = self._folder / OPERATOR
            engine = self._stack.enter_context(local_engine(operator, simulate=True, parallel=1))
            self.operator = Operator(operator, engine)
            homes = {n: create_home(n, self._folder / n, hub=_ANY_PORT, keeper=_ANY_PORT) for n in self._names}
            services = [Served("hub", hub_service(operator, engine), "127.0.0.1", 0)]
            services += [Served(n, keeper_service(keeper_home(home)), "127.0.0.1", 0) for n, home in homes.items()]
            urls = self._stack.enter_context(BackgroundServer(services)).urls
        except BaseException:
            self._stack.close()
            raise
        self.parties = {
            name: Party(home.with_addresses(hub=urls["hub"], keeper=urls[name])) for name, home in homes.items()
        }
        for party in self.parties.values():
            self._stack.callback(party.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def introduce(self) -> None:
        """Everybody publishes a record, and accepts everybody else's by the fingerprint read in that party's home."""
        for party in self.parties.values():
            party.publish()
        for name, party in self.parties.items():
            for other, peer in self.parties.items():
                if other != name:
                    party.add_peer(other, peer.home.fingerprint)

    def accept_simulator(self) -> str:
        """Every keeper is told to accept this machine's simulator, since there is no hardware; returns its key."""
        simulator = self.operator.engine.simulator
        if simulator is None:
            raise RuntimeError("the demo's engine has a simulator")
        for party in self.parties.values():
            allow_simulator(keeper_home(party.home), simulator.key)
        return simulator.key
