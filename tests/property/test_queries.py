"""Laws of queries: whatever is given, the answer is a result or a refusal; what is named outside never passes."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddock.errors import PaddockError, QueryInvalid, QueryReachesOut
from paddock.query import ResultFile, open_query, parse_sources
from paddock.query.statement import read_statement

_WORDS = st.sampled_from(
    ["SELECT", "FROM", "WITH", "x", "AS", "(", ")", ",", "*", "1", "'a'", "t", "patients", "WHERE", "IN", "UNION", "COPY",
     "TO", "ATTACH", ";", "--", "/*", "*/", "$1", "::", "[", "]", "{", "}", "read_csv", '"q"', "'/etc/passwd'", "PRAGMA",
     "SET", "CALL", "PIVOT", "ORDER", "BY", "LIMIT", "VALUES", "lambda", "->", ":=", "\0", "é"]
)  # fmt: skip
_OUTSIDE = st.sampled_from(
    ["'/etc/passwd'", '"other.csv"', "read_csv('x.csv')", "glob('*')", "duckdb_settings()", "information_schema.tables",
     "query('SELECT 1')", "memory.main.patients"]
)  # fmt: skip
_AROUND = st.sampled_from(
    [
        "SELECT * FROM ({}) a",
        "SELECT * FROM patients WHERE EXISTS ({})",
        "WITH w AS ({}) SELECT * FROM w",
        "WITH w AS (SELECT 1), v AS ({}) SELECT * FROM w",
        "SELECT (SELECT count(*) FROM ({}) a)",
        "SELECT * FROM patients UNION ALL BY NAME ({})",
        "({}) EXCEPT SELECT 1",
        "SELECT * FROM patients JOIN ({}) a ON true",
        "SELECT * FROM patients, LATERAL ({}) a",
        "SELECT CASE WHEN true THEN (SELECT 1 FROM ({}) a) END",
        "SELECT list_transform([1], lambda i: (SELECT 1 FROM ({}) a))",
        "SELECT * FROM patients ORDER BY (SELECT 1 FROM ({}) a)",
        "SELECT sum(1) FILTER (WHERE 1 IN (SELECT 1 FROM ({}) a)) FROM patients",
        "SELECT sum(1) OVER (ORDER BY (SELECT 1 FROM ({}) a)) FROM patients",
        "SELECT * FROM (PIVOT (SELECT 1 AS k FROM ({}) a) ON k IN (1) USING count(*))",
        "VALUES ((SELECT 1 FROM ({}) a))",
    ]
)


@given(st.one_of(st.text(max_size=200), st.lists(_WORDS, max_size=20).map(" ".join)))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(PaddockError):
        assert read_statement(text, {"patients"}).text


@given(_OUTSIDE, st.lists(_AROUND, max_size=5))
@settings(deadline=None)
def test_what_is_outside_never_passes_however_deep_it_stands(outside: str, around: list[str]) -> None:
    query = f"SELECT * FROM {outside}"
    for each in around:
        query = each.format(query)
    # Some of these stand where SQL itself does not allow them twice.
    with pytest.raises((QueryReachesOut, QueryInvalid) if len(around) > 1 else QueryReachesOut):
        read_statement(query, {"patients"})


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_source_is_read_or_refused(source: str, option: str, column: str) -> None:
    for sources in ([source], [f"a={source}"], [f"a=postgresql://{source}"], ["a=x.csv"]):
        with contextlib.suppress(PaddockError):
            assert parse_sources(sources, csv=[option], columns=[column])


_TEXT = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20
)  # a CSV file holds no NUL


@given(
    st.lists(
        st.tuples(
            _TEXT, st.decimals(min_value=-(10**15), max_value=10**15, places=4), st.integers(-(2**63), 2**63 - 1)
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(deadline=None, max_examples=50)
def test_values_come_out_of_a_result_as_they_went_into_the_source(rows: list[tuple[str, Decimal, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(["word", "amount", "number"])
            writer.writerows(rows)
        sources = parse_sources(
            [f"t={path}"],
            columns=["word=VARCHAR", "amount=DECIMAL(20,4)", "number=BIGINT"],
            csv=["header=yes", "delimiter=,", 'quote="', "null=<none>"],
        )
        with open_query("SELECT * FROM t", sources) as result:
            data = b"".join(bytes(piece) for piece in result.content())
        table = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        assert [(row["word"], row["amount"], row["number"]) for row in table] == rows
        with open_query("SELECT * FROM t", sources, file=ResultFile("t.csv")) as result:
            text = b"".join(bytes(piece) for piece in result.content()).decode("utf-8")
        again = list(csv.reader(io.StringIO(text, newline="")))[1:]
        assert [(word, Decimal(amount), int(number)) for word, amount, number in again] == rows
