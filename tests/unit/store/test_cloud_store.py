"""Addresses of clouds, refusals of services, uploads that are killed, servers that are slow or never end."""

from __future__ import annotations

import builtins
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from paddock.errors import (
    NoSuchObject,
    PaddockError,
    StoreDenied,
    StoreExtraMissing,
    StoreMisbehaved,
    StoreUnreachable,
)
from paddock.store import open_store
from paddock.store.cloud import CloudOptions, CloudStore, read_address
from tests.fixtures.object_stores import S3Server, moto_server

BUCKET = "vault"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with moto_server() as running:
        running.client().create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture
def credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def test_an_address_is_read() -> None:
    read = read_address("s3://vault/some/prefix?endpoint=https://s3.example:9000&region=eu-1")
    assert (read.bucket, read.prefix, read.endpoint) == ("vault", "some/prefix", "https://s3.example:9000")
    assert (read.region, read.style) == ("eu-1", "path")
    assert read_address("s3://vault").style == "virtual"
    assert read_address("gs://vault/p").kind == "gs"
    assert read_address("az://container").kind == "az"


@pytest.mark.parametrize(
    "url",
    [
        "s3://", "s3:///prefix", "s3://key:secret@vault/p", "s3://vault@other", "s3://vault:80/p", "s3://vault/p#x",
        "s3://vault/p?secret_access_key=x", "s3://vault/p?aws_access_key_id=x", "s3://vault/p?endpoint=ftp://x",
        "s3://vault/p?endpoint=http://user:pw@host", "s3://vault/p?style=other", "s3://vault/p?region=a&region=b",
        "gs://vault/p?endpoint=http://x", "s3://vault/../p", "s3://vault/UP", "s3://vault/p?endpoint",
        "s3://vault/p?endpoint=http://h?token=1", "s4://vault",
    ],
)  # fmt: skip
def test_an_address_of_another_form_or_with_credentials_is_refused(url: str) -> None:
    with pytest.raises(PaddockError) as refusal:
        open_store(url)
    assert refusal.value.code in {"E-STORE-06", "E-STORE-04"}
    assert "secret" not in (refusal.value.detail or "")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "obstore":
            raise ImportError(name)
        return honest(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoreExtraMissing) as refusal:
        open_store("s3://vault/p")
    assert "paddock[s3]" in refusal.value.action


@pytest.mark.usefixtures("credentials")
def test_what_a_service_refuses_is_told(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSuchObject):
        open_store(server.address("nobody")).put("a", [b"x"])
    nowhere = CloudStore(read_address("s3://v/p?endpoint=http://127.0.0.1:9"), CloudOptions(attempts=0))
    for ask in (lambda: nowhere.put("a", [b"x"]), lambda: nowhere.read("a", 0, 1), lambda: nowhere.size("a")):
        with pytest.raises(StoreUnreachable, match="no connection"):
            ask()


@pytest.mark.usefixtures("credentials")
def test_an_object_can_be_read_by_a_signed_address_for_a_while(server: S3Server) -> None:
    import httpx

    store = open_store(server.address(BUCKET, "p"))
    assert isinstance(store, CloudStore)
    store.put("signed", [b"0123456789"])
    url = store.signed("signed", seconds=60)
    assert httpx.get(url, headers={"Range": "bytes=2-4"}).content == b"234"
    assert server.secret_key not in url


_UPLOAD = """
import sys, time
from paddock.store import open_store
def pieces():
    for number in range(64):
        yield bytes([number]) * (1 << 20)
        if number == 20:
            print("half", flush=True)
            time.sleep(0.3)
open_store(sys.argv[1]).put(sys.argv[2], pieces())
print("whole", flush=True)
"""


@pytest.mark.usefixtures("credentials")
def test_an_upload_that_is_killed_leaves_no_object_and_can_be_repeated(server: S3Server) -> None:
    address = server.address(BUCKET, "killed")
    for pause in (0.0, 0.05, 0.2, 0.35, 0.4):
        name = f"object-{int(pause * 100)}"
        command = [sys.executable, "-c", _UPLOAD, address, name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "half\n"
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            acknowledged = "whole" in process.stdout.read()
        store = open_store(address)
        try:
            size = store.size(name)
        except NoSuchObject:
            assert not acknowledged
            assert store.put(name, [bytes(1 << 20)] * 3) == 3 << 20
        else:
            assert size == 64 << 20


class _Liar(BaseHTTPRequestHandler):
    """Answers ranges as it was told to."""

    protocol_version = "HTTP/1.1"
    lie = ""
    released = threading.Event()

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()

    def do_GET(self) -> None:
        if self.lie == "silent":
            self.released.wait(20)
            return
        self.send_response(206 if self.lie != "whole" else 200)
        first = {"range": 7}.get(self.lie, 0)
        self.send_header("Content-Range", f"bytes {first}-{first + 99}/1000000")
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        if self.lie == "short":
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(bytes(10))
        elif self.lie in {"endless", "whole"}:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    self.wfile.write(piece)
        elif self.lie == "drip":
            self.send_header("Content-Length", "100")
            self.end_headers()
            with contextlib.suppress(OSError):
                while not self.released.wait(0.1):
                    self.wfile.write(b"x")
                    self.wfile.flush()
        else:
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(bytes(100))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def liar() -> Iterator[Callable[[str], CloudStore]]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Liar)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    _Liar.released.clear()

    def tell(lie: str) -> CloudStore:
        _Liar.lie = lie
        endpoint = f"http://127.0.0.1:{listening.server_address[1]}"
        quick = CloudOptions(attempts=0, timeout_seconds=1.0, patience_seconds=1.0)
        return CloudStore(read_address(f"s3://v/p?endpoint={endpoint}"), quick)

    yield tell
    _Liar.released.set()
    listening.shutdown()
    listening.server_close()


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("lie", ["silent", "range", "short", "endless", "whole", "drip"])
def test_a_lying_server_is_noticed_in_time_and_without_its_bytes(liar: Callable[[str], CloudStore], lie: str) -> None:
    store = liar("")
    assert store.read("a", 0, 100) == bytes(100)
    store = liar(lie)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    if lie == "short":
        with contextlib.suppress(StoreMisbehaved, StoreUnreachable):
            assert store.read("a", 0, 100) == bytes(10)  # whoever reads a volume refuses it (S-24)
    else:
        with pytest.raises((StoreMisbehaved, StoreUnreachable)):
            store.read("a", 0, 100)
    assert time.monotonic() - began < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_wrong_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Denying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.do_GET()

        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-shown")
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Denying)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    store = open_store(f"s3://v/p?endpoint=http://127.0.0.1:{listening.server_address[1]}")
    for ask in (lambda: store.read("a", 0, 1), lambda: store.size("a"), lambda: store.put("a", [b"x"])):
        with pytest.raises(StoreDenied) as refusal:
            ask()
        assert "not-to-be-shown" not in str(refusal.value)
    listening.shutdown()
    listening.server_close()
    assert os.environ["AWS_ACCESS_KEY_ID"] == "who"
