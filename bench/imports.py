"""Sealing the result of a query: how fast, beside DuckDB alone writing the same result to a Parquet file.

Both read the same CSV file and compress with zstd. DuckDB alone stores plaintext; ours is encrypted, hashed into the asset's id
and stored as a volume on the same disk. What one thread computes is compared with one thread.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import duckdb

from bench.harness import Row, interleaved, peak_memory_bytes, reset_peak_memory, row
from paddock.query import QuerySettings, ResultFile, open_query, parse_sources
from paddock.seal import DataKey, write_volume
from paddock.store.folder import FolderStore

AREA = "imports"
QUERY = "SELECT id, name, weight * 2 AS twice, day FROM t WHERE id % 10 <> 3"
_ROW_BYTES = 65


def rows(quick: bool) -> list[Row]:
    """Rows per second of one query over a CSV file of 8 MiB or 1 GiB."""
    size = (8 << 20) if quick else (1 << 30)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.csv"
        count = _write(source, size)
        store = Path(folder) / "store"

        def alone(threads: int) -> None:
            connection = duckdb.connect(":memory:", config={"threads": threads})
            connection.execute("SET enable_progress_bar = false")
            connection.execute(f"CREATE VIEW t AS FROM read_csv('{source}')")
            connection.execute(f"COPY ({QUERY}) TO '{folder}/alone.parquet' (COMPRESSION zstd)")
            connection.close()

        def ours(form: str, threads: int) -> None:
            store.mkdir()
            settings = QuerySettings(threads=threads)
            with open_query(
                QUERY, parse_sources([f"t={source}"]), file=ResultFile(f"t.{form}"), settings=settings
            ) as result:
                write_volume(result.files(), DataKey.generate(), FolderStore(store))
            shutil.rmtree(store)

        reset_peak_memory()
        ours("parquet", 1)
        peak = peak_memory_bytes()
        taken = interleaved(
            {
                "alone": lambda: alone(1),
                "alone two": lambda: alone(2),
                "parquet": lambda: ours("parquet", 1),
                "parquet two": lambda: ours("parquet", 2),
                "csv": lambda: ours("csv", 1),
            },
            repeat=1 if quick else 3,
            warmup=0 if quick else 1,
        )
        rates = {name: count / times.median for name, times in taken.items()}
    what = f"a CSV file of {size >> 20} MiB"
    return [
        row(f"DuckDB alone, {what} to Parquet, one thread", AREA, rates["alone"], "rows/s"),
        row(f"sealed, {what} to Parquet, one thread", AREA, rates["parquet"], "rows/s", baseline=rates["alone"],
            target="ratio >= 0.5"),
        row(f"DuckDB alone, {what} to Parquet, two threads", AREA, rates["alone two"], "rows/s"),
        row(f"sealed, {what} to Parquet, two threads", AREA, rates["parquet two"], "rows/s",
            baseline=rates["alone two"]),
        row(f"sealed, {what} to CSV, one thread", AREA, rates["csv"], "rows/s", baseline=rates["alone"]),
        row(f"peak memory of sealing {what} to Parquet", AREA, peak / (1 << 20), "MiB"),
    ]  # fmt: skip


def _write(path: Path, size: int) -> int:
    count = size // _ROW_BYTES
    connection = duckdb.connect(":memory:")
    connection.execute("SET enable_progress_bar = false")
    connection.execute(
        "COPY (SELECT i AS id, md5(i::VARCHAR) AS name, i % 977 + 0.25 AS weight, DATE '2000-01-01' + (i % 9000)::INTEGER AS day"  # noqa: S608 - a number
        f" FROM range({count}) r(i)) TO '{path}'"
    )
    connection.close()
    return count
