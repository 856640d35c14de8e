"""Events of a run as the hub keeps them: untrusted bytes, cut to a known form and size."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import parse
from paddock.crypto.dsse import Envelope
from paddock.crypto.moment import Moment
from paddock.errors import CryptoRefused, ObjectNameRefused, PaddockError, RunEndedSilently, RunSpokeBadly, from_dict
from paddock.store.api import check_name

MAX_EVENTS = 50_000
MAX_EVENT_BYTES = 256 << 10
MAX_ALL_BYTES = 64 << 20
MAX_RECEIPT_BYTES = 8 << 20
RECEIPT_TYPE = "application/vnd.in-toto+json"
Json = dict[str, Any]

_Text = Annotated[str, StringConstraints(max_length=500)]
_Number = bool | int | Annotated[float, Field(allow_inf_nan=False)]
_Public = _Text | _Number | Annotated[list[_Text], Field(max_length=1024)] | None


class _Form(BaseModel):
    # Members that a later version adds are dropped, not refused: the run would fail for a novelty nobody needs.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Sealed(_Form):
    to: Annotated[str, StringConstraints(pattern=r"^[A-Z2-7-]{1,64}$")]
    data: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/=]{1,8192}$")]


class _Phase(_Form):
    event: Literal["phase"]
    phase: Literal[
        "booted",
        "attested",
        "released",
        "opened",
        "resumed",
        "running",
        "checkpoint-refused",
        "checkpoint-failed",
        "sealing",
        "uploaded",
    ]
    at: Moment
    detail: Annotated[dict[Annotated[str, StringConstraints(max_length=64)], _Public], Field(max_length=64)] = {}


class _Progress(_Form):
    event: Literal["progress"]
    sequence: Annotated[int, Field(ge=0)] = 0
    sealed: Annotated[list[_Sealed], Field(max_length=64)]


class Checkpoint(_Form):
    """A checkpoint that a run says to have stored."""

    event: Literal["checkpoint"]
    at: Moment
    number: Annotated[int, Field(ge=1, lt=1 << 53)]
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    asset: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    objects: Annotated[list[Annotated[str, StringConstraints(max_length=200)]], Field(min_length=1, max_length=4096)]


class _FailureSeal(_Form):
    sealed: Annotated[list[_Sealed], Field(max_length=64)] = []


def read_event(event: Json) -> Json | None:
    """A phase or progress event in its known form, or None when it has another."""
    forms: dict[str, type[_Phase | _Progress]] = {"phase": _Phase, "progress": _Progress}
    form = forms.get(str(event.get("event")))
    if form is None:
        return None
    try:
        return form.model_validate(event).model_dump(mode="json")
    except ValidationError:
        return None


def read_checkpoint(event: Json, run: str) -> Checkpoint | None:
    """A checkpoint's event, or None when it has another form or names objects that are not this run's (K-7)."""
    try:
        checkpoint = Checkpoint.model_validate(event)
        below = f"checkpoints/{run}/{checkpoint.id}/"
        # K-7: these objects will be deleted one day; nobody's but the run's own may be among them.
        if any(not check_name(name).startswith(below) for name in checkpoint.objects):
            return None
    except (ValidationError, ObjectNameRefused):
        return None
    return checkpoint


def read_failure(event: Json) -> tuple[PaddockError, Json]:
    """The error of a failed event in this version's words, and the event to keep."""
    error = from_dict(event.get("error"), RunEndedSilently)
    try:
        sealed = _FailureSeal.model_validate({"sealed": event.get("sealed", [])}).model_dump(mode="json")
    except ValidationError:
        sealed = {"sealed": []}
    return error, {"event": "failed", "error": error.as_dict(), **sealed}


def read_receipt(event: Json, *, contract: str, run: str) -> str:
    """The receipt as it is kept, if it is an envelope over a statement that names this contract and run.

    That is a check against mistakes. Whether it is true is verified by whoever relies on it (docs/spec/receipt.md).

    Raises:
        RunSpokeBadly: it is not.
    """
    try:
        envelope = Envelope.from_dict(event.get("envelope"))
        written = envelope.to_json()
        if len(written) > MAX_RECEIPT_BYTES:
            raise RunSpokeBadly("Its receipt is too large.")
        predicate = parse(envelope.payload).get("predicate")
    except CryptoRefused as error:
        raise RunSpokeBadly("Its receipt is not well formed.") from error
    named = (predicate.get("contract_id"), predicate.get("run")) if isinstance(predicate, dict) else None
    if envelope.payload_type != RECEIPT_TYPE or not envelope.signatures or named != (contract, run):
        raise RunSpokeBadly("Its receipt is of another contract or run.")
    return written.decode()


def write_event(event: Json) -> str | None:
    """An event as it is stored; None when it is too large."""
    text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    return text if len(text) <= MAX_EVENT_BYTES else None
