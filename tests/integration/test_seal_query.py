"""`paddock seal --query` from the command to the store: what is sealed, noted, shown, and what nobody else learns."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from paddock.jobs.tables import read_table
from paddock.testing.stage import Stage
from paddock.views import VolumeFiles
from tests.fixtures.command import paddock, paddock_json

MARKER = "27182818284"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    import duckdb

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "patients.csv").write_text(f"id,name,height\n3,{MARKER},1.70\n1,Ann,1.60\n2,Bob,1.80\n", encoding="utf-8")
    duckdb.sql(
        f"COPY (SELECT * FROM (VALUES (1, 10.5), (1, 2.25), (2, 7.0), (3, 1.0)) v(id, cost)) TO '{folder}/visits.parquet'"
    )
    (folder / "q.sql").write_text(
        "SELECT p.id, name, height, sum(cost) AS cost\nFROM patients p JOIN visits v USING (id)\nGROUP BY ALL ORDER BY p.id\n",
        encoding="utf-8",
    )
    return folder


def asked(data: Path) -> list[str]:
    return ["--query", f"@{data}/q.sql", "--source", f"patients={data}/patients.csv",
            "--source", f"visits={data}/visits.parquet", "--column", "patients.height=DECIMAL(3,2)"]  # fmt: skip


def test_a_result_is_sealed_and_noted_in_the_own_home_alone(stage: Stage, data: Path) -> None:
    home = stage.folder / "north"
    done = paddock_json("seal", "--name", "costs", *asked(data), "--home", home)
    assert done.code == 0, done.out
    said = done.json
    assert said["rows"] == 3
    assert said["kind"] == "dataset"
    assert said["file"] == "table.parquet"
    assert {"name": "height", "type": "DECIMAL(3,2)"} in said["columns"]
    assert any("--as table.csv" in text for text in said["notices"])
    reader = stage.north.open_volume("costs")
    assert reader.paths() == ["table.parquet"]
    table = pyarrow.parquet.read_table(io.BytesIO(reader.open_file("table.parquet").read()))
    assert table.column("id").to_pylist() == [1, 2, 3]
    assert [float(cost) for cost in table.column("cost").to_pylist()] == [12.75, 7.0, 1.0]

    shown = paddock_json("assets", "costs", "--home", home).json
    assert shown["origin"]["query"] == (data / "q.sql").read_text(encoding="utf-8")
    assert shown["origin"]["rows"] == 3
    assert shown["origin"]["sources"]["visits"]["path"] == str(data / "visits.parquet")
    text = paddock("assets", "costs", "--home", home).out
    assert "JOIN visits v" in text
    note = stage.north.home.origin_file(said["asset"])
    assert note.stat().st_mode & 0o077 == 0
    assert MARKER not in note.read_text(encoding="utf-8")

    assert paddock_json("assets", "records", "--home", home).json["origin"] is None
    assert "from files" in paddock("assets", "records", "--home", home).out
    records = stage.north.hub.asset_records(stage.north.home.fingerprint, name="costs")
    assert len(records) == 1
    payload = records[0].payload.decode("utf-8")
    for word in ("SELECT", "patients", "visits", "parquet", str(data), "height"):
        assert word not in payload


def test_neither_result_nor_query_reaches_a_disk_of_others(stage: Stage, data: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "paddock.cli.main", "seal", "--name", "marked", *asked(data), "--as", "marked.csv",
         "--home", str(stage.folder / "north"), "--json"],
        capture_output=True, text=True, check=True, timeout=120, cwd=scratch,
        env={"TMPDIR": str(scratch), "HOME": str(scratch), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stderr == ""
    assert json.loads(done.stdout)["rows"] == 3
    assert MARKER in stage.north.open_volume("marked").open_file("marked.csv").read().decode()
    for path in (scratch, stage.folder / "operator"):
        for file in path.rglob("*"):
            if file.is_file() and not file.is_symlink():
                content = file.read_bytes()
                assert MARKER.encode() not in content, file
                assert b"JOIN visits" not in content, file
                assert b"marked.csv" not in content, file


def test_a_csv_result_is_what_jobs_read(stage: Stage, data: Path) -> None:
    home = stage.folder / "north"
    done = paddock("seal", "--name", "forjobs", *asked(data), "--as", "clinic/table.csv", "--home", home)
    assert done.code == 0, done.err
    assert "3 rows" in done.out
    assert "Sealed forjobs" in done.out
    volume = VolumeFiles(stage.north.open_volume("forjobs"))
    table = read_table(volume, 1, ["height", "cost"], ["name"])
    assert list(table.numbers["height"]) == [1.6, 1.8, 1.7]
    assert table.texts["name"] == ["Ann", "Bob", MARKER]


def test_a_dry_run_seals_nothing_and_shows_no_value_unasked(stage: Stage, data: Path) -> None:
    home = stage.folder / "north"
    before = (home / "assets.json").read_bytes()
    objects = sorted((stage.folder / "operator" / "store").rglob("*"))
    done = paddock("seal", "--name", "dry", *asked(data), "--dry-run", "--home", home)
    assert done.code == 0
    assert "3 rows" in done.out
    assert "DECIMAL(3,2)" in done.out
    assert MARKER not in done.out + done.err
    assert "Ann" not in done.out + done.err
    shown = paddock_json("seal", "--name", "dry", *asked(data), "--dry-run", "--show", 2, "--home", home).json
    assert shown["first_rows"] == [[1, "Ann", "1.60", "12.75"], [2, "Bob", "1.80", "7.00"]]
    assert "Ann" in paddock("seal", "--name", "dry", *asked(data), "--dry-run", "--show", 1).out
    assert (home / "assets.json").read_bytes() == before
    assert sorted((stage.folder / "operator" / "store").rglob("*")) == objects


@pytest.mark.parametrize(
    ("change", "code", "error"),
    [
        (["--query", "COPY patients TO 'x.csv'"], 3, "E-QUERY-01"),
        (["--query", "SELECT * FROM '/etc/passwd'"], 3, "E-QUERY-02"),
        (["--query", "SELECT nosuch FROM patients"], 3, "E-QUERY-03"),
        (["--query", "SELECT name::INTEGER AS n FROM patients"], 3, "E-QUERY-04"),
        (["--query", "SELECT 1 AS a, 2 AS a"], 3, "E-QUERY-05"),
        (["--query", "SELECT list(repeat('x', 1000) || i) AS a FROM range(500000) r(i)", "--memory", "64MiB"], 5, "E-QUERY-06"),
        (["--source", "more=none.csv"], 5, "E-QUERY-07"),
        (["--as", "table.xlsx"], 5, "E-QUERY-07"),
        (["--memory", "lots"], 5, "E-QUERY-07"),
        (["--query", "@none.sql"], 5, "E-QUERY-07"),
        (["--source", "db=postgresql://a:hunter2@127.0.0.1:1/x?table=t"], 5, "E-QUERY-08"),
        (["--source", "db=postgresql://127.0.0.1:1/x?table=t"], 4, "E-QUERY-09"),
    ],
)  # fmt: skip
def test_refusals_end_with_the_code_of_their_branch(
    change: list[str], code: int, error: str, stage: Stage, data: Path
) -> None:
    before = (stage.folder / "north" / "assets.json").read_bytes()
    arguments = ["seal", "--name", "refused", *asked(data), *change, "--home", stage.folder / "north"]
    done = paddock_json(*arguments)
    assert (done.code, done.error) == (code, error), done.out
    assert "hunter2" not in done.out + done.err
    assert MARKER not in done.out + done.err
    assert (stage.folder / "north" / "assets.json").read_bytes() == before
    assert not any(MARKER.encode() in path.read_bytes() for path in (stage.folder / "north").rglob("*.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "x"],
        ["records", "--name", "x", "--query", "SELECT 1 AS a"],
        ["records", "--name", "x"],
        ["records", "--name", "x", "--kind", "dataset", "--source", "a=x.csv"],
        ["records", "--name", "x", "--kind", "dataset", "--dry-run"],
        ["--query", "SELECT 1 AS a"],
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_use(arguments: list[str]) -> None:
    assert paddock("seal", *arguments).code == 2


def test_notices_name_what_makes_results_differ(stage: Stage, data: Path) -> None:
    home = stage.folder / "north"
    arguments = ["--query", "SELECT id, random() AS r FROM p", "--source", f"p={data}/patients.csv", "--home", home]
    done = paddock("seal", "--name", "dry", *arguments, "--dry-run")
    assert "ORDER BY" in done.err
    assert "random" in done.err
    assert (
        paddock_json("seal", "--name", "dry", *arguments, "--dry-run").json["notices"][0].startswith("The query ends")
    )


def test_a_store_that_is_gone_is_unavailable_and_notes_nothing(stage: Stage, data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert paddock("init", "east", "--home", home, "--hub", "http://127.0.0.1:9").code == 0
    done = paddock_json("seal", "--name", "x", *asked(data), "--home", home)
    assert done.code == 4
    assert not (home / "assets.json").exists()
    assert not (home / "origins").exists()


def test_the_hub_s_database_holds_nothing_of_a_query(stage: Stage, data: Path) -> None:
    done: Any = paddock_json("seal", "--name", "quiet", *asked(data), "--home", stage.folder / "north")
    assert done.code == 0
    with sqlite3.connect(f"file:{stage.folder / 'operator' / 'hub.db'}?mode=ro", uri=True) as database:
        dump = "\n".join(database.iterdump())
    database.close()
    assert done.json["asset"] in dump
    for word in ("JOIN visits", "patients.csv", "visits.parquet", MARKER):
        assert word not in dump


@pytest.mark.parametrize("more", [["--dry-run"], []])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT sum(a.i * b.i) AS s FROM range(10000000) a(i), range(10000000) b(i)",
        "SELECT a.i AS s FROM range(10000000) a(i), range(10000000) b(i)",
    ],
)
def test_an_interrupt_ends_a_query_at_once(query: str, more: list[str], stage: Stage, tmp_path: Path) -> None:
    home = stage.folder / "north"
    before = (home / "assets.json").read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "paddock.cli.main", "seal", "--name", "x", "--query", query, "--home", str(home), "--json",
         *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        time.sleep(3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert (home / "assets.json").read_bytes() == before
