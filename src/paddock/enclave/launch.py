"""The launch: one JSON line from whoever started this process. Nothing in it is trusted.

Addresses in it can only make a run fail: keepers are recognised by their signatures, stored bytes by their digests.
Checkpoints in it can only save or cost the run time: each opens under this run's key alone, or is passed over.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from paddock.crypto.canonical import parse
from paddock.crypto.dsse import Envelope
from paddock.errors import CryptoRefused, LaunchRefused

MAX_LAUNCH_BYTES = 4 << 20
MAX_HINTS = 8


class CheckpointHint(BaseModel):
    """Where a checkpoint of this run is said to stand: its number and the id of its volume."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    asset: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Launch(BaseModel):
    """What to run, and where things are said to be."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    run: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    contract: dict[str, Any]
    store: str
    keepers: dict[str, str]
    attester: str
    checkpoints: Annotated[list[CheckpointHint], Field(max_length=MAX_HINTS)]

    def envelope(self) -> Envelope:
        """The contract as its envelope."""
        return Envelope.from_dict(self.contract)


def read_launch(line: bytes) -> Launch:
    """Read the launch line strictly.

    Raises:
        LaunchRefused: not exactly the members of a launch.
    """
    try:
        parse(line, max_bytes=MAX_LAUNCH_BYTES)
        launch = Launch.model_validate_json(line)
        launch.envelope()
    except (CryptoRefused, ValidationError) as error:
        raise LaunchRefused from error
    return launch
