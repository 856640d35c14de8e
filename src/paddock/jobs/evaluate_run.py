"""Running `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddock.jobs.api import JobContext, Outputs, Role
from paddock.jobs.engine import engine
from paddock.jobs.inference import infer, prepare
from paddock.jobs.inputs import check_roles, json_file
from paddock.jobs.losses import check_label, loss_function, only_output
from paddock.jobs.metrics import check_metrics, class_count, metric_values, roc, rounded
from paddock.jobs.parameters import BinaryCrossEntropy, CrossEntropy, EvaluateParameters, Loss


def run(context: JobContext, parameters: EvaluateParameters, roles: Mapping[str, Role]) -> Outputs:
    """Everything that can be refused is refused before the network runs."""
    check_roles(context, roles)
    program, make_layer, samples = prepare(context, parameters, id_column=None)
    output = only_output(program)
    classes = class_count(parameters.loss, output.shape[-1])
    check_metrics(parameters.metrics, classes, parameters.loss)
    label = check_label(output, samples.label, parameters.loss)
    outputs = infer(make_layer(), samples, parameters.batch_size, context)
    values = {
        "samples": samples.count,
        "loss": rounded(_loss(outputs, label, parameters.loss)),
        **metric_values(parameters.metrics, outputs, label, parameters.loss),
    }
    files = {"metrics.json": json_file(values)}
    scores = _scores(outputs, parameters.loss)
    if scores is not None and "auc" in parameters.metrics:
        files["roc.json"] = json_file(roc(scores, label.reshape(-1)))
    return {"metrics": files}


def _loss(outputs: Any, label: Any, loss: Loss) -> float:
    with engine.no_grad():
        return float(loss_function(loss)(engine.to_tensor(outputs), engine.to_tensor(label)))


def _scores(outputs: Any, loss: Loss) -> Any:
    """How sure the network is of class 1, where there are two classes."""
    if isinstance(loss, CrossEntropy) and outputs.shape[1] == 2:
        return outputs[:, 1].astype("float64") - outputs[:, 0]
    if isinstance(loss, BinaryCrossEntropy) and outputs.shape[1:] == (1,):
        return outputs.reshape(-1).astype("float64")
    return None
