"""Running one or several applications in one process, and stopping them cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import uvicorn
from fastapi import FastAPI

from paddock.errors import AddressUnavailable, Misconfigured, PaddockError
from paddock.service.admission import admitting
from paddock.service.tls import ServerSide

STOP_SECONDS = 5
_BACKLOG = 256
_log = logging.getLogger("paddock.service")


@dataclass(frozen=True)
class Served:
    """One application and where it listens; port 0 lets the system choose. With `tls`, over attested TLS alone."""

    name: str
    app: FastAPI
    host: str
    port: int
    tls: ServerSide | None = None


def serve(services: Sequence[Served], *, ready: Callable[[dict[str, str]], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        services: names are unique.
        ready: called once, when all of them answer, with name to address.

    Raises:
        AddressUnavailable: a port cannot be had.
        PaddockError: an application could not start.
    """
    _Group(services, ready).run(with_signals=True)


class BackgroundServer:
    """Applications that run on a thread of this process while the block lasts.

    with BackgroundServer([Served("hub", app, "127.0.0.1", 0)]) as server:
        httpx.get(server.urls["hub"] + "/v1/health")
    """

    def __init__(self, services: Sequence[Served]) -> None:
        self.urls: dict[str, str] = {}
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._group = _Group(services, self._on_ready)
        self._thread = threading.Thread(target=self._work, name="services", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.stop()
        self._thread.join()

    def _on_ready(self, urls: dict[str, str]) -> None:
        self.urls = urls
        self._ready.set()

    def _work(self) -> None:
        try:
            self._group.run(with_signals=False)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error
        finally:
            self._ready.set()


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its group and says when it answers."""

    def __init__(self, service: Served) -> None:
        tls = service.tls
        context = None if tls is None else tls.context()
        super().__init__(
            uvicorn.Config(
                service.app,
                ws="none",
                http="auto" if tls is None or not tls.asks_clients else admitting(tls),
                ssl_context_factory=None if context is None else lambda _config, _default: context,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_SECONDS,
                timeout_keep_alive=30,
                h11_max_incomplete_event_size=64 << 10,
            )
        )
        self._app = service.app
        self._tls = tls
        self._renewing: asyncio.Task[None] | None = None
        self.answering = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets=sockets)
        except SystemExit:  # its way to say that the lifespan failed; other servers share this process
            self.should_exit = True
            return
        if self.started:
            if self._tls is not None:
                self._renewing = asyncio.create_task(_renew(self._tls))
            self.answering.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        self._app.state.closing.set()
        await super().shutdown(sockets=sockets)


async def _renew(tls: ServerSide) -> None:
    #
    while True:
        await asyncio.sleep(tls.renew_seconds)
        try:
            await asyncio.to_thread(tls.renew)
        except PaddockError as error:
            _log.error("what this server shows could not be renewed: %s", error)


class _Group:
    def __init__(self, services: Sequence[Served], ready: Callable[[dict[str, str]], None]) -> None:
        if len({service.name for service in services}) != len(services):
            raise RuntimeError("services in one process need different names")
        self._services = services
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._servers: list[_Server] = []
        self._stopping = threading.Event()

    def run(self, *, with_signals: bool) -> None:
        sockets: list[socket.socket] = []
        try:
            for service in self._services:
                sockets.append(_listen(service))  # noqa: PERF401 - what opened before a failure is closed
            asyncio.run(self._serve(sockets, with_signals=with_signals))
        finally:
            for each in sockets:
                each.close()

    def stop(self) -> None:
        self._stopping.set()
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it closed in between
                self._loop.call_soon_threadsafe(self._ask_to_exit)

    async def _serve(self, sockets: list[socket.socket], *, with_signals: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._servers = [_Server(service) for service in self._services]
        if with_signals:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._loop.add_signal_handler(number, self._ask_to_exit)
        tasks = [
            asyncio.create_task(server.serve(sockets=[each]))
            for server, each in zip(self._servers, sockets, strict=True)
        ]
        answering = asyncio.gather(*(server.answering.wait() for server in self._servers))
        waited: list[asyncio.Future[Any]] = [answering, *tasks]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            self._ready({s.name: _url(s, each) for s, each in zip(self._services, sockets, strict=True)})
            if self._stopping.is_set():
                self._ask_to_exit()
        else:
            answering.cancel()
            self._ask_to_exit()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._raise_startup_error(answering.cancelled())

    def _ask_to_exit(self) -> None:
        for server in self._servers:
            server.should_exit = True

    def _raise_startup_error(self, failed: bool) -> None:
        for service in self._services:
            error = getattr(service.app.state, "startup_error", None)
            if isinstance(error, PaddockError):
                raise error
        if failed:
            raise Misconfigured("A service could not start; its log says why.")


def _listen(service: Served) -> socket.socket:
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    # asyncio turns Nagle's delay off only for sockets that name their protocol.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((service.host, service.port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or "no such address"
        raise AddressUnavailable(f"{service.name} at {service.host}:{service.port}: {reason}.") from error
    return listening


def _url(service: Served, listening: socket.socket) -> str:
    scheme, port = "http" if service.tls is None else "https", listening.getsockname()[1]
    host = f"[{service.host}]" if ":" in service.host else service.host
    return f"{scheme}://{host}:{port}"
