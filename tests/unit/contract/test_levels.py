"""Every cell of the level table, written out here a second time and asked of those who enforce it: whoever reads terms,
the keeper before it releases a key, the enclave before it starts a job.
"""

from __future__ import annotations

import io
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.contract import LEVELS, Level, SignedContract, Terms, verify_contract
from paddock.contract.levels import (
    MOST_RUNS,
    Code,
    LevelPolicy,
    Network,
    Numbers,
    Tee,
    check_evidence_allowed,
    check_job_allowed,
    check_number_of_runs,
    check_output_type,
    check_padding,
)
from paddock.contract.output_types import OutputType
from paddock.contract.terms import check_level
from paddock.enclave.events import EventWriter
from paddock.enclave.launch import Launch
from paddock.enclave.run import check_found, perform
from paddock.enclave.words import LastWords
from paddock.errors import (
    EvidenceMissing,
    LevelRefused,
    MeasurementRefused,
    PaddockError,
    SimulatedRefused,
    TermsRefused,
)
from paddock.evidence import EvidenceSet, TrustPolicy
from paddock.release import ReleaseRequest, decide
from tests.fixtures import proof
from tests.fixtures.cast import MEASUREMENT, NAMES, NOW, RUN, Change, contract, member, merge, raw_envelope, terms_dict
from tests.fixtures.receipts import COLLATERAL, release_statement, verdict

# evidence that is enough, at L1 to L5
EVIDENCE = {
    "none": "+----",
    "software": "++---",
    "tpm": "+----",
    "measured-host": "+++--",
    "confidential-vm": "++-+-",
    "sealed-vm": "+++++",
    "enclave": "++--+",
    "gpu": "-----",
    "quantum": "-----",
    "": "-----",
}
JOBS = {"train": "+++++", "evaluate": "+++++", "predict": "+++++", "script": "++++-", "shell": "-----", "": "-----"}
OUTPUTS = {
    "weights": "+++++",
    "metrics": "+++++",
    "curve": "+++++",
    "table": "+++++",
    "text": "++++-",
    "files": "++++-",
}
SEALED = proof.POLICY.model_copy(update={"sealed_images": [MEASUREMENT]})
CELLS = [(level, kind) for level in Level for kind in EVIDENCE]


def allowed(row: str, level: Level) -> bool:
    return row[list(Level).index(level)] == "+"


def expect(row: str, level: Level, act: Any, *args: Any, **kwargs: Any) -> None:
    """Call it; it raises exactly where the row has a minus."""
    if allowed(row, level):
        act(*args, **kwargs)
        return
    with pytest.raises(LevelRefused):
        act(*args, **kwargs)


def at(level: Level, more: Change | None = None) -> Change:
    def change(value: dict[str, Any]) -> None:
        value["level"] = level.value
        if more is not None:
            more(value)

    return change


def unread(change: Change) -> Terms:
    """Terms as no reader lets them pass: what an enclave or keeper holds that somebody led around the reader."""
    value = terms_dict()
    change(value)
    level = value["level"]
    value["level"] = "L1"
    free = Terms.model_validate(value, strict=False)
    return free.model_copy(update={"level": Level(level)})


def test_the_table_is_whole() -> None:
    assert list(LEVELS) == list(Level)
    assert all(policy.level is level for level, policy in LEVELS.items())
    assert {tee.value for tee in Tee} <= set(EVIDENCE)
    assert {kind.value for kind in OutputType} == set(OUTPUTS)
    sentences = {"demands", "allows", "protects_from", "does_not_protect_from"}
    for policy in LEVELS.values():
        assert all(getattr(policy, name).endswith(".") for name in sentences)
        assert policy.executors
        assert "scone" not in policy.executors, "keepers release to none of its enclaves"
    # Every member is asked by a test below, or is words.
    assert {each.name for each in fields(LevelPolicy)} - sentences - {"level", "title", "executors"} == {
        "evidence", "needs_measurement", "code", "network", "pads_inputs", "pads_outputs", "free_outputs", "numbers",
        "most_runs", "host_sees_logs",
    }  # fmt: skip


def test_how_a_job_runs_and_what_the_host_hears() -> None:
    assert [policy.code for policy in LEVELS.values()] == [Code.ANY, *[Code.PINNED] * 3, Code.BUILT_IN]
    assert [policy.network for policy in LEVELS.values()] == [Network.OPEN, *[Network.GATEWAY] * 3, Network.NONE]
    assert [policy.host_sees_logs for policy in LEVELS.values()] == [True, False, False, False, False]
    assert [policy.pads_outputs for policy in LEVELS.values()] == [False] * 4 + [True]
    assert [policy.numbers for policy in LEVELS.values()] == [None] * 4 + [Numbers(4, 10, 10_000)]


# --- whoever reads terms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", Level)
def test_the_functions_say_what_the_table_says(level: Level) -> None:
    for kind, row in EVIDENCE.items():
        expect(row, level, check_evidence_allowed, level, kind)
    for kind, row in JOBS.items():
        expect(row, level, check_job_allowed, level, kind)
    for kind, row in OUTPUTS.items():
        expect(row, level, check_output_type, level, "a", OutputType(kind))
    expect("++++-", level, check_padding, level, "records", padded=False)
    expect("+++++", level, check_padding, level, "records", padded=True)
    expect("++++-", level, check_number_of_runs, level, 10_001)
    expect("+++++", level, check_number_of_runs, level, 10_000)
    expect("-----", level, check_number_of_runs, level, MOST_RUNS + 1)


LAWLESS: dict[str, tuple[Change, str]] = {
    "a party's script": (lambda v: v["steps"][1].update(kind="script"), "++++-"),
    "free text": (merge("outputs", "weights", type="text"), "++++-"),
    "any files": (merge("outputs", "metrics", type="files"), "++++-"),
    "too many runs": (merge(runs=10_001), "++++-"),
    "no measurement": (lambda v: v["environment"].update(measurements=[]), "+----"),
    "a kind of job that nobody knows": (lambda v: v["steps"][0].update(kind="shell"), "-----"),
    "nothing of it": (lambda _value: None, "+++++"),
}


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("name", LAWLESS)
def test_terms_that_the_level_forbids_are_not_read_released_for_or_run(name: str, level: Level) -> None:
    change, row = LAWLESS[name]
    envelope = raw_envelope({**terms_dict(), **changed(at(level, change))}, NAMES)
    if allowed(row, level):
        assert verify_contract(envelope).terms.level is level
        return
    # Whoever reads, and therefore whoever signs.
    with pytest.raises(TermsRefused):
        verify_contract(envelope)
    if name == "a kind of job that nobody knows":
        return
    # The keeper and the enclave, led around the reader.
    agreed = contract(at(Level.L1))
    around = replace(agreed, terms=unread(at(level, change)))
    with pytest.raises(LevelRefused):
        check_level(around.terms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paddock.release.decision.verify_contract", lambda _envelope: around)
        with pytest.raises(LevelRefused):
            judged(around, "enclave")
    launch = Launch(run=RUN, contract={}, store="", keepers={}, attester="none", checkpoints=[])
    with pytest.raises(LevelRefused):
        perform(launch, around, EventWriter(io.BytesIO()), LastWords())


def changed(change: Change) -> dict[str, Any]:
    value = terms_dict()
    change(value)
    return value


# --- the keeper ------------------------------------------------------------------------------------------------


def judged(agreed: SignedContract, tee: str, policy: TrustPolicy | None = None, **claims: Any) -> object:
    """A keeper's decision on evidence of that kind; `none`: on no evidence."""
    bound = proof.binding(agreed)
    shown = None if tee == "none" else EvidenceSet.single(proof.evidence(bound.report_data(), tee=tee, **claims))
    asked = ReleaseRequest(agreed.envelope, bound, shown)
    known = proof.facts(asked)
    return decide(asked, known, policy=policy or proof.POLICY, collateral=COLLATERAL, now=NOW)


@pytest.mark.parametrize(("level", "kind"), [cell for cell in CELLS if cell[1]], ids=str)
def test_a_keeper_releases_to_what_is_enough_for_the_level_alone(level: Level, kind: str) -> None:
    agreed = contract(at(level))
    # A machine is sealed because the keeper's policy lists its measurement, whatever it says of itself.
    policy = SEALED if kind == "sealed-vm" else proof.POLICY
    if allowed(EVIDENCE[kind], level):
        assert judged(agreed, kind, policy)
        return
    with pytest.raises(EvidenceMissing if kind == "none" else PaddockError) as refused:
        judged(agreed, kind, policy)
    assert kind in {"none", "gpu"} or isinstance(refused.value, LevelRefused)


# --- the enclave -----------------------------------------------------------------------------------------------


def found(agreed: SignedContract, tee: str, **claims: Any) -> Any:
    """What every keeper gave an enclave of which it found this."""
    bound = proof.binding(agreed)
    shown = None if tee == "none" else proof.evidence(bound.report_data(), tee=tee, **claims)
    return {
        name: SimpleNamespace(
            verdict=None if shown is None else verdict(agreed, bound, shown, name),
            statement=release_statement(agreed, bound, shown, name),
        )
        for name in agreed.terms.parties
    }


@pytest.mark.parametrize(("level", "kind"), [cell for cell in CELLS if cell[1]], ids=str)
def test_an_enclave_starts_where_keepers_found_what_is_enough_alone(level: Level, kind: str) -> None:
    agreed = contract(at(level))
    expect(EVIDENCE[kind], level, check_found, agreed, found(agreed, kind))


@pytest.mark.parametrize("level", Level)
def test_one_lax_keeper_starts_nothing(level: Level) -> None:
    agreed = contract(at(level))
    good = {Level.L1: "none", Level.L2: "software", Level.L3: "measured-host", Level.L4: "confidential-vm"}
    rows = found(agreed, good.get(level, "enclave"))
    check_found(agreed, rows)
    for tee in ("tpm", "none"):
        expect("+----", level, check_found, agreed, {**rows, "south": found(agreed, tee)["south"]})
    if level is not Level.L1:
        other = found(agreed, good.get(level, "enclave"), measurement="sha256:" + "0" * 64)
        with pytest.raises(MeasurementRefused):
            check_found(agreed, {**rows, "south": other["south"]})
        real = contract(at(level, lambda v: v["environment"].update(simulated=False)))
        with pytest.raises(SimulatedRefused):
            check_found(real, found(real, good.get(level, "enclave")))
    # Nor does a verdict that another keeper signed.
    foreign: Any = SimpleNamespace(verdict=rows["south"].verdict, statement=rows["north"].statement)
    if foreign.verdict is not None:
        with pytest.raises(PaddockError):
            check_found(agreed, {**rows, "north": foreign})
    assert member("south").keeper != member("north").keeper
