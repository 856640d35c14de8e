"""Collecting data keys: challenge every keeper, prove once, ask each for its party's keys.

Source: docs/spec/attestation.md §2; docs/spec/release.md §3.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from paddock.channel import Attest, ClientTls, OwnEnd
from paddock.contract.request import Request
from paddock.contract.signing import SignedContract
from paddock.crypto.canonical import parse
from paddock.crypto.digest import unb64
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.crypto.moment import read_moment
from paddock.errors import CryptoRefused, EncodingRefused, GrantRefused, LeaseRefused, Refused, Unavailable
from paddock.evidence.binding import Binding, Challenge
from paddock.evidence.claims import EvidenceSet
from paddock.evidence.tls import ExpectedServer, Identity
from paddock.release.statements import LeaseStatement, ReleaseStatement, grant_info, read_lease, read_release
from paddock.release.verdict import read_verdict
from paddock.seal import DataKey
from paddock.service.client import ServiceClient, is_secure

_PARALLEL = 8
_CLOCK_SPREAD = timedelta(minutes=2)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Granted:
    """What one keeper gave: its signed statements, its party's data keys, its part of the checkpoints' secret."""

    release: Envelope
    statement: ReleaseStatement
    lease: Envelope
    leased: LeaseStatement
    data_keys: Mapping[str, DataKey]
    checkpoint: DataKey | None
    verdict: str | None
    collateral: bytes | None


class Keepers:
    """The keepers of a contract's parties, by party name, under addresses that the host named.

    Args:
        contract: names the keepers by their keys.
        run: its id.
        keys: the run's.
        urls: party fingerprint to its keeper's address. An https address is asked over attested TLS.
        attest: evidence of this environment, for keepers that are asked over attested TLS.
    """

    def __init__(
        self,
        contract: SignedContract,
        run: str,
        keys: PrivateKeys,
        urls: Mapping[str, str],
        attest: Attest | None = None,
    ) -> None:
        self._contract = contract
        self._run = run
        self._keys = keys
        self._run_key = keys.public().fingerprint()
        self._keepers: dict[str, PublicKeys] = {}
        self._clients: dict[str, ServiceClient] = {}
        # one certificate, and one piece of evidence, for all keepers.
        own = OwnEnd(Identity("run", keys.public(), contract.id, run, contract.terms.level), keys, "client", attest)
        for name, fingerprint in sorted(contract.terms.fingerprints().items()):
            if fingerprint not in urls:
                raise Unavailable(f"No address is known for the keeper of '{name}'.")
            keeper = self._keepers[name] = contract.terms.parties[name].keeper.public()
            url = urls[fingerprint]
            # the keeper that every party signed, whoever answers there.
            expected = ExpectedServer("keeper", keeper.fingerprint())
            tls = ClientTls(expected, own) if is_secure(url) else None
            self._clients[name] = ServiceClient(f"keeper of {name}", url, tls=tls)

    @property
    def names(self) -> list[str]:
        """Party names in the order in which challenges are listed."""
        return list(self._keepers)

    def challenge(self) -> Binding:
        """Collect a challenge from every keeper into one binding.

        Raises:
            Unavailable: a keeper did not answer.
        """
        return Binding(self._contract.id, self._run, self._keys.public(), tuple(self._each(self._challenge).values()))

    def release(self, binding: Binding, evidence: EvidenceSet | None) -> dict[str, Granted]:
        """Ask every keeper for its party's keys, by one proof.

        Raises:
            Refused: a keeper refused; its answer is not its own (GrantRefused, LeaseRefused, StatementRefused); or the
                keepers' clocks differ by more than two minutes: a receipt is judged at the latest of their times (V-4),
                so that one of them could spoil it for all.
            Unavailable: a keeper did not answer.
        """
        body = {
            "contract": self._contract.envelope.to_dict(),
            "binding": binding.to_dict(),
            "evidence": None if evidence is None else evidence.to_wrapper(),
        }
        judged = None if evidence is None else evidence.digest()
        granted = self._each(lambda name: self._granted(name, body, judged))
        times = {name: read_moment(row.statement.at) for name, row in granted.items()}
        early, late = min(times, key=lambda name: times[name]), max(times, key=lambda name: times[name])
        if times[late] - times[early] > _CLOCK_SPREAD:
            raise GrantRefused(f"The clocks of the keepers of '{early}' and '{late}' differ too much.")
        return granted

    def renew(self, *, final: bool = False) -> dict[str, tuple[Envelope, LeaseStatement]]:
        """Ask every keeper whether the run may go on; or, at last, whether it may end, after which it gets nothing more.

        Raises:
            LeaseRefused: one says no, or what came back is not its own, fresh word.
            Unavailable: one did not answer.
        """
        return self._each(lambda name: self._renewed(name, final=final))

    def _each(self, ask: Callable[[str], _T]) -> dict[str, _T]:
        with ThreadPoolExecutor(min(_PARALLEL, len(self._keepers))) as pool:
            asked = {name: pool.submit(ask, name) for name in self._keepers}
        # A keeper that does not answer must not hide another one that says no.
        errors = [error for error in (future.exception() for future in asked.values()) if error is not None]
        for error in errors:
            if isinstance(error, Refused):
                raise error
        if errors:
            raise errors[0]
        return {name: future.result() for name, future in asked.items()}

    def _challenge(self, name: str) -> Challenge:
        answer = self._clients[name].post("/v1/challenges", {"contract": self._contract.id, "run": self._run})
        nonce = answer.get("nonce")
        if not isinstance(nonce, str) or len(nonce) != 64:
            raise Unavailable(f"The keeper of '{name}' did not answer with a challenge.")
        return Challenge(self._keepers[name].fingerprint(), nonce)

    def _granted(self, name: str, body: dict[str, Any], judged: str | None) -> Granted:
        keeper = self._keepers[name]
        answer = self._clients[name].post("/v1/releases", body)
        try:
            release = Envelope.from_dict(answer.get("release"))
            statement = read_release(release, keeper.sign)
            lease = Envelope.from_dict(answer.get("lease"))
            info = grant_info(self._contract.id, self._run, keeper.fingerprint())
            opened = parse(self._keys.seal.open(unb64(answer.get("grant")), info))
            data_keys, checkpoint = _secrets(opened)
        except CryptoRefused as error:
            raise GrantRefused(f"It claims to come from the keeper of '{name}'.") from error
        expected = {item.asset for _, item in self._contract.terms.inputs_of(name)}
        own = (self._contract.id, self._run, self._run_key, keeper.fingerprint(), judged)
        said = (statement.contract, statement.run, statement.run_key, statement.keeper, statement.evidence)
        # a statement that would spoil the receipt in the end is refused before any work is done.
        # without its part, another keeper's alone would be what checkpoints are sealed under.
        resumable = self._contract.terms.limits.attempts > 1
        fits = set(statement.assets) == expected == set(data_keys) and (checkpoint is not None) == resumable
        if said != own or not fits:
            raise GrantRefused(f"It claims to come from the keeper of '{name}'.")
        try:
            verdict = read_verdict(answer.get("verdict"), answer.get("collateral"), statement, keeper.sign)
        except CryptoRefused as error:
            raise GrantRefused(f"It claims to come from the keeper of '{name}'.") from error
        leased = self._leased(name, lease, nonce=None, final=False)
        return Granted(release, statement, lease, leased, data_keys, checkpoint, *verdict)

    def _renewed(self, name: str, *, final: bool) -> tuple[Envelope, LeaseStatement]:
        nonce = secrets.token_hex(16)
        request = Request(
            action="lease.renew",
            body={"contract": self._contract.id, "run": self._run, "final": final},
            audience=self._keepers[name].fingerprint(),
            by=self._run_key,
            at=datetime.now(UTC),
            nonce=nonce,
        )
        answer = self._clients[name].post("/v1/leases", {"request": request.sign(self._keys.sign).to_dict()})
        try:
            lease = Envelope.from_dict(answer.get("lease"))
        except CryptoRefused as error:
            raise LeaseRefused(f"The keeper of '{name}' did not answer with a lease.") from error
        return lease, self._leased(name, lease, nonce=nonce, final=final)

    def _leased(self, name: str, lease: Envelope, nonce: str | None, *, final: bool) -> LeaseStatement:
        leased = read_lease(lease, self._keepers[name].sign)
        own = (leased.contract, leased.run, leased.run_key) == (self._contract.id, self._run, self._run_key)
        if not own or nonce not in (None, leased.nonce) or leased.final != final:
            raise LeaseRefused(f"The lease of the keeper of '{name}' is for another run or an old one.")
        return leased


def _secrets(opened: dict[str, Any]) -> tuple[dict[str, DataKey], DataKey | None]:
    """Data keys by asset, and the part of the checkpoints' secret.

    Raises:
        EncodingRefused: not of that form.
    """
    keys, checkpoint = opened.get("keys"), opened.get("checkpoint")
    if set(opened) != {"keys", "checkpoint"} or not isinstance(keys, dict):
        raise EncodingRefused("It is no grant of data keys.")
    data_keys = {asset: DataKey(unb64(key, 32)) for asset, key in keys.items()}
    return data_keys, None if checkpoint is None else DataKey(unb64(checkpoint, 32))
