"""Running `train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from paddock.jobs import normalising, weights
from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.data import load_samples
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.inputs import check_roles, check_step_memory, json_file, only, read_volume_program
from paddock.jobs.losses import check_label, only_output
from paddock.jobs.metrics import check_metrics, class_count
from paddock.jobs.parameters import TrainParameters
from paddock.jobs.training import train


def run(context: JobContext, parameters: TrainParameters, roles: Mapping[str, Role]) -> Outputs:
    """Everything that can be refused is refused before the first step; then train."""
    check_roles(context, roles)
    source = only(context, "program")
    program = read_volume_program(source)
    output = only_output(program)
    check_metrics(parameters.metrics, class_count(parameters.loss, output.shape[-1]), parameters.loss)
    check_step_memory(context, program, parameters.batch_size, training=True)
    started = only(context, "weights") if context.inputs.get("weights") else source
    initial = weights.read_weights(program, started)
    context.check()
    samples = load_samples(
        program,
        context.inputs["data"],
        parameters.mapping,
        fitted=None,
        id_column=None,
        memory_limit_bytes=context.memory_limit_bytes,
    )
    samples = replace(samples, label=check_label(output, samples.label, parameters.loss))
    context.check()
    layer = ProgramLayer(program, initial)
    curve = train(
        layer, samples, parameters, progress=context.progress, check=context.check, checkpoints=context.checkpoints
    )
    return {
        "weights": {
            weights.FILE: weights.write_weights(layer.weights()),
            normalising.FILE: normalising.write(samples.fitted),
        },
        "curve": {"curve.json": json_file(curve)},
    }
