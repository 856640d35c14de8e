"""What a contract may say about a script."""

from __future__ import annotations

from typing import Annotated

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

LOG = "log"
"""The output with what a script prints."""


def _unlike_log(name: str) -> str:
    if name == LOG:
        raise ValueError("every script has an output 'log'; it is not to be listed")
    return name


def _requirement(text: str) -> str:
    try:
        Requirement(text)
    except InvalidRequirement:
        raise ValueError("a package is written NAME, or NAME>=VERSION and the like") from None
    return text


def _once(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("each is listed once")
    return values


class ScriptParameters(BaseModel):
    """Parameters of `script`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    entry: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\.py$", max_length=200),
    ] = Field(description="The file of the script's volume that is run.")
    arguments: list[Annotated[str, StringConstraints(max_length=4096)]] = Field(
        default=[], max_length=256, description="What it is given on its command line; not a secret."
    )
    outputs: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$"), AfterValidator(_unlike_log)]],
        AfterValidator(_once),
    ] = Field(default=[], max_length=64, description="The folders below /outputs that it writes, beside its log.")
    packages: Annotated[
        list[Annotated[str, StringConstraints(max_length=200), AfterValidator(_requirement)]], AfterValidator(_once)
    ] = Field(default=[], max_length=64, description="What must be installed in the runtime, e.g. numpy>=2.")
