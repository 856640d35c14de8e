"""The gateway's client against servers that are honest, broken or hostile."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from paddock.errors import (
    HubRefused,
    NoSuchObject,
    ObjectExists,
    ObjectNameRefused,
    Refused,
    StoreDenied,
    StoreMisbehaved,
    StoreUnreachable,
)
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, write_volume
from paddock.store import FolderStore, HttpStore

Answer = Callable[[httpx.Request], httpx.Response]


def _sign(action: str, body: dict[str, Any]) -> str:
    return base64.b64encode(json.dumps({"action": action, "body": body}).encode()).decode()


def _reply(status: int, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
    """An answer that comes from the network, unlike one that is made from bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(status, content=iter([content]), headers=headers)


def _against(answer: Answer, pauses: list[float] | None = None) -> HttpStore:
    kept = [] if pauses is None else pauses
    return HttpStore(
        "http://hub.example/v1/store/", sign_request=_sign, transport=httpx.MockTransport(answer), pause=kept.append
    )


class _Gateway(BaseHTTPRequestHandler):
    """A gateway over a folder, as the hub's API is written down."""

    protocol_version = "HTTP/1.1"
    folder: FolderStore

    def do_HEAD(self) -> None:
        self._give(body=False)

    def do_GET(self) -> None:
        self._give(body=True)

    def _give(self, *, body: bool) -> None:
        name = self.path.removeprefix("/v1/store/")
        try:
            size = self.folder.size(name)
        except NoSuchObject:
            self._answer(404, b"{}" if body else b"")
            return
        if not body:
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            return
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        if first >= size:
            self._answer(416, b"")
            return
        data = self.folder.read(name, first, last - first + 1)
        self._answer(206, data, ("Content-Range", f"bytes {first}-{first + len(data) - 1}/{size}"))

    def do_PUT(self) -> None:
        name = self.path.removeprefix("/v1/store/")
        request = json.loads(base64.b64decode(self.headers["Paddock-Request"]))
        assert request == {"action": "store.put", "body": {"name": name}}
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        try:
            self.folder.put(name, pieces)
        except ObjectExists:
            self._answer(409, json.dumps({"code": "E-STORE-05"}).encode())
            return
        self._answer(201, b"{}")

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for header in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    bound = type("Bound", (_Gateway,), {"folder": FolderStore(tmp_path)})
    with ThreadingHTTPServer(("127.0.0.1", 0), bound) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/store"
        server.shutdown()
        thread.join()


def test_a_volume_goes_through_a_real_gateway(gateway: str) -> None:
    store = HttpStore(gateway, sign_request=_sign)
    key = DataKey.generate()
    files = {"a": b"alpha", "b": bytes(range(256)) * 300}
    asset = write_volume(in_order(files), key, store, options=SealOptions(4096)).asset
    reader = VolumeReader.open(asset, store, key)
    assert {path: reader.open_file(path).read() for path in reader.paths()} == files
    assert store.read("manifests/" + asset[7:], 10**6, 5) == b""
    with pytest.raises(NoSuchObject):
        store.size("volumes/none")
    with pytest.raises(NoSuchObject):
        store.read("volumes/none", 0, 1)
    store.close()


def test_an_upload_whose_answer_was_lost_can_be_repeated(gateway: str) -> None:
    store = HttpStore(gateway, sign_request=_sign)
    assert store.put("a", iter([b"01", b"234"])) == 5
    assert store.put("a", iter([b"01", b"234"])) == 5
    with pytest.raises(ObjectExists):
        store.put("a", iter([b"0123456"]))
    store.close()


def test_an_upload_refused_at_once_is_counted_to_its_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200, headers={"Content-Length": "5"})
        return _reply(409, b"")

    assert _against(answer).put("a", iter([b"01", b"234"])) == 5


def test_an_upload_that_the_server_cuts_off_is_counted_to_its_end() -> None:
    class Early(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "HEAD":
                return httpx.Response(200, headers={"Content-Length": "5"})
            assert isinstance(request.stream, httpx.SyncByteStream)
            assert type(next(iter(request.stream))) is bytes
            return _reply(409, b"")

    store = HttpStore("http://hub.example/v1/store", sign_request=_sign, transport=Early())
    assert store.put("a", iter([memoryview(b"01"), memoryview(b"234")])) == 5


def test_a_store_that_only_reads_says_so() -> None:
    store = HttpStore("http://hub.example/v1/store")
    with pytest.raises(StoreDenied):
        store.put("a", [b""])
    with pytest.raises(StoreDenied):
        store.delete("a")
    for call in (lambda: store.read("../a", 0, 1), lambda: store.size("A"), lambda: store.delete("..")):
        with pytest.raises(ObjectNameRefused):
            call()
    assert store.read("a", 0, 0) == b""


def _endless() -> Iterator[bytes]:
    yield from itertools.repeat(b"x" * 1000)


@pytest.mark.parametrize(
    "response",
    [
        lambda: _reply(200, b"0123456789"),
        lambda: _reply(206, b"01234"),
        lambda: _reply(206, b"01234", headers={"Content-Range": "bytes 0-4/10"}),
        lambda: _reply(206, b"0123456", headers={"Content-Range": "bytes 3-7/10"}),
        lambda: httpx.Response(206, content=_endless(), headers={"Content-Range": "bytes 3-7/10"}),
        lambda: _reply(302, b"", headers={"Location": "http://elsewhere.example/"}),
        lambda: httpx.Response(418, content=_endless()),
        lambda: _reply(418, b"[" * 10_000),
        lambda: _reply(418, [1]),
        lambda: _reply(418, {"code": 5}),
        lambda: _reply(418, {"code": "E-NOT-KNOWN"}),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(response: Callable[[], httpx.Response]) -> None:
    with pytest.raises(StoreMisbehaved):
        _against(lambda request: response()).read("a", 3, 5)


@pytest.mark.parametrize("length", ["-1", "five", "", "٣", "9" * 20])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    headers = [(b"Content-Length", length.encode())]
    with pytest.raises(StoreMisbehaved):
        _against(lambda request: httpx.Response(200, headers=headers)).size("a")


def test_a_read_is_tried_again_and_then_given_up() -> None:
    pauses: list[float] = []
    calls = itertools.count()

    def twice_down(request: httpx.Request) -> httpx.Response:
        turn = next(calls)
        if turn == 0:
            raise httpx.ConnectError("refused")
        if turn == 1:
            return _reply(503, b"")
        return _reply(206, b"ab", headers={"Content-Range": "bytes 0-1/2"})

    assert _against(twice_down, pauses).read("a", 0, 2) == b"ab"
    assert pauses == [0.1, 0.2]

    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    pauses.clear()
    with pytest.raises(StoreUnreachable, match="ReadTimeout"):
        _against(down, pauses).size("a")
    assert len(pauses) == 3


def test_an_upload_is_not_tried_again() -> None:
    calls = itertools.count()

    def down(request: httpx.Request) -> httpx.Response:
        next(calls)
        raise httpx.WriteError("gone")

    with pytest.raises(StoreUnreachable):
        _against(down).put("a", [b"x"])
    assert next(calls) == 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {}, StoreDenied),
        (403, {"code": "E-CRYPTO-01", "detail": "who"}, Refused),
        (413, {"code": "E-HUB-01", "detail": "too large"}, HubRefused),
        (503, {"code": "E-STORE-03"}, Exception),
        (502, {}, StoreUnreachable),
        (500, {}, StoreMisbehaved),
    ],
)
def test_the_hubs_own_words_come_through(status: int, body: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        _against(lambda request: _reply(status, body)).put("a", [b"x"])


def test_nobody_listens_there() -> None:
    store = HttpStore("http://127.0.0.1:9/v1/store", pause=lambda seconds: None)
    with pytest.raises(StoreUnreachable):
        store.size("a")
    store.close()
