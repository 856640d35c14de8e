"""How long each vendor's evidence takes to verify, beside the signature operations that it cannot do without."""

from __future__ import annotations

import importlib
import pkgutil
import secrets
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bench
from bench.harness import Row, Timings, latencies, row
from paddock.contract import Request, Terms, propose, sign_contract, verify_contract
from paddock.crypto.digest import b64
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import write_moment
from paddock.evidence import Collateral, UnverifiedEvidence, read_trust_policy, verify_evidence
from paddock.evidence.binding import Binding, Challenge
from paddock.evidence.collateral import CollateralItem
from paddock.keeper import keeper as keepers
from paddock.keeper.home import DATABASE, KeeperHome
from paddock.keeper.keeper import DEPOSIT_PURPOSE, Keeper
from paddock.keeper.web import create_keeper_app
from paddock.seal import DataKey
from paddock.service.client import ServiceClient
from paddock.service.database import Database
from paddock.service.serve import BackgroundServer, Served

AREA = "evidence"
Case = tuple[str, Callable[[], object], Callable[[], object]]
_VECTORS = Path(__file__).resolve().parents[1] / "tests" / "evidence" / "vectors" / "sgx"
_AT = datetime(2025, 6, 20, tzinfo=UTC)  # between the recorded collateral's issue and its next update
_ASSET = "sha256:" + "a" * 64
_POLICY = """
[sgx]
roots = ["intel-sgx"]
tcb_statuses = ["ConfigurationAndSWHardeningNeeded"]
advisories = ["INTEL-SA-00289", "INTEL-SA-00615"]
"""


def rows(quick: bool) -> list[Row]:
    """p50 and p99 of every vendor's verification, in turns with its baseline; then a keeper with SGX evidence."""
    found = []
    for name, verify, baseline in cases():
        whole, alone = _in_turns(verify, baseline, 8 if quick else 300)
        for percent in (50, 99):
            value, least = whole.percentile(percent) * 1000, alone.percentile(percent) * 1000
            found.append(row(f"{name} p{percent}", AREA, value, "ms", baseline=least, target="ratio <= 3"))
    return [*found, *_keeper(18 if quick else 300)]


def cases() -> Iterator[Case]:
    """Name, whole verification, and the signature operations alone, from the modules `bench._evidence_*`."""
    for module in pkgutil.iter_modules(bench.__path__):
        if module.name.startswith("_evidence_"):
            yield from importlib.import_module(f"bench.{module.name}").cases()


def _in_turns(verify: Callable[[], object], baseline: Callable[[], object], count: int) -> tuple[Timings, Timings]:
    for _ in range(10):
        verify()
        baseline()
    whole: list[float] = []
    alone: list[float] = []
    for turn in range(count):
        for seconds, work in ((whole, verify), (alone, baseline))[:: 1 if turn % 2 else -1]:
            seconds.extend(latencies([work]).seconds)
    return Timings(tuple(whole)), Timings(tuple(alone))


def _keeper(count: int) -> list[Row]:
    """Releases per second by a recorded quote of real SGX hardware.

    A recorded quote cannot carry this run's report data: the comparison is made with what it carries, all else is as
    in earnest, over HTTP, each release on disk before it is answered.
    """
    quote = (_VECTORS / "quote_v3.bin").read_bytes()
    evidence = UnverifiedEvidence("application/vnd.paddock.sgx-quote.v1", quote)
    policy, collateral = read_trust_policy(_POLICY), recorded_collateral()
    claims = verify_evidence(evidence, policy=policy, collateral=collateral, now=_AT)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(Binding, "report_data", lambda _self: claims.report_data),
    ):
        stage = _Stage(Path(folder), claims.measurement, collateral)
        with BackgroundServer([Served("keeper", create_keeper_app(stage.keeper), "127.0.0.1", 0)]) as server:
            client = ServiceClient("keeper", server.urls["keeper"])
            client.post("/v1/deposits", stage.deposit())
            bodies = [stage.request(client, evidence) for _ in range(count)]
            verified = _in_turns(
                _each(client, bodies),
                lambda: verify_evidence(evidence, policy=policy, collateral=collateral, now=_AT),
                count - 10,
            )
            client.close()
    released, alone = verified
    rate, most = len(released.seconds) / sum(released.seconds), len(alone.seconds) / sum(alone.seconds)
    return [
        row("releases on recorded SGX evidence (baseline: verifications alone)", AREA, rate, "1/s", baseline=most),
        row("release on recorded SGX evidence p50", AREA, released.percentile(50) * 1000, "ms"),
        row("release on recorded SGX evidence p99", AREA, released.percentile(99) * 1000, "ms"),
    ]


def recorded_collateral() -> Collateral:
    """The collateral that was recorded with the quote, under the key that the provider asks for."""
    from paddock.evidence.providers.sgx import SgxProvider  # noqa: PLC0415 - beside its use

    body = (_VECTORS / "quote_v3.collateral.json").read_bytes()
    (need,) = SgxProvider().needs((_VECTORS / "quote_v3.bin").read_bytes())
    return Collateral([CollateralItem(need.kind, need.key, write_moment(_AT), body)])


def _each(client: ServiceClient, bodies: list[dict[str, Any]]) -> Callable[[], object]:
    waiting = iter(bodies)
    return lambda: client.post("/v1/releases", next(waiting))


class _Stage:
    """An owner, its keeper with a clock of then, a contract with very many runs."""

    def __init__(self, folder: Path, measurement: str, collateral: Collateral) -> None:
        self.owner = PrivateKeys.generate()
        home = KeeperHome.create(folder / "keeper", self.owner.public())
        home.trust_file().write_text(_POLICY, encoding="utf-8")
        self.keys = home.keys
        database = Database.open(f"sqlite:///{home.folder / DATABASE}", Path(keepers.__file__).parent / "migrations")
        self.keeper = Keeper(home, database, lambda: _AT, lambda: collateral)
        terms = Terms.model_validate(
            {
                "version": "paddock/contract/v1",
                "title": "benchmark",
                "nonce": "0" * 32,
                "road": "enclave",
                "level": "L5",
                "created": write_moment(_AT),
                "expires": write_moment(_AT + timedelta(days=1)),
                "runs": 10_000,
                "parties": {"owner": {"keys": self.owner.public().to_dict(), "keeper": self.keys.public().to_dict()}},
                "inputs": {"records": {"owner": "owner", "asset": _ASSET, "kind": "dataset", "view": "auto"}},
                "steps": [{"name": "training", "kind": "train", "inputs": {"data": ["records"]}, "parameters": {}}],
                "outputs": {
                    "weights": {
                        "source": "training.weights",
                        "to": ["owner"],
                        "type": "weights",
                        "max_bytes": 1 << 20,
                    }
                },
                "environment": {"measurements": [measurement], "simulated": False},
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
        envelope = sign_contract(
            propose(terms),
            self.owner,
            own_keeper=self.keys.public(),
            is_known=lambda _known: True,
            known_as=lambda _name: None,
        )
        self.contract = verify_contract(envelope)

    def deposit(self) -> dict[str, Any]:
        keeper = self.keys.public()
        wrapped = b64(DataKey.generate().wrap(keeper.seal, _ASSET, DEPOSIT_PURPOSE))
        request = Request(
            action="deposit",
            body={"asset": _ASSET, "kind": "dataset", "wrapped": wrapped},
            audience=keeper.fingerprint(),
            by=self.owner.public().fingerprint(),
            at=_AT,
            nonce=secrets.token_hex(16),
        )
        return {"request": request.sign(self.owner.sign).to_dict()}

    def request(self, client: ServiceClient, evidence: UnverifiedEvidence) -> dict[str, Any]:
        run, keys = secrets.token_hex(16), PrivateKeys.generate()
        nonce = str(client.post("/v1/challenges", {"contract": self.contract.id, "run": run})["nonce"])
        challenge = Challenge(self.keys.public().fingerprint(), nonce)
        binding = Binding(self.contract.id, run, keys.public(), (challenge,))
        return {
            "contract": self.contract.envelope.to_dict(),
            "binding": binding.to_dict(),
            "evidence": evidence.to_wrapper(),
        }
