"""The keeper's HTTP face. Every body is a JSON object; every refusal carries its code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Body, FastAPI, Query

from paddock.crypto.dsse import Envelope
from paddock.errors import CryptoRefused, RequestRefused
from paddock.keeper.keeper import Keeper, read_release_request
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

    @app.post("/v1/challenges")
    def challenge(body: JsonBody) -> dict[str, str]:
        """A nonce for a run of a contract: `{"contract", "run"}`."""
        return keeper.challenge(str(body.get("contract")), str(body.get("run")))

    @app.post("/v1/releases")
    def release(body: JsonBody) -> dict[str, Any]:
        """Data keys for a run that proves itself: `{"contract", "binding", "evidence"}`."""
        return keeper.release(read_release_request(body))

    @app.post("/v1/leases")
    def lease(body: JsonBody) -> dict[str, Any]:
        """Another lease: `{"request"}`, signed by the run's key."""
        return keeper.renew(_request(body))

    _add_owner(app, keeper)
    _add_ledger(app, keeper)
    return app


def _add_owner(app: FastAPI, keeper: Keeper) -> None:
    @app.post("/v1/deposits")
    def deposit(body: JsonBody) -> dict[str, Any]:
        """Take a data key into keeping: `{"request"}`, signed by the keeper's party."""
        request = _request(body)
        return keeper.signed(request, keeper.deposit(request))

    @app.post("/v1/revocations")
    def revoke(body: JsonBody) -> dict[str, Any]:
        """Revoke a contract or an asset: `{"request"}`, signed by the keeper's party."""
        request = _request(body)
        return keeper.signed(request, keeper.revoke(request))

    @app.post("/v1/account")
    def account(body: JsonBody) -> dict[str, Any]:
        """What was deposited, released and revoked: `{"request"}`, signed by the keeper's party."""
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


def _request(body: dict[str, Any]) -> Envelope:
    if set(body) != {"request"}:
        raise RequestRefused('The body needs exactly {"request": envelope}.')
    try:
        return Envelope.from_dict(body["request"])
    except CryptoRefused as error:
        raise RequestRefused("The request is not an envelope.") from error
