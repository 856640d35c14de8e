"""What a query's result becomes: types, forms of CSV that people meet, bounds, equal bytes."""

from __future__ import annotations

import io
import subprocess
import sys
import time as clock
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from threading import Timer
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest

from paddock.errors import (
    QueryInvalid,
    QueryNeedsMemory,
    QueryReachesOut,
    QueryToolsMissing,
    ResultRefused,
    SourceInvalid,
    ValueRefused,
)
from paddock.query import QuerySettings, ResultFile, open_query, parse_sources
from paddock.seal import DataKey, VolumeReader, write_volume
from paddock.testing.stores import MemoryStore


def rows(query: str, *sources: str, **options: Any) -> list[tuple[Any, ...]]:
    with open_query(query, parse_sources(sources, **options)) as result:
        return result.first_rows(100)


def content(query: str, *sources: str, form: str = "parquet", threads: int = 1, **options: Any) -> bytes:
    file, settings = ResultFile(f"t.{form}"), QuerySettings(threads=threads)
    with open_query(query, parse_sources(sources, **options), file=file, settings=settings) as result:
        return b"".join(bytes(piece) for piece in result.content())


def parquet(data: bytes) -> Any:
    return pyarrow.parquet.read_table(io.BytesIO(data))


TYPES = """SELECT 1::TINYINT AS a, 2::UBIGINT AS b, sum(3) AS c, 1.10::DECIMAL(10,2) AS d, 0.1::DOUBLE AS e, 'x,"y"' AS f,
    '' AS g, NULL::VARCHAR AS h, date '2020-02-29' AS i, timestamp '2020-02-29 12:00:00.5' AS j,
    timestamptz '2020-02-29 12:00:00+02' AS k, true AS l, time '10:00:01' AS m,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID AS n, 'b'::ENUM('a', 'b') AS o, 1.5::FLOAT AS p"""


def test_parquet_holds_every_type_as_it_was() -> None:
    table = parquet(content(f"{TYPES}, '\\xFF'::BLOB AS q, [1, NULL] AS r, {{'s': 1.10::DECIMAL(4,2)}} AS t"))
    assert table.to_pylist() == [
        {
            "a": 1,
            "b": 2,
            "c": Decimal(3),
            "d": Decimal("1.10"),
            "e": 0.1,
            "f": 'x,"y"',
            "g": "",
            "h": None,
            "i": date(2020, 2, 29),
            "j": datetime.fromisoformat("2020-02-29T12:00:00.5"),
            "k": datetime(2020, 2, 29, 10, 0, tzinfo=UTC),
            "l": True,
            "m": time(10, 0, 1),
            "n": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "o": "b",
            "p": 1.5,
            "q": b"\xff",
            "r": [1, None],
            "t": {"s": Decimal("1.10")},
        }
    ]
    assert str(table.schema.field("d").type) == "decimal128(10, 2)"


def test_csv_tells_missing_from_empty_and_keeps_decimals() -> None:
    head, line = content(TYPES, form="csv").decode().splitlines()
    assert head == ",".join(f'"{name}"' for name in "abcdefghijklmnop")
    assert line == (
        '1,2,3,1.10,0.1,"x,""y""","",,2020-02-29,2020-02-29 12:00:00.500000,2020-02-29 10:00:00.000000Z,true,'
        '10:00:01.000000,"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","b",1.5'
    )


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_no_rows_are_a_file_with_columns(form: str) -> None:
    data = content("SELECT 1 AS a, 'x' AS b WHERE false", form=form)
    assert data == b'"a","b"\n' if form == "csv" else parquet(data).schema.names == ["a", "b"]


@pytest.mark.parametrize(
    "column",
    ["INTERVAL 1 DAY", "'101'::BIT", "time '10:00'::TIMETZ", "NULL", "[INTERVAL 1 DAY]", "{'a': {'b': NULL}}",
     "union_value(a := 1)", "map {'a': INTERVAL 1 DAY}"],
)  # fmt: skip
def test_types_that_a_file_cannot_hold_are_refused_by_name(column: str) -> None:
    with pytest.raises(ResultRefused, match="Column 'odd'"):
        content(f"SELECT {column} AS odd")


@pytest.mark.parametrize("column", ["'x'::BLOB", "[1]", "{'a': 1}", "map {'a': 1}"])
def test_csv_holds_no_parts_and_no_bytes(column: str) -> None:
    content(f"SELECT {column} AS odd")
    with pytest.raises(ResultRefused, match="Column 'odd'"):
        content(f"SELECT {column} AS odd", form="csv")


def test_columns_have_names_of_their_own() -> None:
    with pytest.raises(ResultRefused, match="named 'a'"):
        content("SELECT 1 AS a, 2 AS a")


def test_an_integer_too_large_for_the_file_is_refused() -> None:
    assert rows("SELECT 99999999999999999999999999999999999999::HUGEINT AS a") == [(Decimal("9" * 38),)]
    with pytest.raises(ValueRefused):
        content("SELECT 170141183460469231731687303715884105727::HUGEINT AS a")


def test_comments_and_a_semicolon_do_no_harm() -> None:
    assert rows("-- first\nSELECT sum(1) AS a -- last\n;") == [(Decimal(1),)]


# --- CSV that people meet ---


def written(folder: Path, data: bytes, name: str = "t.csv") -> str:
    (folder / name).write_bytes(data)
    return f"t={folder / name}"


def test_bom_quotes_line_breaks_and_missing_values(tmp_path: Path) -> None:
    source = written(tmp_path, b'\xef\xbb\xbfid,name\r\n1,"M, ""x""\nsecond"\r\n2,\r\n3,NA\r\n')
    assert rows("FROM t", source) == [(1, 'M, "x"\nsecond'), (2, None), (3, "NA")]
    assert rows("FROM t", source, csv=["null=NA", "null="]) == [(1, 'M, "x"\nsecond'), (2, None), (3, None)]


def test_encodings(tmp_path: Path) -> None:
    latin = written(tmp_path, "id;name\n1;Müller\n".encode("latin-1"))
    assert rows("FROM t", latin, csv=["encoding=latin-1"]) == [(1, "Müller")]
    with pytest.raises(ValueRefused, match="encoding"):
        rows("FROM t", latin)
    wide = written(tmp_path, "id;name\n1;Müller\n".encode("utf-16"))
    assert rows("FROM t", wide, csv=["encoding=utf-16"]) == [(1, "Müller")]


def test_header_delimiter_decimal_and_dates_by_option(tmp_path: Path) -> None:
    source = written(tmp_path, b"made by x\nday|cost\n03.02.2020|1,50\n04.02.2020|2,25\n")
    options = ["skip=1", "delimiter=|", "header=yes", "decimal=,", "date_format=%d.%m.%Y"]
    assert rows("FROM t", source, csv=options, columns=["cost=DECIMAL(6,2)", "day=DATE"]) == [
        (date(2020, 2, 3), Decimal("1.50")),
        (date(2020, 2, 4), Decimal("2.25")),
    ]
    bare = written(tmp_path, b"1,2\n3,4\n")
    assert rows("SELECT column0 FROM t", bare, csv=["header=no"]) == [(1,), (3,)]


def test_declared_types_keep_what_guessing_would_lose(tmp_path: Path) -> None:
    source = written(tmp_path, b"code,price\n00123,12345678901234567.10\n")
    assert rows("FROM t", source, columns=["code=VARCHAR", "price=DECIMAL(38,2)"]) == [
        ("00123", Decimal("12345678901234567.10"))
    ]
    assert rows("FROM t", source, csv=["detect=no"]) == [("00123", "12345678901234567.10")]


def test_packed_files_are_read(tmp_path: Path) -> None:
    import gzip

    source = written(tmp_path, gzip.compress(b"id\n1\n"), "t.csv.gz")
    assert rows("FROM t", source) == [(1,)]
    with pytest.raises(ValueRefused):
        rows("FROM t", written(tmp_path, b"id\n1\n", "u.csv.gz"))


def test_a_column_or_type_that_there_is_not_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, b"id\n1\n")
    with pytest.raises(SourceInvalid, match="nosuch"):
        rows("FROM t", source, columns=["nosuch=INTEGER"])
    with pytest.raises(QueryInvalid, match="NOSUCH"):
        rows("FROM t", source, columns=["id=NOSUCH"])
    with pytest.raises(QueryInvalid, match="nosuch"):
        rows("SELECT nosuch FROM t", source)


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("SELECT CAST(word AS INTEGER) AS a FROM t", []),
        ("FROM t", ["word=INTEGER"]),
        ("SELECT error(word)::VARCHAR AS a FROM t", []),
        ("SELECT strptime(word, '%Y') AS a FROM t", []),
        ("SELECT (word || '!')::DATE AS a FROM t ORDER BY 1", []),
        ("SELECT regexp_matches('x', '(' || word) AS a FROM t", []),
        ("SELECT json_extract(word, '$.a') AS a FROM t", []),
        ("SELECT word::ENUM('a') AS a FROM t", []),
        ("SELECT list_aggregate([word], word) AS a FROM t", []),
        ("SELECT (SELECT word FROM t)::INTEGER AS a", []),
    ],
)
def test_no_refusal_shows_a_value(query: str, columns: list[str], tmp_path: Path) -> None:
    source = written(tmp_path, b"n,word\n" + b"".join(b"%d,%s\n" % (n, SECRET.encode()) for n in range(3)))
    with pytest.raises((ValueRefused, QueryInvalid)) as caught:
        content(query, source, columns=columns)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "/proc/" not in str(caught.value)


def test_a_broken_line_is_told_by_number(tmp_path: Path) -> None:
    lines = b"".join(b"%d,1\n" % n for n in range(300_000))
    source = written(tmp_path, b"id,n\n" + lines + b"%s,1\n" % SECRET.encode())
    with pytest.raises(ValueRefused, match=r"source 't', line 300002, column 'id'.*BIGINT") as caught:
        content("FROM t", source)
    assert SECRET not in str(caught.value)


# --- bounds ---


def big(folder: Path, count: int) -> str:
    path = folder / "big.csv"
    with path.open("w", encoding="ascii") as file:
        file.write("id,name,weight\n")
        for start in range(0, count, 10_000):
            file.writelines(f"{n},name-{(n * 7919) % count},{n % 977}.25\n" for n in range(start, start + 10_000))
    return f"t={path}"


def test_a_query_that_needs_too_much_says_so_and_names_the_option(tmp_path: Path) -> None:
    source = parse_sources([big(tmp_path, 1_000_000)])
    before = set(tmp_path.iterdir())
    settings = QuerySettings(memory_bytes=64 << 20)
    for query in (
        "SELECT list(repeat(name, 20)) AS a FROM t",
        "SELECT *, repeat(name, 20) AS b FROM t ORDER BY b",
        "SELECT DISTINCT repeat(name, 20) AS a FROM t",
        "SELECT a.id FROM t a JOIN t b USING (name) ORDER BY a.weight, repeat(b.name, 20)",
    ):
        with open_query(query, source, settings=settings) as result, pytest.raises(QueryNeedsMemory) as caught:
            list(result.content())
        assert "64MiB" in str(caught.value)
        assert "--memory" in str(caught.value)
    assert set(tmp_path.iterdir()) == before
    with open_query("SELECT * FROM t", source, settings=settings) as result:
        assert sum(len(piece) for piece in result.content()) > 0
        assert result.rows == 1_000_000


_STREAM = """
import sys
from pathlib import Path
from paddock.query import QuerySettings, ResultFile, open_query, parse_sources
from paddock.seal import DataKey, write_volume
from paddock.store.folder import FolderStore

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) << 10

source, small, form, store = sys.argv[1:5]
for location in (small, source):
    result = open_query(
        "SELECT *, weight * 2 AS twice FROM t", parse_sources([f"t={location}"]), file=ResultFile(f"t.{form}"),
        settings=QuerySettings(memory_bytes=128 << 20),
    )
    with result:
        sealed = write_volume(result.files(), DataKey.generate(), FolderStore(Path(store)))
    print(result.rows, peak(), sealed.stored_bytes)
"""


@pytest.mark.parametrize(("source", "form"), [("csv", "parquet"), ("parquet", "csv")])
def test_more_rows_take_no_more_memory(source: str, form: str, tmp_path: Path) -> None:
    """2.5 million rows, whose source is larger than all that the resident set may grow by."""
    import duckdb

    places = []
    for count in (250_000, 2_500_000):
        path = tmp_path / f"{count}.{source}"
        duckdb.sql(
            f"COPY (SELECT i AS id, md5(i::VARCHAR) || md5('x' || i) AS name, i % 977 + 0.25 AS weight"
            f" FROM range({count}) r(i)) TO '{path}'"
        )
        places.append(path)
    assert places[1].stat().st_size > 160 << 20
    (tmp_path / "store").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _STREAM, str(places[1]), str(places[0]), form, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    (few, before, _), (many, after, stored) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (few, many) == (250_000, 2_500_000)
    assert stored > 80 << 20  # as Parquet; more as CSV
    # What the engine holds of a source while it reads is counted in its own bound.
    assert after - before < 128 << 20, (before, after)
    assert after < 512 << 20


_WIDE = """
from paddock.query import QuerySettings, open_query
query = "SELECT i, repeat(md5(i::VARCHAR), 3000) AS wide FROM range(20000) t(i)"
with open_query(query, (), settings=QuerySettings(memory_bytes=512 << 20)) as result:
    written = sum(len(piece) for piece in result.content())
peak = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) << 10
print(result.rows, peak)
"""


def test_wide_rows_are_not_gathered_by_the_thousands() -> None:
    """Two GB of values of 96 kB each."""
    done = subprocess.run([sys.executable, "-c", _WIDE], capture_output=True, text=True, check=True, timeout=120)
    count, peak = map(int, done.stdout.split())
    assert count == 20_000
    assert peak < 1200 << 20


# --- equal bytes ---


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_same_query_over_the_same_source_gives_the_same_bytes(form: str, tmp_path: Path) -> None:
    source = big(tmp_path, 400_000)
    query = "SELECT name, sum(weight / 3.7) AS s, avg(id) AS m FROM t GROUP BY name"
    first = content(query, source, form=form)
    assert content(query, source, form=form) == first
    scan = "SELECT * FROM t WHERE id % 3 <> 1"
    assert content(scan, source, form=form) == content(scan, source, form=form, threads=4)


def test_a_result_is_sealed_and_opened_as_it_was(tmp_path: Path) -> None:
    store, key = MemoryStore(), DataKey.generate()
    seen = []
    with open_query("SELECT * FROM t", parse_sources([big(tmp_path, 300_000)])) as result:
        sealed = write_volume(result.files(lambda rows, count: seen.append((rows, count))), key, store)
    reader = VolumeReader.open(sealed.asset, store, key)
    assert reader.paths() == ["table.parquet"]
    table = pyarrow.parquet.read_table(io.BytesIO(reader.open_file("table.parquet").read()))
    assert table.num_rows == result.rows == 300_000
    assert table.column("id").to_pylist() == list(range(300_000))
    assert seen == sorted(seen)
    assert seen[-1] == (300_000, reader.size("table.parquet"))


def test_a_query_that_breaks_off_leaves_no_asset(tmp_path: Path) -> None:
    lines = b"".join(b"%d\n" % n for n in range(400_000))
    source = written(tmp_path, b"id\n" + lines + b"x\n")
    store = MemoryStore()
    with open_query("FROM t", parse_sources([source])) as result, pytest.raises(ValueRefused):
        write_volume(result.files(), DataKey.generate(), store)
    assert [name for name in store.objects if "manifest" in name] == []


def test_a_result_that_nobody_wants_any_more_ends_what_computes_it() -> None:
    started = clock.monotonic()
    endless = "SELECT a.i AS s FROM range(100000000) a(i), range(100000000) b(i)"
    with open_query(endless, ()) as result:
        pieces = result.content()
        for _ in range(3):
            next(pieces)
        del pieces
    with open_query("SELECT sum(a.i * b.i) AS s FROM range(100000000) a(i), range(100000000) b(i)", ()) as result:
        Timer(1.0, result._engine.interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            list(result.content())
    assert clock.monotonic() - started < 30


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(QueryToolsMissing, match=r"pip install 'paddock\[sql\]'"):
        open_query("SELECT 1 AS a", ())


def test_a_query_needs_no_source_but_reads_none_either() -> None:
    assert rows("SELECT 1 AS a") == [(1,)]
    with pytest.raises(QueryReachesOut, match="none"):
        rows("FROM t")


def test_the_origin_tells_query_sources_and_columns_and_no_value(tmp_path: Path) -> None:
    source = written(tmp_path, b"id,word\n1,hunter2\n")
    with open_query("SELECT * FROM t", parse_sources([source], csv=["null=NA"], columns=["id=INTEGER"])) as result:
        list(result.content())
        origin = result.origin()
    assert origin["query"] == "SELECT * FROM t"
    assert origin["sources"] == {
        "t": {"path": str(tmp_path / "t.csv"), "columns": {"id": "INTEGER"}, "csv": {"null": ["NA"]}}
    }
    assert origin["rows"] == 1
    assert origin["columns"] == [{"name": "id", "type": "INTEGER"}, {"name": "word", "type": "VARCHAR"}]
    assert SECRET not in str(origin)
