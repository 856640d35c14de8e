"""Database, web application, server and client together, over loopback."""

from __future__ import annotations

import re
import socket
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy import text

from paddock.errors import (
    AddressUnavailable,
    AnswerRefused,
    DatabaseInvalid,
    DatabaseNewer,
    DatabaseUnavailable,
    Misconfigured,
    NotFound,
    ServiceFault,
    ServiceUnreachable,
)
from paddock.service.client import ServiceClient
from paddock.service.database import Database
from paddock.service.serve import BackgroundServer, Served
from paddock.service.web import create_app

SECRET = "the-patient-is-called-anna"
MIGRATIONS = Path(__file__).parent / "migrations"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(f"sqlite:///{tmp_path / 'x.db'}", MIGRATIONS)
    yield opened
    opened.close()


def test_a_database_is_durable_private_and_enforces_keys(database: Database, tmp_path: Path) -> None:
    with database.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert stat.S_IMODE((tmp_path / "x.db").stat().st_mode) == 0o600


def test_a_write_is_whole_or_not_at_all(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("insert into things values (1)"))
    with pytest.raises(KeyError), database.write() as connection:  # noqa: PT012 - the block is what is tested
        connection.execute(text("insert into things values (2)"))
        raise KeyError
    with database.read() as connection:
        assert connection.execute(text("select n from things")).scalars().all() == [1]
        connection.execute(text("insert into things values (3)"))
    with database.read() as connection:
        assert connection.execute(text("select n from things")).scalars().all() == [1]


def test_writers_queue_and_none_is_lost(database: Database) -> None:
    def work() -> None:
        for _ in range(10):
            with database.write() as connection:
                count = connection.execute(text("select count(*) from things")).scalar_one()
                connection.execute(text("insert into things values (:n)"), {"n": count})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(text("select n from things order by n")).scalars().all() == list(range(40))


def test_a_database_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    opened = Database.open(url, MIGRATIONS)
    with opened.write() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    opened.close()
    with pytest.raises(DatabaseNewer):
        Database.open(url, MIGRATIONS)
    with sqlite3.connect(tmp_path / "x.db") as plain:
        assert plain.execute("select version_num from alembic_version").fetchone() == ("9999",)
    plain.close()


def test_a_database_that_cannot_be_opened_is_a_setting(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"not a database at all" * 100)
    for url in (
        "nonsense",
        "nosuch://x",
        f"sqlite:///{tmp_path}/no/folder/x.db",
        f"sqlite:///{tmp_path / 'text'}",
    ):
        with pytest.raises(DatabaseInvalid):
            Database.open(url, MIGRATIONS)


def test_a_full_disk_is_said_and_changes_nothing(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("create table blobs (b blob)"))
    with pytest.raises(DatabaseUnavailable, match="full"), database.write() as connection:  # noqa: PT012 - as above
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
        connection.execute(text("insert into blobs values (zeroblob(100000))"))
    with database.read() as connection:
        assert connection.execute(text("select count(*) from blobs")).scalar_one() == 0


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


@pytest.fixture
def app() -> FastAPI:
    made = create_app("test", version="0", max_body_bytes=1000, larger_bodies={"/large": 5000}, lifespan=_nothing)
    state: dict[str, int] = {"calls": 0}
    made.state.calls = state

    @made.post("/echo")
    @made.post("/large/echo")
    async def echo(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @made.get("/number/{n}")
    def number(n: int) -> dict[str, int]:
        return {"n": n}

    @made.get("/refuse")
    def refuse() -> None:
        raise NotFound("There is no x.")

    @made.get("/configured")
    def configured() -> None:
        raise Misconfigured("The file /etc/somewhere is missing.")

    @made.get("/break")
    def fail() -> None:
        state["calls"] += 1
        raise ValueError(SECRET)

    @made.get("/busy-at-first")
    def busy() -> dict[str, int]:
        state["calls"] += 1
        if state["calls"] < 3:
            raise DatabaseUnavailable
        return state

    @made.get("/list")
    def a_list() -> list[int]:
        return [1]

    @made.get("/much")
    def much() -> dict[str, str]:
        return {"x": "y" * 5000}

    return made


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with BackgroundServer([Served("test", app, "127.0.0.1", 0)]) as server:
        yield server.urls["test"]


def test_errors_are_sent_in_their_public_form(url: str) -> None:
    answer = httpx.get(f"{url}/refuse")
    assert answer.status_code == 404
    assert answer.json() == NotFound("There is no x.").as_dict()
    assert httpx.get(f"{url}/nothing").json()["code"] == "E-SERVICE-06"
    assert httpx.delete(f"{url}/refuse").status_code == 405
    wrong = httpx.get(f"{url}/number/{SECRET}")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "E-SERVICE-05")
    assert SECRET not in wrong.text


def test_a_fault_inside_is_a_number_and_nothing_else(url: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = httpx.get(f"{url}/break")
    assert (answer.status_code, answer.json()["code"]) == (500, "E-SERVICE-03")
    number = re.search(r"[0-9a-f]{12}", answer.json()["detail"])
    assert number is not None
    assert number.group() in caplog.text
    assert "ValueError" in caplog.text
    assert SECRET not in answer.text + caplog.text
    assert "/etc" not in httpx.get(f"{url}/configured").text


@pytest.mark.parametrize(("path", "limit"), [("/echo", 1000), ("/large/echo", 5000)])
def test_the_limit_on_a_body_holds_announced_or_not(url: str, path: str, limit: int) -> None:
    assert httpx.post(url + path, content=b"x" * limit).json() == {"length": limit}
    announced = httpx.post(url + path, content=b"x" * (limit + 1))
    streamed = httpx.post(url + path, content=(b"x" * 100 for _ in range(limit // 100 + 1)))
    for answer in (announced, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "E-SERVICE-04")


def test_every_answer_has_the_security_headers(url: str) -> None:
    for path in ("/number/1", "/nothing", "/break", "/openapi.json"):
        headers = httpx.get(url + path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


def test_the_client_raises_what_the_service_raised(url: str) -> None:
    with ServiceClient("test", url) as client:
        assert client.get("/number/7") == {"n": 7}
        with pytest.raises(NotFound, match=r"There is no x\."):
            client.get("/refuse")
        with pytest.raises(ServiceFault):
            client.get("/break")


def test_the_client_asks_again_only_where_that_helps(url: str, app: FastAPI) -> None:
    with ServiceClient("test", url) as client:
        assert client.get("/busy-at-first") == {"calls": 3}
        app.state.calls["calls"] = 0
        with pytest.raises(ServiceFault):
            client.get("/break")
        assert app.state.calls["calls"] == 1


def test_the_client_names_the_service_that_does_not_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with ServiceClient("keeper", address) as client, pytest.raises(ServiceUnreachable) as caught:
            client.get("/v1/health")
    assert f"The keeper at {address}" in str(caught.value)
    with ServiceClient("keeper", "gopher://x") as client, pytest.raises(ServiceUnreachable):
        client.post("/", {})


def test_the_client_reads_neither_too_much_nor_another_thing(url: str) -> None:
    with ServiceClient("test", url, max_answer_bytes=1000) as client:
        for path in ("/much", "/list"):
            with pytest.raises(AnswerRefused):
                client.get(path)


def test_a_port_in_use_is_a_setting(url: str) -> None:
    port = int(url.rpartition(":")[2])
    other = create_app("other", version="0", max_body_bytes=10)
    with (
        pytest.raises(AddressUnavailable, match=str(port)),
        BackgroundServer([Served("o", other, "127.0.0.1", port)]),
    ):
        pass


def _raise(error: Exception) -> None:
    raise error


def test_an_application_that_cannot_start_says_why() -> None:
    @asynccontextmanager
    async def broken(app: FastAPI) -> AsyncIterator[None]:
        app.state.startup_error = DatabaseNewer()
        _raise(app.state.startup_error)
        yield

    made = create_app("broken", version="0", max_body_bytes=10, lifespan=broken)
    good = create_app("good", version="0", max_body_bytes=10)
    services = [Served("good", good, "127.0.0.1", 0), Served("broken", made, "127.0.0.1", 0)]
    with pytest.raises(DatabaseNewer), BackgroundServer(services):
        pass


def test_open_files_do_not_grow(app: FastAPI) -> None:
    def once() -> None:
        with BackgroundServer([Served("test", app, "127.0.0.1", 0)]) as server:
            httpx.get(f"{server.urls['test']}/number/1")

    once()
    before = len(list(Path("/proc/self/fd").iterdir()))
    once()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
