"""One test or more per rule of docs/spec/attestation.md; each tries to break its rule."""

from __future__ import annotations

import base64
import json
import os
import platform
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from paddock.attest import host_service
from paddock.contract.levels import Level, Tee, check_evidence_allowed
from paddock.crypto.canonical import canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import write_moment
from paddock.crypto.signing import SigningKey
from paddock.errors import (
    BindingMismatch,
    DebugRefused,
    EvidenceMalformed,
    EvidenceNotTrusted,
    EvidenceRefused,
    EvidenceStale,
    LevelRefused,
    SettingRefused,
    TcbRefused,
    TrustPolicyInvalid,
)
from paddock.evidence import (
    Binding,
    Challenge,
    Collateral,
    TrustPolicy,
    UnverifiedEvidence,
    read_trust_policy,
    verify_evidence,
)
from paddock.evidence import measurement as measuring
from paddock.evidence import provider as providers
from paddock.evidence.claims import MAX_EVIDENCE_BYTES, Claims
from paddock.evidence.providers.host import MEDIA_TYPE as HOST_TYPE
from paddock.evidence.providers.simulated import MEDIA_TYPE, SimulatedProvider
from paddock.evidence.trust import SimulatedTrust
from tests.fixtures.cast import (
    MEASUREMENT,
    NOW,
    OTHER_SIMULATOR,
    SIMULATOR,
    contract,
    member,
    private_keys,
)
from tests.fixtures.hosts import HOST, HOST_KEY, OTHER_HOST_KEY, host_evidence, host_policy
from tests.fixtures.proof import POLICY, RUN_KEYS, binding, evidence, statement

REPORT = bytes(range(64))


def _verify(proof: UnverifiedEvidence, policy: TrustPolicy = POLICY, now: Any = NOW) -> Claims:
    return verify_evidence(proof, policy=policy, collateral=Collateral(), now=now)


def test_a1_evidence_of_a_type_that_no_enabled_provider_reads_is_refused() -> None:
    proof = evidence(REPORT)
    assert _verify(proof).report_data == REPORT
    for media_type in ("", "application/json", MEDIA_TYPE.upper(), MEDIA_TYPE + " ", "application/vnd.intel.sgx"):
        with pytest.raises(EvidenceNotTrusted):
            _verify(replace(proof, media_type=media_type))


def test_a1_a_provider_without_a_section_in_the_policy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedProvider, "verify", lambda *_, **_with: pytest.fail("it was asked"))
    for text in ("", "[nitro]\nroots = ['aws-nitro-g1']\n", "[plugins.other]\n"):
        with pytest.raises(EvidenceNotTrusted, match=r"no section \[simulated\]"):
            _verify(evidence(REPORT), policy=read_trust_policy(text))


def test_a1_a_plug_in_is_asked_only_where_the_policy_has_a_section_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(SimulatedProvider):
        name, media_type = "other", "application/vnd.other"

        def verify(self, body: bytes, *, trust: Any, collateral: Collateral, now: datetime) -> Claims:
            return replace(super().verify(body, trust=trust, collateral=collateral, now=now), provider="other")

    monkeypatch.setattr(providers, "installed_providers", lambda: {"other": Other()})
    proof = replace(evidence(REPORT), media_type="application/vnd.other")
    key = SIMULATOR.verify_key.raw.hex()
    with pytest.raises(EvidenceNotTrusted):
        _verify(proof)
    assert _verify(proof, policy=read_trust_policy(f"[plugins.other]\nkeys = ['{key}']\n")).provider == "other"
    with pytest.raises(TrustPolicyInvalid, match=r"plugins\.other\.keys"):
        _verify(proof, policy=read_trust_policy("[plugins.other]\n"))


def test_a1_a_provider_that_cannot_be_loaded_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name = "broken"

        def load(self) -> Any:
            raise ImportError("its library is missing")

    monkeypatch.setattr(providers, "entry_points", lambda **_: [Broken()])
    assert not providers.installed_providers.__wrapped__()


def test_a1_evidence_has_a_bound_before_anything_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedProvider, "verify", lambda *_, **_with: pytest.fail("it was read"))
    with pytest.raises(EvidenceMalformed):
        _verify(UnverifiedEvidence(MEDIA_TYPE, bytes(MAX_EVIDENCE_BYTES + 1)))


def test_a2_only_a_signer_that_the_policy_names_is_believed() -> None:
    assert _verify(evidence(REPORT)).signer == SIMULATOR.verify_key.raw.hex()
    with pytest.raises(EvidenceNotTrusted):
        _verify(evidence(REPORT, OTHER_SIMULATOR))
    # the key id says otherwise, and decides nothing
    payload = canonical(statement(REPORT).model_dump(mode="json"))
    forged = Envelope.sign(MEDIA_TYPE, payload, OTHER_SIMULATOR, SIMULATOR.verify_key.raw.hex())
    with pytest.raises(EvidenceNotTrusted):
        _verify(UnverifiedEvidence(MEDIA_TYPE, forged.to_json()))


def test_a2_every_changed_byte_is_noticed() -> None:
    proof = evidence(REPORT)
    for index in range(0, len(proof.body), 7):
        changed = bytearray(proof.body)
        changed[index] ^= 1
        with pytest.raises(EvidenceRefused):
            _verify(replace(proof, body=bytes(changed)))


@pytest.mark.parametrize("fault", [KeyError("x"), RecursionError(), ValueError(), RuntimeError(), MemoryError()])
def test_a2_a_provider_that_fails_is_no_way_through(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(_self: SimulatedProvider, _body: bytes, **_with: Any) -> Claims:
        raise fault

    monkeypatch.setattr(SimulatedProvider, "verify", verify)
    with pytest.raises(EvidenceMalformed):
        _verify(evidence(REPORT))


def test_a3_evidence_counts_for_one_contract_run_key_and_list_of_challenges() -> None:
    bound = binding(contract())
    bound.check(bound.report_data())
    first, second, *rest = bound.challenges
    others = [
        replace(bound, contract="sha256:" + "0" * 64),
        replace(bound, run="f" * 32),
        replace(bound, keys=private_keys("another run").public()),
        replace(bound, keys=replace(bound.keys, seal=member("north").public.seal)),
        replace(bound, challenges=(second, first, *rest)),
        replace(bound, challenges=bound.challenges[:-1]),
        replace(bound, challenges=(*bound.challenges, first)),
        replace(bound, challenges=(replace(first, nonce="0" * 64), second, *rest)),
        replace(bound, challenges=(replace(first, keeper=second.keeper), second, *rest)),
        replace(bound, challenges=()),
    ]
    for other in others:
        with pytest.raises(BindingMismatch):
            other.check(bound.report_data())
    for data in (b"", bytes(64), bound.report_data()[:-1], bound.report_data() + b"\0"):
        with pytest.raises(BindingMismatch):
            bound.check(data)


def test_a3_two_bindings_never_read_the_same() -> None:
    # Members are apart by JSON, so text does not wander from one into the next.
    bound = binding(contract())
    one = replace(bound, challenges=(Challenge("ab", "c"),))
    two = replace(bound, challenges=(Challenge("a", "bc"),))
    assert one.report_data() != two.report_data()


def test_a4_old_evidence_and_evidence_from_the_future_are_refused() -> None:
    proof = evidence(REPORT)
    for seconds in (300, 0, -60):
        _verify(proof, now=NOW + timedelta(seconds=seconds))
    for seconds in (301, -61, 10**8):
        with pytest.raises(EvidenceStale):
            _verify(proof, now=NOW + timedelta(seconds=seconds))
    strict = TrustPolicy(max_age_seconds=1, simulated=POLICY.simulated)
    with pytest.raises(EvidenceStale):
        _verify(proof, policy=strict, now=NOW + timedelta(seconds=2))


def test_a5_an_environment_that_can_be_looked_into_is_refused() -> None:
    with pytest.raises(DebugRefused):
        _verify(evidence(REPORT, debug=True))


def test_a6_a_wrapper_has_one_form() -> None:
    record = evidence(REPORT).to_wrapper()
    assert UnverifiedEvidence.from_wrapper(record).to_wrapper() == record
    media_type, value, kind = record
    assert isinstance(value, str)
    bad: list[object] = [
        None,
        {},
        record[:2],
        [*record, 1],
        [media_type, value, 1],
        [media_type, value, 2.0],
        [media_type, value, True],
        [media_type, value, "2"],
        [1, value, kind],
        [media_type, None, kind],
        [media_type, value + "=", kind],
        [media_type, value + "\n", kind],
        [media_type, value[:-1] + "é", kind],
        [media_type, "A", kind],
        [media_type, "+/", kind],
        [media_type, "AB", kind],  # a loose last bit
        [media_type, "A" * (2 * MAX_EVIDENCE_BYTES), kind],
    ]
    for wrapper in bad:
        with pytest.raises(EvidenceMalformed):
            UnverifiedEvidence.from_wrapper(wrapper)


def test_a6_a_binding_has_one_form() -> None:
    value = binding(contract()).to_dict()
    assert Binding.from_dict(value).to_dict() == value
    challenge = value["challenges"][0]
    bad: list[object] = [
        None,
        [],
        {**value, "more": 1},
        {key: item for key, item in value.items() if key != "run"},
        {**value, "challenges": {}},
        {**value, "challenges": [challenge] * 65},
        {**value, "challenges": [[]]},
        {**value, "challenges": [{**challenge, "more": 1}]},
        {**value, "challenges": [{**challenge, "nonce": 1}]},
        {**value, "challenges": [{**challenge, "nonce": "\ud800"}]},
        {**value, "challenges": [{**challenge, "nonce": "x\n"}]},
        {**value, "run": ""},
        {**value, "run": "r" * 129},
        {**value, "run": "é"},
        {**value, "contract": None},
        {**value, "keys": {}},
        {**value, "keys": {**value["keys"], "sign": "AA=="}},
        {**value, "keys": {**value["keys"], "seal": value["keys"]["sign"]}},
    ]
    for other in bad:
        with pytest.raises(EvidenceMalformed):
            Binding.from_dict(other)


def _signed(payload: bytes, key: SigningKey = SIMULATOR) -> UnverifiedEvidence:
    return UnverifiedEvidence(MEDIA_TYPE, Envelope.sign(MEDIA_TYPE, payload, key, key.verify_key.raw.hex()).to_json())


def test_a6_simulated_evidence_has_one_form() -> None:
    value = statement(REPORT).model_dump(mode="json")
    _verify(_signed(canonical(value)))
    envelope = Envelope.sign(MEDIA_TYPE, canonical(value), SIMULATOR, SIMULATOR.verify_key.raw.hex())
    bodies = [
        b"",
        b"[]",
        json.dumps(envelope.to_dict(), indent=1).encode(),
        envelope.with_signature(OTHER_SIMULATOR, "y").to_json(),
        envelope.merge([]).to_json() + b" ",
        Envelope(MEDIA_TYPE, canonical(value), ()).to_json(),
        Envelope.sign(MEDIA_TYPE, canonical(value), SIMULATOR, "x").to_json(),
    ]
    for body in bodies:
        with pytest.raises(EvidenceMalformed):
            _verify(UnverifiedEvidence(MEDIA_TYPE, body))
    payloads = [
        json.dumps(value).encode(),
        canonical({**value, "more": 1}),
        canonical({**value, "debug": 0}),
        canonical({**value, "simulated": False}),
        canonical({**value, "report_data": "00"}),
        canonical({**value, "measurement": "sha1:00"}),
        canonical({**value, "tee": "SGX"}),
        canonical({**value, "issued": "today"}),
        canonical({**value, "version": "2"}),
    ]
    for payload in payloads:
        with pytest.raises(EvidenceMalformed):
            _verify(_signed(payload))


@pytest.mark.parametrize("lie", [{"simulated": False}, {"provider": "sgx"}])
def test_a7_no_provider_speaks_as_another_nor_a_simulator_as_hardware(
    lie: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = _verify(evidence(REPORT))
    assert claims.simulated
    monkeypatch.setattr(SimulatedProvider, "verify", lambda *_, **_with: replace(claims, **lie))
    with pytest.raises(EvidenceNotTrusted):
        _verify(evidence(REPORT))


def test_a7_simulated_evidence_under_another_type_is_not_read() -> None:
    payload = canonical(statement(REPORT).model_dump(mode="json"))
    dressed = Envelope.sign("application/vnd.intel.sgx-quote", payload, SIMULATOR, "x").to_json()
    with pytest.raises(EvidenceRefused):
        _verify(UnverifiedEvidence(MEDIA_TYPE, dressed))


def test_a8_nothing_configured_means_everything_refused() -> None:
    for policy in (TrustPolicy(), read_trust_policy(""), TrustPolicy(simulated=SimulatedTrust(keys=[]))):
        assert policy.accepts_nothing()
        with pytest.raises(EvidenceNotTrusted):
            _verify(evidence(REPORT), policy=policy)
    assert not POLICY.accepts_nothing()


@pytest.mark.parametrize(
    "text",
    [
        "max_age_seconds = ",
        "max_age_seconds = 0",
        "max_age_seconds = 86401",
        'max_age_seconds = "300"',
        "accept_everything = true",
        "[simulated]",
        "[simulated]\nkeys = [1]",
        '[simulated]\nkeys = ["' + "A" * 64 + '"]',
        '[simulated]\nkeys = ["' + "a" * 64 + '\\n"]',
        "[simulated]\nkeys = []\nany = true",
    ],
)
def test_a8_a_policy_that_cannot_be_read_accepts_nothing(text: str) -> None:
    with pytest.raises(TrustPolicyInvalid):
        read_trust_policy(text)


class _Distribution:
    version = "1"
    requires: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def files(self) -> list[Any]:
        from importlib.metadata import PackagePath

        found = [path for path in self._folder.rglob("*") if path.is_file()]
        return [PackagePath(path.relative_to(self._folder).as_posix()) for path in found]

    def locate_file(self, path: Any) -> Path:
        return self._folder / str(path)


def _measured(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str = "1") -> str:
    distribution = _Distribution(folder)
    distribution.version = version
    monkeypatch.setattr(measuring, "needed_distributions", lambda _roots: {"library": distribution})
    return measuring.measure_runtime().digest


def test_a9_whatever_could_run_changes_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library").mkdir()
    module = tmp_path / "library" / "core.py"
    module.write_text("x = 1")
    before = _measured(tmp_path, monkeypatch)
    assert before == _measured(tmp_path, monkeypatch)
    # what installers and byte-code caches leave does not count
    (tmp_path / "library" / "__pycache__").mkdir()
    (tmp_path / "library" / "__pycache__" / "core.cpython-311.pyc").write_text("anything")
    (tmp_path / "library.dist-info").mkdir()
    (tmp_path / "library.dist-info" / "INSTALLER").write_text("pip")
    assert _measured(tmp_path, monkeypatch) == before
    seen = {before, _measured(tmp_path, monkeypatch, version="2")}
    module.write_text("x = 2")
    seen.add(_measured(tmp_path, monkeypatch))
    module.write_text("x = 1")
    (tmp_path / "library" / "more.py").write_text("")
    seen.add(_measured(tmp_path, monkeypatch))
    (tmp_path / "library" / "more.py").rename(tmp_path / "library" / "less.py")
    seen.add(_measured(tmp_path, monkeypatch))
    module.unlink()
    seen.add(_measured(tmp_path, monkeypatch))
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    seen.add(_measured(tmp_path, monkeypatch))
    assert len(seen) == 7


def test_the_fixtures_speak_of_what_they_say() -> None:
    claims = _verify(evidence(binding(contract()).report_data()))
    assert (claims.tee, claims.measurement, claims.simulated) == (Tee.ENCLAVE, MEASUREMENT, True)
    assert claims.issued == NOW
    assert write_moment(NOW).endswith("Z")
    assert binding(contract()).keys == RUN_KEYS.public()
    assert base64.urlsafe_b64decode(str(evidence(REPORT).to_wrapper()[1]) + "==")


# --- A-27: hosts' statements ---------------------------------------------------------------------------------------


def _host(evidence: UnverifiedEvidence, policy: TrustPolicy | None = None) -> Claims:
    return verify_evidence(evidence, policy=policy or host_policy(), collateral=Collateral(), now=NOW)


def test_a27_a_hosts_word_is_softwares_and_never_more() -> None:
    claims = _host(host_evidence(REPORT))
    assert (claims.provider, claims.tee, claims.simulated, claims.signer) == ("host", "software", False, HOST)
    assert claims.measurement == MEASUREMENT
    for level in Level:
        if level in (Level.L1, Level.L2):
            check_evidence_allowed(level, claims.tee)
        else:
            with pytest.raises(LevelRefused):
                check_evidence_allowed(level, claims.tee)
    for tee in ("enclave", "measured-host", "sealed-vm"):  # nothing in it can say otherwise
        with pytest.raises(ValidationError):
            host_evidence(REPORT, tee=tee)
        payload = canonical({**json.loads(Envelope.from_json(host_evidence(REPORT).body).payload), "tee": tee})
        lie = Envelope.sign(HOST_TYPE, payload, HOST_KEY, HOST).to_json()
        with pytest.raises(EvidenceMalformed):
            _host(UnverifiedEvidence(HOST_TYPE, lie))


def test_a27_a_host_without_walls_is_refused_unless_a_policy_allows_it() -> None:
    bare = host_evidence(REPORT, walls=None)
    with pytest.raises(SettingRefused, match="no-walls"):
        _host(bare)
    assert _host(bare, host_policy(allow=["no-walls"])).settings == {"no-walls"}
    with pytest.raises(TcbRefused):
        _host(host_evidence(REPORT), host_policy(min_svn={"landlock": 5}))
    assert _host(host_evidence(REPORT), host_policy(min_svn={"landlock": 4})).details["memory"] == "control group"


def test_a27_a_host_that_the_policy_does_not_name_is_refused() -> None:
    with pytest.raises(EvidenceNotTrusted, match="names"):
        _host(host_evidence(REPORT, key=OTHER_HOST_KEY))
    with pytest.raises(EvidenceNotTrusted, match="no section"):
        _host(host_evidence(REPORT), TrustPolicy())
    with pytest.raises(TrustPolicyInvalid):
        read_trust_policy("[host]\nkeys = []")
    # Nor does simulated evidence pass as a host's, though the very key signed it, or the reverse.
    both = host_policy().model_copy(update={"simulated": SimulatedTrust(keys=[HOST])})
    for media_type, other in ((HOST_TYPE, evidence(REPORT, key=HOST_KEY)), (MEDIA_TYPE, host_evidence(REPORT))):
        with pytest.raises(EvidenceNotTrusted):
            _host(UnverifiedEvidence(media_type, other.body), both)


@pytest.mark.parametrize(
    ("uid", "namespaces", "answered"), [(0, 0, True), (1, 0, False), (0, 1, False), (0, None, False)]
)
def test_a27_a_process_in_walls_or_of_another_user_is_not_answered(
    monkeypatch: pytest.MonkeyPatch, uid: int, namespaces: int | None, answered: bool
) -> None:
    own = host_service._namespaces(os.getpid())
    assert own >= 1
    told = {os.getpid(): own, 7: 0 if namespaces is None else own + namespaces}
    monkeypatch.setattr(host_service, "_namespaces", told.__getitem__)
    assert host_service.admits(7, os.getuid() + uid) is answered
