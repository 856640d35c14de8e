"""Pictures of a run's results, drawn from what a party received."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def draw(curve_file: Path, roc_file: Path, picture: Path, *, simulated: bool) -> None:
    """Draw the training curve and the ROC of the test share side by side.

    Args:
        curve_file: `curve.json` of the training step.
        roc_file: `roc.json` of the evaluation step.
        picture: PNG to write.
        simulated: whether the run was; the picture says so.
    """
    import matplotlib as mpl  # noqa: PLC0415 - heavy: loaded by those who need it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - heavy: loaded by those who need it

    curve = json.loads(curve_file.read_text(encoding="utf-8"))
    roc = json.loads(roc_file.read_text(encoding="utf-8"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    _curve(left, curve)
    _roc(right, roc)
    title = "Tumour classification on records that nobody saw"
    figure.suptitle(title + ("   [SIMULATED: no trusted hardware]" if simulated else ""), fontsize=12)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _curve(axes: Any, curve: dict[str, Any]) -> None:
    epochs = [row["epoch"] for row in curve["epochs"]]
    losses = [row["loss"] for row in curve["epochs"]]
    axes.plot(epochs, losses, color="#1f4e79", linewidth=2, label="loss")
    axes.set(xlabel="epoch", ylabel="training loss", title="Training (two hospitals, pooled inside)")
    axes.grid(alpha=0.3)
    if all("accuracy" in row for row in curve["epochs"]):
        second = axes.twinx()
        second.plot(epochs, [row["accuracy"] for row in curve["epochs"]], color="#c55a11", label="accuracy")
        second.set(ylabel="training accuracy", ylim=(0, 1.02))
        lines = [*axes.get_lines(), *second.get_lines()]
        axes.legend(lines, [line.get_label() for line in lines], loc="center right")


def _roc(axes: Any, roc: dict[str, Any]) -> None:
    axes.plot(roc["false_positive_rate"], roc["true_positive_rate"], color="#1f4e79", linewidth=2)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title=f"Test at a third hospital, AUC {roc['auc']:.3f}",
    )
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
