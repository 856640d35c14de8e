"""Attested TLS, rule by rule, over real connections: A-19 to A-23, A-25."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from paddock.channel import OwnEnd, ServerTls
from paddock.channel.end import LIFE, now
from paddock.channel.judged import REUSED_FOR
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.tls import TlsKey
from paddock.errors import (
    BindingMismatch,
    CompositionRefused,
    DebugRefused,
    EvidenceNotTrusted,
    PaddockError,
    PeerRefused,
)
from paddock.evidence import Collateral, EvidenceSet, TrustPolicy
from paddock.evidence.tls import (
    ExpectedEvidence,
    ExpectedServer,
    Identity,
    Peer,
    Role,
    TlsStatement,
    check_evidence,
    check_server,
    make_certificate,
    read_peer,
)
from paddock.keeper.home import KeeperHome
from paddock.party.home import Home
from paddock.party.party import Party
from paddock.party.servers import demand_evidence
from paddock.seal import DataKey
from paddock.service.client import ServiceClient
from tests.fixtures.attested import (
    CLIENT,
    RUN_KEYS,
    SERVER,
    Heard,
    admit_all,
    attest,
    client,
    end,
    expected,
    run_end,
    run_identity,
    server,
    server_end,
    serving,
)
from tests.fixtures.cast import MEASUREMENT, member, private_keys
from tests.fixtures.keepers import make_keeper
from tests.fixtures.proof import POLICY, evidence


def made(
    identity: Identity,
    signer: PrivateKeys,
    *,
    role: Role = "server",
    key: TlsKey | None = None,
    start: timedelta = timedelta(seconds=-10),
    life: timedelta = LIFE,
    attested: bool = False,
    certified: TlsKey | None = None,
    shown: Identity | None = None,
) -> bytes:
    """A certificate; what is `certified` or `shown` instead is a lie."""
    key = key or TlsKey.generate()
    statement = TlsStatement(identity, key.public.fingerprint(), now() + start, now() + start + life, role)
    proof = attest(statement.report_data()) if attested else None
    if shown is not None:
        statement = replace(statement, identity=shown)
    return make_certificate(certified or key, statement, signer, proof)


IDENTITY = Identity("keeper", SERVER.public())


def refused(certificate: bytes | None, words: str, role: Role = "server") -> None:
    with pytest.raises(PeerRefused, match=words):
        read_peer(certificate, role=role, now=now())


def test_a19_signature_and_evidence_are_over_this_very_certificate() -> None:
    honest = made(IDENTITY, SERVER, attested=True)
    peer = read_peer(honest, role="server", now=now())
    wanted = expected(attested=True)
    check_server(peer, wanted, collateral=Collateral(), now=now())
    # a signature for another TLS key, by other keys, for another identity
    refused(made(IDENTITY, SERVER, certified=TlsKey.generate()), "did not sign")
    refused(made(IDENTITY, CLIENT), "did not sign")
    # evidence that was made for another certificate of the same keeper
    other = make_certificate(
        key := TlsKey.generate(),
        TlsStatement(IDENTITY, key.public.fingerprint(), now(), now() + LIFE, "server"),
        SERVER,
        peer.evidence,
    )
    with pytest.raises(BindingMismatch):
        check_server(read_peer(other, role="server", now=now()), wanted, collateral=Collateral(), now=now())


def test_a19_a_run_asks_a_keeper_as_the_run_that_its_certificate_names(tmp_path: Path) -> None:
    from tests.fixtures.keepers import bound_to

    kept = make_keeper(tmp_path, "north")
    from paddock.keeper.web import create_keeper_app
    from paddock.service.serve import BackgroundServer, Served
    from tests.fixtures.cast import contract

    signed = contract()
    tls = ServerTls(end("keeper", kept.home.keys, "server"), None, lambda _peer: None)
    wanted = ExpectedServer("keeper", kept.home.keys.public().fingerprint())
    with BackgroundServer([Served("keeper", create_keeper_app(kept.keeper), "127.0.0.1", 0, tls)]) as running:
        url = running.urls["keeper"]
        with client(url, wanted, run_end()) as asking:
            assert asking.post("/v1/challenges", {"contract": signed.id, "run": run_identity().run})["nonce"]
            with pytest.raises(PeerRefused, match="another run"):
                asking.post("/v1/challenges", {"contract": signed.id, "run": "f" * 32})
            for path in ("/v1/deposits", "/v1/revocations", "/v1/account", "/v1/policy"):
                with pytest.raises(PeerRefused, match="not asked by a run"):
                    asking.post(path, {})
            body = {
                "contract": signed.envelope.to_dict(),
                "binding": bound_to({"north": kept}, signed, keys=private_keys("another run")).to_dict(),
                "evidence": None,
            }
            with pytest.raises(PeerRefused, match="another run"):
                asking.post("/v1/releases", body)
            with pytest.raises(PeerRefused, match="another run"):
                asking.post("/v1/leases", {"request": kept.asked("lease.renew", {}).to_dict()})
        with client(url, wanted, end("party", member("north").keys, "client")) as asking:
            for path in ("/v1/challenges", "/v1/leases"):
                with pytest.raises(PeerRefused, match="not asked by a party"):
                    asking.post(path, {"request": kept.asked("lease.renew", {}).to_dict()})


def test_a20_nobody_goes_on_with_another_than_the_expected() -> None:
    peer = read_peer(made(IDENTITY, SERVER), role="server", now=now())
    attested = read_peer(made(IDENTITY, SERVER, attested=True), role="server", now=now())
    check_server(peer, expected(), collateral=Collateral(), now=now())

    def not_taken(found: Peer, wanted: ExpectedServer, error: type[PaddockError], words: str) -> None:
        with pytest.raises(error, match=words):
            check_server(found, wanted, collateral=Collateral(), now=now())

    not_taken(peer, expected(CLIENT), PeerRefused, "expected is")  # an unknown name
    not_taken(peer, expected(kind="hub"), PeerRefused, "expected is")  # the right keys as another thing
    not_taken(peer, expected(attested=True), PeerRefused, "shows no evidence")  # a certificate that merely is valid
    not_taken(attested, expected(), PeerRefused, "nobody asked for")  # more than expected
    not_taken(attested, expected(attested=True, policy=TrustPolicy()), EvidenceNotTrusted, "no section")
    elsewhere = ExpectedServer("keeper", IDENTITY.keys.fingerprint(), ExpectedEvidence(POLICY, "L5", frozenset({"x"})))
    not_taken(attested, elsewhere, PeerRefused, "not one that is expected")
    with pytest.raises(PeerRefused, match="No measurement"):
        ExpectedEvidence(POLICY, "L5", frozenset())  # nobody can expect nothing


def test_a20_an_extra_piece_a_debug_environment_and_an_empty_set_are_refused() -> None:
    def with_pieces(change: Any) -> bytes:
        key = TlsKey.generate()
        statement = TlsStatement(IDENTITY, key.public.fingerprint(), now(), now() + LIFE, "server")
        return make_certificate(key, statement, SERVER, change(statement.report_data()))

    wanted = expected(attested=True)

    def judged(certificate: bytes) -> None:
        check_server(read_peer(certificate, role="server", now=now()), wanted, collateral=Collateral(), now=now())

    def extra(data: bytes) -> EvidenceSet:
        return EvidenceSet({**attest(data).pieces, "gpu-0": evidence(data, tee="software")})

    with pytest.raises(CompositionRefused, match="gpu-0"):
        judged(with_pieces(extra))
    with pytest.raises(DebugRefused):
        judged(with_pieces(lambda data: attest(data, debug=True)))
    with pytest.raises(PeerRefused, match="not one of attested TLS"):
        judged(with_pieces(lambda _data: EvidenceSet({})))


def test_a20_a_client_without_expectation_or_tls_sends_nothing() -> None:
    heard = Heard()
    with serving(server(), heard) as url:
        with ServiceClient("keeper", url) as asking, pytest.raises(PeerRefused, match="Nothing says whom to expect"):
            asking.post("/v1/secret", {"x": 1})
        plain = url.replace("https://", "http://")
        with client(plain, expected(), run_end()) as asking, pytest.raises(PeerRefused, match="must begin with https"):
            asking.post("/v1/secret", {"x": 1})
    assert heard.requests == []


@pytest.mark.parametrize(
    "name",
    [
        "stranger",
        "hub",
        "other party",
        "no evidence",
        "debug",
        "no certificate",
        "party with evidence",
        "wrong run level",
    ],
)
def test_a20_a_keeper_serves_its_party_and_attested_runs_alone(tmp_path: Path, name: str) -> None:
    kept = make_keeper(tmp_path, "north")
    kept.clock.now = now()
    gate = kept.keeper.admit
    heard = Heard()
    asks: dict[str, OwnEnd | None] = {
        "stranger": end("keeper", CLIENT, "client"),
        "hub": end("hub", CLIENT, "client"),
        "other party": end("party", member("south").keys, "client"),
        "no evidence": OwnEnd(run_identity(), RUN_KEYS, "client", None),
        "debug": run_end(attested=lambda data: attest(data, debug=True)),
        "no certificate": None,
        "party with evidence": end("party", member("north").keys, "client", attest),
        "wrong run level": OwnEnd(run_identity(level="L2"), RUN_KEYS, "client", None),
    }
    with serving(server(gate), heard) as url:
        with client(url, expected(), asks[name]) as asking, pytest.raises((PeerRefused, DebugRefused)):
            asking.post("/v1/secret", {"x": 1})
        assert heard.requests == []
        for own in (
            end("party", member("north").keys, "client"),
            run_end(),
            OwnEnd(run_identity(level="L1"), RUN_KEYS, "client"),
        ):
            with client(url, expected(), own) as asking:
                assert asking.post("/v1/secret", {"x": 2}) == {"status": "ok"}
    assert len(heard.requests) == 3


@contextmanager
def overheard(certificate: Any, key: TlsKey) -> Iterator[tuple[str, list[bytes]]]:
    """A server of anybody's make with this certificate, and what it was sent after the handshake."""
    import tempfile
    import threading

    from paddock.crypto.tls import certificate_pem

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem, password = key.to_encrypted_pem()
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + certificate_pem(certificate))
        file.flush()
        context.load_cert_chain(file.name, password=password)
    got: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        accepted, _ = listening.accept()
        with accepted:
            try:
                with context.wrap_socket(accepted, server_side=True) as wrapped:
                    got.append(wrapped.recv(4096))
            except OSError:
                got.append(b"")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}", got
    finally:
        thread.join(10)
        listening.close()


@pytest.mark.parametrize("kind", ["another keeper", "no statement", "no evidence"])
def test_a21_not_one_byte_of_a_request_reaches_a_server_that_did_not_pass(kind: str) -> None:
    key = TlsKey.generate()
    certificate = {
        "another keeper": lambda: made(Identity("keeper", CLIENT.public()), CLIENT, key=key),
        "no statement": lambda: key.certificate(b"{}", not_before=now(), not_after=now() + LIFE),
        "no evidence": lambda: made(IDENTITY, SERVER, key=key),
    }[kind]()
    wanted = expected(attested=kind == "no evidence")
    with overheard(certificate, key) as (url, got), client(url, wanted) as asking, pytest.raises(PeerRefused):
        asking.post("/v1/secret", {"secret": "of north"})
    assert got == [b""]


def test_a21_the_server_reads_nothing_of_a_request_before_it_admits_the_client() -> None:
    heard, asked = Heard(), []

    def gate(peer: Peer) -> None:
        asked.append(peer.identity.kind)
        raise PeerRefused("not today")

    with serving(server(gate), heard) as url, client(url, expected(), run_end()) as asking:
        for _ in range(3):
            with pytest.raises(PeerRefused, match="not today"):
                asking.post("/v1/secret", {"x": 1})
    assert asked == ["run"] * 3
    assert heard.requests == []


def test_a21_a_gate_that_breaks_admits_nobody() -> None:
    def gate(_peer: Peer) -> None:
        raise ZeroDivisionError

    with serving(server(gate)) as url, client(url, expected(), run_end()) as asking, pytest.raises(PeerRefused):
        asking.get("/v1/health")


def test_a22_a_certificate_out_of_its_time_or_valid_for_long_is_refused() -> None:
    read_peer(made(IDENTITY, SERVER), role="server", now=now())
    refused(made(IDENTITY, SERVER, start=timedelta(seconds=30)), "not valid now")
    refused(made(IDENTITY, SERVER, start=timedelta(seconds=-300)), "not valid now")
    refused(made(IDENTITY, SERVER, life=timedelta(days=1)), "too long")


def test_a22_an_end_makes_itself_a_new_key_at_half_of_its_validity(monkeypatch: pytest.MonkeyPatch) -> None:
    own = server_end(attested=True)
    first = own.credentials()
    assert own.credentials() is first
    monkeypatch.setattr("paddock.channel.end.now", lambda: now() + LIFE / 2 + timedelta(seconds=1))
    second = own.credentials()
    assert second.certificate != first.certificate
    assert second.key != first.key


def test_a22_a_server_shows_a_new_certificate_and_a_client_that_is_out_of_date_is_told() -> None:
    shown: list[bytes] = []

    def look(url: str) -> None:
        host, port = url.removeprefix("https://").split(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw) as wrapped:
            shown.append(wrapped.getpeercert(binary_form=True) or b"")

    own = server_end()
    tls = ServerTls(own, None, admit_all)
    with serving(tls) as url, pytest.MonkeyPatch.context() as patched:
        look(url)
        patched.setattr(own, "_made", replace(own.credentials(), renew_at=now()))
        tls.renew()
        look(url)
        with client(url, expected(), run_end()) as asking:
            assert asking.get("/v1/health")
            patched.setattr("paddock.channel.server.now", lambda: now() + timedelta(hours=2))
            with pytest.raises(PeerRefused, match="out of date"):
                asking.get("/v1/health")
    assert shown[0] != shown[1]


def test_a22_a_client_leaves_connections_that_grew_old(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    with (
        serving(ServerTls(server_end(), None, lambda peer: seen.append(1))) as url,
        client(url, expected(), run_end()) as asking,
    ):
        asking.get("/v1/health")
        asking.get("/v1/health")
        assert len(seen) == 1  # one connection
        for module in ("client", "end"):
            monkeypatch.setattr(f"paddock.channel.{module}.now", lambda: now() + LIFE / 2)
        monkeypatch.setattr("paddock.channel.server.now", lambda: now() + LIFE / 2)
        asking.get("/v1/health")
        assert len(seen) == 2


def test_a23_a_certificate_of_one_role_does_not_serve_in_the_other() -> None:
    refused(made(IDENTITY, SERVER, role="client"), "did not sign", role="server")
    refused(made(IDENTITY, SERVER, role="server"), "did not sign", role="client")


def test_a23_evidence_of_both_ends_is_judged() -> None:
    judged: list[str] = []

    def gate(peer: Peer) -> None:
        check_evidence(peer, level="L5", policy=POLICY, collateral=Collateral(), now=now())
        judged.append(peer.identity.kind)

    with serving(server(gate, attested=True)) as url:
        with client(url, expected(attested=True), run_end()) as asking:
            asking.get("/v1/health")
        debug = run_end(attested=lambda data: attest(data, debug=True))
        with client(url, expected(attested=True), debug) as asking, pytest.raises(DebugRefused):
            asking.get("/v1/health")
    assert judged == ["run"]


def test_a25_no_key_is_deposited_with_a_keeper_that_did_not_prove_itself(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "north", "north")
    keeper = KeeperHome.create(home.keeper_folder, home.keys.public())
    heard = Heard()
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[simulated]\nkeys = ["{POLICY.simulated.keys[0]}"]\n' if POLICY.simulated else "")
    asset, key = "sha256:" + "a" * 64, DataKey.generate()

    def deposit(url: str) -> None:
        with Party(home.with_addresses(keeper=url)) as party:
            wrapped = key.wrap(keeper.keys.public().seal, asset, "deposit")
            party._ask_keeper("/v1/secret", "deposit", {"asset": asset, "wrapped": wrapped.hex()})

    def end_of_keeper(*, attested: bool, **claims: Any) -> OwnEnd:
        identity = Identity("keeper", keeper.keys.public())
        return OwnEnd(identity, keeper.keys, "server", (lambda data: attest(data, **claims)) if attested else None)

    demand_evidence(home, "keeper", policy=policy.read_text(), measurements=[MEASUREMENT])
    tries = [
        (ServerTls(end_of_keeper(attested=False), None, lambda _peer: None), PeerRefused),
        (
            ServerTls(end_of_keeper(attested=False), end_of_keeper(attested=True, debug=True), lambda _peer: None),
            DebugRefused,
        ),
        (
            ServerTls(
                end_of_keeper(attested=False),
                end_of_keeper(attested=True, measurement="sha256:" + "1" * 64),
                lambda _peer: None,
            ),
            PeerRefused,
        ),
        (server(attested=True), PeerRefused),  # genuine evidence of another keeper
    ]
    for tls, error in tries:
        with serving(tls, heard) as url, pytest.raises(error):
            deposit(url)
    with serving(None, heard) as url, pytest.raises(PeerRefused, match="can show none"):
        deposit(url)
    assert heard.requests == []
    genuine = ServerTls(end_of_keeper(attested=False), end_of_keeper(attested=True), lambda _peer: None)
    with serving(genuine, heard) as url, pytest.raises(PaddockError):  # what it answers is not signed
        deposit(url)
    assert len(heard.requests) == 1


def test_a21_a_client_that_comes_back_is_not_judged_anew_until_something_changed(tmp_path: Path) -> None:
    judged: list[str] = []
    basis = [object(), object()]
    tls = ServerTls(server_end(), None, lambda peer: judged.append(peer.identity.kind), lambda: tuple(basis))

    def come(own: OwnEnd) -> int:
        with client(url, expected(), own) as asking:
            asking.get("/v1/health")
        return len(judged)

    with serving(tls) as url, pytest.MonkeyPatch.context() as patched:
        first, second = run_end(), run_end()
        assert (come(first), come(first), come(second)) == (1, 1, 2)
        basis[1] = object()  # another policy, or other collateral
        assert come(first) == 3
        patched.setattr("paddock.channel.server.now", lambda: now() + REUSED_FOR)
        assert come(first) == 4


def test_a21_a_keeper_judges_anew_once_its_policy_is_another(tmp_path: Path) -> None:
    kept = make_keeper(tmp_path, "north")
    kept.clock.now = now()
    before = kept.keeper.admits_by()
    assert all(a is b for a, b in zip(kept.keeper.admits_by(), before, strict=True))
    kept.home.replace_policy("")
    assert kept.keeper.admits_by()[0] is not before[0]
    peer = read_peer(run_end().credentials().certificate, role="client", now=now())
    with pytest.raises(EvidenceNotTrusted):
        kept.keeper.admit(peer)


def test_a21_refusals_are_not_remembered() -> None:
    asked: list[int] = []

    def gate(_peer: Peer) -> None:
        asked.append(1)
        if len(asked) == 1:
            raise PeerRefused("not yet")

    own = run_end()
    with serving(ServerTls(server_end(), None, gate, lambda: ())) as url:
        with client(url, expected(), own) as asking, pytest.raises(PeerRefused, match="not yet"):
            asking.get("/v1/health")
        with client(url, expected(), own) as asking:
            assert asking.get("/v1/health")
