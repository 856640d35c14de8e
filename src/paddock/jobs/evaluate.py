"""Kind `evaluate`: a program, weights and labelled data in; metrics out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.parameters import EvaluateParameters, read_parameters


class EvaluateJob:
    """Measures how well weights do on labelled data."""

    name = "evaluate"
    roles: Mapping[str, Role] = {
        "program": Role(True, "the network: program.json"),
        "data": Role(True, "labelled tables or arrays, pooled in the order given", many=True),
        "weights": Role(False, "trained weights; the program's own where left out"),
    }
    outputs = ("metrics",)
    takes_paths = False

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """See `JobKind`."""
        read_parameters(EvaluateParameters, parameters)

    def outputs_of(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 - the same for all
        """See `JobKind`."""
        return self.outputs

    def parameters_schema(self) -> dict[str, Any]:
        """See `JobKind`."""
        return EvaluateParameters.model_json_schema()

    def run(self, context: JobContext) -> Outputs:
        """See `JobKind`."""
        # PaddlePaddle is loaded here, by the process that runs a job, and not where contracts are written.
        from paddock.jobs.evaluate_run import run  # noqa: PLC0415

        return run(context, read_parameters(EvaluateParameters, context.parameters), self.roles)
