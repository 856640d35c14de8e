"""Kind `predict`: a program, weights and data in; predictions out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.parameters import PredictParameters, read_parameters


class PredictJob:
    """Says what the network makes of each sample."""

    name = "predict"
    roles: Mapping[str, Role] = {
        "program": Role(True, "the network: program.json"),
        "data": Role(True, "tables or arrays, in the order given", many=True),
        "weights": Role(False, "trained weights; the program's own where left out"),
    }
    outputs = ("predictions",)
    takes_paths = False

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """See `JobKind`."""
        read_parameters(PredictParameters, parameters)

    def outputs_of(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 - the same for all
        """See `JobKind`."""
        return self.outputs

    def parameters_schema(self) -> dict[str, Any]:
        """See `JobKind`."""
        return PredictParameters.model_json_schema()

    def run(self, context: JobContext) -> Outputs:
        """See `JobKind`."""
        # PaddlePaddle is loaded here, by the process that runs a job, and not where contracts are written.
        from paddock.jobs.predict_run import run  # noqa: PLC0415

        return run(context, read_parameters(PredictParameters, context.parameters), self.roles)
