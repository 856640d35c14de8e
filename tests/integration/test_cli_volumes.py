"""Looking into own assets, sealing them again, new keys: as a script and a person at the command line see it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from paddock.crypto.digest import sha256_id
from paddock.errors import AssetUnknown
from paddock.testing.stage import Stage
from tests.integration.test_cli import as_json, paddock

FILES = {"patients.csv": b"height,weight\n1.70,61\n", "scans/0001.bin": bytes(range(256)) * 20, "scans/empty": b""}


@pytest.fixture
def home(stage: Stage) -> str:
    return str(stage.folder / "north")


@pytest.fixture
def name(stage: Stage, home: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A fresh asset, under a name of its own."""
    source = tmp_path / "source"
    for path, content in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    chosen = "v" + sha256_id(request.node.name.encode())[-12:]
    sealed = as_json("seal", str(source), "--name", chosen, "--kind", "dataset", "--home", home)
    assert (sealed["files"], sealed["bytes"]) == (3, sum(map(len, FILES.values())))
    assert sealed["written_bytes"] == sealed["stored_bytes"]
    return chosen


def test_an_asset_is_listed_printed_written_out_and_verified(name: str, home: str, tmp_path: Path) -> None:
    listed = as_json("ls", name, "--home", home)
    assert listed == [{"path": path, "bytes": len(content)} for path, content in FILES.items()]
    assert "3 files" in paddock("ls", name, "--home", home).stdout
    assert paddock("cat", name, "patients.csv", "--home", home).stdout == FILES["patients.csv"].decode()
    out = tmp_path / "out"
    assert as_json("open", name, "--output", str(out), "--home", home)["files"] == 3
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == FILES
    assert (out / "patients.csv").stat().st_mode & 0o777 == 0o600
    assert "E-STORE-09" in paddock("open", name, "--output", str(out), "--home", home, code=5).stderr
    paddock("open", name, "--output", str(out), "--overwrite", "--home", home)
    assert as_json("verify", name, "--home", home)["whole"] is True
    assert "unchanged" in paddock("verify", name, "--home", home).stdout


def test_what_is_not_there_is_told(name: str, home: str) -> None:
    assert as_json("ls", "nothing", "--home", home, code=3)["error"]["code"] == "E-PARTY-04"
    assert "E-SEAL-15" in paddock("cat", name, "scans", "--home", home, code=3).stderr


def test_a_store_that_changed_a_byte_is_noticed(stage: Stage, name: str, home: str, tmp_path: Path) -> None:
    before = set((stage.folder / "operator").rglob("payload"))
    (tmp_path / "other").write_bytes(b"x" * 9000)
    as_json("seal", str(tmp_path / "other"), "--name", f"{name}x", "--kind", "dataset", "--home", home)
    [payload] = set((stage.folder / "operator").rglob("payload")) - before
    data = bytearray(payload.read_bytes())
    data[5000] ^= 1
    payload.chmod(0o600)
    payload.write_bytes(data)
    assert as_json("verify", f"{name}x", "--home", home, code=3)["error"]["code"] == "E-SEAL-07"
    done = paddock("cat", f"{name}x", "other", "--home", home, code=3)
    assert "x" not in done.stdout
    out = tmp_path / "out"
    paddock("open", f"{name}x", "--output", str(out), "--home", home, code=3)
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_sealing_again_writes_what_is_new(name: str, home: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "scans/0002.bin").write_bytes(b"new" * 100)
    again = as_json("seal", str(source), "--name", name, "--kind", "dataset", "--home", home)
    assert again["files"] == 4
    assert again["written_bytes"] < again["stored_bytes"]
    assert len(as_json("ls", name, "--home", home)) == 4
    text = paddock("seal", str(source), "--name", name, "--kind", "dataset", "--home", home).stdout
    assert "were there already" in text
    fresh = as_json("seal", str(source), "--name", name, "--kind", "dataset", "--fresh", "--home", home)
    assert fresh["written_bytes"] == fresh["stored_bytes"]
    exact = as_json("seal", str(source), "--name", name, "--kind", "dataset", "--padding", "none", "--home", home)
    assert exact["written_bytes"] == exact["stored_bytes"] < fresh["stored_bytes"]


def test_a_new_key_leaves_the_contents_where_they_are(name: str, home: str) -> None:
    before = as_json("assets", "--home", home)
    changed = as_json("rekey", name, "--home", home)
    assert changed["asset"] not in {row["asset"] for row in before}
    assert changed["written_bytes"] < changed["stored_bytes"]
    assert as_json("verify", name, "--home", home)["whole"] is True
    assert "--fresh" in paddock("rekey", name, "--home", home).stdout
    fresh = as_json("rekey", name, "--fresh", "--home", home)
    assert fresh["written_bytes"] == fresh["stored_bytes"]
    assert paddock("cat", name, "patients.csv", "--home", home).stdout == FILES["patients.csv"].decode()


def test_names_and_paths_that_cannot_be_are_told(home: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for bad in ("../elsewhere", "Upper", "", "a/b"):
        done = as_json("seal", str(tmp_path / "file"), "--name", bad, "--kind", "dataset", "--home", home, code=5)
        assert done["error"]["code"] == "E-PARTY-11"
    missing = as_json("seal", str(tmp_path / "none"), "--name", "a", "--kind", "dataset", "--home", home, code=5)
    assert missing["error"]["code"] == "E-STORE-09"


def test_own_assets_are_read_by_other_libraries(stage: Stage) -> None:
    import fsspec
    import pandas as pd

    home = str(stage.folder / "north")
    frame = pd.read_csv("paddock://records/patients.csv", storage_options={"home": home})
    assert len(frame) == 40
    system = fsspec.filesystem("paddock", home=home)
    assert "records" in system.ls("", detail=False)
    copy = pickle.loads(pickle.dumps(system))
    assert copy.size("records/patients.csv") == system.size("paddock://records/patients.csv")
    with pytest.raises(AssetUnknown):
        system.open("paddock://nothing/x")
    for each in (system, copy):
        each.close()
