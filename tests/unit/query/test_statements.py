"""What a query may say: each thing that it may not is refused before anything runs."""

from __future__ import annotations

import pytest

from paddock.errors import PaddockError, QueryInvalid, QueryKindRefused, QueryReachesOut
from paddock.query.statement import read_statement

TABLES = {"patients", "visits", "db", "db.stays"}

NOT_ONE_SELECT = [
    "",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE patients",
    "COPY patients TO 'out.csv'",
    "COPY (SELECT 1) TO 'out.parquet'",
    "COPY patients FROM 'in.csv'",
    "EXPORT DATABASE 'out'",
    "IMPORT DATABASE 'out'",
    "ATTACH 'other.db'",
    "ATTACH ':memory:' AS more",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "SET memory_limit = '100GB'",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "SET VARIABLE x = 1",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "INSERT INTO patients VALUES (1)",
    "UPDATE patients SET id = 1",
    "DELETE FROM patients",
    "TRUNCATE patients",
    "DROP VIEW patients",
    "ALTER TABLE patients ADD COLUMN x INTEGER",
    "WITH x AS (DELETE FROM patients RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO patients VALUES (1) RETURNING *) SELECT * FROM x",
    "WITH x AS (UPDATE patients SET id = 1 RETURNING *) SELECT * FROM x",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "COMMENT ON VIEW patients IS 'x'",
    "SHOW TABLES",
    "DESCRIBE patients",
    "SUMMARIZE patients",
    "SELECT * FROM (SHOW TABLES)",
    "SELECT $1",
    "SELECT ?",
    "PIVOT patients ON sex USING count(*)",
]

REACHES_OUT = [
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "other.csv"',
    "FROM 'https://example.org/x.parquet'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_parquet('x.parquet')",
    "SELECT * FROM parquet_scan('x.parquet')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('x.json')",
    "SELECT * FROM read_duckdb('x.db')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM sqlite_scan('x.db', 't')",
    "SELECT * FROM postgres_scan('host=x', 'public', 't')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('patients')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM enable_logging('QueryLog', storage = 'file')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM pragma_database_list()",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM private_key",
    "SELECT * FROM db.other",
    "SELECT * FROM memory.main.patients",
    "SELECT * FROM main.patients",
    "SELECT (SELECT count(*) FROM '/etc/passwd')",
    "SELECT * FROM patients WHERE id IN (SELECT id FROM read_csv('x.csv'))",
    "SELECT * FROM patients JOIN 'x.csv' USING (id)",
    "WITH x AS (FROM 'x.csv') SELECT * FROM x",
    "SELECT * FROM patients UNION ALL FROM 'x.csv'",
    "SELECT * FROM patients, LATERAL (SELECT * FROM glob('*'))",
    "SELECT * FROM patients ORDER BY (SELECT max(id) FROM 'x.csv')",
    "SELECT * FROM patients LIMIT (SELECT count(*) FROM 'x.csv')",
    "SELECT list_transform([1], lambda x: (SELECT max(id) FROM 'x.csv'))",
    "SELECT getenv('HOME')",
    "SELECT current_setting('home_directory')",
    "SELECT write_log('x')",
    "SELECT GETVARIABLE('x')",
]

MAY_RUN = [
    "SELECT * FROM patients",
    "FROM patients;",
    "TABLE patients",
    "VALUES (1, 2)",
    "SELECT p.id, sum(v.cost) FROM Patients p LEFT JOIN visits v USING (id) GROUP BY ALL HAVING count(*) > 1",
    "SELECT * FROM db JOIN DB.stays USING (id)",
    "WITH a AS (SELECT * FROM patients), b AS (FROM a) SELECT * FROM b UNION SELECT * FROM a EXCEPT SELECT * FROM b",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
    "SELECT * FROM (PIVOT patients ON sex IN ('f', 'm') USING count(*))",
    "SELECT * FROM (UNPIVOT patients ON a, b INTO NAME n VALUE v)",
    "SELECT id, row_number() OVER (PARTITION BY sex ORDER BY id) FROM patients QUALIFY row_number() OVER () < 3",
    "SELECT * FROM range(3), generate_series(1, 2), unnest([1, 2])",
    "SELECT * FROM patients ASOF JOIN visits ON patients.d >= visits.d",
    "SELECT DISTINCT ON (id) * EXCLUDE (name) REPLACE (id + 1 AS id) FROM patients TABLESAMPLE 10%",
    "SELECT [x * 2 for x in l], {'a': 1}, map {'a': 1}, CASE WHEN id = 1 THEN 'x' END, date '2020-01-01' FROM patients",
    "SELECT COLUMNS('w.*')::DOUBLE, try_cast(a AS INTEGER), a COLLATE nocase, TRY(1 / 0) FROM patients",
]


@pytest.mark.parametrize("query", NOT_ONE_SELECT)
def test_what_is_not_one_select_is_refused(query: str) -> None:
    with pytest.raises((QueryKindRefused, QueryInvalid)):
        read_statement(query, TABLES)


@pytest.mark.parametrize("query", REACHES_OUT)
def test_what_was_not_named_is_refused(query: str) -> None:
    with pytest.raises(QueryReachesOut):
        read_statement(query, TABLES)


@pytest.mark.parametrize("query", MAY_RUN)
def test_queries_over_the_sources_pass(query: str) -> None:
    assert read_statement(query, TABLES).text.strip(" ;") == query.rstrip(";")


def test_a_refusal_names_what_was_asked_for_and_what_there_is() -> None:
    with pytest.raises(QueryReachesOut, match=r"'/etc/passwd'; its sources are: db, db\.stays, patients, visits"):
        read_statement("FROM '/etc/passwd'", TABLES)


def test_no_sql_long_and_deep_queries_are_refused() -> None:
    for query in ("SELEC 1", "SELECT 'open", "SELECT 1 -- " + "x" * (256 << 10), "SELECT 1 \0"):
        with pytest.raises(QueryInvalid):
            read_statement(query, TABLES)
    with pytest.raises(PaddockError):
        read_statement("SELECT " + "(" * 20_000 + "1" + ")" * 20_000, TABLES)
    with pytest.raises(PaddockError):
        read_statement("SELECT " + "[" * 900 + "'/etc/passwd'" + "]" * 900 + " FROM 'x.csv'", TABLES)


def test_order_and_what_changes_each_time_are_told() -> None:
    assert read_statement("SELECT * FROM patients ORDER BY id LIMIT 3", TABLES).ordered
    assert read_statement("SELECT * FROM patients UNION SELECT * FROM visits ORDER BY 1", TABLES).ordered
    assert not read_statement("SELECT * FROM (SELECT * FROM patients ORDER BY id)", TABLES).ordered
    assert read_statement("SELECT now(), Random(), current_date FROM patients", TABLES).changing == (
        "current_date",
        "now",
        "random",
    )
    assert read_statement("SELECT * FROM patients USING SAMPLE 3", TABLES).changing == ("TABLESAMPLE",)
    assert read_statement("SELECT id FROM patients", TABLES).changing == ()
