"""The keeper's HTTP face. Every body is a JSON object; every refusal carries its code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query
from fastapi import Request as HttpRequest

from paddock.contract.request import claimed_sender
from paddock.crypto.dsse import Envelope
from paddock.errors import CryptoRefused, PeerRefused, RequestRefused
from paddock.evidence.tls import Peer
from paddock.keeper.keeper import Keeper, read_release_request
from paddock.service.tls import PEER
from paddock.service.web import create_app

MAX_BODY_BYTES = 8 << 20
JsonBody = Annotated[dict[str, Any], Body()]


def create_keeper_app(keeper: Keeper) -> FastAPI:
    """The app over one keeper; when it stops, the keeper is closed."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        keeper.close()

    app = create_app("Paddock keeper", version=version("paddock"), max_body_bytes=MAX_BODY_BYTES, lifespan=lifespan)

    @app.get("/v1/health")
    def health() -> dict[str, str]:
        """Whether the keeper answers."""
        return {"status": "ok"}

    @app.get("/v1/info")
    def info() -> dict[str, Any]:
        """Whose keeper it is, its public keys, its ledger's name."""
        return keeper.info()

    _add_runs(app, keeper)
    _add_owner(app, keeper)
    _add_ledger(app, keeper)
    return app


def _add_runs(app: FastAPI, keeper: Keeper) -> None:
    @app.post("/v1/challenges")
    def challenge(body: JsonBody, asked: HttpRequest) -> dict[str, str]:
        """A nonce for a run of a contract: `{"contract", "run"}`."""
        contract, run = str(body.get("contract")), str(body.get("run"))
        peer = _peer(asked, "run")
        if peer is not None and (peer.identity.contract, peer.identity.run) != (contract, run):
            raise PeerRefused("Its certificate is for another run.")
        return keeper.challenge(contract, run)

    @app.post("/v1/releases")
    def release(body: JsonBody, asked: HttpRequest) -> dict[str, Any]:
        """Data keys for a run that proves itself: `{"contract", "binding", "evidence"}`."""
        request, peer = read_release_request(body), _peer(asked, "run")
        if peer is not None:
            binding, identity = request.binding, peer.identity
            if (identity.keys, identity.contract, identity.run) != (binding.keys, binding.contract, binding.run):
                raise PeerRefused("Its certificate is for another run.")
        return keeper.release(request)

    @app.post("/v1/leases")
    def lease(body: JsonBody, asked: HttpRequest) -> dict[str, Any]:
        """Another lease: `{"request"}`, signed by the run's key."""
        request, peer = _request(body), _peer(asked, "run")
        if peer is not None and claimed_sender(request) != peer.identity.keys.fingerprint():
            raise PeerRefused("Its certificate is for another run.")
        return keeper.renew(request)


def _add_owner(app: FastAPI, keeper: Keeper) -> None:
    @app.post("/v1/deposits")
    def deposit(body: JsonBody, asked: HttpRequest) -> dict[str, Any]:
        """Take a data key into keeping: `{"request"}`, signed by the keeper's party."""
        _peer(asked, "party")
        request = _request(body)
        return keeper.signed(request, keeper.deposit(request))

    @app.post("/v1/revocations")
    def revoke(body: JsonBody, asked: HttpRequest) -> dict[str, Any]:
        """Revoke a contract or an asset: `{"request"}`, signed by the keeper's party."""
        _peer(asked, "party")
        request = _request(body)
        return keeper.signed(request, keeper.revoke(request))

    @app.post("/v1/policy")
    def policy(body: JsonBody, asked: HttpRequest) -> dict[str, Any]:
        """Judge by another trust policy and know more collateral: `{"request"}`, signed by the keeper's party."""
        _peer(asked, "party")
        request = _request(body)
        return keeper.signed(request, keeper.set_policy(request))

    @app.post("/v1/account")
    def account(body: JsonBody, asked: HttpRequest) -> dict[str, Any]:
        """What was deposited, released and revoked: `{"request"}`, signed by the keeper's party."""
        _peer(asked, "party")
        request = _request(body)
        return keeper.signed(request, keeper.releases(request))


def _add_ledger(app: FastAPI, keeper: Keeper) -> None:
    @app.get("/v1/ledger/checkpoint")
    def checkpoint() -> dict[str, str]:
        """The newest signed checkpoint (C2SP tlog-checkpoint)."""
        return {"checkpoint": keeper.checkpoint()}

    @app.get("/v1/ledger/inclusion")
    def inclusion(index: Annotated[int, Query(ge=0)], size: Annotated[int, Query(ge=1)]) -> dict[str, list[str]]:
        """Proof that an entry is in the ledger (RFC 6962 audit path, hex)."""
        return {"proof": keeper.inclusion(index, size)}

    @app.get("/v1/ledger/consistency")
    def consistency(first: Annotated[int, Query(ge=0)], second: Annotated[int, Query(ge=0)]) -> dict[str, list[str]]:
        """Proof that one ledger extends another (RFC 6962 consistency proof, hex)."""
        return {"proof": keeper.consistency(first, second)}


def _peer(asked: HttpRequest, kind: str) -> Peer | None:
    """The client of an attested connection, which must be of this kind; None where connections show nobody.

    Raises:
        PeerRefused: a party that asks as a run does, or a run that asks as the party does (A-20).
    """
    peer: Peer | None = asked.scope.get(PEER)
    if peer is not None and peer.identity.kind != kind:
        raise PeerRefused(f"This is not asked by a {peer.identity.kind}.")
    return peer


def _request(body: dict[str, Any]) -> Envelope:
    if set(body) != {"request"}:
        raise RequestRefused('The body needs exactly {"request": envelope}.')
    try:
        return Envelope.from_dict(body["request"])
    except CryptoRefused as error:
        raise RequestRefused("The request is not an envelope.") from error
