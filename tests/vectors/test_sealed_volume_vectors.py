"""The committed vectors: good ones open, bad ones are refused by their code, and the script still makes them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from paddock.crypto.digest import sha256_id, unb64
from paddock.errors import PaddockError
from paddock.seal import DataKey, VolumeReader
from paddock.testing.stores import MemoryStore

FOLDER = Path(__file__).parent / "sealed_volume"
VECTORS = sorted(FOLDER.glob("*.json"))
CODES = {f"E-SEAL-{number:02}" for number in range(1, 14)}


def _read_all(vector: dict[str, Any]) -> dict[str, str]:
    store = MemoryStore()
    store.objects.update({name: unb64(data) for name, data in vector["objects"].items()})
    reader = VolumeReader.open(vector["asset"], store, DataKey(bytes.fromhex(vector["key"])))
    files = {path: sha256_id(reader.open_file(path).read()) for path in reader.paths()}
    reader.verify()
    return files


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = json.loads(path.read_text(encoding="utf-8"))
    if "files" in vector:
        assert _read_all(vector) == vector["files"]
        return
    with pytest.raises(PaddockError) as refusal:
        _read_all(vector)
    assert refusal.value.code == vector["error"]


def test_every_code_that_a_reader_gives_has_a_vector() -> None:
    codes = {json.loads(path.read_text(encoding="utf-8")).get("error") for path in VECTORS}
    assert codes - {None} == CODES


def test_the_script_makes_the_committed_vectors(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_sealed_volume", FOLDER.parent / "make_sealed_volume.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in VECTORS}
