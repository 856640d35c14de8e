"""What a participant does: one class over its home, its keeper and the hub."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paddock.contract.asset import AssetKind, AssetRecord, read_asset
from paddock.contract.draft import resolve_draft
from paddock.contract.levels import LEVELS, check_padding
from paddock.contract.party import KeeperRecord, PartyRecord, read_party
from paddock.contract.request import Request
from paddock.contract.signing import Proposal, contract_id, open_proposal, propose, sign_contract, verify_contract
from paddock.contract.terms import Keys, StepTerms, Terms
from paddock.crypto.digest import b64, is_digest
from paddock.crypto.dsse import Envelope
from paddock.crypto.identity import PublicKeys, normal_fingerprint
from paddock.crypto.moment import write_moment
from paddock.errors import (
    AssetNameInvalid,
    AssetUnknown,
    ContractUnknown,
    CryptoRefused,
    HubAnswerRefused,
    JobRefused,
    NotFound,
    PaddockError,
    PartyRefused,
    PartyUnknown,
    RecordRefused,
    TermsRefused,
    VolumeIncomplete,
)
from paddock.evidence.collateral import Collateral
from paddock.jobs.registry import job_kind
from paddock.party.catalogue import OWN_PURPOSE, Catalogue, OwnAsset
from paddock.party.files import one_at_a_time, read_json, write_json
from paddock.party.home import Home
from paddock.party.hub import HubClient
from paddock.party.peers import AddressBook, Peer
from paddock.party.sealing import Sealing
from paddock.party.servers import server_tls
from paddock.query import QueryResult
from paddock.release.statements import read_answer
from paddock.seal import DataKey, OpenOptions, Sealed, SealOptions, VolumeFile, VolumeReader, write_volume
from paddock.seal.index import Part
from paddock.seal.padding import Padding
from paddock.seal.parallel import for_each
from paddock.seal.reader import check_stored, read_manifest
from paddock.service.client import ServiceClient, is_secure
from paddock.store import Store
from paddock.store.http import HttpStore
from paddock.views import VolumeFiles, local_files

DEPOSIT_PURPOSE = "deposit"
_ASSET_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_CHECKS_AT_ONCE = 8
_PIECE_BYTES = 1 << 20
_RUN = re.compile(r"[0-9a-f]{32}")
HUB_AUDIENCE = "hub"


@dataclass(frozen=True)
class SealProgress:
    """How far sealing is."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class SealOutcome:
    """What became of a sealing.

    Args:
        own: the asset, as it stands in the catalogue.
        volume: what was written, and what of it was stored already.
    """

    own: OwnAsset
    volume: Sealed


class Party:
    """A participant.

    Args:
        home: its opened home folder.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.peers = AddressBook(home.folder)
        self.assets = Catalogue(home.folder)
        self._open = ExitStack()

    def close(self) -> None:
        """Close the connections to hub, store and keeper."""
        self._open.close()

    @cached_property
    def hub(self) -> HubClient:
        """The hub of this home.

        Raises:
            PeerRefused: nothing says whom to expect at its address.
        """
        hub = HubClient(self.home.hub, server_tls(self.home, "hub"))
        self._open.callback(hub.close)
        return hub

    @cached_property
    def _keeper(self) -> ServiceClient:
        # what the keeper must prove it proves before the first byte of a deposit leaves.
        keys = self.keeper_keys() if is_secure(self.home.keeper) else None
        keeper = ServiceClient("own keeper", self.home.keeper, tls=server_tls(self.home, "keeper", keys))
        self._open.callback(keeper.close)
        return keeper

    @cached_property
    def _store(self) -> HttpStore:
        address = f"{self.hub.url}/v1/store"
        store = HttpStore(address, sign_request=self._store_request, tls=server_tls(self.home, "hub"))
        self._open.callback(store.close)
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- who is who ---

    def keeper_keys(self) -> PublicKeys:
        """The public keys of the keeper that acts for this party, from its own folder: never from the wire."""
        from_file = read_json(self.home.keeper_folder / "public.json")
        return PublicKeys.from_dict(from_file)

    def record(self) -> PartyRecord:
        """This party's public record."""
        return PartyRecord(
            version="paddock/party/v1",
            name=self.home.name,
            keys=Keys(**self.home.keys.public().to_dict()),
            keeper=KeeperRecord(keys=Keys(**self.keeper_keys().to_dict()), url=self.home.keeper),
            issued=write_moment(datetime.now(UTC)),
        )

    def publish(self) -> None:
        """Post this party's record to the hub, so that others can fetch it and compare its fingerprint."""
        self.hub.publish_party(self.record().sign(self.home.keys))

    def add_peer(self, name: str, fingerprint: str) -> Peer:
        """Accept another party by fingerprint.

        Raises:
            FingerprintMismatch, RecordRefused: see `AddressBook.accept`.
            PartyUnknown: the hub has no record with that name and fingerprint.
        """
        wanted = normal_fingerprint(fingerprint)
        try:
            # By fingerprint: any number of strangers can publish records under a name.
            return self.peers.accept(name, wanted, self.hub.party_record(wanted))
        except NotFound:
            failure: PaddockError = PartyUnknown(f"The hub has no record of '{name}'.")
        for envelope in self.hub.party_records(name):
            try:
                return self.peers.accept(name, wanted, envelope)
            except PartyRefused as error:
                failure = error
        raise failure

    def directory(self) -> _Directory:
        """Look-ups for drafts: own record, address book, assets signed by their owners."""
        return _Directory(self)

    # --- assets ---

    def store(self) -> Store:
        """The store behind the hub: ciphertext in, ciphertext out."""
        return self._store

    def seal(
        self,
        path: Path,
        name: str,
        kind: AssetKind,
        *,
        padding: Padding = "padme",
        fresh: bool = False,
        progress: Callable[[SealProgress], None] | None = None,
    ) -> SealOutcome:
        """Seal a file or folder, store it, deposit its data key with the own keeper, and publish its record.

        Of what was sealed under this name before, or by a sealing that broke off, only what is new or changed is
        written. The asset is noted in the catalogue before key or record leave: if keeper or hub cannot be reached,
        nothing is lost, and `deposit` finishes the work later.

        Args:
            path: what to seal.
            name: of the asset; a name that is there gets a new version, under a new data key.
            kind: what it is.
            padding: `none` shows exact lengths to the store; levels that pad refuse such inputs.
            fresh: write everything, so that the new key opens nothing of what was sealed before.
            progress: told how far it is.

        Raises:
            Unavailable: hub, store or keeper cannot be reached.
            Misconfigured: the path cannot be read.
            SealingBusy: another command seals under this name.
            VolumeIncomplete: the store lost what was stored; `fresh` writes it again.
        """
        source = local_files(path)

        def report(done: int) -> None:
            if progress is not None:
                progress(SealProgress(done, source.total_bytes))

        with Sealing(self._sealing_file(name), self.home.keys.seal) as sealing:
            if fresh:
                sealing.forget()
            base, reader = (None, None) if fresh else self._base(name, padding)
            sealing.begin("" if base is None else base.asset, padding, reader)
            known = sealing.parts()
            self._check_stored(known)
            data_key = DataKey.generate()
            volume = write_volume(
                sealing.contents(source),
                data_key,
                self.store(),
                options=SealOptions(padding=padding),
                progress=report,
                known=known,
                part_done=sealing.note,
            )
            own = self._note_asset(name, kind.value, volume, data_key)
            sealing.finish()
        self.deposit(own)
        return SealOutcome(own, volume)

    def seal_query(
        self,
        result: QueryResult,
        name: str,
        kind: AssetKind,
        *,
        padding: Padding = "padme",
        progress: Callable[[int, int], None] | None = None,
    ) -> SealOutcome:
        """Seal the result of a query as one file, while the query runs; otherwise as `seal` does with `fresh`.

        Query and sources are noted in this home alone, below `origins/`: the asset's record says nothing of them.

        Args:
            result: opened, and not read yet.
            name: of the asset.
            kind: what it is.
            padding: as in `seal`.
            progress: told rows and bytes so far.

        Raises:
            QueryRefused, QueryNeedsMemory, SourceChanged, SourceUnavailable: the query broke off; nothing was sealed.
            Unavailable: hub, store or keeper cannot be reached.
            SealingBusy: another command seals under this name.
        """
        with Sealing(self._sealing_file(name), self.home.keys.seal) as sealing:
            sealing.forget()
            data_key = DataKey.generate()
            volume = write_volume(result.files(progress), data_key, self.store(), options=SealOptions(padding=padding))
            write_json(self.home.origin_file(volume.asset), {"name": name, **result.origin()})
            own = self._note_asset(name, kind.value, volume, data_key)
            sealing.finish()
        self.deposit(own)
        return SealOutcome(own, volume)

    def origin(self, own: OwnAsset) -> dict[str, Any]:
        """From which query and sources an asset was sealed in this home; empty if from files."""
        return read_json(self.home.origin_file(own.asset))

    def rekey(
        self, name: str, *, fresh: bool = False, progress: Callable[[SealProgress], None] | None = None
    ) -> SealOutcome:
        """Give an own asset a new data key, deposit it, and publish the new record.

        The contents stay where they are stored, and the new version names them; it has another id, so contracts over
        the old one are not contracts over it. Who holds the old key and copies of the ciphertext can still read those
        contents: `fresh` writes them again under new keys, by way of this machine's memory.

        Args:
            name: of the asset.
            fresh: encrypt all contents anew.
            progress: told how far it is.

        Raises:
            AssetUnknown: nothing was sealed under this name.
            SealRefused, Unavailable: the store does not give what was sealed.
            SealingBusy: another command seals under this name.
        """
        old = self.assets.find(name)
        reader = self.open_volume(name)

        def report(done: int) -> None:
            if progress is not None:
                progress(SealProgress(done, reader.content_bytes))

        with Sealing(self._sealing_file(old.name), self.home.keys.seal):
            data_key = DataKey.generate()
            self._check_stored(reader.parts)
            volume = write_volume(
                ((file.path, _chunks(file)) for file in reader.iter_files()) if fresh else reader.iter_stored(),
                data_key,
                self.store(),
                options=SealOptions(padding=reader.manifest.padding),
                progress=report,
                known=() if fresh else reader.parts,
            )
            own = self._note_asset(old.name, old.kind, volume, data_key)
        self.deposit(own)
        return SealOutcome(own, volume)

    def _sealing_file(self, name: str) -> Path:
        if _ASSET_NAME.fullmatch(name) is None:
            raise AssetNameInvalid(f"'{name}'.")
        return self.home.folder / "sealing" / f"{name}.db"

    def _base(self, name: str, padding: Padding) -> tuple[OwnAsset | None, VolumeReader | None]:
        """The version before, if its parts can be used."""
        try:
            own = self.assets.find(name)
            reader = self.open_volume(name)
        except (AssetUnknown, VolumeIncomplete):  # never sealed, or to another store
            return None, None
        return (own, reader) if reader.manifest.padding == padding else (None, None)

    def _check_stored(self, parts: Sequence[Part]) -> None:
        """Refuse to go on from parts that the store does not hold whole."""
        store = self.store()

        def work(number: int) -> None:
            check_stored(store, parts[number])

        for_each(range(len(parts)), work, _CHECKS_AT_ONCE)

    def _note_asset(self, name: str, kind: str, volume: Sealed, data_key: DataKey) -> OwnAsset:
        own = OwnAsset(
            name=name,
            asset=volume.asset,
            kind=kind,
            stored_bytes=volume.stored_bytes,
            sealed=write_moment(datetime.now(UTC)),
            wrapped=b64(data_key.wrap(self.home.keys.public().seal, volume.asset, OWN_PURPOSE)),
        )
        self.assets.add(own)
        return own

    def deposit(self, own: OwnAsset) -> None:
        """Deposit an asset's data key with the own keeper and publish its record. May be repeated."""
        data_key = own.data_key(self.home.keys.seal)
        keeper = self.keeper_keys()
        wrapped = b64(data_key.wrap(keeper.seal, own.asset, DEPOSIT_PURPOSE))
        self._ask_keeper("/v1/deposits", "deposit", {"asset": own.asset, "kind": own.kind, "wrapped": wrapped})
        record = AssetRecord(
            version="paddock/asset/v1",
            owner=self.home.fingerprint,
            name=own.name,
            kind=AssetKind(own.kind),
            asset=own.asset,
            stored_bytes=own.stored_bytes,
            sealed=own.sealed,
        )
        self.hub.publish_asset(record.sign(self.home.keys))

    def open_volume(self, name: str, *, options: OpenOptions | None = None) -> VolumeReader:
        """An own asset, opened with the key in this home's catalogue; every byte is verified as it is read.

        Args:
            name: its name in the catalogue.
            options: threads and caches; None for the defaults.

        Raises:
            AssetUnknown: none of this name was sealed here.
            SealRefused, Unavailable: what the store holds is not what was sealed, or it does not answer.
        """
        own = self.assets.find(name)
        return VolumeReader.open(own.asset, self.store(), own.data_key(self.home.keys.seal), options=options)

    def open_asset(self, name: str) -> VolumeFiles:
        """The files of an own asset; see `open_volume`."""
        return VolumeFiles(self.open_volume(name))

    # --- contracts ---

    def draft(self, text: str, *, measurement: str) -> Terms:
        """The terms that a draft resolves to, checked down to every step's parameters.

        Raises:
            DraftRefused, JobRefused: what is wrong in it, by name.
            PartyUnknown, AssetUnknown: a name that is not known.
        """
        now = datetime.now(UTC)
        terms = resolve_draft(text, self.directory(), measurement=measurement, now=now, nonce=secrets.token_hex(16))
        check_steps(terms)
        return terms

    def propose(self, terms: Terms) -> Proposal:
        """Sign terms and post them for the others to sign.

        Raises:
            AssetUnknown: an own input is not what this home sealed last under a name: the hub gave an older record.
            UnknownParty, KeeperMismatch, TermsRefused: see `sign_contract`.
        """
        self._check_own_inputs(terms)
        envelope = self._signed(propose(terms))
        self._keep(envelope)
        self.hub.propose(envelope)
        return open_proposal(envelope)

    def contract(self, reference: str) -> tuple[Proposal, dict[str, Any]]:
        """A contract by id or unique beginning of its id: as it was signed, and what the hub says of its state.

        Raises:
            ContractUnknown: none or several begin so.
            HubAnswerRefused: what the hub sent is another contract.
        """
        contract = self.contract_id(reference)
        said = self.hub.contract(contract)
        try:
            proposal = open_proposal(Envelope.from_dict(said.get("envelope")))
        except CryptoRefused as error:
            raise HubAnswerRefused from error
        if proposal.id != contract:
            raise HubAnswerRefused("It sent another contract than was asked for.")
        return proposal, said

    def contract_id(self, reference: str) -> str:
        """The full id that a reference means: among those shown or signed in this home, else among the hub's.

        Raises:
            ContractUnknown: none or several begin so.
        """
        if is_digest(reference):
            return reference
        found = _beginning_with(reference, self._known_contracts())
        if not found:
            offered = {str(row.get("contract")) for row in self.hub.contracts(self.home.fingerprint)}
            found = _beginning_with(reference, offered)
        if len(found) != 1:
            raise ContractUnknown(f"{len(found)} contracts of yours begin with '{reference}'.")
        return found[0]

    def note_shown(self, proposal: Proposal) -> None:
        """Remember that this contract was read here, so that the beginning of its id can mean no other one."""
        path = self.home.folder / "shown.json"
        with one_at_a_time(path):
            shown = read_json(path)
            if proposal.id not in shown:
                write_json(path, {**shown, proposal.id: proposal.terms.title})

    def sign(self, reference: str) -> Proposal:
        """Sign a contract, after checking everything that a signer must.

        Raises:
            ContractUnknown: only the beginning of an id was given, of a contract that was not read in this home.
            UnknownParty, KeeperMismatch, ContractSignatureRefused, TermsRefused, JobRefused: see `sign_contract`.
        """
        if not is_digest(reference):
            # The hub could have found another contract whose id begins the same: only one that was read here is meant.
            known = _beginning_with(reference, self._known_contracts())
            if len(known) != 1:
                raise ContractUnknown(f"Read it first: paddock contract show {reference}.")
            reference = known[0]
        proposal, _ = self.contract(reference)
        check_steps(proposal.terms)
        self._check_own_inputs(proposal.terms)
        envelope = self._signed(proposal.envelope)
        self._keep(envelope)
        said = self.hub.add_signature(proposal.id, envelope)
        merged = open_proposal(Envelope.from_dict(said["envelope"])) if "envelope" in said else open_proposal(envelope)
        return merged if merged.id == proposal.id else open_proposal(envelope)

    def reject(self, reference: str, reason: str) -> None:
        """Refuse to sign, with a reason that the others see."""
        contract = self.contract_id(reference)
        self.hub.act(contract, "reject", self._request("contract.reject", {"contract": contract, "reason": reason}))

    def cancel(self, reference: str, reason: str) -> None:
        """End a contract: tell the hub, and forbid the own keeper to release another key or lease for it."""
        contract = self.contract_id(reference)
        self.revoke(contract, reason or "The party cancelled the contract.")
        self.hub.act(contract, "cancel", self._request("contract.cancel", {"contract": contract, "reason": reason}))

    # --- keeper ---

    def revoke(self, subject: str, reason: str) -> None:
        """Forbid the own keeper any release and lease for a contract or an asset, from now on."""
        self._ask_keeper("/v1/revocations", "revoke", {"subject": subject, "reason": reason})

    def set_keeper_policy(self, text: str, collateral: Collateral) -> dict[str, Any]:
        """Have the own keeper judge by this trust policy from now on, and know this collateral beside what it knows (R-20).

        Returns:
            `policy`, its digest, and `ledger_index`, where the keeper's ledger says so.

        Raises:
            TrustPolicyInvalid: the keeper cannot read it.
        """
        body = {"policy": text, "collateral": b64(collateral.to_bytes())}
        return self._ask_keeper("/v1/policy", "policy.set", body)

    def keeper_info(self) -> dict[str, Any]:
        """What whoever answers at the own keeper's address says of itself."""
        return self._keeper.get("/v1/info")

    def keeper_account(self) -> dict[str, Any]:
        """What the own keeper released, keeps and refuses."""
        return self._ask_keeper("/v1/account", "releases.list", {})

    # --- runs ---

    def request_run(self, reference: str) -> str:
        """Ask for a run of a contract that everybody signed; its id.

        Raises:
            ContractSignatureRefused: a signature is missing.
            HubAnswerRefused: the hub's answer is no run's id, or that of an earlier run.
        """
        proposal, _ = self.contract(reference)
        verify_contract(proposal.envelope)
        run = self.hub.request_run(self._request("run.request", {"contract": proposal.id}))
        # V-13: noted here, so that the hub cannot pass an earlier run off as this one, nor one of another contract.
        if not _RUN.fullmatch(run) or self.home.run_file(run).exists() or self.home.receipt_file(run).exists():
            raise HubAnswerRefused("It gave a run that is not new.")
        write_json(self.home.run_file(run), {"contract": proposal.id})
        return run

    def resume_run(self, run: str) -> str:
        """Go on with a run that failed or was cancelled, from its newest checkpoint; the contract's id.

        Raises:
            NotFound, NotAParty, StateRefused, HubRunsUsedUp, RunStillEnding: as the hub says.
            HubAnswerRefused: the hub says that it is of a contract which this home does not know as its own.
        """
        contract = self.asked_for(run)
        if contract is None:
            # Somebody else asked for it: the hub's word on the contract, which this home must have signed (V-13).
            contract = str(self.hub.run(run).get("contract"))
            if self.signed_contract(contract) is None:
                raise HubAnswerRefused("It says that the run is of a contract that was not signed here.")
        self.hub.resume_run(run, self._request("run.resume", {"run": run}))
        if self.asked_for(run) is None:
            write_json(self.home.run_file(run), {"contract": contract})
        return contract

    def asked_for(self, run: str) -> str | None:
        """The contract of which this home asked for that run, or None if somebody else asked."""
        if not _RUN.fullmatch(run):
            return None
        contract = read_json(self.home.run_file(run)).get("contract")
        return None if contract is None else str(contract)

    def cancel_run(self, run: str) -> None:
        """Cancel a run."""
        self.hub.cancel_run(run, self._request("run.cancel", {"run": run}))

    # --- inside ---

    def signed_contract(self, contract: str) -> Envelope | None:
        """The contract as this home signed it, or None if it never did."""
        value = read_json(self.home.contract_file(contract))
        return Envelope.from_dict(value) if value else None

    def _known_contracts(self) -> set[str]:
        signed = {f"sha256:{path.stem}" for path in (self.home.folder / "contracts").glob("*.json")}
        return signed | set(read_json(self.home.folder / "shown.json"))

    def _signed(self, envelope: Envelope) -> Envelope:
        named = {peer.name: peer.fingerprint for peer in self.peers.all()}
        accepted = set(named.values())
        return sign_contract(
            envelope,
            self.home.keys,
            own_keeper=self.keeper_keys(),
            is_known=lambda known: known in accepted,
            known_as={**named, self.home.name: self.home.fingerprint}.get,
        )

    def _keep(self, envelope: Envelope) -> None:
        write_json(self.home.contract_file(contract_id(envelope.payload)), envelope.to_dict())

    def _check_own_inputs(self, terms: Terms) -> None:
        own = {asset.asset: asset for asset in self.assets.all()}
        name = terms.party_named_by(self.home.fingerprint)
        for input_name, item in terms.inputs_of(name or ""):
            if item.asset not in own:
                raise AssetUnknown(f"Input '{input_name}' is said to be yours, but was not sealed in this home.")
            if own[item.asset].kind != item.kind:
                raise TermsRefused(f"Input '{input_name}' is a {own[item.asset].kind}, not a {item.kind}.")
            if LEVELS[terms.level].pads_inputs:
                manifest = read_manifest(item.asset, self.store())
                check_padding(terms.level, input_name, padded=manifest.padding != "none")  # L-7

    def _request(self, action: str, body: dict[str, Any], audience: str = HUB_AUDIENCE) -> Envelope:
        return Request(
            action=action,
            body=body,
            audience=audience,
            by=self.home.fingerprint,
            at=datetime.now(UTC),
            nonce=secrets.token_hex(16),
        ).sign(self.home.keys.sign)

    def _ask_keeper(self, path: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
        keeper = self.keeper_keys()
        request = self._request(action, body, keeper.fingerprint())
        return read_answer(self._keeper.post(path, {"request": request.to_dict()}), request, keeper.sign)

    def _store_request(self, action: str, body: dict[str, Any]) -> str:
        return b64(self._request(action, body).to_json())


def _beginning_with(reference: str, ids: set[str]) -> list[str]:
    beginning = reference.removeprefix("sha256:")
    return sorted(row for row in ids if beginning and row.removeprefix("sha256:").startswith(beginning))


def check_steps(terms: Terms) -> None:
    """Return if every step's kind, roles and parameters are such that a run can work, as far as can be told outside.

    Raises:
        JobRefused, LevelRefused: what is wrong, by step.
    """
    made: set[str] = set()
    for step in terms.steps:
        kind = job_kind(step.kind)
        try:
            kind.check_parameters(step.parameters)
        except JobRefused as error:
            raise type(error)(f"In step '{step.name}': {error.detail}") from error
        unknown = set(step.inputs) - set(kind.roles)
        missing = {role for role, fact in kind.roles.items() if fact.required} - set(step.inputs)
        if unknown or missing:
            said = ", ".join(sorted(unknown | missing))
            raise TermsRefused(f"Step '{step.name}' of kind {step.kind}: these inputs are unknown or missing: {said}.")
        _check_views(terms, step, impossible="direct" if kind.takes_paths else "mounted")
        made.update(f"{step.name}.{output}" for output in kind.outputs_of(step.parameters))
    for name, output in terms.outputs.items():
        if output.source not in made:
            raise TermsRefused(f"Output '{name}' comes from '{output.source}', which no step makes: {sorted(made)}.")
    for step in terms.steps:
        for reference in (r for references in step.inputs.values() for r in references if "." in r):
            if reference not in made:
                raise TermsRefused(f"Step '{step.name}' uses '{reference}', which no step makes.")


def _check_views(terms: Terms, step: StepTerms, *, impossible: str) -> None:
    for reference in (r for references in step.inputs.values() for r in references if r in terms.inputs):
        if terms.inputs[reference].view == impossible:
            raise TermsRefused(
                f"Step '{step.name}' of kind {step.kind} cannot have a {impossible} view of '{reference}': have it auto."
            )


class _Directory:
    """Names as this party knows them."""

    def __init__(self, party: Party) -> None:
        self._party = party

    def party(self, name: str) -> PartyRecord:
        """See `Directory.party`."""
        if name == self._party.home.name:
            return self._party.record()
        peer = self._party.peers.find(name)
        # The keeper may have moved or been renewed: the newest record counts if the accepted keys signed it.
        return max([peer.record, *self._newer(peer)], key=lambda record: record.issued)

    def asset(self, reference: str) -> tuple[str, AssetRecord]:
        """See `Directory.asset`."""
        owner, _, name = reference.rpartition("/")
        if not owner:
            raise AssetUnknown(f"Write '{reference}' as OWNER/NAME.")
        keys = self.party(owner).keys.public()
        records = self._party.hub.asset_records(keys.fingerprint(), name=name)
        read = [read_asset(envelope, keys) for envelope in records]
        matching = [record for record in read if record.name == name]
        if not matching:
            raise AssetUnknown(f"'{owner}' has published no asset named '{name}'.")
        return owner, max(matching, key=lambda record: record.sealed)

    def _newer(self, peer: Peer) -> list[PartyRecord]:
        try:
            record = read_party(self._party.hub.party_record(peer.fingerprint))
        except (NotFound, RecordRefused):
            return []
        return [record] if record.fingerprint() == peer.fingerprint else []


def _chunks(file: VolumeFile) -> Iterator[bytes]:
    with file.open() as stream:
        while piece := stream.read(_PIECE_BYTES):
            yield piece
