"""Keepers that others run, and what servers must prove: the commands, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.party.home import Home
from paddock.party.servers import demanded_evidence
from tests.fixtures.cast import MEASUREMENT, SIMULATOR
from tests.fixtures.command import Done, paddock

POLICY = f'[simulated]\nkeys = ["{SIMULATOR.verify_key.raw.hex()}"]\n'
URL = "https://127.0.0.1:7399"


@pytest.fixture
def north(tmp_path: Path) -> Path:
    assert paddock("init", "north", "--home", tmp_path / "north", "--hub", "https://127.0.0.1:7398").code == 0
    return tmp_path / "north"


@pytest.fixture
def hosted(north: Path, tmp_path: Path) -> tuple[Path, str]:
    """The keys of a keeper that was made for north elsewhere, and its fingerprint."""
    assert paddock("party", "keys", "--output", tmp_path / "north.json", "--home", north).code == 0
    keys = tmp_path / "keeper.json"
    made = paddock(
        "keeper", "create", "--folder", tmp_path / "k", "--party", tmp_path / "north.json", "--output", keys, "--json"
    )
    assert made.code == 0
    assert made.json["party"] == Home.load(north).fingerprint
    return keys, str(made.json["keeper"])


def adopt(north: Path, keys: Path, fingerprint: str, url: str = URL) -> Done:
    return paddock("keeper", "adopt", keys, "--url", url, "--fingerprint", fingerprint, "--home", north, "--json")


def trust(north: Path, *arguments: object, server: str = "keeper") -> Done:
    return paddock(server, "trust", *arguments, "--home", north, "--json")


def test_a_keeper_is_adopted_by_its_fingerprint_alone(north: Path, hosted: tuple[Path, str], tmp_path: Path) -> None:
    keys, fingerprint = hosted
    assert adopt(north, keys, Home.load(north).fingerprint).error == "E-EVIDENCE-14"
    assert adopt(north, keys, fingerprint, "http://keepers.example:1").code == 2
    assert adopt(north, tmp_path / "missing", fingerprint).code == 2
    (tmp_path / "odd").write_text("{}")
    assert adopt(north, tmp_path / "odd", fingerprint).error == "E-PARTY-01"
    assert adopt(north, keys, fingerprint.lower()).code == 0
    assert Home.load(north).keeper == URL
    assert not (north / "keeper" / "keys.json").exists()
    assert json.loads((north / "keeper" / "public.json").read_text()) == json.loads(keys.read_text())
    # what needs its private keys says where they are; its policy is kept here, to be pushed
    assert "elsewhere" in paddock("keeper", "serve", "--home", north).err
    assert paddock("keeper", "policy", "allow-simulator", SIMULATOR.verify_key.raw.hex(), "--home", north).code == 0
    assert "simulat" in paddock("keeper", "policy", "explain", "--home", north).out


def test_a_keeper_that_has_worked_is_not_thrown_away(north: Path, hosted: tuple[Path, str]) -> None:
    (north / "keeper" / "keeper.db").write_bytes(b"")
    done = adopt(north, *hosted)
    assert done.code != 0
    assert (north / "keeper" / "keys.json").exists()


def test_a_keepers_folder_is_made_once_and_for_well_formed_keys(hosted: tuple[Path, str], tmp_path: Path) -> None:
    keys, _ = hosted
    again = ("keeper", "create", "--folder", tmp_path / "k", "--party", tmp_path / "north.json", "--output", keys)
    assert paddock(*again).code != 0
    (tmp_path / "bad.json").write_text("{}")
    for party, code in ((tmp_path / "bad.json", 5), (tmp_path / "missing.json", 2)):
        done = paddock(
            "keeper", "create", "--folder", tmp_path / "k2", "--party", party, "--output", tmp_path / "o", "--json"
        )
        assert done.code == code
    assert not (tmp_path / "k2").exists()


@pytest.mark.parametrize("server", ["keeper", "hub"])
def test_what_a_server_must_prove_is_said_and_taken_back(north: Path, tmp_path: Path, server: str) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    said = trust(north, "--policy", policy, "--measurement", MEASUREMENT, "--level", "L4", server=server)
    assert said.code == 0
    asked = demanded_evidence(Home.load(north), "hub" if server == "hub" else "keeper")
    assert asked is not None
    assert (asked.level, asked.measurements) == ("L4", frozenset({MEASUREMENT}))
    assert trust(north, "--nothing", server=server).json["was_demanded"] is True
    assert trust(north, "--nothing", server=server).json["was_demanded"] is False
    assert demanded_evidence(Home.load(north), "hub" if server == "hub" else "keeper") is None


def test_a_demand_that_nobody_could_meet_or_everybody_is_refused(north: Path, tmp_path: Path) -> None:
    policy, empty, broken = (tmp_path / name for name in ("policy.toml", "empty.toml", "broken.toml"))
    policy.write_text(POLICY)
    empty.write_text("")
    broken.write_text("[sgx")
    for arguments, code in (
        (("--policy", policy), 2),
        (("--measurement", MEASUREMENT), 2),
        ((), 2),
        (("--policy", policy, "--measurement", "sha256:1"), 3),
        (("--policy", empty, "--measurement", MEASUREMENT), 5),
        (("--policy", broken, "--measurement", MEASUREMENT), 5),
        (("--policy", policy, "--measurement", MEASUREMENT, "--collateral", broken), 5),
    ):
        assert trust(north, *arguments).code == code, arguments
    assert not (north / "servers").exists()


def test_a_damaged_demand_stops_everything_that_would_be_sent(north: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    assert trust(north, "--policy", policy, "--measurement", MEASUREMENT).code == 0
    (north / "servers" / "keeper" / "expected.json").write_text("{}")
    done = paddock("keeper", "releases", "--home", north, "--json")
    assert done.code == 5
    assert "damaged" in done.json["error"]["detail"]


def test_addresses_are_changed_and_say_whom_to_expect(north: Path) -> None:
    fingerprint = Home.load(north).fingerprint
    done = paddock("party", "addresses", "--hub", f"https://h:1#{fingerprint}", "--home", north, "--json")
    assert done.json["hub"].endswith(fingerprint)
    assert (
        paddock("party", "addresses", "--hub", "https://h:1#short", "--home", north, "--json").error == "E-EVIDENCE-14"
    )
    assert Home.load(north).hub.endswith(fingerprint)


def test_a_secure_hub_without_a_fingerprint_is_not_asked(north: Path) -> None:
    done = paddock("party", "publish", "--home", north, "--json")
    assert done.error == "E-EVIDENCE-14"
    assert "#FINGERPRINT" in done.json["error"]["detail"]


def test_an_address_that_names_another_keeper_than_the_home_is_not_asked(north: Path) -> None:
    address = f"{URL}#{Home.load(north).fingerprint}"
    assert paddock("party", "addresses", "--keeper", address, "--home", north).code == 0
    done = paddock("keeper", "releases", "--home", north, "--json")
    assert done.error == "E-EVIDENCE-14"
    assert "its keys in this home are others" in done.json["error"]["detail"]


def test_options_that_contradict_each_other_are_refused(north: Path, tmp_path: Path) -> None:
    assert paddock("keeper", "serve", "--folder", tmp_path).code == 2
    assert paddock("keeper", "serve", "--simulate", "--proof", "tsm", "--home", north).code == 2
    for proof in ("tsm:relative", "nothing", "tsm"):  # the last at an address without TLS
        assert paddock("keeper", "serve", "--proof", proof, "--home", north, "--json").error == "E-RUN-06"
