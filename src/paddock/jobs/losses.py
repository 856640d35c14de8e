"""The losses that a contract can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paddock.errors import ShapeMismatch, ValuesRefused
from paddock.jobs.engine import engine, functional
from paddock.jobs.parameters import BinaryCrossEntropy, CrossEntropy, Loss
from paddock.program import Program, TensorType

LossFunction = Callable[[Any, Any], Any]


def loss_function(loss: Loss) -> LossFunction:
    """The mean loss over a batch, from the program's output and the label."""
    if isinstance(loss, CrossEntropy):
        return _cross_entropy(loss)
    if isinstance(loss, BinaryCrossEntropy):
        weight = None if loss.positive_weight is None else engine.to_tensor([loss.positive_weight], dtype="float32")
        return lambda output, label: functional.binary_cross_entropy_with_logits(output, label, pos_weight=weight)
    if loss.kind == "mse":
        function: LossFunction = functional.mse_loss
        return function
    return functional.l1_loss


def _cross_entropy(loss: CrossEntropy) -> LossFunction:
    if loss.class_weights is None and not loss.label_smoothing:
        plain: LossFunction = functional.cross_entropy
        return plain
    weights = None if loss.class_weights is None else engine.to_tensor(loss.class_weights, dtype="float32")
    if not loss.label_smoothing:
        return lambda output, label: functional.cross_entropy(output, label, weight=weights)
    smoothing = loss.label_smoothing
    return lambda output, label: functional.cross_entropy(output, label, weight=weights, label_smoothing=smoothing)


def only_output(program: Program) -> TensorType:
    """The type of a program's one output.

    Raises:
        ShapeMismatch: it has several, or one that is not floating-point.
    """
    types = program.output_types()
    if len(types) != 1 or not types[0].dtype.startswith("float"):
        raise ShapeMismatch(f"The program has {len(types)} outputs; this job works with one of floating-point numbers.")
    return types[0]


def check_label(output: TensorType, label: Any, loss: Loss) -> Any:
    """The label in the shape that the loss takes, its values checked (J-7).

    Args:
        output: of the program.
        label: array; its first dimension counts samples.
        loss: from the contract.

    Raises:
        ShapeMismatch: label and output do not fit together.
        ValuesRefused: a class that the network does not have, or something other than 0 and 1.
    """
    # J-7
    if isinstance(loss, CrossEntropy):
        classes = output.shape[-1]
        if len(output.shape) != 2 or classes < 2:
            raise ShapeMismatch(f"cross_entropy needs an output of [batch, classes]; the program gives {output}.")
        if loss.class_weights is not None and len(loss.class_weights) != classes:
            raise ShapeMismatch(f"There are {len(loss.class_weights)} class weights for {classes} classes.")
        label = label.reshape(-1) if label.shape[1:] == (1,) else label
        if label.ndim != 1:
            raise ShapeMismatch(
                f"The label has shape {['batch', *label.shape[1:]]}; cross_entropy takes one class each."
            )
        outside = int(((label < 0) | (label >= classes)).sum())
        if outside:
            raise ValuesRefused(f"The label of {outside} samples is outside the network's classes 0 to {classes - 1}.")
        return label
    if label.ndim == 1 and output.shape[1:] == (1,):
        label = label.reshape(-1, 1)
    if label.shape[1:] != output.shape[1:]:
        raise ShapeMismatch(f"The label has shape {list(label.shape[1:])} per sample; the program gives {output}.")
    if str(label.dtype) != output.dtype:
        raise ShapeMismatch(f"The label is {label.dtype}; the program gives {output}.")
    if isinstance(loss, BinaryCrossEntropy) and not np.isin(label, (0, 1)).all():
        raise ValuesRefused("The label holds something other than 0 and 1.")
    return label
