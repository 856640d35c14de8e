"""How fast a hub takes contracts with few and with many stored, and what its ledger costs.

A proposal and its second signature are two requests over loopback, each durable before it is answered.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import insert, update

from bench.harness import Row, Timings, interleaved, latencies, row
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope
from paddock.crypto.signing import SigningKey
from paddock.engines.local import LocalEngine
from paddock.executors.process import ProcessExecutor
from paddock.hub.app import create_hub
from paddock.hub.hub import MIGRATIONS, HubConfig
from paddock.hub.schema import contract_parties, contracts
from paddock.ledger import log, merkle
from paddock.ledger.schema import head, leaves, subtrees
from paddock.service.client import ServiceClient
from paddock.service.database import Database
from paddock.service.serve import BackgroundServer, Served
from paddock.testing.contracts import Participant, proposal

AREA = "hub"
FEW, MANY = 100, 10_000
_ENTRIES_OF_A_CONTRACT = 3
_BLOCK = 1000


def rows(quick: bool) -> list[Row]:
    """Contracts per second with 100 and with 10,000 stored, in turns; pages; appends to a long ledger."""
    pairs = 40 if quick else 200
    north, south = Participant.generate("north"), Participant.generate("south")
    with tempfile.TemporaryDirectory() as folder:
        with (
            _hub(Path(folder) / "few", FEW, north, south) as few,
            _hub(Path(folder) / "many", MANY, north, south) as many,
        ):
            with_few, with_many = _in_turns(few, many, [_signed(north, south) for _ in range(pairs)])
            ask = partial(_page, party=south.fingerprint)
            pages = interleaved({"few": partial(ask, few), "many": partial(ask, many)}, repeat=11)
        short, long = _appends(Path(folder), 2000 if quick else 100_000)
    return [
        row("contracts proposed and signed, 10,000 stored", AREA, 1 / with_many.median, "1/s"),
        row("contracts proposed and signed, 100 stored", AREA, 1 / with_few.median, "1/s"),
        row(
            "time of one contract, 10,000 stored to 100",
            AREA,
            with_many.median * 1000,
            "ms",
            baseline=with_few.median * 1000,
            target="ratio <= 1.5",
        ),
        row(
            "a party's newest 50 contracts, 10,000 stored to 100",
            AREA,
            pages["many"].median * 1000,
            "ms",
            baseline=pages["few"].median * 1000,
            target="ratio <= 1.5",
        ),
        row(
            "ledger append, long to empty",
            AREA,
            long.median * 1e6,
            "us",
            baseline=short.median * 1e6,
            target="ratio <= 1.5",
        ),
    ]


def _signed(north: Participant, south: Participant) -> tuple[Envelope, Envelope]:
    first = north.sign(proposal([north, south]))
    return first, south.sign(first)


def _in_turns(
    few: ServiceClient, many: ServiceClient, signed: list[tuple[Envelope, Envelope]]
) -> tuple[Timings, Timings]:
    taken: dict[str, list[float]] = {"few": [], "many": []}
    sides = [("few", few), ("many", many)]
    for number, (first, both) in enumerate(signed):
        for name, client in sides if number % 2 else reversed(sides):
            taken[name] += latencies([partial(_propose_and_sign, client, first, both)]).seconds
    warm = len(signed) // 10
    return Timings(tuple(taken["few"][warm:])), Timings(tuple(taken["many"][warm:]))


def _propose_and_sign(client: ServiceClient, first: Envelope, both: Envelope) -> None:
    contract = client.post("/v1/contracts", first.to_dict())["contract"]
    if client.post(f"/v1/contracts/{contract}/signatures", both.to_dict())["state"] != "active":
        raise RuntimeError("the hub did not take a contract")


def _page(client: ServiceClient, *, party: str) -> None:
    if len(client.get("/v1/contracts", {"party": party, "limit": 50})["contracts"]) != 50:
        raise RuntimeError("the hub did not list what it holds")


@contextmanager
def _hub(folder: Path, stored: int, north: Participant, south: Participant) -> Iterator[ServiceClient]:
    folder.mkdir()
    executor = ProcessExecutor(attester="none")
    config = HubConfig(
        database=f"sqlite:///{folder / 'hub.db'}",
        store=f"folder:{folder / 'blobs'}",
        ledger_key=SigningKey.generate(),
        origin="bench.test/ledger",
        engine=lambda on_event: LocalEngine(executor, on_event=on_event),
        simulated=True,
    )
    with BackgroundServer([Served("hub", create_hub(config), "127.0.0.1", 0)]) as server:
        client = ServiceClient("hub", server.urls["hub"])
        for each in (north, south):
            client.post("/v1/parties", each.record().to_dict())
        _fill(config.database, stored, north, south)
        yield client
        client.close()


def _fill(database: str, count: int, north: Participant, south: Participant) -> None:
    """Contracts of true size, and the ledger entries that they would have left, all of the same two parties."""
    envelope = south.sign(north.sign(proposal([north, south]))).to_json().decode()
    opened = Database.open(database, MIGRATIONS)
    for start in range(0, count, _BLOCK):
        numbers = range(start + 1, min(start + _BLOCK, count) + 1)
        with opened.write() as connection:
            connection.execute(
                insert(contracts),
                [
                    {
                        "number": number,
                        "id": sha256_id(secrets.token_bytes(32)),
                        "state": "active",
                        "title": "A contract",
                        "level": "L5",
                        "expires": 1 << 32,
                        "runs": 2,
                        "succeeded": 0,
                        "under_way": 0,
                        "signed": '["north","south"]',
                        "missing": "[]",
                        "reason": "",
                        "envelope": envelope,
                    }
                    for number in numbers
                ],
            )
            connection.execute(
                insert(contract_parties),
                [{"fingerprint": each.fingerprint, "number": number} for number in numbers for each in (north, south)],
            )
    _fill_ledger(opened, count * _ENTRIES_OF_A_CONTRACT)
    opened.close()


def _fill_ledger(database: Database, count: int) -> None:
    known: dict[tuple[int, int], bytes] = {}
    leaf = b"x" * 250
    for index in range(count):
        hashes = merkle.completed(index, merkle.leaf_hash(leaf), lambda level, number: known[level, number])
        known.update({(level, index >> level): each for level, each in enumerate(hashes)})
    with database.write() as connection:
        connection.execute(insert(leaves), [{"number": number, "leaf": leaf} for number in range(count)])
        connection.execute(
            insert(subtrees),
            [{"level": level, "number": number, "hash": each} for (level, number), each in known.items()],
        )
        connection.execute(update(head).values(size=count))


def _appends(folder: Path, entries: int) -> tuple[Timings, Timings]:
    empty = Database.open(f"sqlite:///{folder / 'empty.db'}", MIGRATIONS)
    full = Database.open(f"sqlite:///{folder / 'full.db'}", MIGRATIONS)
    _fill_ledger(full, entries)
    timings = interleaved({"empty": _append_some(empty), "full": _append_some(full)}, repeat=7)
    empty.close()
    full.close()
    return _each(timings["empty"]), _each(timings["full"])


def _append_some(database: Database) -> Callable[[], None]:
    def work() -> None:
        with database.write() as connection:
            for _ in range(_BLOCK // 10):
                log.append(connection, b"x" * 250)

    return work


def _each(timings: Timings) -> Timings:
    return Timings(tuple(seconds / (_BLOCK // 10) for seconds in timings.seconds))
