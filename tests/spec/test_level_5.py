"""A contract at L5 refuses everything that it should, and says why: L1, L2, L8 and the rules that they rest on, together.

Evidence is of SGX and TDX, in the vendor's format under a root of our own, and judged by the vendor's provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.contract import CONTRACT_TYPE, Level, SignedContract, verify_contract
from paddock.contract.output_types import OutputType
from paddock.crypto.dsse import Envelope
from paddock.enclave.numbers import NumberControl
from paddock.enclave.run import _open_inputs
from paddock.errors import PaddockError
from paddock.evidence import Collateral, EvidenceSet, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.release import ReleaseRequest, decide
from paddock.seal import DataKey, SealOptions, write_volume
from paddock.testing.stores import MemoryStore
from tests.fixtures import proof
from tests.fixtures.cast import (
    MEASUREMENT,
    NAMES,
    NOW,
    SIMULATOR,
    STRANGER,
    Change,
    contract,
    merge,
    raw_envelope,
    signed,
    terms_dict,
)
from tests.fixtures.hosts import HOST, host_evidence
from tests.fixtures.proof import evidence as simulated
from tests.fixtures.vendors.intel import IntelMaker

SGX, TDX = IntelMaker("sgx"), IntelMaker("tdx", version=4)
Value = dict[str, Any]


@cache
def measured(maker: IntelMaker) -> str:
    found = verify_evidence(maker.evidence(bytes(64)), policy=maker.policy(), collateral=maker.collateral(NOW), now=NOW)
    return found.measurement


def real(change: Change | None = None) -> Change:
    """The usual contract at L5 over real hardware: nothing simulated, both machines' measurements listed."""

    def changed(value: Value) -> None:
        value["environment"] = {"measurements": [measured(SGX), measured(TDX), MEASUREMENT], "simulated": False}
        if change is not None:
            change(value)

    return changed


POLICY = TrustPolicy.model_validate(
    {each: maker.policy().model_dump(exclude_none=True)[each] for each, maker in (("sgx", SGX), ("tdx", TDX))}
    | {"host": {"keys": [HOST]}}
)
COLLATERAL = SGX.collateral(NOW)


def judged(
    show: Callable[[bytes], UnverifiedEvidence | EvidenceSet | None],
    *,
    change: Change | None = None,
    policy: TrustPolicy = POLICY,
    collateral: Collateral = COLLATERAL,
    **facts: Any,
) -> object:
    """What north's keeper decides on evidence over the run's own question."""
    agreed = contract(real(change))
    bound = proof.binding(agreed)
    shown = show(bound.report_data())
    pieces = EvidenceSet.single(shown) if isinstance(shown, UnverifiedEvidence) else shown
    asked = ReleaseRequest(agreed.envelope, bound, pieces)
    return decide(asked, proof.facts(asked, **facts), policy=policy, collateral=collateral, now=NOW)


def read(change: Change) -> SignedContract:
    """What keepers and enclaves do first, with a contract that all signed whatever it says."""
    value = terms_dict()
    real(change)(value)
    return verify_contract(raw_envelope(value))


def afterwards(change: Change) -> SignedContract:
    """The same, with a contract that was changed after all had signed another."""
    value = terms_dict()
    real(change)(value)
    return verify_contract(Envelope(CONTRACT_TYPE, raw_envelope(value).payload, signed(real()).signatures))


def opened(padding: Any) -> object:
    """What an enclave does with the keys that it was given."""
    store: Any = MemoryStore()
    keys: dict[str, DataKey] = {}

    def change(value: Value) -> None:
        for item in value["inputs"].values():
            key = DataKey.generate()
            item["asset"] = write_volume([("a", [b"x"])], key, store, options=SealOptions(padding=padding)).asset
            keys[item["asset"]] = key

    agreed = contract(change)
    granted: Any = {item.owner: SimpleNamespace(data_keys=keys) for item in agreed.terms.inputs.values()}
    return _open_inputs(agreed, granted, store)


def leaving(kind: str, files: Mapping[str, bytes]) -> object:
    return NumberControl(Level.L5).output("metrics", OutputType(kind), files)


def numbers(count: int) -> dict[str, bytes]:
    return {"metrics.json": json.dumps({"n": [1] * count}).encode()}


SEALED = POLICY.model_copy(update={"sealed_images": [measured(TDX)]})
BOTH = TrustPolicy.model_validate(
    {**POLICY.model_dump(exclude_none=True), "simulated": {"keys": [SIMULATOR.verify_key.raw.hex()]}}
)

REFUSALS: dict[str, tuple[Callable[[], object], str, str]] = {
    # what the contract says
    "a party's script": (lambda: read(lambda v: v["steps"][1].update(kind="script")), "E-CONTRACT-01", "script.*may not run at L5: it is a party's code"),
    "a kind of job that nobody knows": (lambda: read(lambda v: v["steps"][0].update(kind="shell")), "E-CONTRACT-01", "no level knows it"),
    "an output of free text": (lambda: read(merge("outputs", "metrics", type="text")), "E-CONTRACT-01", "'metrics' is of type 'text', which can carry free text"),
    "an output of any files": (lambda: read(merge("outputs", "weights", type="files")), "E-CONTRACT-01", "'weights' is of type 'files'"),
    "an output larger than all together": (lambda: read(merge("limits", output_bytes=1)), "E-CONTRACT-01", "larger than all outputs together"),
    "too many runs": (lambda: read(merge(runs=10_001)), "E-CONTRACT-01", "at most 10000 runs"),
    "no measurement": (lambda: read(merge("environment", measurements=[])), "E-CONTRACT-01", "at least one accepted measurement"),
    "a recipient who is no party": (lambda: read(merge("outputs", "weights", to=[STRANGER])), "E-CONTRACT-01", "who is not a party"),
    "another's data as one's own": (lambda: read(lambda v: v["inputs"]["south"].update(asset=v["inputs"]["north"]["asset"])), "E-CONTRACT-01", "another party's too"),
    # what was changed after signing
    "the level lowered": (lambda: afterwards(merge(level="L1")), "E-CONTRACT-02", "did not sign|signature"),
    "an extra recipient": (lambda: afterwards(merge("outputs", "weights", to=["modelco", "clinic"])), "E-CONTRACT-02", "did not sign|signature"),
    "another program": (lambda: afterwards(merge("inputs", "network", asset="sha256:" + "0" * 64)), "E-CONTRACT-02", "did not sign|signature"),
    "another measurement listed": (lambda: afterwards(merge("environment", measurements=["sha256:" + "0" * 64])), "E-CONTRACT-02", "did not sign|signature"),
    "simulation allowed": (lambda: afterwards(merge("environment", simulated=True)), "E-CONTRACT-02", "did not sign|signature"),
    "a signature missing": (lambda: verify_contract(signed(real(), signers=NAMES[1:])), "E-CONTRACT-02", "north"),
    # what the environment shows
    "no evidence": (lambda: judged(lambda _data: None), "E-RELEASE-07", "L5 demands evidence"),
    "evidence of level 4": (lambda: judged(TDX.evidence, collateral=TDX.collateral(NOW)), "E-CONTRACT-05", "'confidential-vm' is not enough for L5. The keeper's trust policy does not list its image as sealed"),
    "a host's statement": (lambda: judged(host_evidence), "E-CONTRACT-05", "'software' is not enough for L5"),
    "a debug enclave": (lambda: judged(lambda data: SGX.evidence(data, debug=True)), "E-EVIDENCE-04", "debug"),
    "simulated evidence, not signed for": (lambda: judged(simulated, policy=BOTH), "E-RELEASE-08", "SIMULATED"),
    "simulated evidence, not in the policy": (lambda: judged(simulated, change=merge("environment", simulated=True)), "E-EVIDENCE-02", r"no section \[simulated\]"),
    "simulated evidence of less": (lambda: judged(lambda data: simulated(data, tee="measured-host"), policy=BOTH, change=merge("environment", simulated=True)), "E-CONTRACT-05", "'measured-host' is not enough for L5"),
    "a kind that nobody knows": (lambda: judged(lambda data: simulated(data, tee="quantum"), policy=BOTH, change=merge("environment", simulated=True)), "E-CONTRACT-05", "no level knows"),
    "another enclave": (lambda: judged(lambda data: SGX.evidence(data, mrenclave=bytes(32))), "E-RELEASE-09", "was measured as sha256:"),
    "evidence for another question": (lambda: judged(lambda _data: SGX.evidence(bytes(64))), "E-EVIDENCE-05", "another contract, run, key or challenge"),
    "evidence of another root": (lambda: judged(IntelMaker("sgx", label="another").evidence), "E-EVIDENCE-02", "root"),
    "an unconfigured keeper": (lambda: judged(SGX.evidence, policy=TrustPolicy()), "E-EVIDENCE-02", r"no section \[sgx\]"),
    "evidence without the vendor's collateral": (lambda: judged(SGX.evidence, collateral=Collateral()), "E-EVIDENCE-10", "collateral"),
    "a piece that nobody asked for": (lambda: judged(lambda data: EvidenceSet({"environment": SGX.evidence(data), "gpu-0": TDX.evidence(data)})), "E-EVIDENCE-12", "Not asked for: gpu-0"),
    # what the keeper knows
    "revoked": (lambda: judged(SGX.evidence, revoked="enough"), "E-RELEASE-03", "enough"),
    "all runs used": (lambda: judged(SGX.evidence, runs_used=2), "E-RELEASE-10", "2 of 2"),
    # what goes in and out
    "an input without padding": (lambda: opened("none"), "E-CONTRACT-05", "sealed without padding"),
    "words among numbers": (lambda: leaving("metrics", {"metrics.json": b'{"note": "patient 7"}'}), "E-JOB-18", "something else than numbers"),
    "words as names of numbers": (lambda: leaving("curve", {"curve.json": b'{"' + b"patient 7 is sick; " * 4 + b'": 1}'}), "E-JOB-18", "64 signs"),
    "another file among numbers": (lambda: leaving("metrics", {"notes.txt": b"patient 7"}), "E-JOB-18", "no .json"),
    "too many numbers": (lambda: leaving("metrics", numbers(10_001)), "E-JOB-18", "more numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_l2_a_contract_at_level_5_refuses_it_and_says_why(name: str) -> None:
    act, code, reason = REFUSALS[name]
    with pytest.raises(PaddockError, match=reason) as refused:
        act()
    assert refused.value.code == code
    assert refused.value.action, "what to do"


def test_l1_and_lets_through_what_is_as_it_should_be() -> None:
    """The same questions with nothing wrong: none of the refusals above is one of everything."""
    assert read(lambda _value: None).terms.level is Level.L5
    assert judged(SGX.evidence)
    assert judged(TDX.evidence, policy=SEALED, collateral=TDX.collateral(NOW))
    assert judged(simulated, policy=BOTH, change=merge("environment", simulated=True))
    assert opened("padme")
    assert leaving("metrics", numbers(10_000))
