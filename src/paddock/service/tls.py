"""What services ask of TLS: contexts, and a judgement of the other end. `paddock.channel` offers both."""

from __future__ import annotations

import ssl
from typing import Any, Protocol

PEER = "paddock.peer"
"""The member of an ASGI scope under which an application finds the client that was admitted."""


class ClientSide(Protocol):
    """How a client reaches one server."""

    @property
    def server_name(self) -> str:
        """What it calls the server in its greeting."""

    def context(self) -> ssl.SSLContext:
        """What connections are made with: the server is verified before the first byte is sent. A new one at each call."""

    def is_stale(self) -> bool:
        """Whether another context is needed, and connections of before should not be used; asked before each request."""


class ServerSide(Protocol):
    """How a server meets clients."""

    @property
    def renew_seconds(self) -> float:
        """How often `renew` must be called."""

    @property
    def asks_clients(self) -> bool:
        """Whether a client must show who it is."""

    def context(self) -> ssl.SSLContext:
        """What connections are accepted with."""

    def renew(self) -> None:
        """Make what the server shows current."""

    def admit(self, certificate: bytes | None) -> Any:
        """The client whose certificate this is, if it may go on. Raises PaddockError."""

    def is_current(self, peer: Any) -> bool:
        """Whether a client that was admitted may still ask."""
