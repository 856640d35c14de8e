"""Kind `script`: a party's own Python program, as it stands, over plain files.

It finds each input below `/inputs/NAME/` and writes each output below `/outputs/OUTPUT/`. Source: docs/spec/gateway.md §4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.parameters import read_parameters
from paddock.jobs.script_parameters import LOG, ScriptParameters


class ScriptJob:
    """Runs a party's script."""

    name = "script"
    roles: Mapping[str, Role] = {
        "script": Role(True, "the program: a volume with Python files"),
        "data": Role(False, "whatever it reads", many=True),
        "program": Role(False, "a network", many=True),
        "weights": Role(False, "weights", many=True),
    }
    outputs = (LOG,)
    takes_paths = True

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """See `JobKind`."""
        read_parameters(ScriptParameters, parameters)

    def outputs_of(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """See `JobKind`."""
        return (*read_parameters(ScriptParameters, parameters).outputs, LOG)

    def parameters_schema(self) -> dict[str, Any]:
        """See `JobKind`."""
        return ScriptParameters.model_json_schema()

    def run(self, context: JobContext) -> Outputs:
        """See `JobKind`."""
        # Only a worker process runs scripts; whoever writes contracts needs none of it.
        from paddock.jobs.script_run import run  # noqa: PLC0415

        return run(context, read_parameters(ScriptParameters, context.parameters), self.roles)
