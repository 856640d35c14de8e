"""Running a program over all samples in evaluation mode, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paddock.jobs.api import JobContext, Progress
from paddock.jobs.data import Samples, load_samples
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.inputs import check_step_memory, only, read_volume_program
from paddock.jobs.normalising import read as read_fitted
from paddock.jobs.parameters import EvaluateParameters, PredictParameters
from paddock.jobs.training import batches
from paddock.jobs.weights import read_weights
from paddock.program import Program


def prepare(
    context: JobContext, parameters: EvaluateParameters | PredictParameters, *, id_column: str | None
) -> tuple[Program, Callable[[], ProgramLayer], Samples]:
    """Program, a maker of its layer with the given weights, and samples normalised as in training."""
    program = read_volume_program(only(context, "program"))
    check_step_memory(context, program, parameters.batch_size, training=False)
    volume = only(context, "weights") if context.inputs.get("weights") else only(context, "program")
    tensors = read_weights(program, volume)
    context.check()
    samples = load_samples(
        program,
        context.inputs["data"],
        parameters.mapping,
        fitted=read_fitted(volume, parameters.mapping),
        id_column=id_column,
        memory_limit_bytes=context.memory_limit_bytes,
    )
    context.check()
    return program, lambda: ProgramLayer(program, tensors), samples


def infer(layer: ProgramLayer, samples: Samples, batch_size: int, context: JobContext) -> Any:
    """The network's outputs for all samples, in their order: float[samples, …]."""
    layer.eval()
    outputs = []
    pieces = list(batches(np.arange(samples.count), batch_size, drop_last=False))
    with engine.no_grad():
        for step, picked in enumerate(pieces, start=1):
            context.check()
            outputs.append(layer(*[engine.to_tensor(each[picked]) for each in samples.inputs]).numpy())
            if step == len(pieces) or step % max(1, len(pieces) // 20) == 0:
                context.progress(Progress(step, len(pieces), {}))
    return np.concatenate(outputs)
