"""What passes between keepers and those who ask them: replayed, borrowed, exchanged, asked at the same moment.

Whoever reaches a keeper can send it any bytes. The network shows, changes, drops and repeats what passes over it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from paddock.contract import SignedContract, request, verify_contract
from paddock.contract.request import verify_request
from paddock.crypto.digest import b64, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.hpke import RecipientKey
from paddock.crypto.identity import PrivateKeys
from paddock.crypto.moment import write_moment
from paddock.enclave import keepers as asking
from paddock.enclave.keepers import Keepers
from paddock.enclave.leases import Leases
from paddock.errors import (
    GrantRefused,
    KeeperBusy,
    LeaseLost,
    LeaseRefused,
    NotTheOwner,
    PaddockError,
    RequestRefused,
    RequestReplayed,
    Revoked,
    RunsUsedUp,
    StatementRefused,
)
from paddock.evidence import Collateral, EvidenceSet
from paddock.keeper import keeper as keeping
from paddock.keeper.keeper import Keeper, read_release_request
from paddock.release import LeaseStatement, ReleaseStatement, read_answer
from tests.attacks.catalogue import NOTHING, Actor, Outcome, at_all_levels, attack
from tests.attacks.ground import Ground
from tests.attacks.switches import instead, without
from tests.fixtures.cast import RUN, STRANGER, member, merge, minutes, private_keys
from tests.fixtures.keepers import DirectClient, KeptBy, bound_to, data_key, deposit_all, enclave_side, make_keeper
from tests.fixtures.proof import RUN_KEYS

OTHER_RUN = "f" * 32
Json = dict[str, Any]


_SEAL = RecipientKey.seal


def _grants_unsealed(key: RecipientKey, message: bytes, info: bytes) -> bytes:
    return message if info.startswith(b"paddock/grant") else _SEAL(key, message, info)


@contextmanager
def _keeper(ground: Ground, name: str = "north") -> Iterator[KeptBy]:
    kept = make_keeper(ground.folder, name)
    try:
        yield kept
    finally:
        kept.keeper.close()


def _ask(
    ground: Ground, kept: KeptBy, contract: SignedContract, *, run: str = RUN, keys: PrivateKeys = RUN_KEYS
) -> Json:
    """A whole honest release, at this ground's level."""
    bound = bound_to({kept.owner.name: kept}, contract, run=run, keys=keys)
    proof = ground.evidence(bound, issued=write_moment(kept.clock()))
    return kept.keeper.release(
        read_release_request(
            {
                "contract": contract.envelope.to_dict(),
                "binding": bound.to_dict(),
                "evidence": None if proof is None else EvidenceSet.single(proof).to_wrapper(),
            }
        )
    )


def _renewal(kept: KeptBy, contract: SignedContract, keys: PrivateKeys, *, final: bool = False) -> Envelope:
    body = {"contract": contract.id, "run": RUN, "final": final}
    asked = request.Request(
        "lease.renew",
        body,
        kept.owner.keeper.public().fingerprint(),
        RUN_KEYS.public().fingerprint(),
        kept.clock(),
        "0" * 32,
    )
    return asked.sign(keys.sign)


# --- the host against a keeper ---


@attack(
    "host-resumed-after-revocation",
    Actor.HOST,
    "a run resumed after a party revoked",
    what="A party revokes while a run works; the host kills the enclave and starts the run's next attempt elsewhere.",
    stops="A revocation is on the keeper's disk and is asked for every attempt.",
    enforced=("keeper.keeper", "release.decision"),
    rules=("R-3", "R-17"),
    threats=(14, 35),
    codes=(Revoked,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(Keeper, "_revoked", lambda *_: None),
)
def resumed_after_revocation(ground: Ground) -> str:
    contract = ground.contract()
    with _keeper(ground) as kept:
        deposit_all(kept, contract)
        _ask(ground, kept, contract)
        kept.revoke(contract.terms.inputs["north"].asset)
        answer = _ask(ground, kept, contract, keys=private_keys("second attempt"))
    return f"a grant of {len(answer['grant'])} characters"


@attack(
    "host-lease-after-revocation",
    Actor.HOST,
    "a running enclave kept alive after a revocation",
    what="A party revokes while a run works; the host lets the enclave go on and ask for its next lease.",
    stops="A keeper gives no lease over what its party revoked, and without one the run ends without outputs.",
    enforced=("keeper.keeper",),
    rules=("R-17",),
    threats=(14,),
    codes=(Revoked,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(Keeper.renew, "if revoked is not None:"),
    residual="What the run learned before the next lease was due is in its memory until then.",
)
def lease_after_revocation(ground: Ground) -> str:
    contract = ground.contract()
    with _keeper(ground) as kept:
        deposit_all(kept, contract)
        _ask(ground, kept, contract)
        kept.revoke(contract.id)
        return f"a lease of {len(kept.keeper.renew(_renewal(kept, contract, RUN_KEYS)))} statement"


@attack(
    "hub-hidden-cancellation",
    Actor.HUB,
    "a cancelled contract run on",
    what="A party cancels a contract; the hub keeps that to itself and places another run.",
    stops="Cancelling tells the party's own keeper first, which releases nothing from then on.",
    enforced=("party.party", "keeper.keeper"),
    rules=("R-3", "C-14"),
    threats=(14,),
    codes=(Revoked,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(Keeper, "_revoked", lambda *_: None),
)
def hidden_cancellation(ground: Ground) -> str:
    contract = ground.contract()
    with _keeper(ground) as kept:
        deposit_all(kept, contract)
        kept.revoke(contract.id, "cancelled")
        return f"a grant of {len(_ask(ground, kept, contract)['grant'])} characters"


@attack(
    "host-replayed-grant",
    Actor.HOST,
    "a grant of an earlier run, played to a new enclave",
    what="The host keeps all that a keeper said to an earlier run, and plays it to a new enclave after the keeper revoked.",
    stops="Every enclave makes fresh run keys, to which a grant is sealed.",
    enforced=("enclave.run", "enclave.keepers"),
    rules=("R-14", "R-24"),
    threats=(17,),
    codes=(GrantRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(PrivateKeys, "generate", lambda: RUN_KEYS),
)
def replayed_grant(ground: Ground) -> str:
    with _two(ground) as (contract, kept):
        told: dict[str, list[Json]] = {name: [] for name in kept}
        side, clients = enclave_side(kept, contract, RUN_KEYS)
        for name, client in clients.items():
            client.between = _noting(told[name])
        first = side.challenge()
        proof = ground.evidence(first, issued=write_moment(datetime.now(UTC)))
        evidence = None if proof is None else EvidenceSet.single(proof)
        side.release(first, evidence)
        kept["north"].revoke(contract.id)

        later, clients = enclave_side(kept, contract, PrivateKeys.generate())
        for name, client in clients.items():
            _play(client, told[name])
        granted = later.release(later.challenge(), evidence)
    return f"{sum(len(row.data_keys) for row in granted.values())} data keys after a revocation"


def _noting(told: list[Json]) -> Callable[[str, Json], Json]:
    def between(_path: str, answer: Json) -> Json:
        told.append(answer)
        return answer

    return between


def _play(client: DirectClient, told: list[Json]) -> None:
    """From now on nobody is asked any more: what was told before is told again."""
    answers = iter(told)
    client.post = lambda path, body: next(answers)  # type: ignore[method-assign]


@contextmanager
def _two(ground: Ground) -> Iterator[tuple[SignedContract, dict[str, KeptBy]]]:
    """A contract of two parties that is in force now, and their keepers by the real clock."""
    now = datetime.now(UTC)

    def change(value: Json) -> None:
        value["parties"] = {name: value["parties"][name] for name in ("north", "modelco")}
        value["inputs"] = {name: value["inputs"][name] for name in ("north", "network")}
        value["steps"] = value["steps"][:1]
        value["steps"][0]["inputs"]["data"] = ["north"]
        value["outputs"] = {"weights": value["outputs"]["weights"]}
        value.update(created=write_moment(now), expires=write_moment(now + minutes(60)))

    contract = verify_contract(ground.signed(change, ("north", "modelco")))
    kept = {name: make_keeper(ground.folder, name) for name in ("modelco", "north")}
    try:
        for each in kept.values():
            each.clock.now = now
            deposit_all(each, contract)
        yield contract, kept
    finally:
        for each in kept.values():
            each.keeper.close()


def _granted(ground: Ground, side: Keepers) -> Any:
    bound = side.challenge()
    proof = ground.evidence(bound, issued=write_moment(datetime.now(UTC)))
    return side.release(bound, None if proof is None else EvidenceSet.single(proof))


@attack(
    "host-wire-cut",
    Actor.HOST,
    "an enclave cut off from the keepers that would stop it",
    what="The host cuts the wire to the keepers, so that no refusal reaches the run, and lets it work on.",
    stops="A run whose lease was not renewed in time, by the process's own monotonic clock, ends without outputs.",
    enforced=("enclave.leases",),
    rules=("R-16",),
    threats=(14,),
    codes=(LeaseLost,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(Leases.check, "if late:"),
)
def wire_cut(ground: Ground) -> str:
    leases = Leases.__new__(Leases)
    leases._lost, leases._good_until, leases._lock = None, -1.0, threading.Lock()
    leases.check()
    return "the run goes on without a lease"


@attack(
    "network-old-lease",
    Actor.NETWORK,
    "an old lease in the place of a refusal",
    what="Somebody between enclave and keeper keeps a lease and answers with it when the keeper would refuse.",
    stops="A lease quotes the nonce of the request that it answers.",
    enforced=("enclave.keepers",),
    rules=("R-15",),
    threats=(17,),
    codes=(LeaseRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(Keepers._leased, "if not own or"),
)
def old_lease(ground: Ground) -> str:
    with _two(ground) as (contract, kept):
        side, clients = enclave_side(kept, contract)
        _granted(ground, side)
        old: list[Json] = []
        clients["north"].between = _noting(old)
        side.renew()
        kept["north"].revoke(contract.id)
        _play(clients["north"], old)
        return f"{len(side.renew())} leases after a revocation"


@attack(
    "network-forged-lease",
    Actor.NETWORK,
    "a lease that somebody else signed",
    what="Somebody between enclave and keeper signs leases with a key of its own.",
    stops="A lease is signed by the very keeper that the contract names.",
    enforced=("release.statements", "enclave.keepers"),
    rules=("R-15",),
    threats=(17,),
    codes=(LeaseRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(
        asking, "read_lease", lambda envelope, _keeper: LeaseStatement.model_validate_json(envelope.payload)
    ),
)
def forged_lease(ground: Ground) -> str:
    with _two(ground) as (contract, kept):
        side, clients = enclave_side(kept, contract)
        _granted(ground, side)
        clients["north"].between = _resign("lease")
        return f"{len(side.renew())} leases, one of them made up"


@attack(
    "network-wrong-keeper",
    Actor.NETWORK,
    "another keeper at the right address",
    what="Somebody answers at a keeper's address with release statements of a keeper of its own.",
    stops="The enclave knows keepers by the keys in the contract, never by their address.",
    enforced=("enclave.keepers", "release.statements"),
    rules=("R-14",),
    threats=(17, 31),
    codes=(StatementRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(
        asking, "read_release", lambda envelope, _keeper: ReleaseStatement.model_validate_json(envelope.payload)
    ),
)
def wrong_keeper(ground: Ground) -> str:
    with _two(ground) as (contract, kept):
        side, clients = enclave_side(kept, contract)
        clients["north"].between = _resign("release")
        return f"{len(_granted(ground, side))} grants, one of them by a stranger's word"


def _resign(member_name: str) -> Callable[[str, Json], Json]:
    def change(_path: str, answer: Json) -> Json:
        if member_name not in answer:
            return answer
        own, said = member(STRANGER).keeper, Envelope.from_dict(answer[member_name])
        forged = Envelope.sign(said.payload_type, said.payload, own.sign, own.public().fingerprint())
        return {**answer, member_name: forged.to_dict()}

    return change


@attack(
    "network-keys-on-the-wire",
    Actor.NETWORK,
    "data keys read off the wire",
    what="Somebody between enclave and keeper reads all that a release says, over plain HTTP.",
    stops="Data keys are sealed to the run key with HPKE, whatever carries them.",
    enforced=("keeper.keeper", "crypto.hpke"),
    rules=("R-14", "S-15"),
    threats=(17,),
    codes=(NOTHING,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(RecipientKey, "seal", _grants_unsealed),
)
def keys_on_the_wire(ground: Ground) -> str | Outcome:
    contract = ground.contract()
    with _keeper(ground) as kept:
        deposit_all(kept, contract)
        seen = unb64(_ask(ground, kept, contract)["grant"])
    if b64(data_key(contract.terms.inputs["north"].asset).raw()).encode() in seen:
        return "north's data key"
    return Outcome.refused(NOTHING, "north's data key is nowhere in the answer")


# --- a client against a keeper ---


@attack(
    "network-replayed-deposit",
    Actor.NETWORK,
    "a party's request, sent once more",
    what="Somebody who saw a deposit sends it again, after the party has put another key in its place.",
    stops="A request's nonce is remembered longer than the request could pass.",
    enforced=("keeper.keeper",),
    rules=("C-16",),
    threats=(18,),
    codes=(RequestReplayed,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(Keeper, "_remember", lambda *_: None),
)
def replayed_deposit(ground: Ground) -> str:
    with _keeper(ground) as kept:
        asset = ground.contract().terms.inputs["north"].asset
        asked = kept.asked("deposit", kept.deposit_body(asset))
        kept.keeper.deposit(asked)
        kept.deposit(asset)
        return f"an entry in the ledger, {kept.keeper.deposit(asked)['ledger_index']}"


@attack(
    "network-hoarded-request",
    Actor.NETWORK,
    "a party's request, held back for later",
    what="Somebody holds a signed revocation back and delivers it an hour later, when it harms.",
    stops="A request counts for five minutes around the time that its sender signed.",
    enforced=("contract.request",),
    rules=("C-16",),
    threats=(18,),
    codes=(RequestRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(verify_request, "if abs(now - request.at) > MAX_AGE"),
)
def hoarded_request(ground: Ground) -> str:
    with _keeper(ground) as kept:
        asked = kept.asked("revoke", {"subject": ground.contract().id, "reason": "for an hour"})
        kept.clock.now += timedelta(hours=1)
        return f"an entry in the ledger, {kept.keeper.revoke(asked)['ledger_index']}"


@attack(
    "network-request-redirected",
    Actor.NETWORK,
    "a request meant for another service",
    what="Somebody takes a request that a party signed for its hub to the party's keeper.",
    stops="A request names one action and one audience.",
    enforced=("contract.request",),
    rules=("C-16",),
    threats=(18,),
    codes=(RequestRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(verify_request, "if request.action != action"),
)
def request_redirected(ground: Ground) -> str:
    with _keeper(ground) as kept:
        asked = kept.asked("contract.cancel", {"subject": ground.contract().id, "reason": "x"}, audience="hub")
        return f"an entry in the ledger, {kept.keeper.revoke(asked)['ledger_index']}"


@attack(
    "party-revokes-for-another",
    Actor.PARTY,
    "one party's act at another's keeper",
    what="A party asks another one's keeper to revoke, to list its releases, to change its policy.",
    stops="A keeper obeys the signature of the one party that it acts for.",
    enforced=("keeper.keeper",),
    rules=("C-16",),
    threats=(18, 32),
    codes=(NotTheOwner,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(Keeper, "_from_party", lambda _self, envelope, *_: request._read(envelope.payload)),
)
def revokes_for_another(ground: Ground) -> str:
    with _keeper(ground) as kept:
        body = {"policy": "max_age_seconds = 86400\n", "collateral": b64(Collateral().to_bytes())}
        asked = kept.asked("policy.set", body, by=member(STRANGER))
        return f"the policy {kept.keeper.set_policy(asked)['policy'][:20]}"


@attack(
    "network-anothers-run-ended",
    Actor.NETWORK,
    "another's run ended in its name",
    what="Somebody tells a keeper that a run has ended, so that it gets no lease any more and its results are lost.",
    stops="Only the run's own key renews or ends its leases.",
    enforced=("keeper.keeper", "contract.request"),
    rules=("R-15",),
    threats=(18,),
    codes=(RequestRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(keeping, "verify_request", lambda envelope, *_, **__: request._read(envelope.payload)),
)
def anothers_run_ended(ground: Ground) -> str:
    contract = ground.contract()
    with _keeper(ground) as kept:
        deposit_all(kept, contract)
        _ask(ground, kept, contract)
        kept.keeper.renew(_renewal(kept, contract, private_keys("thief"), final=True))
        return "the last lease of a run that works on"


@contextmanager
def _facts_of_before() -> Iterator[None]:
    """As if facts were loaded before the transaction began: what others wrote meanwhile is not seen."""
    true = Keeper._facts
    with instead(Keeper, "_facts", lambda *given: replace(true(*given), runs_used=0)):
        yield


@attack(
    "network-parallel-runs",
    Actor.NETWORK,
    "two runs asked for at the same moment",
    what="Two enclaves ask for the last run that is left at the same moment, each before the other was counted.",
    stops="Facts, decision, count and ledger are one transaction, and a keeper writes one at a time.",
    enforced=("keeper.keeper", "service.database"),
    rules=("R-10", "R-13"),
    threats=(14, 15),
    codes=(RunsUsedUp,),
    claims=at_all_levels(),
    alike=True,
    off=_facts_of_before,
)
def parallel_runs(ground: Ground) -> str:
    contract = ground.contract(lambda value: value.update(runs=1))
    with _keeper(ground) as kept:
        deposit_all(kept, contract)
        granted, refused = [], []

        def ask(number: int) -> None:
            try:
                granted.append(_ask(ground, kept, contract, run=f"{number:032x}", keys=private_keys(str(number))))
            except PaddockError as error:
                refused.append(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(granted) == 1:
        raise refused[0]
    return f"{len(granted)} runs of 1"


@attack(
    "network-challenges-without-end",
    Actor.NETWORK,
    "challenges without end",
    what="Somebody asks a keeper for challenges until its disk is full.",
    stops="Challenges live three minutes, and so many are open at most.",
    enforced=("keeper.keeper",),
    threats=(27,),
    codes=(KeeperBusy,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(Keeper.challenge, "if open_now >="),
    residual="While so many are open, honest runs wait: refusal is not protected from.",
)
def challenges_without_end(ground: Ground) -> str:
    with _keeper(ground) as kept, instead(keeping, "MAX_OPEN_CHALLENGES", 5):
        given = [kept.keeper.challenge(ground.contract().id, RUN) for _ in range(10)]
    return f"{len(given)} challenges where 5 may be open"


@attack(
    "network-swallowed-revocation",
    Actor.NETWORK,
    "a revocation that never arrived, answered as if it had",
    what="Somebody swallows a party's revocation and answers with the keeper's genuine answer to an earlier request.",
    stops="A keeper signs its answers over the request that they answer.",
    enforced=("release.statements",),
    rules=("R-18",),
    threats=(17,),
    codes=(StatementRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(read_answer, "if signed != _answered(request, said):"),
)
def swallowed_revocation(ground: Ground) -> str:
    with _keeper(ground) as kept:
        first = kept.asked("revoke", {"subject": ground.contract(merge(runs=1)).id, "reason": "first"})
        answer = kept.keeper.signed(first, kept.keeper.revoke(first))
        second = kept.asked("revoke", {"subject": ground.contract().id, "reason": "second"})
        said = read_answer(answer, second, kept.owner.keeper.public().sign)
    return f"a revocation believed done, of {said['subject'][:20]}"
