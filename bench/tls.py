"""What attested TLS costs: a connection up to the first byte of an answer, beside plain TLS with certificates both ways.

Both are served by the same server and asked with the same bytes; TLS 1.3 does not tell a client that it was accepted
before the first answer. Evidence is SGX quotes made here, verified wholly at each connection; collateral is at hand.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.harness import Row, Timings, interleaved, row
from paddock.channel import ClientTls, OwnEnd, ServerTls
from paddock.channel.client import EVIDENCE_NAME
from paddock.channel.end import now
from paddock.crypto.identity import PrivateKeys
from paddock.evidence import Collateral, EvidenceSet
from paddock.evidence.tls import ExpectedEvidence, ExpectedServer, Identity, Peer, check_evidence
from paddock.service.serve import BackgroundServer, Served
from paddock.service.web import create_app
from tests.fixtures.vendors.intel import IntelMaker

AREA = "tls"
_REQUEST = b"GET /v1/health HTTP/1.1\r\nhost: keeper\r\nconnection: close\r\n\r\n"
Connect = Callable[[], ssl.SSLSocket]


def rows(quick: bool) -> list[Row]:
    """Connections with SGX evidence from both ends, with identities alone, and plain, in turns."""
    with ExitStack() as stack:
        first, again, known = _attested(stack)
        plain = _plain(stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        connects = {"first": first, "again": again, "known": known, "plain": plain}
        work = {name: partial(_ask, connect) for name, connect in connects.items()}
        taken = interleaved(work, repeat=5 if quick else 300, warmup=2 if quick else 10)
    return [
        _row("connection, SGX evidence from both ends", taken["again"], taken["plain"], "ratio <= 1.5"),
        _row("first connection, SGX evidence from both ends", taken["first"], taken["plain"], ""),
        _row("connection with identities alone", taken["known"], taken["plain"], "ratio <= 1.5"),
    ]


def _row(name: str, taken: Timings, plain: Timings, target: str) -> Row:
    return row(name, AREA, taken.median * 1000, "ms", baseline=plain.median * 1000, target=target)


def _ask(connect: Connect) -> None:
    with connect() as connection:
        connection.sendall(_REQUEST)
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the server did not answer")


def _served(stack: ExitStack, tls: ServerTls | _PlainTls) -> tuple[str, int]:
    app = create_app("bench", version="1", max_body_bytes=1 << 10)

    @app.get("/v1/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    url = stack.enter_context(BackgroundServer([Served("keeper", app, "127.0.0.1", 0, tls)])).urls["keeper"]
    host, _, port = url.removeprefix("https://").partition(":")
    return host, int(port)


def _connected(address: tuple[str, int], context: ssl.SSLContext, name: str | None) -> ssl.SSLSocket:
    raw = socket.create_connection(address)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname=name)


def _attested(stack: ExitStack) -> tuple[Connect, Connect, Connect]:
    maker, moment = IntelMaker("sgx"), now()
    policy, collateral = maker.policy(), maker.collateral(moment)
    keeper, run = PrivateKeys.generate(), PrivateKeys.generate()

    def attest(report_data: bytes) -> EvidenceSet:
        return EvidenceSet.single(maker.evidence(report_data))

    def gate(peer: Peer) -> None:
        if peer.evidence is not None:
            check_evidence(peer, level="L5", policy=policy, collateral=collateral, now=now())

    identity = Identity("keeper", keeper.public())
    plain, attested = OwnEnd(identity, keeper, "server"), OwnEnd(identity, keeper, "server", attest)
    forgetful = _served(stack, ServerTls(plain, attested, gate))
    address = _served(stack, ServerTls(plain, attested, gate, lambda: (policy, collateral)))
    shown = ExpectedEvidence(policy, "L5", frozenset({_measurement(maker, collateral)}))
    environment = Identity("run", run.public(), "sha256:" + "0" * 64, "0" * 32, "L5")
    expected, own = (
        ExpectedServer("keeper", keeper.public().fingerprint(), shown),
        OwnEnd(environment, run, "client", attest),
    )
    again = ClientTls(expected, own, lambda: collateral)
    first = ClientTls(expected, own, lambda: collateral.merged(Collateral()))  # another object: nothing is reused
    known = ClientTls(
        ExpectedServer("keeper", keeper.public().fingerprint()), OwnEnd(Identity("party", run.public()), run, "client")
    )
    return (
        partial(_connected, forgetful, first.context(), EVIDENCE_NAME),
        partial(_connected, address, again.context(), EVIDENCE_NAME),
        partial(_connected, address, known.context(), known.server_name),
    )


def _measurement(maker: IntelMaker, collateral: Collateral) -> str:
    from paddock.evidence import verify_evidence  # noqa: PLC0415 - for this one figure

    found = verify_evidence(maker.evidence(bytes(64)), policy=maker.policy(), collateral=collateral, now=now())
    return found.measurement


class _PlainTls:
    """A server over TLS 1.3 that asks for certificates by an authority that it knows."""

    renew_seconds = 3600.0
    asks_clients = False

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def context(self) -> ssl.SSLContext:
        return self._context

    def renew(self) -> None:
        """Nothing ages here."""

    def admit(self, certificate: bytes | None) -> None:
        """Nobody is asked."""

    def is_current(self, peer: object) -> bool:
        return peer is None


def _plain(stack: ExitStack, folder: Path) -> Connect:
    root = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", root, root, ca=True)
    (folder / "root.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    contexts = []
    for name, protocol in (("server", ssl.PROTOCOL_TLS_SERVER), ("client", ssl.PROTOCOL_TLS_CLIENT)):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, root, ca=False)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(folder / f"{name}.pem")
        context.load_verify_locations(folder / "root.pem")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        contexts.append(context)
    contexts[0].num_tickets = 0  # as with attested TLS: no connection is resumed
    address = _served(stack, _PlainTls(contexts[0]))
    return lambda: _connected(address, contexts[1], None)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(hours=1))
        .not_valid_after(now() + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer, hashes.SHA256())
    )
