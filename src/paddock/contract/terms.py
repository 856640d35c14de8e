"""The terms of a contract: what all parties sign.

Source: docs/spec/contract.md §2 (C-1, C-3, C-5 to C-10, C-15, C-20, C-21).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from paddock.contract.asset import AssetKind
from paddock.contract.levels import (
    MOST_RUNS,
    Level,
    check_job_allowed,
    check_measurements,
    check_number_of_runs,
    check_output_type,
)
from paddock.contract.output_types import MAX_OUTPUT_BYTES, OutputType
from paddock.crypto.canonical import canonical, parse_canonical
from paddock.crypto.digest import is_digest
from paddock.crypto.identity import PublicKeys
from paddock.crypto.moment import Moment, read_moment
from paddock.errors import EncodingRefused, LevelRefused, TermsRefused

MAX_TERMS_BYTES = 1 << 20
MAX_RUN_SECONDS = 366 * 86_400
MAX_INPUTS = 512  # their ids, 74 bytes each, fit into one entry of a keeper's ledger
VERSION = "paddock/contract/v1"
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _digest(text: str) -> str:
    if not is_digest(text):
        raise ValueError("an id is written sha256: and 64 lower-case hex digits")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_-]{0,62})?$")]
Digest = Annotated[str, AfterValidator(_digest)]
View = Literal["auto", "direct", "staged", "mounted"]


class _Strict(BaseModel):
    # C-3: nothing unknown, nothing coerced.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Keys(_Strict):
    """Two public keys, base64: Ed25519 (32 bytes) and X-Wing (1216 bytes)."""

    sign: str
    seal: str

    def public(self) -> PublicKeys:
        """The keys as keys. Raises EncodingRefused."""
        return _public_keys(self.sign, self.seal)


@lru_cache(maxsize=1024)
def _public_keys(sign: str, seal: str) -> PublicKeys:
    # Checking an ML-KEM key costs more than a signature, and the same few keys come again and again.
    return PublicKeys.from_dict({"seal": seal, "sign": sign})


class PartyTerms(_Strict):
    """A party: its own keys and those of the keeper that acts for it."""

    keys: Keys
    keeper: Keys

    def fingerprint(self) -> str:
        """The fingerprint of the party's own keys."""
        return self.keys.public().fingerprint()


class InputTerms(_Strict):
    """An input: whose it is, which asset, of which kind, and how a job sees it (`auto`: the enclave chooses)."""

    owner: Name
    asset: Digest
    kind: AssetKind
    view: View


class StepTerms(_Strict):
    """One job. `inputs` maps each role to inputs or to `step.output` of an earlier step, in order."""

    name: Name
    kind: Name
    inputs: dict[Name, Annotated[tuple[Reference, ...], Field(min_length=1, max_length=MAX_INPUTS)]]
    parameters: dict[str, Any]


class OutputTerms(_Strict):
    """An output: what it is made from, the parties who receive it, what it may hold and how much of it."""

    source: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}\.[a-z][a-z0-9_-]{0,62}$")]
    to: Annotated[tuple[Name, ...], Field(min_length=1, max_length=256)]
    type: OutputType
    max_bytes: Annotated[int, Field(ge=1, le=MAX_OUTPUT_BYTES)]


class EnvironmentTerms(_Strict):
    """Where it may run: measurements that are accepted, and whether a simulator's evidence may stand in."""

    measurements: Annotated[tuple[Digest, ...], Field(max_length=64)]
    simulated: bool


class LimitTerms(_Strict):
    """Ceilings of one run. A run of one attempt keeps no checkpoint and cannot be resumed.

    Args:
        memory_bytes: what it may hold in memory.
        lease_seconds: how long it goes on after a keeper has stopped answering.
        attempts: how often one run may be begun.
        checkpoint_seconds: time between two checkpoints.
        run_seconds: how long one attempt may take, by the enclave's own clock that only runs forward.
        processes: processes and threads of a job together.
        scratch_bytes: what a job may write beside its outputs.
        output_bytes: all outputs of a run together.
    """

    memory_bytes: Annotated[int, Field(ge=64 << 20, le=1 << 44)]
    lease_seconds: Annotated[int, Field(ge=2, le=3600)]
    attempts: Annotated[int, Field(ge=1, le=100)]
    checkpoint_seconds: Annotated[int, Field(ge=1, le=86_400)]
    run_seconds: Annotated[int, Field(ge=1, le=MAX_RUN_SECONDS)]
    processes: Annotated[int, Field(ge=1, le=65_536)]
    scratch_bytes: Annotated[int, Field(ge=0, le=1 << 44)]
    output_bytes: Annotated[int, Field(ge=1, le=MAX_OUTPUT_BYTES)]


class Terms(_Strict):
    """What all parties sign; every member is written out, none has a default here."""

    version: Literal["paddock/contract/v1"]
    title: Annotated[str, StringConstraints(pattern=r"^[^\p{C}]{1,200}$")]  # no control or direction characters
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    road: Literal["enclave"]
    level: Level  # L-6: among the bytes that every party signs.
    created: Moment
    expires: Moment
    runs: Annotated[int, Field(ge=1, le=MOST_RUNS)]
    parties: Annotated[dict[Name, PartyTerms], Field(min_length=1, max_length=64)]
    inputs: Annotated[dict[Name, InputTerms], Field(min_length=1, max_length=MAX_INPUTS)]
    steps: Annotated[tuple[StepTerms, ...], Field(min_length=1, max_length=64)]
    outputs: Annotated[dict[Name, OutputTerms], Field(min_length=1, max_length=256)]
    environment: EnvironmentTerms
    limits: LimitTerms

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_parties(self)
        _check_owners(self)
        _check_references(self)
        _check_outputs(self)
        _check_times(self)
        _check_texts(self)
        try:
            check_level(self)  # C-9, C-15, L-2, L-8, L-9
        except LevelRefused as error:
            raise ValueError(error.detail.rstrip(".")) from error
        return self

    def to_bytes(self) -> bytes:
        """The canonical bytes that are signed."""
        return canonical(self.model_dump(mode="json"))

    def fingerprints(self) -> dict[str, str]:
        """Party name to fingerprint."""
        return {name: party.fingerprint() for name, party in self.parties.items()}

    def party_named_by(self, fingerprint: str) -> str | None:
        """The name under which the contract lists this fingerprint, or None."""
        return next((name for name, own in self.fingerprints().items() if own == fingerprint), None)

    def inputs_of(self, party: str) -> Iterator[tuple[str, InputTerms]]:
        """Inputs that this party owns."""
        return ((name, item) for name, item in self.inputs.items() if item.owner == party)

    def owners(self) -> list[str]:
        """Parties that own an input, in name order."""
        return sorted({item.owner for item in self.inputs.values()})


@lru_cache(maxsize=32)
def read_terms(payload: bytes) -> Terms:
    """Read terms from the bytes that were signed. Pure, so that the same bytes are read once.

    Raises:
        TermsRefused: not canonical (C-1), a member unknown, missing or ill-typed (C-3), or a rule between members
            broken (C-5 to C-10, C-15, C-20, C-21).
    """
    try:
        parse_canonical(payload, max_bytes=MAX_TERMS_BYTES)  # C-1
        return Terms.model_validate_json(payload)
    except EncodingRefused as error:
        raise TermsRefused(error.detail) from error
    except ValidationError as error:
        raise TermsRefused(explain(error)) from error


def explain(error: ValidationError) -> str:
    """The first few faults as one sentence that names where each is."""
    rows = error.errors(include_url=False, include_input=False, include_context=False)
    faults = []
    for row in rows[:3]:
        place = ".".join(str(part) for part in row["loc"]) or "terms"
        faults.append(f"{place}: {row['msg'].removeprefix('Value error, ')}")
    more = f" (and {len(rows) - 3} more)" if len(rows) > 3 else ""
    return "; ".join(faults) + more + "."


def _check_parties(terms: Terms) -> None:
    seen: set[bytes] = set()
    for name, party in terms.parties.items():
        for keys in (party.keys, party.keeper):
            try:
                raw = keys.public().sign.raw
            except EncodingRefused as error:
                raise ValueError(f"the keys of party '{name}' are not well formed") from error
            if raw in seen:  # C-8: one key never speaks for two.
                raise ValueError(f"a key of party '{name}' is used twice")
            seen.add(raw)


def _check_owners(terms: Terms) -> None:
    owners: dict[str, str] = {}
    for name, item in terms.inputs.items():
        if item.owner not in terms.parties:  # C-5
            raise ValueError(f"the owner of input '{name}' is not a party")
        # C-5: else one could have another's data worked on as if they were its own, in a step that it chose.
        if owners.setdefault(item.asset, item.owner) != item.owner:
            raise ValueError(f"the asset of input '{name}' is listed as another party's too")


def _check_references(terms: Terms) -> None:
    names: set[str] = set()
    for step in terms.steps:
        if step.name in names or step.name in terms.inputs:
            raise ValueError(f"the name '{step.name}' is used twice")
        for role, references in step.inputs.items():
            for reference in references:  # C-6: only inputs and what an earlier step yields.
                known = reference.split(".")[0] in names if "." in reference else reference in terms.inputs
                if not known:
                    raise ValueError(f"step '{step.name}' uses '{reference}' as {role}, which nothing before it yields")
        names.add(step.name)
    used = {r for step in terms.steps for refs in step.inputs.values() for r in refs}
    unused = set(terms.inputs) - used
    if unused:  # C-6: a key that no step needs is not released.
        raise ValueError(f"no step uses input '{min(unused)}'")


def _check_outputs(terms: Terms) -> None:
    steps = {step.name for step in terms.steps}
    for name, output in terms.outputs.items():
        if output.source.split(".")[0] not in steps:  # C-7: every output has a source and known recipients.
            raise ValueError(f"output '{name}' comes from '{output.source}', which is no step")
        for recipient in output.to:
            if recipient not in terms.parties:
                raise ValueError(f"output '{name}' goes to '{recipient}', who is not a party")
        if len(set(output.to)) != len(output.to):
            raise ValueError(f"output '{name}' names a recipient twice")
        if output.max_bytes > terms.limits.output_bytes:  # C-21
            raise ValueError(f"output '{name}' may be larger than all outputs together (limits.output_bytes)")


def check_level(terms: Terms) -> None:
    """Return if the level allows what the terms say: their steps, outputs, runs and measurements.

    Terms that were read have passed it. Keepers and enclaves ask again, so that no way around the reader is one around
    the level.

    Raises:
        LevelRefused: a kind of job (C-9, L-2), no measurement (C-15), a type of output (L-8), too many runs (L-9).
    """
    for step in terms.steps:
        check_job_allowed(terms.level, step.kind)  # C-9, L-2
    check_measurements(terms.level, terms.environment.measurements)  # C-15
    for name, output in terms.outputs.items():
        check_output_type(terms.level, name, output.type)  # L-8
    check_number_of_runs(terms.level, terms.runs)  # L-9


def _check_times(terms: Terms) -> None:
    if read_moment(terms.created) >= read_moment(terms.expires):  # C-10
        raise ValueError("the contract expires before it begins")


def _check_texts(terms: Terms) -> None:
    # C-20: whoever signs reads these on a screen; no sign may move its cursor, hide a part or turn the reading order.
    stack: list[Any] = [terms.title, *(step.parameters for step in terms.steps)]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend((*item.keys(), *item.values()))
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, str) and any(unicodedata.category(sign) in _UNSHOWN for sign in item):
            raise ValueError("a text holds a control or formatting character")
