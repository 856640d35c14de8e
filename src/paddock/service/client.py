"""A client of a service: JSON over HTTP with limits on time and size. The peer is not trusted."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from paddock.errors import AnswerRefused, PeerRefused, ServiceFault, ServiceUnreachable, Unavailable, from_dict
from paddock.service.tls import ClientSide

MAX_ANSWER_BYTES = 16 << 20
CONNECT_SECONDS = 5.0
_PAUSES = (0.1, 0.4)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OK = frozenset({200, 201, 202})
_PROBLEM = 400

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: an address without TLS needs no list of the web's authorities, which would take time to read."""

Json = dict[str, Any]
Parameters = Mapping[str, str | int]


class ServiceClient:
    """Talks to one service.

    Args:
        service: what it is called in messages, e.g. `hub`.
        url: its address.
        timeout_seconds: how long it may stay silent before the call fails.
        max_answer_bytes: the most that is read of an answer.
        tls: for an https address, whom to expect there: nobody is believed for a certificate alone.

    A call raises PeerRefused where an https address is given and nobody to expect, or the other way round.
    """

    def __init__(
        self,
        service: str,
        url: str,
        *,
        timeout_seconds: float = 30.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        tls: ClientSide | None = None,
    ) -> None:
        self.service = service
        self.url = url.partition("#")[0].rstrip("/")
        self._max_bytes = max_answer_bytes
        self._timeout = timeout_seconds
        self._tls = tls
        self._extensions = {} if tls is None else {"sni_hostname": tls.server_name}
        self._lock = threading.Lock()
        self._retired: httpx.Client | None = None
        self._http = self._connected()

    def get(self, path: str, params: Parameters | None = None, *, wait_seconds: float = 0.0) -> Json:
        """Ask; tried up to three times when the service does not answer, since asking changes nothing.

        Args:
            path: begins with a slash.
            params: of the query.
            wait_seconds: how much longer than usual the answer may take (long polling).

        Raises:
            ServiceUnreachable, AnswerRefused: no answer, or not one of a Paddock service.
            PaddockError: the error that the service sent.
        """
        for pause in _PAUSES:
            try:
                return self._call("GET", path, params, None, wait_seconds)
            except Unavailable as error:
                # A fault or a wrong address repeats; what is busy, starting or unreachable may answer in a moment.
                if isinstance(error, ServiceFault | AnswerRefused):
                    raise
            time.sleep(pause)
        return self._call("GET", path, params, None, wait_seconds)

    def post(self, path: str, body: Mapping[str, Any]) -> Json:
        """Send; tried once, since sending may have taken effect although no answer came.

        Raises:
            ServiceUnreachable, AnswerRefused: no answer, or not one of a Paddock service.
            PaddockError: the error that the service sent.
        """
        return self._call("POST", path, None, body, 0.0)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._http.close()
            if self._retired is not None:
                self._retired.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        params: Parameters | None,
        body: Mapping[str, Any] | None,
        wait_seconds: float,
    ) -> Json:
        timeout = httpx.Timeout(self._timeout + wait_seconds, connect=CONNECT_SECONDS)
        try:
            with self._current().stream(
                method,
                self.url + path,
                params=dict(params or {}),
                json=body,
                timeout=timeout,
                extensions=self._extensions,
            ) as response:
                status, content = response.status_code, self._bounded(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceUnreachable(f"The {self.service} at {self.url}: {_reason(error)}.") from error
        return self._understood(status, content)

    def _current(self) -> httpx.Client:
        """Connections that may still be used, by this end's credentials of now (A-22)."""
        secure = is_secure(self.url)
        if secure and self._tls is None:
            raise PeerRefused(f"Nothing says whom to expect at {self.url}.")
        if self._tls is None:
            return self._http
        if not secure:
            raise PeerRefused(f"Whoever answers at {self.url} shows nothing: its address must begin with https.")
        with self._lock:
            if self._tls.is_stale():
                if self._retired is not None:
                    self._retired.close()
                # Another thread may be using it for a while.
                self._retired, self._http = self._http, self._connected()
            return self._http

    def _connected(self) -> httpx.Client:
        # A proxy from the environment never stands between two processes of one machine, nor before attested TLS.
        remote = self._tls is None and urlsplit(self.url).hostname not in _LOOPBACK
        return httpx.Client(
            timeout=httpx.Timeout(self._timeout, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=remote,
            verify=_NO_TLS if self._tls is None or not is_secure(self.url) else self._tls.context(),
        )

    def _bounded(self, response: httpx.Response) -> bytes:
        parts, total = [], 0
        for part in response.iter_bytes():
            total += len(part)
            if total > self._max_bytes:
                raise AnswerRefused(f"The {self.service} at {self.url} sent more than {self._max_bytes} bytes.")
            parts.append(part)
        return b"".join(parts)

    def _understood(self, status: int, content: bytes) -> Json:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or (status not in _OK and (status < _PROBLEM or "code" not in value)):
            raise AnswerRefused(f"The {self.service} at {self.url} answered with status {status}.")
        if status in _OK:
            return value
        raise from_dict(value, Unavailable)


def is_secure(url: str) -> bool:
    """Whether an address is one of attested TLS."""
    return url[:8].lower() == "https://"


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return "no connection"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return "the address is not valid"
    return "the connection broke off"
