"""Drafts: terms as people write them (TOML), resolved to the terms that are signed.

A draft names parties and assets; the resolved terms hold their keys and digests. What a draft leaves out is filled in
visibly: the signer sees and signs the result, never the draft.

Source: docs/spec/contract.md §2.
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from typing import Any, Protocol

from pydantic import ValidationError

from paddock.contract.asset import AssetRecord
from paddock.contract.levels import Level, is_built_in
from paddock.contract.output_types import MAX_OUTPUT_BYTES, OutputType, usual_max_bytes, usual_type
from paddock.contract.party import PartyRecord
from paddock.contract.terms import VERSION, Terms, explain
from paddock.crypto.moment import write_moment
from paddock.errors import DraftRefused

DEFAULT_LEASE_SECONDS = 30
DEFAULT_MEMORY_BYTES = 4 << 30
DEFAULT_ATTEMPTS = 3
DEFAULT_CHECKPOINT_SECONDS = 300
DEFAULT_RUN_SECONDS = 86_400
DEFAULT_PROCESSES = 256
DEFAULT_SCRATCH_BYTES = 1 << 30
THIS_MEASUREMENT = "this"
_MEMBERS = {
    "title", "level", "road", "expires", "runs", "parties", "inputs", "steps", "outputs", "environment", "limits",
}  # fmt: skip


class Directory(Protocol):
    """Where names are looked up: the proposer's own address book, and asset records signed by their owners."""

    def party(self, name: str) -> PartyRecord:
        """The record behind a name of the address book."""

    def asset(self, reference: str) -> tuple[str, AssetRecord]:
        """Owner's name and record for `owner/name` or for an asset id."""


def resolve_draft(text: str, directory: Directory, *, measurement: str, now: datetime, nonce: str) -> Terms:
    """Turn a draft into terms.

    Args:
        text: the TOML file's text.
        directory: look-ups; it raises when a name is not known.
        measurement: what `"this"` in the draft's measurements stands for: the proposer's own installed runtime.
        now: when the contract is made.
        nonce: 32 hex digits that make equal drafts different contracts.

    Raises:
        DraftRefused: not TOML, a member missing or misspelt, or the result breaks a rule of the terms.
    """
    draft = _read(text)
    names = _list_of_texts(draft, "parties")
    parties = {}
    for name in names:
        record = directory.party(name)
        parties[name] = {"keys": record.keys.model_dump(), "keeper": record.keeper.keys.model_dump()}
    inputs = {}
    for name, item in _table(draft, "inputs").items():
        if not isinstance(item, dict) or not set(item) <= {"asset", "view"} or not isinstance(item.get("asset"), str):
            raise DraftRefused(f'inputs.{name} needs asset = "owner/name" or an asset id, and may have a view.')
        owner, asset = directory.asset(item["asset"])
        if owner not in parties:
            raise DraftRefused(f"inputs.{name} belongs to '{owner}', who is not in parties.")
        inputs[name] = {
            "owner": owner,
            "asset": asset.asset,
            "kind": asset.kind.value,
            "view": item.get("view", "auto"),
        }
    steps = [_step(number, step) for number, step in enumerate(_steps(draft))]
    outputs = {name: _output(name, row, steps) for name, row in _table(draft, "outputs").items()}
    terms = {
        "version": VERSION,
        "title": draft.get("title", ""),
        "nonce": nonce,
        "road": draft.get("road", "enclave"),
        "level": draft.get("level", Level.L5.value),  # L-3: the strictest unless all sign another.
        "created": write_moment(now),
        "expires": _expiry(draft),
        "runs": draft.get("runs", 1),
        "parties": parties,
        "inputs": inputs,
        "steps": steps,
        "outputs": outputs,
        "environment": _environment(draft.get("environment", {}), measurement),
        "limits": {
            "memory_bytes": DEFAULT_MEMORY_BYTES,
            "lease_seconds": DEFAULT_LEASE_SECONDS,
            "attempts": DEFAULT_ATTEMPTS,
            "checkpoint_seconds": DEFAULT_CHECKPOINT_SECONDS,
            "run_seconds": DEFAULT_RUN_SECONDS,
            "processes": DEFAULT_PROCESSES,
            "scratch_bytes": DEFAULT_SCRATCH_BYTES,
            "output_bytes": _output_bytes(outputs),
            **_table({"limits": {}, **draft}, "limits"),
        },
    }
    try:
        return Terms.model_validate(terms, strict=False)
    except ValidationError as error:
        raise DraftRefused(explain(error)) from error


def _read(text: str) -> dict[str, Any]:
    try:
        draft = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DraftRefused(f"The file is not TOML: {error}.") from error
    unknown = sorted(set(draft) - _MEMBERS)
    if unknown:
        raise DraftRefused(f"Unknown members: {', '.join(unknown)}. Known ones: {', '.join(sorted(_MEMBERS))}.")
    return draft


def _table(draft: dict[str, Any], name: str) -> dict[str, Any]:
    value = draft.get(name)
    if not isinstance(value, dict):
        raise DraftRefused(f"The draft needs a table [{name}.…].")
    return value


def _list_of_texts(draft: dict[str, Any], name: str) -> list[str]:
    value = draft.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise DraftRefused(f'The draft needs a list: {name} = ["…", "…"].')
    return value


def _expiry(draft: dict[str, Any]) -> str:
    value = draft.get("expires")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise DraftRefused("expires needs a time zone: expires = 2027-01-31T00:00:00Z.")
        try:
            return write_moment(value)
        except OverflowError as error:
            raise DraftRefused("expires is outside the calendar.") from error
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    raise DraftRefused("The draft needs an expiry: expires = 2027-01-31T00:00:00Z.")


def _steps(draft: dict[str, Any]) -> list[Any]:
    value = draft.get("steps", [])
    if not isinstance(value, list):
        raise DraftRefused("The draft needs tables [[steps]].")
    return value


def _step(number: int, step: Any) -> dict[str, Any]:
    if not isinstance(step, dict) or not set(step) <= {"name", "kind", "inputs", "parameters"}:
        raise DraftRefused(f"steps[{number}] may have name, kind, inputs and parameters.")
    return {"parameters": {}, "inputs": {}, **step}


def _output(name: str, row: Any, steps: list[dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(row, dict) or not {"from", "to"} <= set(row) <= {"from", "to", "type", "max_bytes"}:
        raise DraftRefused(
            f'outputs.{name} needs from = "step.output" and to = ["…"], and may have a type and max_bytes.'
        )
    chosen = row.get("type", _usual_type(row["from"], steps))
    if not isinstance(chosen, str) or chosen not in set(OutputType):
        raise DraftRefused(f"outputs.{name}.type is one of {', '.join(OutputType)}.")
    most = row.get("max_bytes", usual_max_bytes(OutputType(chosen)))
    return {"source": row["from"], "to": row["to"], "type": chosen, "max_bytes": most}


def _usual_type(source: Any, steps: list[dict[str, Any]]) -> OutputType:
    step, _, output = str(source).partition(".")
    kinds = {str(each.get("name")): str(each.get("kind")) for each in steps}
    return usual_type(output, built_in=is_built_in(kinds.get(step, "")))


def _output_bytes(outputs: dict[str, dict[str, Any]]) -> int:
    # What the outputs may take one by one. A size that is no number is refused later, by the terms.
    total = sum(size for row in outputs.values() if isinstance(size := row["max_bytes"], int))
    return min(max(total, 1), MAX_OUTPUT_BYTES)


def _environment(value: Any, measurement: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not set(value) <= {"measurements", "simulated"}:
        raise DraftRefused("[environment] may have measurements and simulated.")
    listed = value.get("measurements", [THIS_MEASUREMENT])
    if not isinstance(listed, list):
        raise DraftRefused("environment.measurements is a list.")
    measurements = [measurement if item == THIS_MEASUREMENT else item for item in listed]
    return {"measurements": measurements, "simulated": value.get("simulated", False)}
