"""The hub's HTTP interface.

Bodies are DSSE envelopes; answers are JSON; errors have their public form.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from paddock.crypto.digest import b64
from paddock.crypto.dsse import Envelope
from paddock.errors import PaddockError
from paddock.hub import blobs, contracts, records, runs
from paddock.hub.hub import Hub, HubConfig
from paddock.ledger import log
from paddock.ledger.notes import check_name, note_key
from paddock.service.web import create_app, is_closing

MAX_BODY_BYTES = 4 << 20
MAX_WAIT_SECONDS = 30
_CLOSING_POLL_SECONDS = 0.5
Json = dict[str, Any]

_ENVELOPE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "title": "DSSE envelope",
                    "type": "object",
                    "required": ["payload", "payloadType", "signatures"],
                    "additionalProperties": False,
                    "properties": {
                        "payload": {"type": "string", "format": "byte"},
                        "payloadType": {"type": "string"},
                        "signatures": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["keyid", "sig"],
                                "properties": {"keyid": {"type": "string"}, "sig": {"type": "string"}},
                            },
                        },
                    },
                }
            }
        },
    }
}


async def _read_body(request: Request) -> Envelope:
    return records.read_envelope(await request.body(), MAX_BODY_BYTES)


Sent = Annotated[Envelope, Depends(_read_body)]
Fingerprint = Annotated[str | None, Query(max_length=64)]
Count = Annotated[int, Query(ge=0, le=1 << 53)]
Name = Annotated[str | None, Query(max_length=100)]


def create_hub(config: HubConfig) -> FastAPI:
    """The hub as an application. It opens when the server starts and closes when the server stops.

    Raises:
        CheckpointRefused: `origin` cannot name a ledger.
    """
    check_name(config.origin)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            hub = await run_in_threadpool(Hub, config)
        except PaddockError as error:
            app.state.startup_error = error
            raise
        app.state.hub = hub
        try:
            yield
        finally:
            await run_in_threadpool(hub.close)

    app = create_app(
        "Paddock hub",
        version=version("paddock"),
        max_body_bytes=MAX_BODY_BYTES,
        larger_bodies={"/v1/store/": config.max_blob_bytes, "/v1/grants/": config.max_blob_bytes},
        lifespan=lifespan,
    )
    _add_facts(app, config)
    _add_records(app)
    _add_contracts(app)
    _add_runs(app)
    _add_ledger(app, config)
    _add_blobs(app)
    return app


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


TheHub = Annotated[Hub, Depends(_hub)]


def _add_facts(app: FastAPI, config: HubConfig) -> None:
    @app.get("/v1/health")
    def health(hub: TheHub) -> Json:
        """Whether the hub and its database answer."""
        with hub.database.read() as connection:
            return {"status": "ok", "ledger_size": log.size(connection)}

    @app.get("/v1/info")
    def info() -> Json:
        """Public facts."""
        return {
            "version": version("paddock"),
            "hub": config.origin,
            "simulated": config.simulated,
            "ledger_key": note_key(config.origin, config.ledger_key.verify_key),
        }


def _add_records(app: FastAPI) -> None:
    @app.post("/v1/parties", status_code=201, openapi_extra=_ENVELOPE)
    def publish_party(hub: TheHub, envelope: Sent) -> Json:
        """Publish a party's own signed record."""
        with hub.database.write() as connection:
            return {"fingerprint": records.put_party(connection, envelope)}

    @app.get("/v1/parties")
    def find_parties(hub: TheHub, name: Name = None) -> Json:
        """Records, by the name that they suggest."""
        with hub.database.read() as connection:
            return {"parties": records.list_parties(connection, name)}

    @app.get("/v1/parties/{fingerprint}")
    def party(hub: TheHub, fingerprint: str) -> Json:
        """One record."""
        with hub.database.read() as connection:
            return records.party_envelope(connection, fingerprint)

    @app.post("/v1/assets", status_code=201, openapi_extra=_ENVELOPE)
    def publish_asset(hub: TheHub, envelope: Sent) -> Json:
        """Publish an asset's record, signed by its owner."""
        with hub.database.write() as connection:
            return {"asset": records.put_asset(connection, envelope)}

    @app.get("/v1/assets")
    def find_assets(
        hub: TheHub, owner: Fingerprint = None, name: Name = None, kind: Name = None, asset: Name = None
    ) -> Json:
        """Records that fit, newest first."""
        with hub.database.read() as connection:
            return {"assets": records.list_assets(connection, owner, name, kind, asset)}


def _add_contracts(app: FastAPI) -> None:
    @app.post("/v1/contracts", status_code=201, openapi_extra=_ENVELOPE)
    def propose(hub: TheHub, envelope: Sent) -> Json:
        """Propose a contract, signed by one party at least."""
        with hub.database.write() as connection:
            return contracts.propose(connection, envelope, hub.now())

    @app.get("/v1/contracts")
    def list_contracts(
        hub: TheHub,
        party: Fingerprint = None,
        state: Name = None,
        after: Annotated[int | None, Query(ge=0, le=1 << 53)] = None,
        limit: Annotated[int, Query(ge=1, le=contracts.MAX_PAGE)] = 50,
    ) -> Json:
        """Contracts, newest first; `next` is the `after` of the next page."""
        with hub.database.read() as connection:
            return contracts.page(connection, party=party, state=state, after=after, limit=limit, now=hub.now())

    @app.get("/v1/contracts/{contract}")
    def contract(hub: TheHub, contract: str) -> Json:
        """One contract with its envelope."""
        with hub.database.read() as connection:
            return contracts.show(connection, contract, hub.now())

    @app.post("/v1/contracts/{contract}/signatures", status_code=201, openapi_extra=_ENVELOPE)
    def sign(hub: TheHub, contract: str, envelope: Sent) -> Json:
        """Add signatures: the contract's envelope with more of them."""
        with hub.database.write() as connection:
            return contracts.add_signatures(connection, contract, envelope, hub.now())

    @app.post("/v1/contracts/{contract}/reject", openapi_extra=_ENVELOPE)
    def reject(hub: TheHub, contract: str, envelope: Sent) -> Json:
        """Refuse to sign: a signed request `contract.reject` with `contract` and `reason`."""
        with hub.database.write() as connection:
            return contracts.reject(connection, contract, envelope, hub.now())

    @app.post("/v1/contracts/{contract}/cancel", openapi_extra=_ENVELOPE)
    def cancel(hub: TheHub, contract: str, envelope: Sent) -> Json:
        """End a contract and its runs: a signed request `contract.cancel` with `contract` and `reason`."""
        return hub.cancel_contract(contract, envelope)


def _add_runs(app: FastAPI) -> None:
    @app.post("/v1/runs", status_code=201, openapi_extra=_ENVELOPE)
    def request_run(hub: TheHub, envelope: Sent) -> Json:
        """Ask for a run: a signed request `run.request` with `contract`."""
        return {"run": hub.request_run(envelope)}

    @app.get("/v1/runs")
    def list_runs(hub: TheHub, contract: Name = None, party: Fingerprint = None) -> Json:
        """Runs, newest first."""
        with hub.database.read() as connection:
            return {"runs": runs.list_runs(connection, contract, party)}

    @app.get("/v1/runs/{run}")
    def run(hub: TheHub, run: str) -> Json:
        """One run with its phases."""
        with hub.database.read() as connection:
            return runs.show(connection, run)

    @app.get("/v1/runs/{run}/events")
    async def events(
        request: Request,
        hub: TheHub,
        run: str,
        after: Annotated[int, Query(ge=0, le=1 << 31)] = 0,
        wait: Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS)] = 0,
    ) -> Json:
        """Events after a number; when there are none, the answer waits for some."""
        until = time.monotonic() + wait
        with hub.waiting.ticket(run) as happened:
            while True:
                happened.clear()
                found = await run_in_threadpool(_events, hub, run, after)
                left = until - time.monotonic()
                if found["events"] or found["state"] in runs.ENDED or left <= 0 or is_closing(request.app):
                    return found
                await _wait(happened, min(left, _CLOSING_POLL_SECONDS))

    @app.post("/v1/runs/{run}/cancel", openapi_extra=_ENVELOPE)
    def cancel(hub: TheHub, run: str, envelope: Sent) -> Json:
        """Cancel a run: a signed request `run.cancel` with `run`."""
        return hub.cancel_run(run, envelope)

    @app.post("/v1/runs/{run}/resume", openapi_extra=_ENVELOPE)
    def resume(hub: TheHub, run: str, envelope: Sent) -> Json:
        """Go on with a run that failed or was cancelled: a signed request `run.resume` with `run`."""
        return hub.resume_run(run, envelope)

    @app.get("/v1/runs/{run}/receipt")
    def receipt(hub: TheHub, run: str) -> Json:
        """The receipt of a run that succeeded."""
        with hub.database.read() as connection:
            return runs.receipt_of(connection, run)


def _events(hub: Hub, run: str, after: int) -> Json:
    with hub.database.read() as connection:
        return runs.events_after(connection, run, after)


async def _wait(happened: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await happened.wait()
    except TimeoutError:
        return


def _add_ledger(app: FastAPI, config: HubConfig) -> None:
    @app.get("/v1/ledger/checkpoint")
    def checkpoint(hub: TheHub) -> Json:
        """The signed checkpoint of the ledger as it is now."""
        with hub.database.read() as connection:
            return {"checkpoint": log.checkpoint(connection, config.ledger_key, config.origin)}

    @app.get("/v1/ledger/inclusion")
    def inclusion(hub: TheHub, index: Count, size: Count) -> Json:
        """An entry and the proof that it is in the tree of that size."""
        with hub.database.read() as connection:
            path = log.inclusion(connection, index, size)
            return {"leaf": b64(log.leaf_at(connection, index)), "path": [b64(each) for each in path]}

    @app.get("/v1/ledger/consistency")
    def consistency(hub: TheHub, first: Count, second: Count) -> Json:
        """The proof that the tree of one size begins with that of another."""
        with hub.database.read() as connection:
            return {"path": [b64(each) for each in log.consistency(connection, first, second)]}


def _add_blobs(app: FastAPI) -> None:
    @app.get("/v1/store/{name:path}")
    @app.head("/v1/store/{name:path}")
    def get(request: Request, hub: TheHub, name: str) -> Response:
        """An object, or one range of it."""
        return blobs.get_blob(hub, request, name)

    @app.put("/v1/store/{name:path}", status_code=201)
    async def put(request: Request, hub: TheHub, name: str) -> Json:
        """Upload an object; the header `Paddock-Request` holds a signed request `store.put` with `name`."""
        return dict(await blobs.put_blob(hub, request, name))

    @app.get("/v1/grants/{token}/{name:path}")
    @app.head("/v1/grants/{token}/{name:path}")
    def get_granted(request: Request, hub: TheHub, token: str, name: str) -> Response:
        """An object, or one range of it, for a run."""
        hub.grants.check(token)
        return blobs.get_blob(hub, request, name)

    @app.put("/v1/grants/{token}/{name:path}", status_code=201)
    async def put_granted(request: Request, hub: TheHub, token: str, name: str) -> Json:
        """Upload an object of a run."""
        return dict(await blobs.put_granted(hub, request, token, name))
