"""Metrics against counts made by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from paddock.errors import ShapeMismatch
from paddock.jobs.metrics import area_under_curve, check_metrics, metric_values, roc
from paddock.jobs.parameters import BinaryCrossEntropy, CrossEntropy, MeanSquaredError

_CLASSES = CrossEntropy(kind="cross_entropy")
_YES_NO = BinaryCrossEntropy(kind="binary_cross_entropy_with_logits")
_NUMBERS = MeanSquaredError(kind="mse")


def test_counts_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    guesses = np.array([1, 1, 0, 1, 0, 0, 0, 0])
    outputs = np.stack([1 - guesses, guesses], axis=1).astype("float32")
    names = ["accuracy", "sensitivity", "recall", "specificity", "precision", "f1"]
    expected = {
        "accuracy": 0.75, "sensitivity": 0.66667, "recall": 0.66667, "specificity": 0.8, "precision": 0.66667,
        "f1": 0.66667,
    }  # fmt: skip
    assert metric_values(names, outputs, labels, _CLASSES) == expected
    assert metric_values(names, (guesses * 2.0 - 1).reshape(-1, 1), labels.reshape(-1, 1), _YES_NO) == expected


def test_areas_agree_with_scikit_learn_with_and_without_ties() -> None:
    random = np.random.default_rng(1)
    for scores in (random.standard_normal(500), random.integers(0, 5, 500).astype("float64")):
        labels = random.integers(0, 2, 500)
        assert area_under_curve(scores, labels) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
        made = roc(scores, labels)
        area = np.trapezoid(made["true_positive_rate"], made["false_positive_rate"])
        assert area == pytest.approx(made["auc"], abs=0.02)


def test_numbers() -> None:
    outputs, labels = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [1.0], [1.0]])
    assert metric_values(["mae", "mse", "rmse"], outputs, labels, _NUMBERS) == {
        "mae": 1.33333, "mse": 3.33333, "rmse": 1.82574,
    }  # fmt: skip
    assert metric_values(["r2"], outputs, outputs, _NUMBERS) == {"r2": 1.0}


def test_one_class_only_gives_numbers_still() -> None:
    outputs, labels = np.array([[1.0, 0.0]] * 3), np.zeros(3, "int64")
    made = metric_values(["auc", "precision", "recall", "f1"], outputs, labels, _CLASSES)
    assert made == {"auc": 0.5, "precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_metrics_for_two_classes_are_refused_for_more() -> None:
    check_metrics(["accuracy"], 3, _CLASSES)
    with pytest.raises(ShapeMismatch, match="auc"):
        check_metrics(["auc"], 3, _CLASSES)
