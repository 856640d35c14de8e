"""The commands below `paddock keeper collateral`: to the vendors, to and from files, and what they say of ages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.evidence import EvidenceSet, UnverifiedEvidence
from paddock.evidence.providers.sgx import MEDIA_TYPE as SGX
from paddock.keeper.collateral import CollateralStore, remember_needs
from tests.fixtures.command import Done, paddock
from tests.fixtures.publisher import Publisher, pcs_answers, serving

VECTORS = Path(__file__).resolve().parents[2] / "evidence" / "vectors"
QUOTE, PUBLISHED = VECTORS / "sgx/quote_v3.bin", VECTORS / "sgx/quote_v3.collateral.json"
VENDORS = ("https://api.trustedservices.intel.com", "https://certificates.trustedservices.intel.com")


@pytest.fixture
def north(tmp_path: Path) -> Path:
    assert paddock("init", "north", "--home", tmp_path / "north").code == 0
    return tmp_path / "north"


def ask(north: Path, command: str, *arguments: object, as_json: bool = True) -> Done:
    more = ("--json",) if as_json else ()
    return paddock("keeper", "collateral", command, *arguments, "--home", north, *more)


def mirrors(url: str) -> list[str]:
    return [part for vendor in VENDORS for part in ("--mirror", f"{vendor}={url}")]


def test_what_a_quote_needs_is_fetched_and_remembered(north: Path) -> None:
    publisher = Publisher(pcs_answers(json.loads(PUBLISHED.read_bytes()), "sgx", "processor"))
    with serving(publisher):
        first = ask(north, "fetch", QUOTE, *mirrors(publisher.url))
        assert first.code == 0, first.out
        (key,) = first.json["fetched"]
        again = ask(north, "fetch", *mirrors(publisher.url))  # without a file: what was needed before
        assert again.json["fetched"] == [key]
    shown = ask(north, "show").json
    assert [row["key"] for row in shown["items"]] == [key]
    assert shown["items"][0]["issued"].startswith("2025-06-")
    assert shown["items"][0]["state"] == "out of date"
    assert shown["missing"] == []
    assert "out of date" in ask(north, "show", as_json=False).out


def test_a_vendor_that_does_not_answer_is_said_and_what_was_needed_stays(north: Path) -> None:
    publisher = Publisher({})
    with serving(publisher):
        done = ask(north, "fetch", QUOTE, *mirrors(publisher.url))
    assert done.code == 4
    assert done.json["fetched"] == []
    (error,) = done.json["failed"].values()
    assert error["code"] == "E-EVIDENCE-15"
    assert len(ask(north, "show").json["missing"]) == 1
    assert "Needed and not here" in ask(north, "show", as_json=False).out


def test_a_refused_run_tells_what_to_fetch(north: Path) -> None:
    remember_needs(north / "keeper", EvidenceSet.single(UnverifiedEvidence(SGX, QUOTE.read_bytes())))
    (missing,) = ask(north, "show").json["missing"]
    assert missing.startswith("intel/sgx/")
    assert ask(north, "forget", missing).json == {"left": 0}
    assert ask(north, "show").json["missing"] == []


def test_without_any_need_nothing_is_asked(north: Path) -> None:
    done = ask(north, "fetch", as_json=False)
    assert done.code == 0
    assert "Nothing is needed" in done.out


def test_collateral_travels_in_a_file_to_a_keeper_without_a_network(north: Path, tmp_path: Path) -> None:
    assert paddock("init", "south", "--home", tmp_path / "south").code == 0
    imported = ask(north, "import", PUBLISHED, VECTORS / "snp/vcek_milan.der").json["imported"]
    assert len(imported) == 2
    bundle = tmp_path / "bundle.json"
    digest = ask(north, "show", "--output", bundle).json["digest"]
    carried = ask(tmp_path / "south", "import", bundle)
    assert sorted(carried.json["imported"]) == sorted(imported)
    assert ask(tmp_path / "south", "show").json["digest"] == digest
    assert ask(tmp_path / "south", "forget", imported[0]).json == {"left": 1}


def test_one_item_may_be_kept_under_a_key_that_a_refusal_named(north: Path) -> None:
    key = "amd/vcek/Milan/x"
    assert ask(north, "import", VECTORS / "snp/vcek_milan.der", "--key", key).json == {"imported": [key]}
    two = ask(north, "import", PUBLISHED, VECTORS / "snp/vcek_milan.der", "--key", key)
    assert two.error == "E-EVIDENCE-13"


@pytest.mark.parametrize("data", [None, b"", b"nothing of the kind", b"{}", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_file_of_no_known_form_changes_nothing(north: Path, tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "file"
    if data is not None:
        file.write_bytes(data)
    done = ask(north, "import", file)
    assert done.code == 5
    assert done.error == "E-EVIDENCE-13"
    assert str(file) in done.json["error"]["detail"]
    assert len(CollateralStore(north / "keeper").load()) == 0


def test_a_mirror_is_named_with_its_origin(north: Path) -> None:
    for text in ("cache.example", "https://a.example", "=https://a.example", "https://a.example="):
        assert ask(north, "fetch", "--mirror", text).code == 2
