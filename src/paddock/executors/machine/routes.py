"""Where a machine reaches what its launch names: each address gets a number inside, and nothing else is reached.

The numbers say nothing: whoever answers is recognised by keys, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, urlsplit, urlunsplit

from paddock.errors import ExecutorFailed
from paddock.executors.executor import Launch

_NETWORK, _FIRST, _MOST = "10.0.2.", 100, 100
"""The network of a machine that QEMU starts."""
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Route:
    """One way out.

    Args:
        inside: the address inside the machine.
        host: what is connected to, seen from here.
        port: the same on both sides.
    """

    inside: str
    host: str
    port: int


@dataclass(frozen=True)
class Routed:
    """A launch as the machine is told it, and the ways out that it needs."""

    launch: Launch
    routes: tuple[Route, ...]


def routed(launch: Launch, network: str = _NETWORK) -> Routed:
    """Give every address of a launch a number.

    Args:
        launch: as it was asked for.
        network: what the numbers begin with, up to the last dot.

    Raises:
        ExecutorFailed: an address is no http or https address: a machine has no files of the host.
    """
    ways: dict[tuple[str, int], Route] = {}
    store = _inside(launch.store, ways, network)
    keepers: Mapping[str, str] = {party: _inside(address, ways, network) for party, address in launch.keepers.items()}
    return Routed(replace(launch, store=store, keepers=keepers), tuple(ways.values()))


def reached(address: str) -> tuple[SplitResult, str, int]:
    """An address of a launch in its parts, with host and port.

    Raises:
        ExecutorFailed: it is no http or https address.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme not in _PORTS or parts.username is not None:
        raise ExecutorFailed(
            "A machine reaches only http and https addresses, no folder of the host: let runs reach the store through the hub."
        )
    return parts, host, port


def _inside(address: str, ways: dict[tuple[str, int], Route], network: str) -> str:
    parts, host, port = reached(address)
    way = ways.get((host, port))
    if way is None:
        if len(ways) == _MOST:
            raise ExecutorFailed("A machine reaches at most a hundred addresses.")
        way = ways[host, port] = Route(f"{network}{_FIRST + len(ways)}", host, port)
    return urlunsplit((parts.scheme, f"{way.inside}:{port}", parts.path, parts.query, parts.fragment))
