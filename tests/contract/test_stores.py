"""Every store passes the suite of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.store import FolderStore, Store, open_store
from paddock.testing.store_suite import StoreSuite
from paddock.testing.stores import MemoryStore
from tests.fixtures.object_stores import S3Server, moto_server, swift_server

BUCKET = "vault"


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with swift_server(tmp_path_factory.mktemp("swift")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


def _opened(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return open_store(server.address(BUCKET, "some/prefix"))


class TestMemory(StoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestFolder(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FolderStore:
        return FolderStore(tmp_path / "store")


class TestMoto(StoreSuite):
    @pytest.fixture
    def store(self, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        return _opened(moto, monkeypatch)


class TestSwift(StoreSuite):
    """A real S3 server."""

    @pytest.fixture
    def store(self, swift: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
        return _opened(swift, monkeypatch)
