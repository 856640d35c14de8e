"""The second wall: what a query can do on the locked engine itself, were it not read before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from paddock.errors import SourceChanged, SourceInvalid, ValueRefused
from paddock.query import QuerySettings, open_query, parse_sources
from paddock.query.engine import Engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "patients.csv").write_text("id,name\n1,ann\n2,bob\n", encoding="utf-8")
    (tmp_path / "secret.csv").write_text("word\nhunter2\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    with Engine(parse_sources([f"patients={folder}/patients.csv"]), QuerySettings()) as opened:
        yield opened


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def attacks(folder: Path) -> list[str]:
    return [
        f"SELECT * FROM '{folder}/secret.csv'",
        f"SELECT * FROM read_csv('{folder}/secret.csv')",
        f"SELECT * FROM read_text('{folder}/secret.csv')",
        f"SELECT * FROM read_blob('{folder}/*')",
        f"SELECT * FROM glob('{folder}/*')",
        f"SELECT * FROM sniff_csv('{folder}/secret.csv')",
        f"SELECT * FROM '/proc/self/root{folder}/secret.csv'",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM 'https://127.0.0.1:9/x.csv'",
        f"COPY patients TO '{folder}/out.csv'",
        f"COPY patients TO '{folder}/out.parquet'",
        f"EXPORT DATABASE '{folder}/out'",
        f"ATTACH '{folder}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        f"LOAD '{folder}/evil.duckdb_extension'",
        "SET memory_limit = '100GB'",
        "SET threads = 64",
        f"SET temp_directory = '{folder}'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_directories = ['/']",
        "SET allowed_paths = ['/etc/passwd']",
        "SET python_enable_replacements = true",
        "RESET memory_limit",
        f"CALL enable_logging('QueryLog', storage = 'file', storage_config = {{'path': '{folder}/out'}})",
        f"PRAGMA profiling_output = '{folder}/out.json'",
        f"SET profiling_output = '{folder}/out.json'",
        "SELECT * FROM private_key",
        "SELECT getenv('HOME')",
        f"CREATE PERSISTENT SECRET (TYPE http, SCOPE '{folder}', BEARER_TOKEN 'x')",
    ]


def test_the_locked_engine_gives_no_file_no_setting_and_no_variable(engine: Engine, folder: Path) -> None:
    private_key = pa.table({"word": ["hunter2"]})  # a variable that a query must not be able to name
    assert private_key.num_rows == 1
    before = sorted(folder.rglob("*"))
    let_through = []
    for attack in attacks(folder):
        try:
            engine.connection.execute(attack)
        except duckdb.Error:
            continue
        let_through.append(attack)
    assert let_through == []
    assert sorted(folder.rglob("*")) == before


def test_each_attack_works_where_nothing_is_locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    private_key = pa.table({"word": ["hunter2"]})
    assert private_key.num_rows == 1
    # Of no use in this test: they need a network, an extension or a second step, or only the library's shell has them.
    hopeless = ("https:", "INSTALL", "httpfs", "evil", "getenv", "lock_configuration", "external_access", "PERSISTENT",
                "profiling_output")  # fmt: skip
    failed = {}
    for attack in attacks(folder):
        if any(word in attack for word in hopeless):
            continue
        open_one = duckdb.connect(":memory:")
        open_one.execute(f"CREATE VIEW patients AS SELECT * FROM read_csv('{folder}/patients.csv')")
        try:
            open_one.execute(attack)
        except duckdb.Error as error:
            failed[attack] = str(error)
        finally:
            open_one.close()
    assert failed == {}


def test_settings_are_those_of_a_closed_engine(engine: Engine) -> None:
    rows = dict(
        engine.connection.execute(
            "SELECT name, value FROM duckdb_settings() WHERE name IN ('temp_directory', 'lock_configuration',"
            " 'enable_external_access', 'autoload_known_extensions', 'autoinstall_known_extensions',"
            " 'python_enable_replacements', 'enable_progress_bar', 'allow_persistent_secrets')"
        ).fetchall()
    )
    assert rows == {
        "temp_directory": "",
        "lock_configuration": "true",
        "enable_external_access": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
        "enable_progress_bar": "false",
        "allow_persistent_secrets": "false",
    }


def test_a_path_that_comes_to_mean_another_file_is_not_followed(folder: Path) -> None:
    with open_query("SELECT * FROM patients", parse_sources([f"patients={folder}/patients.csv"])) as result:
        (folder / "patients.csv").unlink()
        (folder / "patients.csv").symlink_to(folder / "secret.csv")
        with pytest.raises(SourceChanged, match="patients"):
            list(result.content())


def test_a_file_that_is_written_to_meanwhile_is_refused(folder: Path) -> None:
    sources = parse_sources([f"patients={folder}/patients.csv"])
    with open_query("SELECT * FROM patients", sources) as result:
        pieces = result.content()
        next(pieces)
        with (folder / "patients.csv").open("a", encoding="utf-8") as file:
            file.write("3,eve\n")
        with pytest.raises(SourceChanged, match="patients"):
            list(pieces)


def test_names_with_signs_are_files_and_no_patterns_or_sql(folder: Path) -> None:
    for name in ("a[1].csv", "it's.csv", "a'); DROP--.csv", "ü \n.csv"):
        (folder / name).write_text("id\n7\n", encoding="utf-8")
        with open_query("SELECT * FROM t", parse_sources([f"t={folder}/{name}"])) as result:
            assert result.first_rows(1) == [(7,)]


def test_several_files_are_one_table_in_the_order_of_their_names(folder: Path) -> None:
    for number in (3, 1, 2):
        (folder / f"part-{number}.csv").write_text(f"id,n\n{number},x\n", encoding="utf-8")
    with open_query("SELECT id FROM t", parse_sources([f"t={folder}/part-*.csv"])) as result:
        assert result.first_rows(5) == [(1,), (2,), (3,)]
        assert [file["path"] for file in result.origin()["files"]] == [f"{folder}/part-{n}.csv" for n in (1, 2, 3)]


def test_sources_that_are_no_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    (folder / "sub.csv").mkdir()
    (folder / "not.parquet").write_bytes(b"PAR1 is not enough")
    for name, error in (
        ("none.csv", SourceInvalid),
        ("none-*.csv", SourceInvalid),
        ("pipe.csv", SourceInvalid),
        ("sub.csv", SourceInvalid),
        ("not.parquet", ValueRefused),
    ):
        with pytest.raises(error):
            open_query("SELECT * FROM t", parse_sources([f"t={folder}/{name}"]))


def test_too_many_files_are_refused(folder: Path) -> None:
    for number in range(513):
        (folder / f"f{number}.csv").write_bytes(b"a\n1\n")
    opened = len(descriptors())
    with pytest.raises(SourceInvalid, match="512 files"):
        open_query("SELECT 1 AS a", parse_sources([f"t={folder}/f*.csv"]))
    assert len(descriptors()) <= opened


def test_everything_is_closed_in_the_end(folder: Path) -> None:
    def once() -> Any:
        with open_query("SELECT * FROM patients", parse_sources([f"patients={folder}/patients.csv"])) as result:
            return result.first_rows(1)

    once()
    before = descriptors()
    once()
    assert descriptors() == before
