"""Queries over a real PostgreSQL: types, one snapshot, no writing, passwords and TLS as libpq has them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import PasswordShown, ResultRefused, SourceInvalid, SourceUnavailable, ValueRefused
from paddock.query import open_query, parse_sources
from tests.fixtures.postgres import PASSWORD, Postgres, running

_TABLES = """
CREATE TABLE visits (id int, amount numeric(10,2), exact numeric, at timestamptz, day date, note text, key uuid,
  facts jsonb, codes int[], short varchar(10), seen bool, took interval, fixed char(4), raw bytea, ratio real);
INSERT INTO visits VALUES
  (1, 12.30, 1.123456789012345678901234567890, '2020-01-01 10:00+02', '2020-02-03', 'hé "x", y',
   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": 1}', '{1,2}', 'ab', true, '1 day', 'cd', '\\xff', 1.5),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE patients (id int PRIMARY KEY, "Na.me" text);
INSERT INTO patients VALUES (1, 'ann'), (2, 'bob');
CREATE SCHEMA clinic;
CREATE TABLE clinic.stays AS SELECT g AS id, g * 2 AS days FROM generate_series(1, 300000) g;
CREATE TABLE clinic."odd ""one" AS SELECT 1 AS "a ""b";
CREATE TABLE words (word text);
INSERT INTO words SELECT 'hunter2' FROM generate_series(1, 300000);
CREATE VIEW broken AS SELECT 1 / (id - 290000) AS x FROM clinic.stays;
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        server.run(_TABLES)
        yield server


@pytest.fixture(autouse=True)
def _passwords(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPASSWORD", "PGSERVICEFILE", "PGHOST", "PGUSER", "PGOPTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", str(postgres.passwords))


def rows(query: str, *sources: str, **options: Any) -> list[tuple[Any, ...]]:
    with open_query(query, parse_sources(sources, **options)) as result:
        return result.first_rows(100)


def test_every_type_arrives_and_decimals_are_exact(postgres: Postgres) -> None:
    source = f"db={postgres.address()}?table=visits"
    found = rows("SELECT * FROM db.visits ORDER BY id", source)
    assert found[0] == (
        1, Decimal("12.30"), "1.123456789012345678901234567890", datetime(2020, 1, 1, 8, 0, tzinfo=UTC),
        date(2020, 2, 3), 'hé "x", y', "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", '{"a": 1}', "{1,2}", "ab", True,
        "1 day", "cd", b"\xff", 1.5,
    )  # fmt: skip
    assert found[1] == (2, *[None] * 14)
    exact = rows("SELECT exact FROM db WHERE id = 1", source, columns=["visits.exact=DECIMAL(38,30)"])
    assert exact == [(Decimal("1.123456789012345678901234567890"),)]


def test_tables_of_several_sources_are_joined_and_read_twice(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "extra.csv").write_text("id,city\n1,Oslo\n2,Rome\n", encoding="utf-8")
    source = f"db={postgres.address()}?table=clinic.stays&table=patients"
    query = (
        'SELECT p."Na.me" AS name, e.city, sum(b.days) AS days FROM db.stays a JOIN db.stays b USING (id)'
        " JOIN db.patients p USING (id) JOIN extra e USING (id) GROUP BY ALL ORDER BY 1"
    )
    found = rows(query, source, f"extra={tmp_path}/extra.csv")
    assert found == [("ann", "Oslo", Decimal(2)), ("bob", "Rome", Decimal(4))]
    assert rows("SELECT count(*) AS n FROM db.stays", source) == [(300_000,)]


def test_declared_types_find_their_table(postgres: Postgres) -> None:
    source = f"db={postgres.address()}?table=clinic.stays&table=patients"
    query = "SELECT typeof(days) AS d, typeof(s.id) AS s, typeof(p.id) AS p FROM db.stays s JOIN db.patients p USING (id) LIMIT 1"
    assert rows(query, source, columns=["stays.days=DOUBLE", "id=SMALLINT"]) == [("DOUBLE", "SMALLINT", "SMALLINT")]
    assert rows(query, source, columns=["db.patients.id=BIGINT"]) == [("INTEGER", "INTEGER", "BIGINT")]
    for unknown in ("stays.name=VARCHAR", "nosuch.id=INTEGER", "days.id=INTEGER", "name=VARCHAR"):
        with pytest.raises(SourceInvalid, match="no column"):
            rows(query, source, columns=[unknown])


def test_names_with_signs_are_names(postgres: Postgres) -> None:
    source = f'db={postgres.address()}?table=clinic.odd "one'
    with pytest.raises(SourceInvalid, match="no name of a table"):
        rows("SELECT * FROM db", source)
    for table in ("visits; DROP TABLE visits", "(SELECT 1)", "pg_class' OR 1=1 --"):
        with pytest.raises(SourceInvalid, match="no table"):
            rows("SELECT 1 AS a", f"db={postgres.address()}?table={table}")
    assert postgres.answer("SELECT count(*) FROM visits") == "2"


def test_the_database_runs_a_query_of_its_own(postgres: Postgres, tmp_path: Path) -> None:
    query = 'SELECT id, amount, "Na.me" AS name\nFROM visits JOIN patients USING (id) WHERE id + 0 < 2'
    source = f"v={postgres.address()}?query={query}"
    assert rows("SELECT * FROM v", source, columns=["amount=DECIMAL(10,2)"]) == [(1, Decimal("12.30"), "ann")]
    (tmp_path / "q.sql").write_text(query, encoding="utf-8")
    assert rows("SELECT name FROM v", f"v={postgres.address()}?query=@{tmp_path}/q.sql") == [("ann",)]


def test_one_snapshot_for_all_scans(postgres: Postgres) -> None:
    source = f"db={postgres.address()}?table=patients&table=clinic.stays"
    with open_query(
        "SELECT (SELECT count(*) FROM db.patients) AS n, count(*) AS m FROM db.stays", parse_sources([source])
    ) as result:
        postgres.run("INSERT INTO patients VALUES (3, 'eve'); DELETE FROM clinic.stays WHERE id > 299990")
        try:
            assert result.first_rows(1) == [(2, 300_000)]
        finally:
            postgres.run(
                "DELETE FROM patients WHERE id = 3;"
                "INSERT INTO clinic.stays SELECT g, g * 2 FROM generate_series(299991, 300000) g"
            )


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM patients RETURNING id",
        "WITH x AS (DELETE FROM patients RETURNING id) SELECT * FROM x",
        "INSERT INTO patients VALUES (9, 'x') RETURNING id",
        "UPDATE patients SET id = id RETURNING id",
        "SELECT nextval('counter') AS n",
        "SELECT 1 AS a; DELETE FROM patients",
        "SELECT 1 AS a) TO PROGRAM 'touch x' --",
        "COMMIT; DELETE FROM patients",
        "CREATE TABLE stolen (a int)",
    ],
)
def test_nothing_is_written_even_with_rights_to(query: str, postgres: Postgres) -> None:
    postgres.run("CREATE SEQUENCE IF NOT EXISTS counter")
    before = postgres.answer("SELECT (SELECT count(*) FROM patients), (SELECT last_value FROM counter)")
    with pytest.raises((SourceUnavailable, SourceInvalid, ResultRefused)):
        rows("SELECT * FROM v", f"v={postgres.address('owner')}?query={query}")
    assert postgres.answer("SELECT (SELECT count(*) FROM patients), (SELECT last_value FROM counter)") == before
    assert postgres.answer("SELECT to_regclass('stolen') IS NULL") == "t"


def test_no_transaction_is_ever_committed(postgres: Postgres) -> None:
    # Functions for large objects write in spite of a read-only transaction before PostgreSQL 16.
    with contextlib.suppress(SourceUnavailable):
        rows("SELECT * FROM v", f"v={postgres.address('owner')}?query=SELECT lo_create(424242)::int8 AS a")
    assert postgres.answer("SELECT count(*) FROM pg_largeobject_metadata") == "0"


def test_the_query_reaches_no_other_table(postgres: Postgres) -> None:
    from paddock.errors import QueryReachesOut

    for query in ("SELECT * FROM db.visits", "SELECT * FROM visits", "SELECT * FROM public.visits"):
        with pytest.raises(QueryReachesOut):
            rows(query, f"db={postgres.address()}?table=patients")


def test_what_the_database_refuses_is_told_without_values(postgres: Postgres) -> None:
    address = postgres.address()
    with pytest.raises(SourceInvalid, match="no table nosuch"):
        rows("SELECT * FROM db", f"db={address}?table=nosuch")
    with pytest.raises(SourceUnavailable, match="broke off") as caught:
        rows("SELECT * FROM v", f"v={address}?query=SELECT word::int AS n FROM words")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SourceUnavailable, match="SQLSTATE 22012"):
        rows("SELECT * FROM v", f"v={address}?query=SELECT 1 / 0 AS n")
    with pytest.raises(SourceUnavailable, match="broke off"):
        rows("SELECT count(x) AS n FROM db", f"db={address}?table=broken")
    with pytest.raises(ValueRefused) as refused:
        rows("SELECT word::INTEGER AS n FROM db", f"db={address}?table=words")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SourceInvalid, match="no column 'nosuch'"):
        rows("SELECT * FROM db", f"db={address}?table=patients", columns=["nosuch=INTEGER"])


def test_passwords_come_from_where_libpq_looks(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = f"db={postgres.address()}?table=patients"
    assert len(rows("SELECT * FROM db", source)) == 2
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with pytest.raises(SourceUnavailable, match="no password supplied"):
        rows("SELECT * FROM db", source)
    monkeypatch.setenv("PGPASSWORD", "wrong-one")
    with pytest.raises(SourceUnavailable, match="authentication failed") as caught:
        rows("SELECT * FROM db", source)
    assert "wrong-one" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert len(rows("SELECT * FROM db", source)) == 2
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "services").write_text(
        f"[clinic]\nhost=127.0.0.1\nport={postgres.port}\nuser=reader\npassword={PASSWORD}\ndbname=postgres\n",
        encoding="ascii",
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with open_query("SELECT * FROM db", parse_sources(["db=postgresql:///?service=clinic&table=patients"])) as result:
        assert len(result.first_rows(9)) == 2
        assert PASSWORD not in str(result.origin())
        assert PASSWORD not in repr(result.__dict__)
    with pytest.raises(PasswordShown):
        rows("SELECT * FROM db", f"db=postgresql://reader:{PASSWORD}@127.0.0.1:{postgres.port}/postgres?table=patients")


def test_tls_is_libpq_s(postgres: Postgres, tmp_path: Path) -> None:
    base = f"db={postgres.address()}?table=patients&sslmode=verify-full"
    assert len(rows("SELECT * FROM db", f"{base}&sslrootcert={postgres.root}")) == 2
    other = tmp_path / "other.crt"
    from tests.fixtures.postgres import make_certificate

    other.write_bytes(make_certificate()[0])
    with pytest.raises(SourceUnavailable, match="certificate"):
        rows("SELECT * FROM db", f"{base}&sslrootcert={other}")
    with pytest.raises(SourceUnavailable):
        rows("SELECT * FROM db", f"db={postgres.address()}?table=patients&nosuch=1")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(SourceUnavailable, match="refused") as caught:
        rows("SELECT * FROM db", "db=postgresql://127.0.0.1:1/x?table=t")
    assert caught.value.exit_code == 4


def test_connections_end_with_the_query(postgres: Postgres) -> None:
    def connected() -> str:
        return postgres.answer("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'paddock'")

    sources = parse_sources([f"db={postgres.address()}?table=clinic.stays"])
    with open_query("SELECT * FROM db", sources) as result:
        pieces = result.content()
        next(pieces)
        assert int(connected()) >= 1
        del pieces
    done = threading.Event()
    for _ in range(50):
        if connected() == "0":
            return
        done.wait(0.1)
    pytest.fail("connections stay open")
