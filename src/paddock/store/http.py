"""A hub's blob gateway as a store: `GET`, `HEAD` and `PUT` of `/v1/store/{name}`, or of what was given to a run."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx

from paddock.errors import (
    NoSuchObject,
    ObjectExists,
    PaddockError,
    StoreDenied,
    StoreMisbehaved,
    StoreUnreachable,
    StoreUrlInvalid,
    from_dict,
)
from paddock.store.api import Buffer, check_name

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: an address without TLS needs no list of the web's authorities."""


class Tls(Protocol):
    """How a server is reached over attested TLS."""

    @property
    def server_name(self) -> str:
        """What the server is called in the greeting."""

    def context(self) -> ssl.SSLContext:
        """What connections are made with: the server is verified before the first byte is sent."""


SignRequest = Callable[[str, dict[str, Any]], str]
"""Makes the `Paddock-Request` header for an action and its body: base64 of a signed request."""

_GRANT = re.compile(r"/v1/grants/[0-9a-f]{64}/?$")
"""An address that a hub gave to one run: who has it may add objects."""
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.1
_MAX_ERROR_BYTES = 64 << 10
_TRY_AGAIN = {502, 503, 504}
_DENIED = {401, 403, 405}
_T = TypeVar("_T")


class HttpStore:
    """A store behind HTTP. What it answers is not trusted: lengths and ranges are checked, no more is read than asked.

    Safe to use from several threads.

    Args:
        url: address of the gateway, e.g. `http://127.0.0.1:8470/v1/store`.
        sign_request: signs uploads; None for a store that is only read, or whose address is a grant.
        timeout_seconds: how long one answer may keep us waiting.
        tls: how to reach an https address; nobody is believed there for a certificate alone.
        transport: another way to the server than TCP, for tests.
        pause: waits some seconds before a read is tried again.

    Raises:
        StoreUrlInvalid: not an http address, nor an https address together with whom to expect there.
    """

    def __init__(
        self,
        url: str,
        *,
        sign_request: SignRequest | None = None,
        timeout_seconds: float = 30.0,
        tls: Tls | None = None,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise StoreUrlInvalid
        if parts.username is not None or parts.password is not None:
            raise StoreUrlInvalid("An address holds no user name or password.")
        if (parts.scheme == "https") != (tls is not None):
            raise StoreUrlInvalid("An https address needs to say whom to expect there.")
        self._url = url.rstrip("/")
        self._sign_request = sign_request
        self._granted = _GRANT.search(parts.path) is not None
        self._pause = pause
        # trust_env=False: a proxy or .netrc of the environment is nobody's decision here. No redirects either.
        self._extensions = {} if tls is None else {"sni_hostname": tls.server_name}
        self._client = httpx.Client(
            timeout=timeout_seconds,
            transport=transport,
            trust_env=False,
            verify=_NO_TLS if tls is None else tls.context(),
            headers={"Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`. Not tried again by itself, since the pieces are gone.

        An object that is there already and has the same length counts as kept: an upload whose answer was lost can be
        repeated.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if self._sign_request is not None:
            headers["Paddock-Request"] = self._sign_request("store.put", {"name": check_name(name)})
        elif not self._granted:
            raise StoreDenied("This connection only reads.")
        body = _Counted(chunks)
        try:
            with self._ask("PUT", name, headers, content=body) as answer:
                if answer.status_code in {200, 201, 204}:
                    return body.count
                error = _error(answer, name)
        except httpx.HTTPError as failure:
            raise StoreUnreachable(f"While {name} was written: {type(failure).__name__}.") from failure
        if isinstance(error, ObjectExists) and self.size(name) == body.drain():
            return body.count
        raise error

    def read(self, name: str, offset: int, length: int) -> bytes:
        """See `Store.read`."""
        if length <= 0:
            return b""

        def ask() -> bytes:
            headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
            with self._ask("GET", name, headers) as answer:
                if answer.status_code == 416:
                    return b""
                if answer.status_code != 206:
                    # A whole object instead of a range could be endless, and is not what was asked.
                    raise (
                        StoreMisbehaved(f"{name}: it ignores ranges.") if answer.is_success else _error(answer, name)
                    )
                if not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                    raise StoreMisbehaved(f"{name}: it gave another range.")
                return _bounded(answer, length, name)

        return self._with_retries(ask, name)

    def size(self, name: str) -> int:
        """See `Store.size`."""

        def ask() -> int:
            with self._ask("HEAD", name) as answer:
                if not answer.is_success:
                    raise _error(answer, name)
                text = answer.headers.get("Content-Length", "")
                if not (text.isascii() and text.isdigit() and len(text) < 20):
                    raise StoreMisbehaved(f"{name}: it does not tell the length.")
                return int(text)

        return self._with_retries(ask, name)

    def delete(self, name: str) -> None:
        """Not offered by a hub's gateway.

        Raises:
            StoreDenied: always.
        """
        raise StoreDenied(f"A hub does not delete {check_name(name)} on request.")

    def _ask(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str] | None = None,
        *,
        content: Iterable[bytes] | None = None,
    ) -> AbstractContextManager[httpx.Response]:
        address = f"{self._url}/{check_name(name)}"
        return self._client.stream(method, address, content=content, headers=headers, extensions=self._extensions)

    def _with_retries(self, ask: Callable[[], _T], name: str) -> _T:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                return ask()
            except httpx.HTTPError as error:
                last = StoreUnreachable(f"While {name} was read: {type(error).__name__}.")
                last.__cause__ = error
            except StoreUnreachable as error:
                last = error
        raise last


class _Counted:
    """The pieces of an upload as httpx takes them: bytes, counted."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.count += len(chunk)
            # A copy: the piece is reused by its maker, and httpx may hold on to it.
            yield bytes(chunk)

    def drain(self) -> int:
        """Take what the server did not want; the length of everything."""
        for chunk in self._chunks:
            self.count += len(chunk)
        return self.count


def _bounded(answer: httpx.Response, length: int, name: str) -> bytes:
    out = bytearray()
    for piece in answer.iter_raw():
        out += piece
        if len(out) > length:
            raise StoreMisbehaved(f"{name}: it gave more bytes than were asked.")
    return bytes(out)


def _error(answer: httpx.Response, name: str) -> PaddockError:
    """The error that an answer stands for; the hub's own words where it gave them."""
    status = answer.status_code
    if status == 404:
        return NoSuchObject(f"{name}.")
    if status == 409:
        return ObjectExists(f"{name}.")
    if status in _TRY_AGAIN:
        return _told(answer) or StoreUnreachable(f"It answered {status}.")
    if status in _DENIED:
        return _told(answer) or StoreDenied(f"It answered {status}.")
    return _told(answer) or StoreMisbehaved(f"It answered {status}.")


def _told(answer: httpx.Response) -> PaddockError | None:
    try:
        body = json.loads(_bounded(answer, _MAX_ERROR_BYTES, "an error"))
    except (ValueError, RecursionError, StoreMisbehaved):
        return None
    if not isinstance(body, Mapping) or not isinstance(body.get("code"), str):
        return None
    return from_dict(dict(body), StoreMisbehaved)
