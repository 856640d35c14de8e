"""How fast a keeper decides and releases, beside the cryptographic operations that a release cannot do without."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness import Row, Timings, latencies, row
from paddock.contract import Request, Terms, propose, sign_contract, verify_contract
from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64
from paddock.crypto.dsse import Envelope, pre_authentication_encoding
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import write_moment
from paddock.crypto.signing import SigningKey
from paddock.evidence.binding import Binding, Challenge
from paddock.evidence.providers.simulated import SimulatedStatement
from paddock.keeper.home import KeeperHome
from paddock.keeper.keeper import DEPOSIT_PURPOSE, open_keeper, read_release_request
from paddock.keeper.web import create_keeper_app
from paddock.release import grant_info
from paddock.seal import DataKey
from paddock.service.client import ServiceClient
from paddock.service.serve import BackgroundServer, Served

AREA = "keeper"
_ASSET = "sha256:" + "a" * 64
_MEASUREMENT = "sha256:" + "b" * 64


def rows(quick: bool) -> list[Row]:
    """Releases per second over HTTP on loopback, one client, each recorded on disk before it is answered."""
    count = 20 if quick else 400
    with tempfile.TemporaryDirectory() as folder:
        stage = _Stage(Path(folder))
        app = create_keeper_app(open_keeper(stage.keeper_home))
        with BackgroundServer([Served("keeper", app, "127.0.0.1", 0)]) as server:
            client = ServiceClient("keeper", server.urls["keeper"])
            stage.deposit(client)
            requests = [stage.request(client) for _ in range(count)]
            bare, released = _in_turns([stage.bare(body) for body in requests], client, requests)
            client.close()
    rate, bare_rate = count / sum(released.seconds), count / sum(bare.seconds)
    return [
        row("releases", AREA, rate, "1/s", baseline=bare_rate),
        row("release p50", AREA, released.percentile(50) * 1000, "ms", baseline=bare.percentile(50) * 1000),
        row("release p99", AREA, released.percentile(99) * 1000, "ms", baseline=bare.percentile(99) * 1000),
    ]


def _in_turns(
    bare: list[Callable[[], object]], client: ServiceClient, requests: list[dict[str, Any]]
) -> tuple[Timings, Timings]:
    alone: list[float] = []
    served: list[float] = []
    for work, body in zip(bare, requests, strict=True):
        alone += latencies([work]).seconds
        served += latencies([partial(client.post, "/v1/releases", body)]).seconds
    return Timings(tuple(alone)), Timings(tuple(served))


class _Stage:
    """Two parties, one keeper that is asked, a contract with very many runs, a simulator."""

    def __init__(self, folder: Path) -> None:
        self.simulator = SigningKey.generate()
        self.owner, self.other, self.other_keeper = (PrivateKeys.generate() for _ in range(3))
        self.keeper_home = KeeperHome.create(folder / "keeper", self.owner.public())
        trust = f'[simulated]\nkeys = ["{self.simulator.verify_key.raw.hex()}"]\n'
        self.keeper_home.trust_file().write_text(trust, encoding="utf-8")
        self.terms = self._terms()
        envelope = propose(self.terms)
        for keys, keeper in ((self.owner, self.keeper_home.keys), (self.other, self.other_keeper)):
            envelope = sign_contract(
                envelope, keys, own_keeper=keeper.public(), is_known=lambda _known: True, known_as=lambda _name: None
            )
        self.contract = verify_contract(envelope)

    def _terms(self) -> Terms:
        now = datetime.now(UTC)
        keys = {"owner": (self.owner, self.keeper_home.keys), "other": (self.other, self.other_keeper)}
        parties = {
            name: {"keys": own.public().to_dict(), "keeper": keeper.public().to_dict()}
            for name, (own, keeper) in keys.items()
        }
        return Terms.model_validate(
            {
                "version": "paddock/contract/v1",
                "title": "benchmark",
                "nonce": "0" * 32,
                "road": "enclave",
                "level": "L5",
                "created": write_moment(now),
                "expires": write_moment(now + timedelta(days=1)),
                "runs": 10_000,
                "parties": parties,
                "inputs": {"records": {"owner": "owner", "asset": _ASSET, "kind": "dataset", "view": "auto"}},
                "steps": [{"name": "training", "kind": "train", "inputs": {"data": ["records"]}, "parameters": {}}],
                "outputs": {
                    "weights": {
                        "source": "training.weights",
                        "to": ["other"],
                        "type": "weights",
                        "max_bytes": 1 << 20,
                    }
                },
                "environment": {"measurements": [_MEASUREMENT], "simulated": True},
                "limits": {
                    "memory_bytes": 1 << 30,
                    "lease_seconds": 30,
                    "attempts": 1,
                    "checkpoint_seconds": 60,
                    "run_seconds": 3600,
                    "processes": 64,
                    "scratch_bytes": 1 << 20,
                    "output_bytes": 1 << 20,
                },
            },
            strict=False,
        )

    def deposit(self, client: ServiceClient) -> None:
        keeper = self.keeper_home.keys.public()
        self.data_key = DataKey.generate()
        wrapped = b64(self.data_key.wrap(keeper.seal, _ASSET, DEPOSIT_PURPOSE))
        request = Request(
            action="deposit",
            body={"asset": _ASSET, "kind": "dataset", "wrapped": wrapped},
            audience=keeper.fingerprint(),
            by=self.owner.public().fingerprint(),
            at=datetime.now(UTC),
            nonce=secrets.token_hex(16),
        )
        client.post("/v1/deposits", {"request": request.sign(self.owner.sign).to_dict()})

    def request(self, client: ServiceClient) -> dict[str, Any]:
        """A complete request of a new run, with its challenge."""
        run, keys = secrets.token_hex(16), PrivateKeys.generate()
        nonce = str(client.post("/v1/challenges", {"contract": self.contract.id, "run": run})["nonce"])
        nonces = {"owner": nonce, "other": secrets.token_hex(32)}
        challenges = tuple(
            Challenge(self.terms.parties[name].keeper.public().fingerprint(), nonces[name])
            for name in sorted(self.terms.parties)
        )
        binding = Binding(self.contract.id, run, keys.public(), challenges)
        statement = SimulatedStatement(
            version="paddock/simulated-evidence/v1",
            simulated=True,
            tee="enclave",
            measurement=_MEASUREMENT,
            report_data=binding.report_data().hex(),
            debug=False,
            issued=write_moment(datetime.now(UTC)),
        )
        return {
            "contract": self.contract.envelope.to_dict(),
            "binding": binding.to_dict(),
            "evidence": statement.sign(self.simulator).to_wrapper(),
        }

    def bare(self, body: dict[str, Any]) -> Callable[[], object]:
        """The operations alone: two contract signatures and the evidence's verified, unwrap, seal, two signatures."""
        wrapped = self.data_key.wrap(self.keeper_home.keys.public().seal, _ASSET, DEPOSIT_PURPOSE)
        signers = {keys.public().fingerprint(): keys.public().sign for keys in (self.owner, self.other)}

        def work() -> None:
            request = read_release_request(body)
            contract = request.contract
            encoded = pre_authentication_encoding(contract.payload_type, contract.payload)
            for signature in contract.signatures:
                signers[signature.keyid].verify(signature.sig, encoded)
            if request.evidence is not None:
                evidence = Envelope.from_json(request.evidence.pieces["environment"].body)
                evidence.verify_by(self.simulator.verify_key, evidence.payload_type)
            key = DataKey.unwrap(wrapped, self.keeper_home.keys.seal, _ASSET, DEPOSIT_PURPOSE)
            keeper = self.keeper_home.keys.public().fingerprint()
            info = grant_info(self.contract.id, request.binding.run, keeper)
            request.binding.keys.seal.seal(canonical({_ASSET: b64(key.raw())}), info)
            for _ in range(2):
                self.keeper_home.keys.sign.sign(b"statement")

        return work
