"""Enclaves that wait are told of as the hub's service is put together, for the store that runs will be told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.cli import services
from paddock.cli.services import LocalEngineService, hub_service, local_engine
from paddock.executors.sandbox import SandboxExecutor


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What executors are told; no hub is made."""
    found: list[str] = []
    monkeypatch.setattr(services, "create_hub", lambda config: config)
    monkeypatch.setattr(SandboxExecutor, "get_warm", lambda _self, store: found.append(store))
    return found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngineService]:
    with local_engine(tmp_path / "hub", simulate=False, parallel=1, executor="sandbox") as made:
        yield made


def test_of_a_hub_with_a_folder_it_is_the_folder(engine: LocalEngineService, told: list[str], tmp_path: Path) -> None:
    hub_service(tmp_path / "hub", engine)
    assert told == [f"folder:{(tmp_path / 'hub' / 'store').resolve()}"]


def test_of_a_hub_over_a_cloud_it_is_the_way_through_the_hub(
    engine: LocalEngineService, told: list[str], tmp_path: Path
) -> None:
    hub_service(tmp_path / "hub", engine, store="s3://bucket/prefix", gateway="https://hub.example:7300")
    assert told == ["https://hub.example:7300"]
