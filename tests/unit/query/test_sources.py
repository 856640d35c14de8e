"""What --source, --csv and --column may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import PasswordShown, SourceInvalid
from paddock.query import CsvOptions, FileSource, PostgresSource, QuerySettings, ResultFile, parse_sources
from paddock.query.settings import parse_size, show_size
from paddock.query.sources import query_text


def test_files_are_told_by_their_endings() -> None:
    sources = parse_sources(["a=x.csv", "b=y.PARQUET", "c=z.tsv", "d=w.csv.gz", "e=v.csv.zst"])
    assert [(each.name, each.form, each.packing()) for each in sources if isinstance(each, FileSource)] == [
        ("a", "csv", "none"),
        ("b", "parquet", "none"),
        ("c", "csv", "none"),
        ("d", "csv", "gzip"),
        ("e", "csv", "zstd"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x.csv",
        "=x.csv",
        "a=",
        "1a=x.csv",
        "a b=x.csv",
        'a"b=x.csv',
        "main=x.csv",
        "TEMP=x.csv",
        "a=x.xlsx",
        "a=x.parquet.gz",
        "a=https://example.org/x.csv",
        "a=s3://bucket/x.parquet",
        "a=file:///x.csv",
        "a=postgresql://host/db",
        "a=postgresql://host/db?table=",
        "a=postgresql://host/db?table",
        "a=postgresql://host/db?table=t&query=SELECT 1",
        "a=postgresql://host/db?query=SELECT 1&query=SELECT 2",
        "a=postgresql://host/db?table=x.t&table=y.t",
        "a=postgresql://host/db?table=%ff",
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(SourceInvalid):
        parse_sources([text])


def test_names_are_unique_and_bounded() -> None:
    with pytest.raises(SourceInvalid, match="Two sources"):
        parse_sources(["a=x.csv", "A=y.csv"])
    with pytest.raises(SourceInvalid, match="at most 64"):
        parse_sources([f"a{n}=x.csv" for n in range(65)])


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ann:hunter2@host/db?table=t",
        "postgres://ann:hunter2@host/db?table=t",
        "postgresql://:hunter2@host/db?table=t",
        "postgresql://host/db?table=t&password=hunter2",
        "postgresql://host/db?PASSWORD=hunter2&table=t",
        "postgresql://host/db?p%61ssword=hunter2&table=t",
        "postgresql://host/db?table=t&sslpassword=hunter2",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(PasswordShown) as caught:
        parse_sources([f"db={address}"])
    assert "hunter2" not in str(caught.value)
    assert "pgpass" in str(caught.value)


@pytest.mark.parametrize("text", ["d b=postgresql://ann:hunter2@host/db?table=t", "x=mysql://ann:hunter2@host/db"])
def test_other_refusals_do_not_repeat_a_password_either(text: str) -> None:
    with pytest.raises(SourceInvalid) as caught:
        parse_sources([text])
    assert "hunter2" not in str(caught.value)


def test_a_database_keeps_libpq_s_words_and_loses_ours() -> None:
    (source,) = parse_sources(
        ["db=postgresql://ann@h1,h2:5433/x?table=t&sslmode=verify-full&table=s.u&sslrootcert=%2Fr"]
    )
    assert isinstance(source, PostgresSource)
    assert source.tables == ("t", "s.u")
    assert source.uri == "postgresql://ann@h1,h2:5433/x?sslmode=verify-full&sslrootcert=%2Fr"
    (source,) = parse_sources(["db=postgresql:///x?query=SELECT a+1 AS b,\n 'x=y' FROM t WHERE c > 50%25"])
    assert isinstance(source, PostgresSource)
    assert source.query == "SELECT a+1 AS b,\n 'x=y' FROM t WHERE c > 50%"
    assert source.uri == "postgresql:///x"


@pytest.mark.parametrize(
    ("address", "proven"),
    [
        ("postgresql:///x", True),
        ("postgresql://localhost/x", True),
        ("postgresql://ann@127.0.0.1:5433/x", True),
        ("postgresql://[::1]:5433/x", True),
        ("postgresql://%2Fvar%2Frun/x", True),
        ("postgresql:///x?host=/var/run", True),
        ("postgresql://db.example.org/x", False),
        ("postgresql://db.example.org/x?sslmode=require", False),
        ("postgresql://db.example.org/x?sslmode=verify-full", True),
        ("postgresql://localhost,db.example.org/x", False),
        ("postgresql:///x?host=db.example.org", False),
        ("postgresql:///?service=clinic", False),
        ("postgresql://localhost.example.org/x", False),
    ],
)
def test_whether_a_server_proves_itself(address: str, proven: bool) -> None:
    assert PostgresSource("db", address, ("t",)).host_is_proven() is proven


def test_types_and_options_reach_their_sources() -> None:
    a, b = parse_sources(
        ["a=x.csv", "b=y.csv"],
        columns=["a.price=DECIMAL(10, 2)", "b.we.ird=VARCHAR"],
        csv=["encoding=ISO-8859-1", "b.delimiter=tab", "null=NA", "b.null=-", "a.header=no", "a.skip=2", "quote=none"],
    )
    assert isinstance(a, FileSource)
    assert isinstance(b, FileSource)
    assert a.columns == {"price": "DECIMAL(10, 2)"}
    assert b.columns == {"we.ird": "VARCHAR"}
    assert a.csv == CsvOptions(encoding="latin-1", null=("NA",), header=False, skip=2, quote="")
    assert b.csv == CsvOptions(encoding="latin-1", null=("NA", "-"), delimiter="\t", quote="")
    (alone,) = parse_sources(["a=x.csv"], columns=["price=DOUBLE"])
    assert alone.columns == {"price": "DOUBLE"}


@pytest.mark.parametrize(
    "column", ["price", "price=", "=INTEGER", "price=INTEGER; DROP", "price=x'", "price=VARCHAR) --", "price=A(1,2,3)"]
)
def test_types_that_are_none_are_refused(column: str) -> None:
    with pytest.raises(SourceInvalid):
        parse_sources(["a=x.csv"], columns=[column])


def test_types_need_their_source() -> None:
    with pytest.raises(SourceInvalid, match=r"SOURCE\.COLUMN"):
        parse_sources(["a=x.csv", "b=y.csv"], columns=["price=DOUBLE"])
    with pytest.raises(SourceInvalid, match="CAST"):
        parse_sources(["a=x.parquet"], columns=["price=DOUBLE"])


@pytest.mark.parametrize(
    "option",
    ["encoding", "encoding=cp1252", "delimiter=ab", "header=maybe", "skip=-1", "skip=x", "nosuch=1", "b.header=no",
     "quote=''", "date_format=", "decimal=\n"],
)  # fmt: skip
def test_options_that_are_none_are_refused(option: str) -> None:
    with pytest.raises(SourceInvalid):
        parse_sources(["a=x.csv"], csv=[option])


def test_options_are_given_once_and_for_csv() -> None:
    with pytest.raises(SourceInvalid, match="twice"):
        parse_sources(["a=x.csv"], csv=["skip=1", "skip=2"])
    with pytest.raises(SourceInvalid, match="no source is a CSV"):
        parse_sources(["a=x.parquet"], csv=["skip=1"])


def test_a_query_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_bytes(b"\xef\xbb\xbfSELECT 1")
    assert query_text(f"@{tmp_path}/q.sql") == "SELECT 1"
    assert query_text("SELECT '@'") == "SELECT '@'"
    (tmp_path / "long.sql").write_bytes(b"x" * ((256 << 10) + 1))
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9'")
    for name in ("none.sql", "long.sql", "latin.sql", "."):
        with pytest.raises(SourceInvalid):
            query_text(f"@{tmp_path}/{name}")


def test_sizes_and_bounds() -> None:
    assert parse_size("512MiB") == 512 << 20
    assert parse_size("2 gib") == 2 << 30
    assert show_size(512 << 20) == "512MiB"
    assert show_size(2 << 30) == "2GiB"
    for text in ("2", "2GB", "-1GiB", "x", "1.5GiB"):
        with pytest.raises(SourceInvalid):
            parse_size(text)
    with pytest.raises(SourceInvalid, match="64MiB"):
        QuerySettings(memory_bytes=1 << 20)
    for threads in (0, -1, 5000):
        with pytest.raises(SourceInvalid):
            QuerySettings(threads=threads)


@pytest.mark.parametrize("path", ["table", "table.xlsx", ".csv", "parquet"])
def test_the_result_s_name_says_its_form(path: str) -> None:
    with pytest.raises(SourceInvalid):
        ResultFile(path)
