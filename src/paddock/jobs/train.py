"""Kind `train`: a program, its initial weights and pooled data in; trained weights and the curve out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.parameters import TrainParameters, read_parameters


class TrainJob:
    """Trains a sealed program."""

    name = "train"
    roles: Mapping[str, Role] = {
        "program": Role(True, "the network: program.json and its initial weights.safetensors"),
        "data": Role(True, "tables or arrays, pooled in the order given", many=True),
        "weights": Role(False, "weights to begin with instead of the program's own"),
    }
    outputs = ("weights", "curve")
    takes_paths = False

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """See `JobKind`."""
        read_parameters(TrainParameters, parameters)

    def outputs_of(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002 - the same for all
        """See `JobKind`."""
        return self.outputs

    def parameters_schema(self) -> dict[str, Any]:
        """See `JobKind`."""
        return TrainParameters.model_json_schema()

    def run(self, context: JobContext) -> Outputs:
        """See `JobKind`."""
        # PaddlePaddle is loaded here, by the process that runs a job, and not where contracts are written.
        from paddock.jobs.train_run import run  # noqa: PLC0415

        return run(context, read_parameters(TrainParameters, context.parameters), self.roles)
