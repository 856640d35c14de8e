"""A trust policy from the command line: in words, as a template, changed without losing a comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paddock.cli.policy_words import explain, members, shortcomings, template
from paddock.evidence.roots import named_root, root_names
from paddock.evidence.trust import (
    BUILT_IN,
    LevelTrust,
    SgxTrust,
    SimulatedTrust,
    TrustPolicy,
    VendorTrust,
    read_trust_policy,
)
from tests.fixtures.cast import SIMULATOR
from tests.fixtures.command import Done, paddock, paddock_json

SIMULATOR_KEY = SIMULATOR.verify_key.raw.hex()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert paddock("init", "north", "--home", tmp_path / "north").code == 0
    return tmp_path / "north"


def policy(home: Path, *arguments: object) -> Done:
    return paddock("keeper", "policy", *arguments, "--home", home)


def text_of(home: Path) -> str:
    return (home / "keeper" / "trust.toml").read_text(encoding="utf-8")


# --- in words ---------------------------------------------------------------------------------------------------


def test_nothing_configured_refuses_everything_and_says_what_is_missing(home: Path) -> None:
    said = policy(home, "explain").out
    assert "accepts no evidence at all" in said
    assert "Missing: " in said
    assert "paddock keeper policy trust sgx --root intel-sgx" in said
    for level in ("L2", "L3", "L4", "L5"):
        assert f"{level}: refuses everything" in said
    for name in BUILT_IN:
        assert name in said
    body = paddock_json("keeper", "policy", "explain", "--home", home).json
    assert body["accepts_nothing"] is True
    assert body["refused"] == list(BUILT_IN)


def test_what_is_accepted_is_said_per_provider_and_level_with_the_roots_digest(home: Path) -> None:
    policy(home, "trust", "sgx", "--root", "intel-sgx")
    policy(home, "trust", "snp", "--root", "amd-milan", "--root", "amd-genoa")
    policy(home, "set", "levels.L4.require", "gpu-0")
    said = policy(home, "explain").out
    for name in ("intel-sgx", "amd-milan", "amd-genoa"):
        assert named_root(name)[-1].public_key().fingerprint() in said
    assert "L5: accepts sgx." in said
    assert "L4: accepts snp. Demands beside it: gpu-0." in said
    assert "L3: refuses everything" in said
    assert "UpToDate and no other" in said
    assert "no section [nvidia]" in said
    body = paddock_json("keeper", "policy", "explain", "--home", home).json
    assert [root["name"] for root in body["roots"]["snp"]] == ["amd-milan", "amd-genoa"]
    assert body["levels"]["L5"] == ["accepts sgx."]


def test_a_sealed_image_lifts_a_confidential_machine_to_l5(home: Path) -> None:
    policy(home, "trust", "tdx", "--root", "intel-sgx")
    assert "L5: refuses everything" in policy(home, "explain").out
    policy(home, "set", "sealed_images", "sha256:" + "0" * 64)
    assert "L5: accepts tdx (only the 1 sealed images)." in policy(home, "explain").out


def test_a_simulator_is_shown_as_what_it_is(home: Path) -> None:
    policy(home, "allow-simulator", SIMULATOR_KEY)
    for command in ("explain", "show"):
        said = policy(home, command).out
        assert SIMULATOR_KEY in said
        assert "SIMULATED" in said
    assert "SIMULATED, if every party signed that" in policy(home, "explain").out


def test_what_can_never_work_or_is_lax_is_listed() -> None:
    section = {"roots": ["intel-sgx"], "tcb_statuses": ["OutOfDate"], "advisories": ["INTEL-SA-1"], "allow": ["smt"]}
    found = " ".join(
        shortcomings(
            TrustPolicy.model_validate(
                {
                    "sgx": section,
                    "levels": {"L5": {"require": ["host"], "allow": ["gpu-1"]}},
                    "simulated": {"keys": [SIMULATOR_KEY]},
                    "plugins": {},
                }
            )
        )
    )
    for word in ("'host'", "'gpu-1'", "OutOfDate", "INTEL-SA-1", "smt", "software in place of hardware"):
        assert word in found
    assert shortcomings(TrustPolicy.model_validate({"sgx": {"roots": ["intel-sgx"]}})) == []
    assert "no such provider is installed" in shortcomings(TrustPolicy.model_validate({"plugins": {"other": {}}}))[0]


def test_a_root_in_pem_or_by_digest_and_a_plugin_are_explained() -> None:
    digest = "sha256:" + "1" * 64
    body = {
        "sgx": {"roots": [digest], "min_svn": {"isv_svn": 3}, "require_revocation": True},
        "plugins": {"x": {"a": 1}},
    }
    said = "\n".join(explain(TrustPolicy.model_validate(body)))
    assert digest in said
    assert "isv_svn at least 3" in said
    assert "every certificate must be covered" in said
    assert "[x] a plug-in" in said


# --- the template -----------------------------------------------------------------------------------------------


def test_the_template_explains_every_member_and_accepts_nothing() -> None:
    text = template()
    for model in (TrustPolicy, LevelTrust, SimulatedTrust, VendorTrust):
        for name in model.model_fields:
            assert re.search(rf"^#\[?{name}\b|^#\[{name}\.", text, re.MULTILINE), name
        documented = members(model)
        for name, about in documented.items():
            if name not in ("keys", "plugins", "levels"):
                assert about[:60] in text.replace("\n#  ", ""), name
    assert read_trust_policy(text).accepts_nothing()
    assert paddock("keeper", "policy", "explain", "--template").out == text


def test_every_member_of_the_policy_has_an_explanation() -> None:
    assert set(members(TrustPolicy)) >= set(TrustPolicy.model_fields) - set(BUILT_IN)
    assert set(members(VendorTrust)) == set(VendorTrust.model_fields)
    assert set(members(SgxTrust)) == set(SgxTrust.model_fields)
    assert set(members(LevelTrust)) == set(LevelTrust.model_fields)


def test_the_template_is_a_policy_when_the_signs_are_taken_away() -> None:
    read = read_trust_policy(re.sub(r"^#(?=[a-z_]+ = |\[)", "", template(), flags=re.MULTILINE))
    assert read.configured() == [*BUILT_IN, "name"]
    defaults = SgxTrust(roots=["intel-sgx"])
    assert read.sgx == defaults
    assert read.max_age_seconds == TrustPolicy().max_age_seconds


# --- changing ---------------------------------------------------------------------------------------------------


def test_comments_and_what_else_stands_there_stay(home: Path) -> None:
    before = text_of(home) + "\n# mine\nmax_age_seconds = 60 # a minute\n"
    (home / "keeper" / "trust.toml").write_text(before, encoding="utf-8")
    assert policy(home, "trust", "sgx", "--root", "intel-sgx").code == 0
    assert policy(home, "trust", "sgx", "--root", "intel-sgx").code == 0
    assert policy(home, "set", "max_collateral_age_seconds", "86400").code == 0
    assert policy(home, "set", "sgx.tcb_statuses", "UpToDate", "SWHardeningNeeded").code == 0
    assert policy(home, "set", "sgx.allow", "smt").code == 0
    assert policy(home, "set", "sgx.min_svn.isv_svn", "4").code == 0
    assert policy(home, "set", "sgx.require_revocation", "true").code == 0
    after = text_of(home)
    assert after.startswith(before.rstrip("\n"))
    read = read_trust_policy(after)
    assert read.max_collateral_age_seconds == 86_400
    assert read.sgx == SgxTrust(
        roots=["intel-sgx"],
        tcb_statuses=["UpToDate", "SWHardeningNeeded"],
        allow=["smt"],
        min_svn={"isv_svn": 4},
        require_revocation=True,
    )
    assert policy(home, "remove", "sgx.allow").code == 0
    assert "allow =" not in text_of(home)
    assert policy(home, "remove", "sgx").code == 0
    assert read_trust_policy(text_of(home)).accepts_nothing()


@pytest.mark.parametrize(
    "arguments",
    [
        ("trust", "nobody", "--root", "intel-sgx"),
        ("trust", "simulated", "--root", "intel-sgx"),
        ("trust", "sgx", "--root", "intel"),
        ("trust", "sgx", "--root", "sha256:12"),
        ("trust", "sgx", "--root", "./nothing.pem"),
        ("set", "max_age_seconds", "0"),
        ("set", "max_age_seconds", "long"),
        ("set", "sgx.x", "1"),
        ("set", "sgx..roots", "1"),
        ("set", "max_age_seconds.x", "1"),
        ("set", "a.b.c.d.e", "1"),
        ("remove", "nothing"),
        ("remove", "sgx.roots"),
        ("allow-simulator", "12"),
        ("allow-simulator", SIMULATOR_KEY.upper()),
    ],
)
def test_a_change_that_could_not_be_read_again_is_not_written(home: Path, arguments: tuple[str, ...]) -> None:
    before = text_of(home)
    done = paddock_json("keeper", "policy", *arguments, "--home", home)
    assert (done.code, done.error) == (5, "E-EVIDENCE-06")
    assert text_of(home) == before


def test_a_root_is_taken_from_a_pem_file(home: Path, tmp_path: Path) -> None:
    from paddock.evidence import roots

    pem = (Path(roots.__file__).parent / "intel-sgx.pem").read_text(encoding="ascii")
    (tmp_path / "root.pem").write_text(pem, encoding="ascii")
    assert policy(home, "trust", "tdx", "--root", tmp_path / "root.pem").code == 0
    assert read_trust_policy(text_of(home)).tdx == VendorTrust(roots=[pem])
    assert named_root("intel-sgx")[-1].public_key().fingerprint() in policy(home, "explain").out


def test_a_policy_is_checked(home: Path, tmp_path: Path) -> None:
    assert "It accepts nothing" in policy(home, "check").out
    (tmp_path / "p.toml").write_text('[sgx]\nroots = ["intel-sgx"]\nallow = ["smt"]\n', encoding="utf-8")
    assert "smt" in paddock("keeper", "policy", "check", "--file", tmp_path / "p.toml").out
    for bad in ("x = 1", "[sgx]", "=", "\x00", "[sgx]\nroots = []"):
        (tmp_path / "p.toml").write_text(bad, encoding="utf-8")
        assert paddock_json("keeper", "policy", "check", "--file", tmp_path / "p.toml").error == "E-EVIDENCE-06"
    (tmp_path / "p.toml").write_bytes(b"\xff")
    assert paddock_json("keeper", "policy", "check", "--file", tmp_path / "p.toml").error == "E-EVIDENCE-06"
    assert paddock_json("keeper", "policy", "check", "--file", tmp_path).error == "E-EVIDENCE-06"


def test_every_shipped_root_is_listed_with_its_digest() -> None:
    rows = paddock_json("evidence", "roots").json
    assert [row["name"] for row in rows] == root_names()
    for row in rows:
        assert row["digest"] == named_root(row["name"])[-1].public_key().fingerprint()
    assert all(row["name"] in paddock("evidence", "roots").out for row in rows)
