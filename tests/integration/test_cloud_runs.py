"""Whole runs with all ciphertext in S3: parties and enclaves go through the hub, which alone has the credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from paddock.errors import GrantEnded
from paddock.party.results import fetch_results
from paddock.store import HttpStore
from paddock.testing.stage import MARKER, Stage
from tests.fixtures.object_stores import S3Server, moto_server

BUCKET = "vault"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with moto_server() as running:
        running.client().create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture(scope="module", params=["http", "https"])
def cloud(
    request: pytest.FixtureRequest, server: S3Server, program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("cloud")
        address = server.address(BUCKET, request.param)
        with Stage(folder, program, store=address, secure=request.param == "https") as stage:
            yield stage


def test_a_run_over_data_in_s3(cloud: Stage, server: S3Server, tmp_path: Path) -> None:
    followed = cloud.run(cloud.agree())
    assert followed.state == "succeeded", followed
    got = fetch_results(cloud.modelco, followed.run, tmp_path / "out", overwrite=False)
    assert set(got.folders) == {"weights", "curve"}
    client = server.client()
    names = [row["Key"] for row in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert any("/volumes/" in name for name in names)
    for name in names:
        body = client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        assert MARKER.encode() not in body
    assert not list((cloud.folder / "operator" / "store").rglob("*"))


def test_credentials_reach_neither_enclaves_nor_files(cloud: Stage, server: S3Server) -> None:
    proposal = cloud.agree(epochs=400)
    run = cloud.modelco.request_run(proposal.id)
    cloud.wait_for_phase(run, "running")
    secret = server.secret_key.encode()
    seen = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            command, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if b"paddock.enclave" in command:
            seen += 1
            assert secret not in environment
            assert secret not in command
    assert seen
    assert cloud.follow(run).state == "succeeded"
    for path in cloud.folder.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def test_what_a_run_was_given_ends_with_it(cloud: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    engine = cloud.hub_app.state.hub.engine
    honest = engine.submit

    def watched(launch: object) -> None:
        given.append(launch.store)  # type: ignore[attr-defined]
        honest(launch)

    monkeypatch.setattr(engine, "submit", watched)
    followed = cloud.run(cloud.agree())
    assert followed.state == "succeeded"
    [address] = given
    assert re.search(r"/v1/grants/[0-9a-f]{64}", address)
    if address.startswith("https"):
        return  # the same answer, by way of attested TLS
    answer = httpx.get(f"{address}/volumes/none/payload", headers={"Range": "bytes=0-9"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "E-HUB-11"
    store = HttpStore(address)
    for late in (lambda: store.put("volumes/late/payload", [b"x"]), lambda: store.read("volumes/late/payload", 0, 1)):
        with pytest.raises(GrantEnded):
            late()
    store.close()
