"""The host wants data keys that no keeper would give it: by lies about the contract, the proof, the count of runs.

A machine's owner chooses what is started on it and what is sent. It has no party's signature and no key of the hardware;
at L2 alone the evidence is signed by a key that is its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from paddock.contract import verify_contract
from paddock.contract.levels import Level
from paddock.crypto.digest import sha256_id
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment, write_moment
from paddock.errors import (
    AttemptSuperseded,
    BindingMismatch,
    ChallengeRefused,
    ContractNotInForce,
    ContractSignatureRefused,
    DebugRefused,
    EvidenceMissing,
    EvidenceNotTrusted,
    EvidenceStale,
    LevelRefused,
    MeasurementRefused,
    Revoked,
    RunFinished,
    RunKeyChanged,
    RunsUsedUp,
    SimulatedRefused,
)
from paddock.evidence import Challenge, UnverifiedEvidence
from paddock.evidence.appraisal import appraise
from paddock.evidence.provider import verify_evidence
from paddock.evidence.providers.simulated import MEDIA_TYPE, SimulatedProvider
from paddock.release import Grant, check_environment, decide, decision
from tests.attacks.catalogue import Actor, absent, at_all_levels, at_levels, attack, succeeds
from tests.attacks.ground import TEES, Ground
from tests.attacks.switches import instead, without
from tests.fixtures import proof
from tests.fixtures.cast import MEASUREMENT, NAMES, NOW, OTHER_SIMULATOR, SIMULATOR, member, merge, minutes
from tests.fixtures.cast import private_keys as made_keys

ABOVE_L2 = (Level.L3, Level.L4, Level.L5)
NO_PROOF_AT_L1 = succeeds("no evidence is demanded at L1")
OWN_KEY_AT_L2 = succeeds("the evidence of L2 is signed by the host's own key: it can say what it likes")
OTHER_RUN = "f" * 32


def _got(grant: Grant) -> str:
    return f"the data keys of {len(grant.assets)} inputs"


@attack(
    "host-unsigned-contract",
    Actor.HOST,
    "a contract that one party did not sign",
    what="The host starts a run under a contract from which one party's signature is missing.",
    stops="Every keeper, and the enclave before them, verify every party's signature over the same bytes.",
    enforced=("contract.signing", "release.decision"),
    rules=("C-4", "R-1"),
    threats=(8,),
    codes=(ContractSignatureRefused,),
    claims=at_all_levels(),
    off=lambda: without(verify_contract, "if missing:"),
)
def unsigned_contract(ground: Ground) -> str:
    unsigned = ground.signed(signers=NAMES[:-1])
    return _got(ground.judge(replace(ground.request(), contract=unsigned)))


@attack(
    "host-revoked-contract",
    Actor.HOST,
    "a revoked contract is run on",
    what="The host has keys released under a contract that the party revoked at its keeper.",
    stops="The keeper asks its own revocations before anything else counts.",
    enforced=("release.decision",),
    rules=("R-3",),
    threats=(14,),
    codes=(Revoked,),
    claims=at_all_levels(),
    off=lambda: without(decide, "if facts.revoked is not None:"),
)
def revoked_contract(ground: Ground) -> str:
    return _got(ground.judge(revoked="enough"))


@attack(
    "host-lying-clock",
    Actor.HOST,
    "an expired contract on a machine whose clock was set back",
    what="The host sets its clock back and starts a contract that has expired.",
    stops="Expiry is judged by each keeper's own clock; no time that comes with a request is asked.",
    enforced=("release.decision",),
    rules=("R-4", "C-14"),
    threats=(14,),
    codes=(ContractNotInForce,),
    claims=at_all_levels(),
    off=lambda: without(decide, "_check_in_force("),
)
def lying_clock(ground: Ground) -> str:
    later = read_moment("2027-01-31T00:00:00Z")
    asked = ground.request(issued=write_moment(later))
    challenge = ground.facts(asked).challenge
    assert challenge is not None
    return _got(ground.judge(asked, now=later, challenge=replace(challenge, expires=later + minutes(3))))


@attack(
    "host-no-evidence",
    Actor.HOST,
    "keys asked for with no proof at all",
    what="A program of the host asks the keeper without evidence.",
    stops="The level's row says which evidence is demanded; none is enough at L1 alone.",
    enforced=("release.decision", "contract.levels"),
    rules=("R-7", "L-1"),
    threats=(9,),
    codes=(EvidenceMissing,),
    claims=at_levels((Level.L2, *ABOVE_L2), L1=NO_PROOF_AT_L1),
    off=lambda: instead(decision, "_verdict", lambda *_: None),
)
def no_evidence(ground: Ground) -> str:
    return _got(ground.judge(replace(ground.request(), evidence=None)))


@attack(
    "host-changed-runtime",
    Actor.HOST,
    "a runtime with a back door",
    what="The host starts a runtime in which a line was added that copies what it sees.",
    stops="The measurement in the evidence is none that the parties signed.",
    enforced=("release.environment", "evidence.measurement"),
    rules=("R-9", "A-9"),
    threats=(12,),
    codes=(MeasurementRefused,),
    claims=at_levels(ABOVE_L2, L1=NO_PROOF_AT_L1, L2=OWN_KEY_AT_L2),
    off=lambda: without(check_environment, "for label, claims in sorted("),
)
def changed_runtime(ground: Ground) -> str:
    honest = sha256_id(b"a runtime with a back door")
    return _got(ground.judge(ground.request(measurement=MEASUREMENT if ground.level is Level.L2 else honest)))


@attack(
    "host-replayed-evidence",
    Actor.HOST,
    "evidence of an earlier run, beside another key",
    what="The host keeps the evidence of an honest run and shows it again with a run key of its own.",
    stops="Evidence carries a hash over contract, run, run key and every keeper's fresh challenge.",
    enforced=("evidence.appraisal", "evidence.binding"),
    rules=("A-3", "R-7"),
    threats=(9,),
    codes=(BindingMismatch,),
    claims=at_levels(ABOVE_L2, L1=NO_PROOF_AT_L1, L2=OWN_KEY_AT_L2),
    off=lambda: without(appraise, "check_report_data("),
)
def replayed_evidence(ground: Ground) -> str:
    honest = ground.request()
    stolen = replace(honest.binding, keys=made_keys("thief").public())
    evidence = ground.evidence(stolen if ground.level is Level.L2 else honest.binding)
    return _got(ground.judge(ground.asking(honest.contract, stolen, evidence)))


@attack(
    "host-evidence-without-binding",
    Actor.HOST,
    "genuine evidence that binds nothing",
    what="The host asks the hardware for evidence over zeros and hopes that nobody compares the report data.",
    stops="Report data must be the hash of this very binding.",
    enforced=("evidence.appraisal", "evidence.binding"),
    rules=("A-3",),
    threats=(9,),
    codes=(BindingMismatch,),
    claims=at_levels((Level.L2, *ABOVE_L2), L1=NO_PROOF_AT_L1),
    off=lambda: without(appraise, "check_report_data("),
)
def evidence_without_binding(ground: Ground) -> str:
    contract, bound = ground.signed(), proof.binding(ground.contract())
    evidence = None if ground.level is Level.L1 else proof.evidence(bytes(64), tee=TEES[ground.level].value)
    return _got(ground.judge(ground.asking(contract, bound, evidence)))


@attack(
    "host-anothers-enclave",
    Actor.HOST,
    "the proof of an enclave that runs another contract",
    what="The host signs a contract of its own, starts an honest enclave for it, and shows its binding and evidence under "
    "the victims' contract.",
    stops="The binding names its contract, and the keeper compares it with the one that it is asked under.",
    enforced=("release.decision",),
    rules=("R-5",),
    threats=(9,),
    codes=(ChallengeRefused,),
    claims=at_all_levels(),
    off=lambda: without(decide, "if request.binding.contract != contract.id"),
)
def anothers_enclave(ground: Ground) -> str:
    own = ground.contract(lambda value: value.update(nonce="f" * 32))
    bound = replace(proof.binding(ground.contract()), contract=own.id)
    return _got(ground.judge(ground.asking(ground.signed(), bound, ground.evidence(bound))))


@attack(
    "host-old-evidence",
    Actor.HOST,
    "evidence made long ago",
    what="The host has evidence made while the machine was in order, changes the machine, and shows it an hour later.",
    stops="Evidence that says when it was made is refused when it is older than the policy allows.",
    enforced=("evidence.provider",),
    rules=("A-4",),
    threats=(9,),
    codes=(EvidenceStale,),
    claims=at_levels(ABOVE_L2, L1=NO_PROOF_AT_L1, L2=OWN_KEY_AT_L2),
    off=lambda: without(verify_evidence, "if claims.issued is not None:"),
)
def old_evidence(ground: Ground) -> str:
    made = NOW if ground.level is Level.L2 else NOW - timedelta(hours=1)
    return _got(ground.judge(ground.request(issued=write_moment(made))))


@attack(
    "host-debug-environment",
    Actor.HOST,
    "an enclave that can be looked into",
    what="The host starts the right runtime in debug mode, where a debugger reads its memory.",
    stops="Evidence of a debug environment is refused whatever its policy says.",
    enforced=("evidence.provider",),
    rules=("A-5",),
    threats=(11,),
    codes=(DebugRefused,),
    claims=at_levels(ABOVE_L2, L1=NO_PROOF_AT_L1, L2=OWN_KEY_AT_L2),
    off=lambda: without(verify_evidence, "if claims.debug:"),
)
def debug_environment(ground: Ground) -> str:
    return _got(ground.judge(ground.request(debug=ground.level is not Level.L2)))


@attack(
    "host-simulated-as-hardware",
    Actor.HOST,
    "a simulator in the place of hardware",
    what="The host runs a contract that asks for hardware with the evidence of a simulator.",
    stops="Simulated evidence says so in its type and claims; it counts only where every party signed that it may.",
    enforced=("release.environment", "evidence.provider"),
    rules=("R-8", "A-7", "A-8"),
    threats=(11,),
    codes=(SimulatedRefused,),
    claims=at_levels((Level.L2, *ABOVE_L2), L1=NO_PROOF_AT_L1),
    off=lambda: without(check_environment, "if verdict.simulated"),
)
def simulated_as_hardware(ground: Ground) -> str:
    return _got(ground.judge(ground.request(merge("environment", simulated=False))))


@attack(
    "host-own-simulator",
    Actor.HOST,
    "a simulator of the host's own",
    what="The host makes a simulator's key and signs evidence under the key id of the one that the keeper trusts.",
    stops="The signature is verified by the keys that the keeper's trust policy names; a key id proves nothing.",
    enforced=("evidence.providers.statement",),
    rules=("A-2", "A-8"),
    threats=(10, 11),
    codes=(EvidenceNotTrusted,),
    claims=at_levels((Level.L2, *ABOVE_L2), L1=NO_PROOF_AT_L1),
    off=lambda: instead(SimulatedProvider, "_signer", lambda _self, _envelope, keys: keys[0]),
)
def own_simulator(ground: Ground) -> str:
    contract, bound = ground.signed(), proof.binding(ground.contract())
    if ground.level is Level.L1:
        return _got(ground.judge(ground.asking(contract, bound, None)))
    honest = Envelope.from_json(proof.evidence(bound.report_data(), tee=TEES[ground.level].value).body)
    trusted = SIMULATOR.verify_key.raw.hex()
    forged = Envelope.sign(MEDIA_TYPE, honest.payload, OTHER_SIMULATOR, trusted)
    return _got(ground.judge(ground.asking(contract, bound, UnverifiedEvidence(MEDIA_TYPE, forged.to_json()))))


@attack(
    "host-weaker-environment",
    Actor.HOST,
    "an environment below the contract's level",
    what="The host runs the contract in genuine, measured, but weaker surroundings: those of the level below.",
    stops="One table says which kinds of environment are enough for a level; keepers and receipts ask it.",
    enforced=("contract.levels", "release.environment"),
    rules=("L-1", "R-8"),
    threats=(13,),
    codes=(LevelRefused,),
    claims=at_levels(
        ABOVE_L2,
        L1=absent("no environment is below L1"),
        L2=absent("below software evidence there is none (host-no-evidence)"),
    ),
    off=lambda: without(check_environment, "check_evidence_allowed("),
)
def weaker_environment(ground: Ground) -> str:
    below = TEES[Level(f"L{int(ground.level[1]) - 1}")]
    return _got(ground.judge(ground.request(tee=below.value)))


@attack(
    "host-anothers-challenge",
    Actor.HOST,
    "a challenge that was given for another run",
    what="The host has a challenge given out for one run bound into the proof of another.",
    stops="The keeper remembers for which contract and run it gave out each nonce.",
    enforced=("release.decision",),
    rules=("R-6",),
    threats=(9,),
    codes=(ChallengeRefused,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_challenge, "if issued.contract != contract.id"),
)
def anothers_challenge(ground: Ground) -> str:
    asked = ground.request()
    challenge = ground.facts(asked).challenge
    assert challenge is not None
    return _got(ground.judge(asked, challenge=replace(challenge, run=OTHER_RUN)))


@attack(
    "host-hoarded-challenge",
    Actor.HOST,
    "a challenge kept for later",
    what="The host collects challenges, and answers one of them after its time.",
    stops="A nonce lives three minutes by the keeper's clock.",
    enforced=("release.decision",),
    rules=("R-6",),
    threats=(9,),
    codes=(ChallengeRefused,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_challenge, "if now >= issued.expires"),
)
def hoarded_challenge(ground: Ground) -> str:
    return _got(ground.judge(now=NOW + minutes(4)))


@attack(
    "host-challenge-twice",
    Actor.HOST,
    "one challenge for two enclaves",
    what="The host starts a second enclave for the same run and answers with the nonce that the first one used.",
    stops="A nonce that keys were released on counts for the run key that used it and for no other.",
    enforced=("release.decision",),
    rules=("R-6",),
    threats=(9, 36),
    codes=(ChallengeRefused,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_challenge, "if issued.used"),
)
def challenge_twice(ground: Ground) -> str:
    asked = ground.request()
    challenge = ground.facts(asked).challenge
    assert challenge is not None
    first = made_keys("first enclave").public().fingerprint()
    return _got(ground.judge(asked, challenge=replace(challenge, used=True), attempts=(first,)))


@attack(
    "host-keeper-left-out",
    Actor.HOST,
    "a run without asking one party's keeper",
    what="The host puts a keeper of its own in the place of a party's that would refuse.",
    stops="A binding lists one challenge of every keeper that the contract names, in order, and nobody else's.",
    enforced=("release.decision",),
    rules=("R-6",),
    threats=(9,),
    codes=(ChallengeRefused,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_challenge, "if [challenge.keeper"),
)
def keeper_left_out(ground: Ground) -> str:
    contract = ground.contract()
    honest = proof.binding(contract)
    own = Challenge(member("mallory").keeper.public().fingerprint(), "0" * 64)
    bound = replace(honest, challenges=(*honest.challenges[:-1], own))
    return _got(ground.judge(ground.asking(ground.signed(), bound, ground.evidence(bound))))


@attack(
    "host-more-runs",
    Actor.HOST,
    "more runs than were signed",
    what="The host starts another run under a contract whose runs are used up.",
    stops="Each keeper counts runs in its own durable state.",
    enforced=("release.decision",),
    rules=("R-10",),
    threats=(14,),
    codes=(RunsUsedUp,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_runs, "if facts.runs_used"),
)
def more_runs(ground: Ground) -> str:
    return _got(ground.judge(runs_used=2))


@attack(
    "host-more-attempts",
    Actor.HOST,
    "attempts of one run without end",
    what="The host kills the enclave and starts the same run again, more often than was signed, until it likes the result.",
    stops="Each keeper counts the run keys that it gave a run's data keys to.",
    enforced=("release.decision",),
    rules=("R-21",),
    threats=(36,),
    codes=(RunKeyChanged,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_runs, "if used >= terms.limits.attempts"),
    residual="The host may use the attempts that were signed; built-in jobs give the same bits each time.",
)
def more_attempts(ground: Ground) -> str:
    before = tuple(made_keys(str(number)).public().fingerprint() for number in range(2))
    return _got(ground.judge(attempts=before, runs_used=1))


@attack(
    "host-superseded-enclave",
    Actor.HOST,
    "two enclaves of one run at work together",
    what="The host keeps the first enclave of a run alive, starts a second one, and has the first ask again.",
    stops="The newest attempt alone is served; what was given up does not come back.",
    enforced=("release.decision",),
    rules=("R-22",),
    threats=(36,),
    codes=(AttemptSuperseded,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_runs, "if key in facts.attempts"),
)
def superseded_enclave(ground: Ground) -> str:
    own, newer = proof.RUN_KEYS.public().fingerprint(), made_keys("newer").public().fingerprint()
    asked = ground.request(merge("limits", attempts=9))
    return _got(ground.judge(asked, attempts=(own, newer), runs_used=1))


@attack(
    "host-run-after-its-end",
    Actor.HOST,
    "a finished run begun again",
    what="The host starts a run anew that has had its results.",
    stops="With the last lease each keeper notes that the run has ended.",
    enforced=("release.decision",),
    rules=("R-23",),
    threats=(36,),
    codes=(RunFinished,),
    claims=at_all_levels(),
    off=lambda: without(decision._check_runs, "if facts.finished"),
)
def run_after_its_end(ground: Ground) -> str:
    before = (made_keys("first enclave").public().fingerprint(),)
    return _got(ground.judge(finished=True, attempts=before, runs_used=1))
