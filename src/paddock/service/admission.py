"""Connections of a server that asks its clients who they are: nothing of a request is read before the answer.

Source: docs/spec/attestation.md §8 (A-21, A-22).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from paddock.errors import PaddockError, PeerRefused
from paddock.service.tls import PEER, ServerSide
from paddock.service.web import error_response, status_of

_LINGER_SECONDS = 2.0
_log = logging.getLogger("paddock.service")


def admitting(tls: ServerSide) -> type[H11Protocol]:
    """The protocol of a server that admits clients by `tls`."""

    class Admitting(H11Protocol):
        """One connection: the client is judged on a thread, while nothing that it sends is read."""

        _refused = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in its base
            super().connection_made(transport)
            transport.pause_reading()
            found = transport.get_extra_info("ssl_object")
            certificate = found.getpeercert(binary_form=True) if isinstance(found, ssl.SSLObject) else None
            judged = self.loop.run_in_executor(None, _judged, tls, certificate)
            judged.add_done_callback(self._on_judged)

        def data_received(self, data: bytes) -> None:
            if not self._refused:
                super().data_received(data)

        def _on_judged(self, judged: asyncio.Future[Any]) -> None:
            if self.transport.is_closing():
                return
            peer = PeerRefused("It could not be judged.") if judged.cancelled() else judged.result()
            if isinstance(peer, PaddockError):
                self._refuse(peer)
            else:
                self.app = _as_client(self.app, tls, peer)
            self.transport.resume_reading()

        def _refuse(self, error: PaddockError) -> None:
            # The client learns why. What it sent already is thrown away: closing at once would take the answer along.
            self._refused = True
            body = json.dumps(error.as_dict()).encode("utf-8")
            head = f"HTTP/1.1 {status_of(error)} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(head.encode("ascii") + b"connection: close\r\n\r\n" + body)
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    return Admitting


def _judged(tls: ServerSide, certificate: bytes | None) -> Any:
    try:
        return tls.admit(certificate)
    except PaddockError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever happens here, the client is not admitted
        _log.error("a client could not be judged: %s", type(error).__name__)
        return PeerRefused("It could not be judged.")


def _as_client(app: Callable[..., Any], tls: ServerSide, peer: Any) -> Callable[..., Any]:
    """The application as this client sees it, until its certificate is out of date."""

    async def known(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if not tls.is_current(peer):
            await error_response(PeerRefused("Its certificate is out of date: it must connect anew."))(
                scope, receive, send
            )
            return
        await app({**scope, PEER: peer}, receive, send)

    return known
