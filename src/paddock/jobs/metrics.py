"""Metrics: finite numbers, rounded, from a network's outputs and the labels. Only numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddock.errors import ShapeMismatch
from paddock.jobs.parameters import BinaryCrossEntropy, CrossEntropy, Loss

DECIMALS = 5
_ROC_POINTS = 101
_BINARY_ONLY = frozenset({"auc", "sensitivity", "recall", "specificity", "precision", "f1"})


def rounded(value: float) -> float:
    """A number as it may leave: five decimals; what is not finite becomes 0 (J-13)."""
    # J-13
    return round(float(value), DECIMALS) if np.isfinite(value) else 0.0


def check_metrics(names: Sequence[str], classes: int, loss: Loss) -> None:
    """Return if the metrics can be worked out for that many classes.

    Raises:
        ShapeMismatch: one needs two classes and there are more.
    """
    for name in names:
        if name in _BINARY_ONLY and isinstance(loss, CrossEntropy | BinaryCrossEntropy) and classes > 2:
            raise ShapeMismatch(f"Metric {name} is for two classes; the program has {classes}.")


def class_count(loss: Loss, width: int) -> int:
    """How many classes an output of that width tells apart."""
    if isinstance(loss, BinaryCrossEntropy):
        return 2 if width == 1 else width + 1
    return width


def metric_values(names: Sequence[str], outputs: Any, labels: Any, loss: Loss) -> dict[str, float]:
    """The metrics by name, rounded. `loss` is left to the caller.

    Args:
        names: from the contract.
        outputs: float[samples, …] as the network gives them.
        labels: as `check_label` gave them.
        loss: says what the outputs mean.
    """
    wanted = [name for name in names if name != "loss"]
    if not wanted:
        return {}
    if not isinstance(loss, CrossEntropy | BinaryCrossEntropy):
        return {name: rounded(_of_numbers(name, outputs, labels)) for name in wanted}
    if isinstance(loss, CrossEntropy):
        guesses = outputs.argmax(axis=1)
        scores = outputs[:, 1].astype("float64") - outputs[:, 0] if outputs.shape[1] == 2 else None
    else:
        guesses, scores = (outputs > 0).astype("int64"), outputs.reshape(-1)
    return {name: rounded(_of_classes(name, guesses, scores, labels)) for name in wanted}


def _of_numbers(name: str, outputs: Any, labels: Any) -> float:
    wrong = outputs.astype("float64") - labels
    squared = float((wrong**2).mean())
    if name == "mae":
        return float(np.abs(wrong).mean())
    if name == "r2":
        spread = float(((labels - labels.mean(axis=0)) ** 2).mean())
        return 1 - squared / spread if spread else 0.0
    return squared if name == "mse" else float(np.sqrt(squared))


def _of_classes(name: str, guesses: Any, scores: Any, labels: Any) -> float:
    if name == "accuracy":
        return float((guesses == labels).mean())
    guesses, labels = guesses.reshape(-1), labels.reshape(-1)
    if name == "auc":
        return area_under_curve(scores, labels)
    hits = int(((guesses == 1) & (labels == 1)).sum())
    said, true = int((guesses == 1).sum()), int((labels == 1).sum())
    if name == "specificity":
        return _part(int(((guesses == 0) & (labels == 0)).sum()), int((labels == 0).sum()))
    if name == "precision":
        return _part(hits, said)
    if name == "f1":
        return _part(2 * hits, said + true)
    return _part(hits, true)


def _part(some: float, of: float) -> float:
    return some / of if of else 0.0


def area_under_curve(scores: Any, labels: Any) -> float:
    """The area under the ROC: how often a positive sample scores above a negative one, ties counted half.

    Source: Mann-Whitney U.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def roc(scores: Any, labels: Any) -> dict[str, Any]:
    """The ROC at 101 fixed false-positive rates, rounded: a picture's worth, not one point per sample (J-13)."""
    order = np.argsort(-scores, kind="stable")
    ranked, truth = scores[order], labels[order] == 1
    last_of_tie = np.append(np.diff(ranked) != 0, True)
    true_rate = np.append(0, np.cumsum(truth)[last_of_tie]) / max(int(truth.sum()), 1)
    false_rate = np.append(0, np.cumsum(~truth)[last_of_tie]) / max(int((~truth).sum()), 1)
    grid = np.linspace(0, 1, _ROC_POINTS)
    return {
        "auc": rounded(area_under_curve(scores, labels)),
        "false_positive_rate": [0.0, *(rounded(value) for value in grid)],
        "true_positive_rate": [0.0, *(rounded(value) for value in np.interp(grid, false_rate, true_rate))],
    }
