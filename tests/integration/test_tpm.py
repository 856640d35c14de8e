"""A TPM for real: swtpm runs, PCRs are extended, it quotes, and a keeper releases keys at L3 for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paddock.attest.tpm import TpmAttester
from paddock.contract import SignedContract
from paddock.crypto.digest import sha256_id
from paddock.crypto.identity import PrivateKeys
from paddock.errors import (
    AttesterUnavailable,
    BindingMismatch,
    CompositionRefused,
    EvidenceNotTrusted,
    LevelRefused,
    MeasurementRefused,
)
from paddock.evidence import Binding, Claims, Collateral, EvidenceSet, TrustPolicy, UnverifiedEvidence, verify_evidence
from paddock.evidence.binding import short_report_data
from paddock.evidence.claims import ENVIRONMENT
from paddock.evidence.runtime_register import runtime_event, runtime_register
from paddock.keeper.keeper import read_release_request
from paddock.release.verdict import environment_found
from tests.fixtures.cast import MEASUREMENT, NOW, RUN, contract, private_keys
from tests.fixtures.hosts import HOST, host_evidence
from tests.fixtures.keepers import KeptBy, bound_to, deposit_all, make_keeper
from tests.fixtures.proof import RUN_KEYS
from tests.fixtures.software_tpm import BOOT, MISSING, REASON, Swtpm, start
from tests.fixtures.vendors.tpm import record, spec_id

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
REPORT = bytes(range(64))


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """A machine after its boot, with its attestation key."""
    tpm = start(tmp_path_factory.mktemp("tpm") / "state")
    try:
        for register, data in BOOT:
            tpm.extend(register, data)
        tpm.attester().prepare()
        yield tpm
    finally:
        tpm.end()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """Another machine that booted the same."""
    tpm = start(tmp_path_factory.mktemp("stranger") / "state")
    try:
        for register, data in BOOT:
            tpm.extend(register, data)
        tpm.attester().prepare()
        yield tpm
    finally:
        tpm.end()


def policy(attester: TpmAttester, **section: Any) -> TrustPolicy:
    return TrustPolicy.model_validate({"tpm": {"roots": [attester.key().name], **section}})


def judged(attester: TpmAttester, evidence: UnverifiedEvidence) -> Claims:
    return verify_evidence(evidence, policy=policy(attester), collateral=Collateral(), now=NOW)


@pytest.mark.parametrize(("kind", "ak"), [("rsa", "0x81008f01"), ("ecc", "0x81008f02")])
def test_a_quote_of_either_kind_of_key_is_verified(booted: Swtpm, kind: str, ak: str) -> None:
    attester = booted.attester(f";ak={ak}")
    key = attester.prepare(kind)
    assert attester.prepare(kind) == key, "what is there stays"
    assert attester.available()
    claims = judged(attester, attester.attest(REPORT))
    assert claims.tee == "tpm"
    assert claims.report_data == REPORT
    assert claims.signer == key.name
    assert set(claims.registers) == {f"sha256:{number:02}" for number in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)}
    assert claims.registers["sha256:01"] == "00" * 32 != claims.registers["sha256:00"]
    assert not claims.settings
    by_key = TrustPolicy.model_validate({"tpm": {"roots": [key.key.fingerprint()]}})
    verify_evidence(attester.attest(REPORT), policy=by_key, collateral=Collateral(), now=NOW)


def test_several_banks_are_quoted_in_the_order_of_the_tpm(booted: Swtpm) -> None:
    attester = booted.attester(";pcrs=sha384:7,0;pcrs=sha256:14,3;pcrs=sha1:0")
    claims = judged(attester, attester.attest(REPORT))
    assert set(claims.registers) == {"sha384:00", "sha384:07", "sha256:03", "sha256:14", "sha1:00"}


def test_a_tpm_whose_field_is_short_gets_the_short_form(booted: Swtpm, monkeypatch: pytest.MonkeyPatch) -> None:
    attester = booted.attester()
    run = TpmAttester._run

    def short(self: TpmAttester, tool: str, *arguments: str) -> str:
        if tool == "tpm2_quote" and REPORT.hex() in arguments:
            raise AttesterUnavailable("the field has 34 bytes")
        return run(self, tool, *arguments)

    monkeypatch.setattr(TpmAttester, "_run", short)
    assert judged(attester, attester.attest(REPORT)).report_data == short_report_data(REPORT)


def test_the_firmwares_log_travels_as_far_as_it_explains_the_registers(booted: Swtpm, tmp_path: Path) -> None:
    log = tmp_path / "binary_bios_measurements"
    records = [record(register, data) for register, data in BOOT]
    runtime = record(7, b"never extended into this TPM")
    log.write_bytes(spec_id() + b"".join(records) + runtime)
    claims = judged(booted.attester(), booted.attester(f";log={log}").attest(REPORT))
    assert claims.details["event_log_records"] == len(BOOT)
    assert claims.details["event_log"] == sha256_id(spec_id() + b"".join(records))
    log.write_bytes(spec_id() + b"".join(records[1:]))
    claims = judged(booted.attester(), booted.attester(f";log={log}").attest(REPORT))
    assert "event_log" not in claims.details, "a log without the firmware's own records counts nowhere"
    log.write_bytes(b"no log")
    with pytest.raises(AttesterUnavailable, match="is not one"):
        booted.attester(f";log={log}").attest(REPORT)
    with pytest.raises(AttesterUnavailable, match="cannot be read"):
        booted.attester(f";log={tmp_path / 'nowhere'}").attest(REPORT)


# --- a keeper and a contract at L3: the host's statement, and a quote that holds the runtime it names -----------------


def boot(tpm: Swtpm) -> TpmAttester:
    """What a machine does until its host's attester answers: measured boot, then the runtime and the host's key."""
    for register, data in BOOT:
        tpm.extend(register, data)
    attester = tpm.attester()
    attester.prepare("ecc")
    hold(attester)
    return attester


def hold(attester: TpmAttester, measurement: str = MEASUREMENT, key: str = HOST) -> None:
    attester.hold("sha256", 13, event=runtime_event(measurement, key), expected=runtime_register(measurement, key))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TpmAttester]:
    tpm = start(tmp_path_factory.mktemp("measured") / "state")
    try:
        yield boot(tpm)
    finally:
        tpm.end()


def at_l3(*measurements: str) -> SignedContract:
    def change(value: dict[str, Any]) -> None:
        value["level"] = "L3"
        value["environment"] = {"measurements": [MEASUREMENT, *measurements], "simulated": False}

    return contract(change)


@pytest.fixture
def kept(measured: TpmAttester, tmp_path: Path) -> Iterator[KeptBy]:
    """North's keeper, whose policy names this host's key, its TPM's, and nothing else."""
    made = make_keeper(tmp_path / "keepers", "north")
    trusting(made, measured)
    yield made
    made.keeper.close()


def trusting(kept: KeptBy, *attesters: TpmAttester) -> None:
    roots = ", ".join(f'"{each.key().name}"' for each in attesters)
    text = f'[host]\nkeys = ["{HOST}"]\n[tpm]\nroots = [{roots}]\n[levels.L3]\nallow = ["host"]\n'
    (kept.home.folder / "trust.toml").write_text(text, encoding="utf-8")


def asked(signed: SignedContract, bound: Binding, pieces: EvidenceSet) -> Any:
    value = {"contract": signed.envelope.to_dict(), "binding": bound.to_dict(), "evidence": pieces.to_wrapper()}
    return read_release_request(value)


def agreed(kept: KeptBy, attester: TpmAttester) -> SignedContract:
    """A contract over the runtime and over what this machine measures now, with north's data deposited."""
    signed = at_l3(judged(attester, attester.attest(REPORT)).measurement)
    deposit_all(kept, signed)
    return signed


def both(attester: TpmAttester, report_data: bytes, **statement: Any) -> EvidenceSet:
    """The host's statement and the quote, over one question."""
    return EvidenceSet({ENVIRONMENT: host_evidence(report_data, **statement), "host": attester.attest(report_data)})


def proof(
    kept: KeptBy, signed: SignedContract, attester: TpmAttester, keys: PrivateKeys = RUN_KEYS, **statement: Any
) -> Any:
    """Challenge, evidence over it, request: what an enclave does."""
    bound = bound_to({"north": kept}, signed, keys=keys)
    return asked(signed, bound, both(attester, bound.report_data(), **statement))


def test_a_keeper_releases_keys_at_l3_to_a_host_and_tpm_that_it_knows(measured: TpmAttester, kept: KeptBy) -> None:
    signed = agreed(kept, measured)
    answer = kept.keeper.release(proof(kept, signed, measured))
    assert answer["grant"]
    assert environment_found(answer["verdict"], kept.owner.keeper.public().sign) == "measured-host"


def test_half_of_it_is_not_enough(measured: TpmAttester, kept: KeptBy) -> None:
    signed = agreed(kept, measured)
    bound = bound_to({"north": kept}, signed)
    whole = both(measured, bound.report_data()).pieces
    with pytest.raises(LevelRefused, match="TPM's quote beside it"):
        kept.keeper.release(asked(signed, bound, EvidenceSet.single(whole[ENVIRONMENT])))
    with pytest.raises(LevelRefused, match="says nothing of the runtime"):
        kept.keeper.release(asked(signed, bound, EvidenceSet.single(whole["host"])))
    with pytest.raises(CompositionRefused):  # exchanged
        kept.keeper.release(asked(signed, bound, EvidenceSet({ENVIRONMENT: whole["host"], "host": whole[ENVIRONMENT]})))


def test_a_tpm_that_does_not_hold_the_runtime_is_refused(booted: Swtpm, measured: TpmAttester, kept: KeptBy) -> None:
    """A machine that booted as signed, and whose statement is signed by the right key; but nothing joins the two."""
    trusting(kept, measured, booted.attester())
    signed = agreed(kept, booted.attester())
    with pytest.raises(CompositionRefused, match="does not hold the runtime"):
        kept.keeper.release(proof(kept, signed, booted.attester()))


def test_a_runtime_changed_since_the_start_is_refused(kept: KeptBy, tmp_path: Path) -> None:
    other = sha256_id(b"a runtime with a back door")
    tpm = start(tmp_path / "state")
    try:
        attester = boot(tpm)
        trusting(kept, attester)
        signed = agreed(kept, attester)
        with pytest.raises(CompositionRefused):  # the statement says what runs now; the register what was started
            kept.keeper.release(proof(kept, signed, attester, measurement=other))
        with pytest.raises(AttesterUnavailable, match="Restart it"):  # and it cannot be set back
            hold(attester, other)
        tpm.extend(13, b"the agreed runtime, said the changed one")
        with pytest.raises(CompositionRefused):
            kept.keeper.release(proof(kept, signed, attester))
    finally:
        tpm.end()


def test_a_changed_register_is_refused(kept: KeptBy, tmp_path: Path) -> None:
    tpm = start(tmp_path / "state")
    try:
        attester = boot(tpm)
        trusting(kept, attester)
        signed = agreed(kept, attester)
        tpm.extend(9, b"another initial file system")
        with pytest.raises(MeasurementRefused) as refused:
            kept.keeper.release(proof(kept, signed, attester))
        assert refused.value.code == "E-RELEASE-09"
        # A selection that leaves the changed register out is another measurement too.
        less = tpm.attester(";pcrs=sha256:0,1,2,3,4,5,6,7,8,11,12,13,14")
        with pytest.raises(MeasurementRefused):
            kept.keeper.release(proof(kept, signed, less))
    finally:
        tpm.end()


def test_another_machines_key_is_not_trusted(kept: KeptBy, measured: TpmAttester, stranger: Swtpm) -> None:
    hold(stranger.attester())
    signed = agreed(kept, measured)
    same = judged(stranger.attester(), stranger.attester().attest(REPORT)).measurement
    assert same in signed.terms.environment.measurements, "only the key tells them apart"
    with pytest.raises(EvidenceNotTrusted):
        kept.keeper.release(proof(kept, signed, stranger.attester()))


def test_a_quote_for_another_question_is_refused(measured: TpmAttester, kept: KeptBy) -> None:
    signed = agreed(kept, measured)
    first = bound_to({"north": kept}, signed)
    old = both(measured, first.report_data())
    again = bound_to({"north": kept}, signed)
    with pytest.raises(BindingMismatch):
        kept.keeper.release(asked(signed, again, old))
    fresh = host_evidence(again.report_data())  # a new statement does not make an old quote new
    with pytest.raises(BindingMismatch):
        kept.keeper.release(asked(signed, again, EvidenceSet({**old.pieces, ENVIRONMENT: fresh})))
    thief = bound_to({"north": kept}, signed, keys=private_keys("thief"))
    with pytest.raises(BindingMismatch):
        kept.keeper.release(asked(signed, thief, old))
    assert first.run == RUN


def test_what_is_not_there_is_said_in_words_that_help(booted: Swtpm, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = booted.attester(";ak=0x81008fff")
    assert not empty.available()
    with pytest.raises(AttesterUnavailable, match=r"Is there an attestation key under 0x81008fff\?"):
        empty.attest(REPORT)
    with pytest.raises(AttesterUnavailable, match="tpmrm0"):
        TpmAttester.from_address("tcti=device:/dev/there-is-none").attest(REPORT)
    booted.tool("tpm2_createprimary", "-C", "o", "-c", str(booted.folder / "storage.ctx"))
    booted.tool("tpm2_evictcontrol", "-C", "o", "-c", str(booted.folder / "storage.ctx"), "0x81008f03")
    booted.tool("tpm2_flushcontext", "-t")
    with pytest.raises(AttesterUnavailable, match="no attestation key"):
        booted.attester(";ak=0x81008f03").key()
    monkeypatch.setattr("paddock.attest.tpm._ENVIRONMENT", {"PATH": "/nowhere"})
    with pytest.raises(AttesterUnavailable, match="apt-get install tpm2-tools"):
        booted.attester().attest(REPORT)


@pytest.mark.parametrize(
    "address",
    ["tcti=cmd:true", "tcti=device:/dev/tpm0;tcti=device:/dev/tpm0", "ak=81008f01", "ak=0x81008F01", "what=1", "pcrs=",
     "pcrs=md5:0", "pcrs=sha256:24", "pcrs=sha256:0;pcrs=sha256:1", "tcti=device:/dev/tpm0 -x"],
)  # fmt: skip
def test_an_address_that_is_not_understood_is_refused(address: str) -> None:
    with pytest.raises(AttesterUnavailable):
        TpmAttester.from_address(address)
