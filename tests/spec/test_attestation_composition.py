"""A-16 and A-17: several pieces of evidence are one proof only if they are the right ones, for one question."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

import pytest

from paddock.errors import (
    BindingMismatch,
    CompositionRefused,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    SettingRefused,
    TrustPolicyInvalid,
)
from paddock.evidence import (
    Collateral,
    EvidenceSet,
    TrustPolicy,
    UnverifiedEvidence,
    Verdict,
    appraise,
    read_trust_policy,
)
from paddock.evidence import provider as providers
from paddock.evidence.claims import COLLECTION_MEMBER, COLLECTION_TYPE, ENVIRONMENT, GPUS, HOST, Claims
from paddock.evidence.provider import installed_providers
from paddock.evidence.runtime_register import RUNTIME_REGISTER, runtime_event, runtime_register
from paddock.evidence.trust import SimulatedTrust, VendorTrust
from tests.fixtures.cast import MEASUREMENT, NOW, OTHER_SIMULATOR, SIMULATOR
from tests.fixtures.proof import evidence
from tests.fixtures.vendors.nvidia import OPAQUE, NvidiaMaker

REPORT, OTHER_REPORT = bytes(range(64)), bytes(64)
HOPPER, BLACKWELL = NvidiaMaker("hopper"), NvidiaMaker("blackwell")
GPUS_OF_ONE_VENDOR = VendorTrust(roots=[HOPPER.root_pem, BLACKWELL.root_pem])
"""Two GPUs of two models, whose makers have a root each."""


def machine(report_data: bytes = REPORT, **claims: Any) -> UnverifiedEvidence:
    return evidence(report_data, **{"tee": "confidential-vm", **claims})


def host(report_data: bytes = REPORT) -> UnverifiedEvidence:
    return evidence(report_data, tee="tpm")


def policy(*, require: tuple[str, ...] = (), allow: tuple[str, ...] = (), **members: Any) -> TrustPolicy:
    simulated = SimulatedTrust(keys=[SIMULATOR.verify_key.raw.hex()])
    read = TrustPolicy.model_validate({"levels": {"L4": {"require": list(require), "allow": list(allow)}}, **members})
    return read.model_copy(update={"simulated": simulated, "nvidia": GPUS_OF_ONE_VENDOR})


def judge(pieces: dict[str, UnverifiedEvidence], policy: TrustPolicy, level: str = "L4") -> Verdict:
    return appraise(
        EvidenceSet(pieces), level=level, report_data=REPORT, policy=policy, collateral=Collateral(), now=NOW
    )


WITH_GPU = policy(require=("gpu-0",))
CPU_AND_GPU = {ENVIRONMENT: machine(), "gpu-0": HOPPER.evidence(REPORT)}


def test_a16_machine_and_gpu_on_one_question_are_accepted() -> None:
    verdict = judge(CPU_AND_GPU, WITH_GPU)
    assert verdict.environment.tee == "confidential-vm"
    assert verdict.claims["gpu-0"].provider == "nvidia"
    assert verdict.claims["gpu-0"].tee == "gpu"
    assert verdict.simulated  # since one piece is
    two = {**CPU_AND_GPU, "gpu-1": BLACKWELL.evidence(REPORT), HOST: host()}
    assert set(judge(two, policy(require=("gpu-0", "gpu-1", "host"))).claims) == set(two)
    assert set(judge(two, policy(require=("gpu-0",), allow=("gpu-1", "host"))).claims) == set(two)


@pytest.mark.parametrize("missing", [ENVIRONMENT, "gpu-0", HOST])
def test_a16_a_missing_piece_is_a_refusal(missing: str) -> None:
    whole = {**CPU_AND_GPU, HOST: host()}
    demanded = policy(require=("gpu-0", "host"))
    judge(whole, demanded)
    with pytest.raises(CompositionRefused, match=missing):
        judge({label: piece for label, piece in whole.items() if label != missing}, demanded)
    with pytest.raises(CompositionRefused):
        judge({}, demanded)


def test_a16_a_piece_that_nobody_demands_or_allows_is_a_refusal() -> None:
    for label, piece in (("gpu-0", HOPPER.evidence(REPORT)), ("gpu-7", HOPPER.evidence(REPORT)), (HOST, host())):
        with pytest.raises(CompositionRefused, match=label):
            judge({ENVIRONMENT: machine(), label: piece}, policy())
    with pytest.raises(CompositionRefused, match="gpu-1"):
        judge({**CPU_AND_GPU, "gpu-1": BLACKWELL.evidence(REPORT)}, WITH_GPU)


def test_a16_what_is_demanded_is_that_of_the_contracts_level() -> None:
    judge(CPU_AND_GPU, WITH_GPU, "L4")
    for level in ("L1", "L2", "L3", "L5", "", "l4"):
        with pytest.raises(CompositionRefused):
            judge(CPU_AND_GPU, WITH_GPU, level)
        judge({ENVIRONMENT: machine()}, WITH_GPU, level)
    with pytest.raises(CompositionRefused):
        judge({ENVIRONMENT: machine()}, WITH_GPU, "L4")


@pytest.mark.parametrize(
    "label", ["gpu", "gpu-8", "gpu-00", "GPU-0", "Host", "", " host", "environment\0", COLLECTION_MEMBER]
)
def test_a16_an_unknown_label_is_a_refusal(label: str) -> None:
    with pytest.raises(CompositionRefused):
        judge({ENVIRONMENT: machine(), label: HOPPER.evidence(REPORT)}, policy(allow=(*GPUS, HOST)))
    wire = {COLLECTION_MEMBER: COLLECTION_TYPE, ENVIRONMENT: machine().to_wrapper()}
    with pytest.raises(EvidenceMalformed):
        EvidenceSet.from_wrapper({**wire, label: HOPPER.evidence(REPORT).to_wrapper()})
    with pytest.raises(TrustPolicyInvalid):
        read_trust_policy(f"[levels.L4]\nrequire = ['{label.encode('unicode_escape').decode()}']")


def test_a16_evidence_of_one_kind_under_the_label_of_another_is_a_refusal() -> None:
    everything = policy(allow=(*GPUS, HOST))
    gpu = HOPPER.evidence(REPORT)
    for pieces in (
        {ENVIRONMENT: gpu},
        {ENVIRONMENT: machine(), "gpu-0": machine()},
        {ENVIRONMENT: machine(), "gpu-0": host()},
        {ENVIRONMENT: machine(), HOST: gpu},
        {ENVIRONMENT: machine(), HOST: machine()},
        {ENVIRONMENT: gpu, "gpu-0": machine()},
    ):
        with pytest.raises(CompositionRefused, match="is evidence of"):
            judge(pieces, everything)


def test_a16_the_same_piece_twice_is_a_refusal() -> None:
    two = policy(require=("gpu-0", "gpu-1"))
    with pytest.raises((EvidenceMalformed, CompositionRefused)):
        judge({**CPU_AND_GPU, "gpu-1": CPU_AND_GPU["gpu-0"]}, two)
    # One GPU that was asked twice answers with other bytes.
    again = HOPPER.evidence(REPORT)
    assert again.body != CPU_AND_GPU["gpu-0"].body
    with pytest.raises(CompositionRefused, match="same device"):
        judge({**CPU_AND_GPU, "gpu-1": again}, two)
    with pytest.raises(EvidenceMalformed):
        judge({ENVIRONMENT: host(), HOST: host()}, policy(allow=(HOST,)))


def test_a16_pieces_for_different_questions_are_no_proof() -> None:
    for pieces in (
        {ENVIRONMENT: machine(), "gpu-0": HOPPER.evidence(OTHER_REPORT)},
        {ENVIRONMENT: machine(OTHER_REPORT), "gpu-0": HOPPER.evidence(REPORT)},
        {ENVIRONMENT: machine(OTHER_REPORT), "gpu-0": HOPPER.evidence(OTHER_REPORT)},
    ):
        with pytest.raises(BindingMismatch):
            judge(pieces, WITH_GPU)
    # What a GPU holds is the short form, and of nothing shorter or other than the whole report data.
    with pytest.raises(BindingMismatch):
        judge({ENVIRONMENT: machine(), "gpu-0": HOPPER.evidence(REPORT[:32])}, WITH_GPU)


def test_a16_one_bad_piece_spoils_the_proof() -> None:
    with pytest.raises(DebugRefused):
        judge({**CPU_AND_GPU, ENVIRONMENT: machine(debug=True)}, WITH_GPU)
    with pytest.raises(EvidenceNotTrusted):
        judge({**CPU_AND_GPU, ENVIRONMENT: evidence(REPORT, OTHER_SIMULATOR, tee="confidential-vm")}, WITH_GPU)
    with pytest.raises(EvidenceNotTrusted):
        judge({**CPU_AND_GPU, "gpu-0": NvidiaMaker("hopper", "stranger").evidence(REPORT)}, WITH_GPU)
    with pytest.raises(SettingRefused):
        judge({**CPU_AND_GPU, "gpu-0": HOPPER.evidence(REPORT, opaque={**OPAQUE, 21: b"\xaa"})}, WITH_GPU)
    with pytest.raises(DebugRefused):
        judge({**CPU_AND_GPU, "gpu-0": BLACKWELL.evidence(REPORT, leaf={"flags": b"\x10\0\0\1"})}, WITH_GPU)
    with pytest.raises(EvidenceNotTrusted):
        judge(CPU_AND_GPU, WITH_GPU.model_copy(update={"nvidia": None}))


def test_a16_a_collection_on_the_wire_is_the_same_pieces() -> None:
    pieces = EvidenceSet({**CPU_AND_GPU, HOST: host()})
    assert EvidenceSet.from_wrapper(pieces.to_wrapper()) == pieces
    assert pieces.digest() != EvidenceSet(CPU_AND_GPU).digest()
    swapped = EvidenceSet({**CPU_AND_GPU, "gpu-0": CPU_AND_GPU[ENVIRONMENT], ENVIRONMENT: CPU_AND_GPU["gpu-0"]})
    assert swapped.digest() != EvidenceSet(CPU_AND_GPU).digest()


def test_a17_a_machine_is_sealed_only_if_the_policy_lists_its_measurement() -> None:
    listed = policy(sealed_images=[MEASUREMENT])
    assert judge({ENVIRONMENT: machine()}, listed).environment.tee == "sealed-vm"
    another = policy(sealed_images=["sha256:" + "0" * 64])
    for unlisted in (policy(), another):
        assert judge({ENVIRONMENT: machine()}, unlisted).environment.tee == "confidential-vm"


def test_a17_evidence_cannot_say_of_itself_that_it_is_sealed() -> None:
    proof = {ENVIRONMENT: machine(tee="sealed-vm")}
    assert judge(proof, policy()).environment.tee == "confidential-vm"
    assert judge(proof, policy(sealed_images=[MEASUREMENT])).environment.tee == "sealed-vm"


@pytest.mark.parametrize("tee", ["software", "tpm", "enclave", "none"])
def test_a17_nothing_but_a_confidential_machine_becomes_sealed(tee: str) -> None:
    listed = policy(sealed_images=[MEASUREMENT])
    assert judge({ENVIRONMENT: machine(tee=tee)}, listed).environment.tee == tee


def test_a17_a_quote_alone_is_of_a_measured_host_only_if_the_policy_lists_its_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "installed_providers", lambda: {**installed_providers(), "tpm": Quoting({})})
    quote = {ENVIRONMENT: UnverifiedEvidence("application/vnd.test-quote", REPORT)}
    trusting = policy().model_copy(update={"tpm": VendorTrust(roots=["sha256:" + "0" * 64])})
    found = judge(quote, trusting, "L3").environment
    assert found.tee == "tpm"
    listed = trusting.model_copy(update={"sealed_images": [found.measurement]})
    assert judge(quote, listed, "L3").environment.tee == "measured-host"
    another = trusting.model_copy(update={"sealed_images": ["sha256:" + "0" * 64]})
    assert judge(quote, another, "L3").environment.tee == "tpm"


def test_a17_a_list_of_sealed_images_holds_digests() -> None:
    for text in ("x", "sha256:00", MEASUREMENT.upper(), MEASUREMENT + " "):
        with pytest.raises(TrustPolicyInvalid):
            read_trust_policy(f"sealed_images = ['{text}']")


def test_a17_a_plug_in_cannot_seal_a_machine_either(monkeypatch: pytest.MonkeyPatch) -> None:
    real = installed_providers()["simulated"]

    class Boaster:
        name, media_type, simulated, trust_type = "simulated", real.media_type, True, real.trust_type

        def verify(self, body: bytes, *, trust: Any, collateral: Collateral, now: datetime) -> Claims:
            return replace(real.verify(body, trust=trust, collateral=collateral, now=now), tee="sealed-vm")

    monkeypatch.setattr(providers, "installed_providers", lambda: {"simulated": Boaster()})
    assert judge({ENVIRONMENT: machine()}, policy()).environment.tee == "confidential-vm"


# --- a measured host -----------------------------------------------------------------------------------------


STATEMENT_KEY = SIMULATOR.verify_key.raw.hex()


class Quoting:
    """A TPM's provider whose registers a test chooses."""

    name, media_type, simulated, trust_type = "tpm", "application/vnd.test-quote", False, VendorTrust

    def __init__(self, registers: dict[str, str], tee: str = "tpm") -> None:
        self._registers, self._tee = registers, tee

    def recognises(self, body: bytes) -> bool:
        return False

    def needs(self, body: bytes) -> tuple[()]:
        return ()

    def verify(self, body: bytes, *, trust: Any, collateral: Collateral, now: datetime) -> Claims:
        return Claims(
            provider="tpm",
            tee=self._tee,
            measurement=MEASUREMENT,
            report_data=body,
            debug=False,
            simulated=False,
            signer="sha256:" + "0" * 64,
            issued=None,
            registers=self._registers,
        )


def measured(
    monkeypatch: pytest.MonkeyPatch, registers: dict[str, str], *, pieces: tuple[str, ...] = (ENVIRONMENT, HOST)
) -> Verdict:
    """A statement of software, and beside it a quote over these registers."""
    known = {**installed_providers(), "tpm": Quoting(registers)}
    monkeypatch.setattr(providers, "installed_providers", lambda: known)
    both = {
        ENVIRONMENT: evidence(REPORT, tee="software"),
        HOST: UnverifiedEvidence("application/vnd.test-quote", REPORT),
    }
    demanding = policy().model_copy(update={"tpm": VendorTrust(roots=["sha256:" + "0" * 64])})
    beside = TrustPolicy.model_validate({"levels": {"L3": {"allow": ["host"]}}})
    chosen = {label: both[label] for label in pieces}
    return judge(chosen, demanding.model_copy(update={"levels": beside.levels}), "L3")


def test_a26_a_host_is_measured_by_a_quote_that_holds_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    register = runtime_register(MEASUREMENT, STATEMENT_KEY).hex()
    verdict = measured(monkeypatch, {"sha256:00": "11" * 32, RUNTIME_REGISTER: register})
    assert verdict.environment.tee == "measured-host"
    assert verdict.claims[HOST].tee == "tpm"
    assert measured(monkeypatch, {}, pieces=(ENVIRONMENT,)).environment.tee == "software"


@pytest.mark.parametrize(
    "registers",
    [
        {},
        {"sha256:00": "11" * 32},
        {RUNTIME_REGISTER: "00" * 32},
        {RUNTIME_REGISTER: runtime_register("sha256:" + "0" * 64, STATEMENT_KEY).hex()},
        {RUNTIME_REGISTER: runtime_register(MEASUREMENT, "0" * 64).hex()},
        {RUNTIME_REGISTER: runtime_event(MEASUREMENT, STATEMENT_KEY).hex()},
        {
            RUNTIME_REGISTER: sha256(
                runtime_register(MEASUREMENT, STATEMENT_KEY) + runtime_event(MEASUREMENT, STATEMENT_KEY)
            ).hexdigest()
        },
        {"sha384:13": runtime_register(MEASUREMENT, STATEMENT_KEY).hex()},
        {"sha256:14": runtime_register(MEASUREMENT, STATEMENT_KEY).hex()},
    ],
    ids=["no register", "boot alone", "empty", "another runtime", "another key", "set, not extended", "twice", "another bank", "another register"],
)  # fmt: skip
def test_a26_a_quote_that_does_not_hold_the_runtime_is_refused(
    monkeypatch: pytest.MonkeyPatch, registers: dict[str, str]
) -> None:
    with pytest.raises(CompositionRefused, match="runtime"):
        measured(monkeypatch, registers)


def test_a26_no_evidence_says_of_itself_that_its_host_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**installed_providers(), "tpm": Quoting({}, tee="measured-host")}
    monkeypatch.setattr(providers, "installed_providers", lambda: known)
    alone = {ENVIRONMENT: UnverifiedEvidence("application/vnd.test-quote", REPORT)}
    trusting = policy().model_copy(update={"tpm": VendorTrust(roots=["sha256:" + "0" * 64])})
    assert judge(alone, trusting, "L3").environment.tee == "software"
    # A simulator stands in for the whole host, and says SIMULATED.
    verdict = judge({ENVIRONMENT: evidence(REPORT, tee="measured-host")}, policy(), "L3")
    assert (verdict.environment.tee, verdict.simulated) == ("measured-host", True)
