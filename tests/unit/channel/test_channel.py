"""Contexts and credentials of attested TLS, below the rules."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from paddock.channel import ClientTls, OwnEnd, ServerTls, pinned, split_address
from paddock.channel.client import EVIDENCE_NAME
from paddock.channel.end import LIFE, now
from paddock.channel.judged import MAX_JUDGED, Judged
from paddock.errors import AttesterUnavailable, PeerRefused, ServiceUnreachable
from paddock.evidence import EvidenceSet
from paddock.evidence.tls import Identity
from paddock.service.client import ServiceClient
from tests.fixtures.attested import CLIENT, SERVER, client, expected, run_end, server, server_end, serving

FINGERPRINT = SERVER.public().fingerprint()


@contextmanager
def tls_1_2(context: ssl.SSLContext) -> Iterator[str]:
    """A server that speaks TLS 1.2 at most."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        accepted, _ = listening.accept()
        with accepted:
            try:
                context.wrap_socket(accepted, server_side=True).close()
            except OSError:
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        thread.join(10)
        listening.close()


def test_no_older_version_of_tls_is_spoken_by_either_end() -> None:
    with tls_1_2(server().context()) as url, client(url, expected()) as asking, pytest.raises(ServiceUnreachable):
        asking.post("/v1/secret", {})
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode, old.maximum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
    with serving(server(None)) as url:
        host, port = url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))) as raw, pytest.raises(ssl.SSLError):
            old.wrap_socket(raw)


def test_there_is_no_way_around_the_socket_that_checks() -> None:
    context = ClientTls(expected()).context()
    with pytest.raises(RuntimeError, match="sockets alone"):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()).do_handshake()


def test_no_session_is_resumed() -> None:
    with serving(server(None)) as url:
        host, port = url.removeprefix("https://").split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw) as wrapped:
            wrapped.sendall(b"GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            while wrapped.recv(4096):
                pass
            assert wrapped.session is None or not wrapped.session.has_ticket


def test_a_client_gets_what_its_greeting_asks_for_and_nothing_where_there_is_nothing() -> None:
    def shown(url: str, name: str | None) -> bytes:
        host, port = url.removeprefix("https://").split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((host, int(port))) as raw,
            context.wrap_socket(raw, server_hostname=name) as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True) or b""

    with serving(server(None, attested=True)) as url:
        assert len(shown(url, EVIDENCE_NAME)) > len(shown(url, None)) + 200
        assert shown(url, None) == shown(url, "somebody.example")
    with serving(server(None)) as url:
        assert shown(url, EVIDENCE_NAME) == shown(url, None)


def test_a_server_without_evidence_does_not_start_and_one_that_loses_it_shows_on_what_it_has() -> None:
    broken: list[bool] = [True]

    def attest(data: bytes) -> EvidenceSet | None:
        if broken[0]:
            raise AttesterUnavailable("The device is gone.")
        from tests.fixtures.attested import attest as honest

        return honest(data)

    end = OwnEnd(Identity("keeper", SERVER.public()), SERVER, "server", attest)
    tls = ServerTls(server_end(), end)
    with pytest.raises(AttesterUnavailable), serving(tls):
        pass
    broken[0] = False
    with serving(tls) as url, pytest.MonkeyPatch.context() as patched:
        broken[0] = True
        patched.setattr("paddock.channel.end.now", lambda: now() + LIFE)
        with pytest.raises(AttesterUnavailable):
            tls.renew()
        patched.undo()
        with client(url, expected(attested=True)) as asking:
            assert asking.get("/v1/health") == {"status": "ok"}


def test_a_clients_device_that_does_not_answer_is_an_error_of_its_own() -> None:
    def attest(_data: bytes) -> EvidenceSet | None:
        raise AttesterUnavailable("The device is gone.")

    with serving(server()) as url, pytest.raises(AttesterUnavailable):
        client(url, expected(), run_end(attested=attest))


def test_credentials_are_renewed_under_threads_that_connect() -> None:
    """Each connection is made with one certificate or the next, and none breaks."""
    own, failures = server_end(), []
    tls = ServerTls(own, None)
    stop = threading.Event()

    def connect(url: str) -> None:
        try:
            while not stop.is_set():
                with client(url, expected()) as asking:
                    asking.get("/v1/health")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
            failures.append(error)

    with serving(tls) as url:
        threads = [threading.Thread(target=connect, args=(url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(30):
            own._made = None
            tls.renew()
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_an_address_says_whom_to_expect() -> None:
    assert split_address(f"https://h:1#{FINGERPRINT}") == ("https://h:1", FINGERPRINT)
    assert split_address("http://h:1") == ("http://h:1", "")
    assert pinned("http://h:1", "hub") is None
    assert pinned("folder:/x", "hub") is None
    assert pinned(f"HTTPS://h:1#{FINGERPRINT}", "hub") is not None
    for address in ("https://h:1", "https://h:1#", "https://h:1#short", f"https://h:1#{FINGERPRINT}0"):
        with pytest.raises(PeerRefused):
            pinned(address, "hub")


def test_a_store_behind_a_hub_is_reached_by_its_fingerprint(tmp_path: object) -> None:
    from paddock.errors import StoreUnreachable
    from paddock.store import open_store

    with serving(server(None)) as url:
        address = f"{url}/v1/store#{CLIENT.public().fingerprint()}"
        store = open_store(address, tls=pinned(address, "keeper"))
        with pytest.raises((PeerRefused, StoreUnreachable)):
            store.size("a" * 64)


def test_verdicts_are_few_and_refusals_are_none() -> None:
    judged: Judged[int] = Judged()
    moment, basis, asked = now(), (object(),), []

    def judge() -> tuple[int, object]:
        asked.append(1)
        return len(asked), moment + timedelta(seconds=30)

    for number in range(MAX_JUDGED + 5):
        judged.verdict(str(number).encode(), basis, moment, judge)  # type: ignore[arg-type]
    assert len(judged._known) == MAX_JUDGED
    count = len(asked)
    last = str(MAX_JUDGED + 4).encode()
    assert judged.verdict(last, basis, moment, judge) == count  # type: ignore[arg-type]
    judged.verdict(last, basis, moment + timedelta(seconds=31), judge)  # type: ignore[arg-type]
    judged.verdict(last, basis, moment - timedelta(hours=1), judge)  # type: ignore[arg-type]
    judged.verdict(last, (*basis, object()), moment, judge)  # type: ignore[arg-type]
    assert len(asked) == count + 3


def test_a_client_without_tls_says_nothing_to_a_server_with_it() -> None:
    with (
        serving(server()) as url,
        ServiceClient("keeper", url.replace("https", "http")) as asking,
        pytest.raises(ServiceUnreachable),
    ):
        asking.post("/v1/secret", {})
