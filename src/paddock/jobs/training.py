"""The training loop: which sample comes when is specified, so that anybody can do the same run again, bit for bit.

Source: docs/spec/program.md §6 (J-10, J-11, J-12).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddock.errors import Diverged, ShapeMismatch
from paddock.jobs.api import Progress
from paddock.jobs.data import Samples
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.losses import LossFunction, loss_function
from paddock.jobs.metrics import metric_values, rounded
from paddock.jobs.optimizers import make_optimizer, make_rate
from paddock.jobs.parameters import TrainParameters

_SECONDS_BETWEEN_NEWS = 0.5


def epoch_order(seed: int, epoch: int, count: int, *, shuffle: bool) -> Any:
    """The order of the samples in an epoch (J-10).

    Args:
        seed: from the contract.
        epoch: from 0.
        count: number of samples.
        shuffle: whether to permute them.

    Returns:
        int64[count]: indices into the pooled samples.
    """
    # J-10
    if not shuffle:
        return np.arange(count)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(count)


def batches(order: Any, batch_size: int, *, drop_last: bool) -> Iterator[Any]:
    """Consecutive pieces of the order; the last one may be shorter, unless it is dropped (J-10)."""
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    for start in range(0, end, batch_size):
        yield order[start : start + batch_size]


def train(
    layer: ProgramLayer,
    samples: Samples,
    parameters: TrainParameters,
    *,
    progress: Callable[[Progress], None],
    check: Callable[[], None],
) -> dict[str, Any]:
    """Train the layer in place.

    Args:
        layer: with its initial weights.
        samples: inputs and checked label.
        parameters: from the contract.
        progress: takes news after every epoch, and at most twice a second between.
        check: called before every batch.

    Returns:
        The curve: loss and metrics of every epoch, as they were while training (rounded).

    Raises:
        Diverged: a loss that is not a finite number.
        ShapeMismatch: no batch is complete and incomplete ones are dropped.
    """
    compute_loss = loss_function(parameters.loss)
    rate = make_rate(parameters.optimizer, parameters.schedule, parameters.epochs)
    trainable = [tensor for tensor in layer.parameters() if not tensor.stop_gradient]
    optimizer = make_optimizer(parameters.optimizer, rate, trainable)
    per_epoch = sum(1 for _ in batches(range(samples.count), parameters.batch_size, drop_last=parameters.drop_last))
    if not per_epoch:
        raise ShapeMismatch(f"{samples.count} samples make no complete batch of {parameters.batch_size}.")
    news = _News(progress, per_epoch * parameters.epochs)
    loop = _Loop(layer, samples, parameters, optimizer, compute_loss, news, check)
    layer.train()
    engine.seed(parameters.seed)  # J-11
    rows = []
    for epoch in range(parameters.epochs):
        row = loop.epoch(epoch)
        if not isinstance(rate, float):
            rate.step()
        rows.append({"epoch": epoch + 1, **row})
        news.tell({"epoch": epoch + 1, **row})
    return {"epochs": rows}


@dataclass(frozen=True)
class _Loop:
    layer: ProgramLayer
    samples: Samples
    parameters: TrainParameters
    optimizer: Any
    compute_loss: LossFunction
    news: _News
    check: Callable[[], None]

    def epoch(self, epoch: int) -> dict[str, float]:
        """One pass over all samples; loss and metrics as they were on the way."""
        layer, samples, parameters, optimizer = self.layer, self.samples, self.parameters, self.optimizer
        order = epoch_order(parameters.seed, epoch, samples.count, shuffle=parameters.shuffle)
        kept: list[Any] = []
        total, seen = 0.0, 0
        for picked in batches(order, parameters.batch_size, drop_last=parameters.drop_last):
            self.check()
            output = layer(*[engine.to_tensor(each[picked]) for each in samples.inputs])
            loss = self.compute_loss(output, engine.to_tensor(samples.label[picked]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            total += float(loss) * len(picked)
            seen += len(picked)
            if parameters.metrics:
                kept.append(output.detach().numpy())
            if self.news.due():
                _finite(total)
                self.news.tell({"epoch": epoch + 1, "loss": rounded(total / seen)})
        _finite(total)
        row = {"loss": rounded(total / seen)}
        if kept:
            labels = samples.label[order[:seen]]
            row.update(metric_values(parameters.metrics, np.concatenate(kept), labels, parameters.loss))
        return row


def _finite(total: float) -> None:
    if not math.isfinite(total):
        raise Diverged("The loss is not a finite number any more.")


class _News:
    """Tells how far training is, and not too often."""

    def __init__(self, progress: Callable[[Progress], None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._step = 0
        self._told = time.monotonic()

    def due(self) -> bool:
        """Count a step; whether it is time to tell."""
        self._step += 1
        return time.monotonic() - self._told >= _SECONDS_BETWEEN_NEWS

    def tell(self, values: dict[str, Any]) -> None:
        """Tell."""
        self._told = time.monotonic()
        self._progress(Progress(self._step, self._total, values))
