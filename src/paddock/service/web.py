"""The web application around a service's routes: limits, errors, headers.

Whatever a peer sends, the answer is JSON; whatever breaks inside, the peer learns an incident number and nothing else.
"""

from __future__ import annotations

import logging
import secrets
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paddock.errors import (
    AlreadyThere,
    BodyTooLarge,
    GrantEnded,
    LedgerRangeRefused,
    MessageRefused,
    NoSuchObject,
    NotAParty,
    NotFound,
    NotTheOwner,
    ObjectExists,
    ObjectNameRefused,
    PaddockError,
    RangeRefused,
    RecordOutdated,
    Refused,
    RequestReplayed,
    RouteUnknown,
    SenderUnknown,
    ServiceFault,
    StateRefused,
    StoreFull,
    Unavailable,
)

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
STATUS: Mapping[type[PaddockError], int] = {
    AlreadyThere: 409,
    BodyTooLarge: 413,
    LedgerRangeRefused: 404,
    NotAParty: 403,
    NoSuchObject: 404,
    NotFound: 404,
    GrantEnded: 403,
    NotTheOwner: 403,
    ObjectExists: 409,
    ObjectNameRefused: 422,
    RangeRefused: 416,
    RecordOutdated: 409,
    Refused: 422,
    RequestReplayed: 409,
    RouteUnknown: 404,
    SenderUnknown: 403,
    ServiceFault: 500,
    StateRefused: 409,
    StoreFull: 507,
    Unavailable: 503,
}
"""HTTP status by error class; a class that is not listed has its base's."""

_log = logging.getLogger("paddock.service")
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    title: str,
    *,
    version: str,
    max_body_bytes: int,
    larger_bodies: Mapping[str, int] | None = None,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """An application without routes.

    Args:
        title: of the service, for /openapi.json.
        version: of the service.
        max_body_bytes: the most that any route reads of a request.
        larger_bodies: path prefix to the most that routes under it read, for those that stream.
        lifespan: opens and closes what the service needs.
    """
    app = FastAPI(title=title, version=version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.closing = threading.Event()
    limits = dict(larger_bodies or {})
    app.add_middleware(_Guard, max_body_bytes=max_body_bytes, larger_bodies=limits)
    app.add_exception_handler(PaddockError, _on_paddock_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    return app


def is_closing(app: FastAPI) -> bool:
    """Whether the server is shutting down, so that whoever waits for something should answer now."""
    closing = app.state.closing
    return isinstance(closing, threading.Event) and closing.is_set()


def status_of(error: PaddockError) -> int:
    """The HTTP status under which this error is sent."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def error_response(error: PaddockError) -> JSONResponse:
    """The error as its public JSON form."""
    if status_of(error) == 500 and not isinstance(error, ServiceFault):
        # Misconfigured: its words are for the operator, they may hold paths of this machine.
        error = _incident(error)
    status = status_of(error)
    return JSONResponse(error.as_dict(), status, headers={"retry-after": "1"} if status == 503 else None)


class _Guard:
    """Counts what is read, adds headers, and is the last to see an exception."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, larger_bodies: Mapping[str, int]) -> None:
        self._app = app
        self._limit = max_body_bytes
        self._larger = larger_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((self._larger[p] for p in self._larger if scope["path"].startswith(p)), self._limit)
        counted = _counted(receive, limit)
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            _check_announced(scope, limit)
            await self._app(scope, counted, send_with_headers)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the last line: no exception's words leave this place
            if begun:
                # Too late for another status: the server closes the connection, the peer sees a short answer.
                _incident(error)
                return
            known = error if isinstance(error, PaddockError) else _incident(error)
            await error_response(known)(scope, receive, send_with_headers)


def _check_announced(scope: Scope, limit: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > limit):
            raise BodyTooLarge(f"At most {limit} bytes are read here.")


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise BodyTooLarge(f"At most {limit} bytes are read here.")
        return message

    return counting


def _incident(error: BaseException) -> ServiceFault:
    number = secrets.token_hex(6)
    # Where it happened, not what it said: an exception's words may hold what a peer sent.
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-12:]))
    words = f" {error}" if isinstance(error, PaddockError) else ""
    _log.error("incident %s: %s%s at %s", number, type(error).__name__, words, places)
    return ServiceFault(f"Incident {number}.")


async def _on_paddock_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PaddockError):
        raise TypeError("registered for PaddockError only")
    return error_response(error)


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status in (404, 405):
        return JSONResponse(RouteUnknown().as_dict(), status)
    return JSONResponse(MessageRefused().as_dict(), status)


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    places = []
    if isinstance(error, RequestValidationError):
        places = [".".join(str(part) for part in row["loc"]) for row in error.errors()[:5]]
    return error_response(MessageRefused(f"Look at: {', '.join(places)}." if places else ""))
