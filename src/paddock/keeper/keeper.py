"""The keeper's acts: each is one transaction; what it says is on disk before it is said.

Source: docs/spec/release.md §3 and §4 (R-13 to R-17).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from paddock.contract.asset import AssetKind
from paddock.contract.levels import LEVELS, Level, Tee
from paddock.contract.request import MAX_AGE, Request, claimed_sender, verify_request
from paddock.contract.signing import contract_id
from paddock.contract.terms import read_terms
from paddock.crypto.canonical import canonical
from paddock.crypto.digest import b64, is_digest, sha256_id, unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import read_moment, write_moment
from paddock.crypto.signing import VerifyKey
from paddock.errors import (
    AttemptSuperseded,
    ChallengeRefused,
    CollateralMissing,
    CollateralStale,
    CryptoRefused,
    KeeperBusy,
    LeaseRefused,
    NotTheOwner,
    PeerRefused,
    RequestRefused,
    RequestReplayed,
    RevocationUnknown,
    Revoked,
    RunFinished,
    UnwrapRefused,
)
from paddock.evidence.binding import Binding
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.collateral import Collateral
from paddock.evidence.tls import Peer, check_evidence, check_no_evidence
from paddock.evidence.trust import read_trust_policy
from paddock.keeper import tables
from paddock.keeper.collateral import CollateralStore, KnownCollateral, remember_needs
from paddock.keeper.home import DATABASE, KeeperHome, KnownPolicy
from paddock.ledger import log
from paddock.release import (
    Grant,
    IssuedChallenge,
    KeeperFacts,
    LeaseStatement,
    ReleaseRequest,
    ReleaseStatement,
    decide,
    grant_info,
    sign_answer,
)
from paddock.release.ear import make_ear
from paddock.seal import DataKey
from paddock.service.database import Database

CHALLENGE_LIFE = timedelta(seconds=180)
MAX_OPEN_CHALLENGES = 10_000
MAX_POLICY_CHARACTERS = 1 << 18
DEPOSIT_PURPOSE = "deposit"
_SQL_VARIABLES = 500


@dataclass(frozen=True)
class _Released:
    contract: str
    run: str
    attempt: int
    run_key: str
    sign_key: bytes
    expires: str
    lease_seconds: int
    statement: str
    finished: bool


@dataclass(frozen=True)
class _Recorded:
    statement: ReleaseStatement
    verdict: str | None
    collateral: bytes | None


class Keeper:
    """One party's keeper.

    Args:
        home: its folder.
        collateral: what it knows of platforms, asked for every decision; None: what stands in its folder.
        database: its database, migrated.
        clock: its own clock; contracts' expiry and challenges are judged by nothing else.
    """

    def __init__(
        self,
        home: KeeperHome,
        database: Database,
        clock: Callable[[], datetime] | None = None,
        collateral: Callable[[], Collateral] | None = None,
    ) -> None:
        self._home = home
        self._collateral, self._policy = collateral or KnownCollateral(home.folder), KnownPolicy(home)
        self._database = database
        self._clock = clock or (lambda: datetime.now(UTC))
        self._fingerprint = home.keys.public().fingerprint()
        self._party = home.party.fingerprint()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def info(self) -> dict[str, Any]:
        """Public facts: whose keeper it is, its keys, its ledger's name."""
        return {
            "keeper": self._fingerprint,
            "keys": self._home.keys.public().to_dict(),
            "party": self._party,
            "ledger": self.origin(),
        }

    def origin(self) -> str:
        """The name of this keeper's ledger in its checkpoints."""
        return f"paddock/keeper/{self._fingerprint}"

    def admit(self, peer: Peer) -> None:
        """Return if this end of a connection may ask this keeper: the own party, or an environment that proves itself.

        What a run may have is decided by `release`; here only whether it is worth listening to.

        Raises:
            PeerRefused: it is somebody else, or shows another set of evidence than it must (A-20).
            EvidenceRefused, CertificateRefused: its evidence does not pass.
        """
        identity = peer.identity
        if identity.kind == "party" and identity.keys.fingerprint() == self._party:
            check_no_evidence(peer)
        elif identity.kind == "run":
            if peer.evidence is None and Tee.NONE in LEVELS[Level(identity.level)].evidence:
                return
            (policy, _), collateral = self._policy(), self._collateral()
            check_evidence(peer, level=identity.level, policy=policy, collateral=collateral, now=self._clock())
        else:
            raise PeerRefused(f"This keeper does not serve the {identity.kind} {identity.keys.fingerprint()}.")

    def admits_by(self) -> tuple[object, ...]:
        """What `admit` judges by: other objects once the policy or the collateral is another."""
        return self._policy()[0], self._collateral()

    def challenge(self, contract: str, run: str) -> dict[str, str]:
        """A fresh nonce for a run of a contract.

        Raises:
            ChallengeRefused: contract or run is not well formed.
            KeeperBusy: too many are open.
        """
        if not is_digest(contract) or len(run) != 32 or not all(ch in "0123456789abcdef" for ch in run):
            raise ChallengeRefused("The contract or run asked for is not well formed.")
        now = self._clock()
        nonce, expires = secrets.token_hex(32), write_moment(now + CHALLENGE_LIFE)
        with self._database.write() as connection:
            connection.execute(delete(tables.challenges).where(tables.challenges.c.expires < write_moment(now)))
            self._forget_expired(connection, now)
            open_now = connection.execute(select(func.count()).select_from(tables.challenges)).scalar_one()
            if open_now >= MAX_OPEN_CHALLENGES:
                raise KeeperBusy
            row = {"nonce": nonce, "contract": contract, "run": run, "expires": expires, "used": False}
            connection.execute(insert(tables.challenges).values(row))
        return {"keeper": self._fingerprint, "nonce": nonce, "expires": expires}

    def release(self, request: ReleaseRequest) -> dict[str, Any]:
        """Decide, record, and only then answer (R-13).

        Returns:
            `grant` (data keys and the checkpoints' secret, HPKE to the run key), `release` and `lease` (signed statements), `verdict` (an EAR
            token) and `collateral` (what it rests on), both null where no evidence was demanded.

        Raises:
            Refused: by the step of `decide` that failed; nothing is recorded.
        """
        now = self._clock()
        (policy, policy_digest), collateral = self._policy(), self._collateral()
        own_nonce = self._own_nonce(request.binding)
        with self._database.write() as connection:
            facts = self._facts(connection, request, own_nonce)
            try:
                grant = decide(request, facts, policy=policy, collateral=collateral, now=now)
            except (CollateralMissing, CollateralStale, RevocationUnknown):
                if request.evidence is not None:
                    remember_needs(self._home.folder, request.evidence)
                raise
            data_keys = self._unwrap(connection, grant.assets)
            recorded = self._record(connection, request, grant, policy_digest, now)
            checkpoint = self._checkpoint_secret(connection, grant)
        # the transaction is on disk; from here on the release has happened, whether or not the answer arrives.
        public = self._home.keys.public()
        secret = canonical(
            {
                "checkpoint": None if checkpoint is None else b64(checkpoint.raw()),
                "keys": {asset: b64(key.raw()) for asset, key in data_keys.items()},
            }
        )
        sealed = request.binding.keys.seal.seal(secret, grant_info(grant.contract.id, grant.run, public.fingerprint()))
        lease = self._lease(
            contract=grant.contract.id,
            run=grant.run,
            run_key=request.binding.keys.fingerprint(),
            nonce=own_nonce[:32],
            now=now,
            seconds=grant.contract.terms.limits.lease_seconds,
            expires=grant.contract.terms.expires,
            final=False,
        )
        return {
            "grant": b64(sealed),
            "release": recorded.statement.sign(self._home.keys).to_dict(),
            "lease": lease.sign(self._home.keys).to_dict(),
            "verdict": recorded.verdict,
            "collateral": None if recorded.collateral is None else b64(recorded.collateral),
        }

    def renew(self, envelope: Envelope) -> dict[str, Any]:
        """Renew a run's lease: `{"contract", "run", "final"}`. After a final one the run gets nothing more (R-23).

        Raises:
            LeaseRefused: no such release, or the contract expired meanwhile.
            AttemptSuperseded: a later attempt of the run was granted keys (R-22).
            RunFinished: its final lease was given, and this is not asked again for that.
            Revoked: the party revoked the contract or one of its assets (R-17).
            RequestRefused: not signed by the run's key.
        """
        now = self._clock()
        sender = claimed_sender(envelope)
        with self._database.write() as connection:
            self._forget_expired(connection, now)
            row = self._released_to(connection, sender)
            contract = row.contract
            request = verify_request(
                envelope,
                VerifyKey(row.sign_key),
                action="lease.renew",
                audience=self._fingerprint,
                sender=row.run_key,
                now=now,
            )
            final = request.body.get("final")
            if request.body != {"contract": contract, "run": row.run, "final": final} or not isinstance(final, bool):
                raise LeaseRefused("It was asked for another run than keys were released to.")
            self._remember(connection, request, now)
            self._check_newest(connection, row, final=final)
            revoked = self._revoked(connection, contract, self._assets_of(row))
            if revoked is not None:
                raise Revoked(revoked)
            if now >= read_moment(row.expires):
                raise LeaseRefused(f"The contract expired at {row.expires}.")
            if final and not row.finished:
                self._finish(connection, row, now)
        lease = self._lease(
            contract=contract,
            run=row.run,
            run_key=row.run_key,
            nonce=request.nonce,
            now=now,
            seconds=row.lease_seconds,
            expires=row.expires,
            final=final,
        )
        return {"lease": lease.sign(self._home.keys).to_dict()}

    def deposit(self, envelope: Envelope) -> dict[str, Any]:
        """Take a data key into keeping: `{"asset", "kind", "wrapped"}`, wrapped to this keeper, signed by its party.

        Raises:
            NotTheOwner, RequestRefused: not asked by the party.
            UnwrapRefused: not wrapped to this keeper for this asset.
        """
        now = self._clock()
        request = self._from_party(envelope, "deposit", now)
        asset, kind, wrapped = (request.body.get(key) for key in ("asset", "kind", "wrapped"))
        if set(request.body) != {"asset", "kind", "wrapped"} or not is_digest(asset) or kind not in list(AssetKind):
            raise RequestRefused("A deposit needs an asset id, its kind and a wrapped key.")
        raw = unb64(wrapped)
        DataKey.unwrap(raw, self._home.keys.seal, str(asset), DEPOSIT_PURPOSE)
        with self._database.write() as connection:
            self._remember(connection, request, now)
            connection.execute(delete(tables.deposits).where(tables.deposits.c.asset == asset))
            self._forget_expired(connection, now)
            row = {"asset": asset, "kind": kind, "wrapped": raw, "deposited": write_moment(now)}
            connection.execute(insert(tables.deposits).values(row))
            index = self._append(connection, {"act": "deposit", "asset": asset, "at": write_moment(now)})
        return {"asset": asset, "ledger_index": index}

    def revoke(self, envelope: Envelope) -> dict[str, Any]:
        """Revoke a contract or an asset: no release and no lease from now on. `{"subject", "reason"}`.

        Raises:
            NotTheOwner, RequestRefused: not asked by the party, or not well formed.
        """
        now = self._clock()
        request = self._from_party(envelope, "revoke", now)
        subject, reason = request.body.get("subject"), request.body.get("reason")
        if set(request.body) != {"subject", "reason"} or not is_digest(subject) or not isinstance(reason, str):
            raise RequestRefused("A revocation needs a contract's or asset's id and a reason.")
        with self._database.write() as connection:
            self._remember(connection, request, now)
            connection.execute(delete(tables.revocations).where(tables.revocations.c.subject == subject))
            row = {"subject": subject, "reason": reason[:500], "at": write_moment(now)}
            connection.execute(insert(tables.revocations).values(row))
            index = self._append(connection, {"act": "revoke", "subject": subject, "at": write_moment(now)})
            self._forget_checkpoints(connection, str(subject))
        return {"subject": subject, "ledger_index": index}

    def set_policy(self, envelope: Envelope) -> dict[str, Any]:
        """Judge by another trust policy, and know more collateral: `{"policy", "collateral"}`, signed by the party (R-20).

        Raises:
            NotTheOwner, RequestRefused: not asked by the party, or not well formed.
            TrustPolicyInvalid, CollateralInvalid: it cannot be read; what was before stays.
        """
        now = self._clock()
        request = self._from_party(envelope, "policy.set", now)
        text = request.body.get("policy")
        if (
            set(request.body) != {"policy", "collateral"}
            or not isinstance(text, str)
            or len(text) > MAX_POLICY_CHARACTERS
        ):
            raise RequestRefused(f"A policy is one text of at most {MAX_POLICY_CHARACTERS} characters.")
        read_trust_policy(text)
        CollateralStore(self._home.folder).store(Collateral.from_bytes(unb64(request.body["collateral"])))
        with self._database.write() as connection:
            self._remember(connection, request, now)
            digest = sha256_id(text.encode("utf-8"))
            index = self._append(connection, {"act": "policy", "policy": digest, "at": write_moment(now)})
            self._home.replace_policy(text)  # last: if it fails, nothing was recorded
        return {"policy": digest, "ledger_index": index}

    def releases(self, envelope: Envelope) -> dict[str, Any]:
        """What was released, deposited and revoked, for the party alone. `{}`.

        Raises:
            NotTheOwner, RequestRefused: not asked by the party.
        """
        now = self._clock()
        request = self._from_party(envelope, "releases.list", now)
        with self._database.write() as connection:
            self._remember(connection, request, now)
            rows = connection.execute(select(tables.released.c.statement)).scalars().all()
            columns = (tables.deposits.c.asset, tables.deposits.c.kind, tables.deposits.c.deposited)
            kept = connection.execute(select(*columns)).mappings().all()
            revoked = connection.execute(select(tables.revocations)).mappings().all()
        return {
            "releases": list(rows),
            "deposits": [dict(row) for row in kept],
            "revocations": [dict(row) for row in revoked],
            "policy": self._home.policy_digest(),
        }

    def signed(self, request: Envelope, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer to an owner's act, signed by this keeper as the answer to that request (R-18)."""
        return sign_answer(request, answer, self._home.keys)

    def checkpoint(self) -> str:
        """The ledger's newest signed checkpoint."""
        with self._database.read() as connection:
            return log.checkpoint(connection, self._home.keys.sign, self.origin())

    def inclusion(self, index: int, size: int) -> list[str]:
        """Proof that entry `index` is in the ledger of `size` entries, as hex digests."""
        with self._database.read() as connection:
            return [digest.hex() for digest in log.inclusion(connection, index, size)]

    def consistency(self, first: int, second: int) -> list[str]:
        """Proof that the ledger of `second` entries extends that of `first`, as hex digests."""
        with self._database.read() as connection:
            return [digest.hex() for digest in log.consistency(connection, first, second)]

    # --- inside one transaction ---

    def _own_nonce(self, binding: Binding) -> str:
        own = [challenge.nonce for challenge in binding.challenges if challenge.keeper == self._fingerprint]
        return own[0] if len(own) == 1 else ""

    def _facts(self, connection: Connection, request: ReleaseRequest, own_nonce: str) -> KeeperFacts:
        contract = contract_id(request.contract.payload)
        assets = {item.asset for item in read_terms(request.contract.payload).inputs.values()}
        under = tables.released.c.contract == contract
        runs = select(func.count()).select_from(tables.released).where(under, tables.released.c.attempt == 1)
        columns = (tables.released.c.run_key, tables.released.c.finished)
        this_run = select(*columns).where(under, tables.released.c.run == request.binding.run)
        attempts = connection.execute(this_run.order_by(tables.released.c.attempt)).all()
        return KeeperFacts(
            party=self._home.party,
            keeper=self._home.keys.public(),
            challenge=self._issued(connection, own_nonce),
            revoked=self._revoked(connection, contract, assets),
            runs_used=connection.execute(runs).scalar_one(),
            attempts=tuple(row.run_key for row in attempts),
            finished=any(row.finished for row in attempts),
            deposits=frozenset(self._known(connection, tables.deposits.c.asset, assets)),
        )

    def _issued(self, connection: Connection, nonce: str) -> IssuedChallenge | None:
        row = connection.execute(select(tables.challenges).where(tables.challenges.c.nonce == nonce)).one_or_none()
        if row is None:
            return None
        return IssuedChallenge(row.nonce, row.contract, row.run, read_moment(row.expires), row.used)

    def _revoked(self, connection: Connection, contract: str, assets: Iterable[str]) -> str | None:
        subjects = self._known(connection, tables.revocations.c.subject, {contract, *assets})
        if not subjects:
            return None
        found = connection.execute(
            select(tables.revocations.c.reason).where(tables.revocations.c.subject == min(subjects))
        ).scalar_one()
        return f"Its reason: {found}"

    def _known(self, connection: Connection, column: Any, values: Iterable[str]) -> set[str]:
        wanted = sorted(values)
        found: set[str] = set()
        for start in range(0, len(wanted), _SQL_VARIABLES):
            part = wanted[start : start + _SQL_VARIABLES]
            found.update(connection.execute(select(column).where(column.in_(part))).scalars())
        return found

    def _unwrap(self, connection: Connection, assets: Iterable[str]) -> dict[str, DataKey]:
        keys = {}
        for asset in assets:
            wrapped = connection.execute(
                select(tables.deposits.c.wrapped).where(tables.deposits.c.asset == asset)
            ).scalar_one()
            try:
                keys[asset] = DataKey.unwrap(wrapped, self._home.keys.seal, asset, DEPOSIT_PURPOSE)
            except UnwrapRefused:
                raise RuntimeError(
                    "a deposited key no longer opens: the keeper's keys or database were exchanged"
                ) from None
        return keys

    def _record(
        self, connection: Connection, request: ReleaseRequest, grant: Grant, policy_digest: str, now: datetime
    ) -> _Recorded:
        """Write the release down: counters, challenge, verdict, ledger (R-13, R-19)."""
        binding, terms, nonce = request.binding, grant.contract.terms, self._own_nonce(request.binding)
        where = (
            (tables.released.c.contract == grant.contract.id)
            & (tables.released.c.run == grant.run)
            & (tables.released.c.attempt == grant.attempt)
        )
        evidence = None if request.evidence is None else request.evidence.digest()
        if grant.is_retry:
            columns = (tables.released.c.statement, tables.released.c.verdict, tables.released.c.collateral)
            stored = connection.execute(select(*columns).where(where)).one()
            before = ReleaseStatement.model_validate_json(stored.statement)
            if before.evidence == evidence:
                return _Recorded(before, stored.verdict, stored.collateral)
        verdict, collateral = self._verdict(request, grant, policy_digest, now)
        public = {
            "version": "paddock/release/v1",
            "contract": grant.contract.id,
            "run": grant.run,
            "run_key": binding.keys.fingerprint(),
            "keeper": self._fingerprint,
            "assets": list(grant.assets),
            "evidence": evidence,
            "verdict": None if verdict is None else sha256_id(verdict.encode("ascii")),
            "measurement": None if grant.verdict is None else grant.verdict.environment.measurement,
            "simulated": grant.verdict is not None and grant.verdict.simulated,
            "attempt": grant.attempt,
            "at": write_moment(now),
        }
        index = self._append(connection, {"act": "release", **public})
        statement = ReleaseStatement.model_validate({**public, "ledger_index": index})
        row = {
            "contract": grant.contract.id,
            "run": grant.run,
            "attempt": grant.attempt,
            "run_key": binding.keys.fingerprint(),
            "run_sign_key": binding.keys.sign.raw,
            "expires": terms.expires,
            "lease_seconds": terms.limits.lease_seconds,
            "statement": statement.to_bytes().decode("ascii"),
            "verdict": verdict,
            "collateral": collateral,
            "finished": False,
        }
        connection.execute(delete(tables.released).where(where))
        connection.execute(insert(tables.released).values(row))
        connection.execute(update(tables.challenges).where(tables.challenges.c.nonce == nonce).values(used=True))
        return _Recorded(statement, verdict, collateral)

    def _verdict(
        self, request: ReleaseRequest, grant: Grant, policy_digest: str, now: datetime
    ) -> tuple[str | None, bytes | None]:
        """The signed verdict and the collateral that it rests on (R-19)."""
        if grant.verdict is None:
            return None, None
        collateral = grant.verdict.collateral.to_bytes()
        token = make_ear(
            grant.verdict,
            level=grant.contract.terms.level,
            contract=grant.contract.id,
            run=grant.run,
            run_key=request.binding.keys.fingerprint(),
            report_data=request.binding.report_data(),
            policy_digest=policy_digest,
            collateral_digest=sha256_id(collateral),
            keys=self._home.keys,
            now=now,
        )
        return token, collateral

    def _append(self, connection: Connection, entry: dict[str, Any]) -> int:
        return log.append(connection, canonical(entry))

    def _released_to(self, connection: Connection, run_key: str) -> _Released:
        row = connection.execute(select(tables.released).where(tables.released.c.run_key == run_key)).first()
        if row is None:
            raise LeaseRefused("No keys were released to this run.")
        return _Released(
            contract=row.contract,
            run=row.run,
            attempt=row.attempt,
            run_key=row.run_key,
            sign_key=row.run_sign_key,
            expires=row.expires,
            lease_seconds=row.lease_seconds,
            statement=row.statement,
            finished=row.finished,
        )

    def _check_newest(self, connection: Connection, row: _Released, *, final: bool) -> None:
        run = (tables.released.c.contract == row.contract) & (tables.released.c.run == row.run)
        newest = connection.execute(select(func.max(tables.released.c.attempt)).where(run)).scalar_one()
        if row.attempt != newest:
            raise AttemptSuperseded
        if row.finished and not final:
            raise RunFinished

    def _finish(self, connection: Connection, row: _Released, now: datetime) -> None:
        """Give the run no keys from now on, and forget what its checkpoints are sealed under (R-23, R-24)."""
        table, secrets_table = tables.released, tables.checkpoint_secrets
        run = (table.c.contract == row.contract) & (table.c.run == row.run)
        connection.execute(update(table).where(run, table.c.attempt == row.attempt).values(finished=True))
        kept = (secrets_table.c.contract == row.contract) & (secrets_table.c.run == row.run)
        connection.execute(delete(secrets_table).where(kept))
        entry = {"act": "finish", "contract": row.contract, "run": row.run, "run_key": row.run_key}
        self._append(connection, {**entry, "at": write_moment(now)})

    def _forget_checkpoints(self, connection: Connection, subject: str) -> None:
        """What runs under a revoked contract, or over a revoked asset, left behind is never opened again (R-24)."""
        released, table = tables.released, tables.checkpoint_secrets
        about = select(released.c.contract, released.c.run).where(released.c.statement.contains(subject))
        for contract, run in set(connection.execute(about).all()):
            connection.execute(delete(table).where(table.c.contract == contract, table.c.run == run))

    def _checkpoint_secret(self, connection: Connection, grant: Grant) -> DataKey | None:
        """This keeper's part of what the run's checkpoints are sealed under: the same for each attempt (R-24)."""
        if grant.contract.terms.limits.attempts == 1:
            return None
        table, purpose = tables.checkpoint_secrets, f"checkpoint/{grant.run}"
        where = (table.c.contract == grant.contract.id) & (table.c.run == grant.run)
        wrapped = connection.execute(select(table.c.wrapped).where(where)).scalar_one_or_none()
        if wrapped is not None:
            return DataKey.unwrap(wrapped, self._home.keys.seal, grant.contract.id, purpose)
        secret = DataKey.generate()
        wrapped = secret.wrap(self._home.keys.public().seal, grant.contract.id, purpose)
        expires = grant.contract.terms.expires
        row = {"contract": grant.contract.id, "run": grant.run, "wrapped": wrapped, "expires": expires}
        connection.execute(insert(table).values(row))
        return secret

    def _forget_expired(self, connection: Connection, now: datetime) -> None:
        """Checkpoints of runs whose contract is over are never opened again (R-24). Asked with all that is written."""
        table = tables.checkpoint_secrets
        connection.execute(delete(table).where(table.c.expires < write_moment(now)))

    def _assets_of(self, row: _Released) -> list[str]:
        return ReleaseStatement.model_validate_json(row.statement).assets

    def _lease(
        self,
        *,
        contract: str,
        run: str,
        run_key: str,
        nonce: str,
        now: datetime,
        seconds: int,
        expires: str,
        final: bool,
    ) -> LeaseStatement:
        until = min(now + timedelta(seconds=seconds), read_moment(expires))
        return LeaseStatement(
            version="paddock/lease/v1",
            contract=contract,
            run=run,
            run_key=run_key,
            keeper=self._fingerprint,
            nonce=nonce,
            final=final,
            until=write_moment(until),
        )

    def _from_party(self, envelope: Envelope, action: str, now: datetime) -> Request:
        if claimed_sender(envelope) != self._party:
            raise NotTheOwner
        return verify_request(
            envelope,
            self._home.party.sign,
            action=action,
            audience=self._fingerprint,
            sender=self._party,
            now=now,
        )

    def _remember(self, connection: Connection, request: Request, now: datetime) -> None:
        """Refuse a request that was seen before; forget those too old to pass anyway (C-16)."""
        connection.execute(delete(tables.requests).where(tables.requests.c.at < write_moment(now - 2 * MAX_AGE)))
        seen = connection.execute(
            select(tables.requests.c.nonce).where(
                tables.requests.c.by == request.by, tables.requests.c.nonce == request.nonce
            )
        ).first()
        if seen is not None:
            raise RequestReplayed
        row = {"by": request.by, "nonce": request.nonce, "at": write_moment(request.at)}
        connection.execute(insert(tables.requests).values(row))


def open_keeper(home: KeeperHome) -> Keeper:
    """The keeper that lives in a folder, over its embedded database.

    Raises:
        Misconfigured, Unavailable: the database cannot be opened.
    """
    path = (home.folder / DATABASE).resolve()
    return Keeper(home, Database.open(f"sqlite:///{path}", Path(__file__).parent / "migrations"))


def read_release_request(body: dict[str, Any]) -> ReleaseRequest:
    """Read what an enclave posted.

    Raises:
        RequestRefused, EvidenceMalformed: not well formed.
    """
    if set(body) != {"contract", "binding", "evidence"}:
        raise RequestRefused("A release needs contract, binding and evidence.")
    evidence = body["evidence"]
    try:
        contract = Envelope.from_dict(body["contract"])
    except CryptoRefused as error:
        raise RequestRefused("The contract is not an envelope.") from error
    return ReleaseRequest(
        contract=contract,
        binding=Binding.from_dict(body["binding"]),
        evidence=None if evidence is None else EvidenceSet.from_wrapper(evidence),
    )
