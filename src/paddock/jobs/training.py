"""The training loop: which sample comes when is specified, so that anybody can do the same run again, bit for bit.

Source: docs/spec/program.md §6 (J-10 to J-12, J-15).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from paddock.errors import Diverged, JobStateRefused, ShapeMismatch
from paddock.jobs.api import Checkpoints, Progress
from paddock.jobs.checkpoints import Position, read_training, write_training
from paddock.jobs.data import Samples
from paddock.jobs.engine import engine
from paddock.jobs.evaluator import ProgramLayer
from paddock.jobs.losses import LossFunction, loss_function
from paddock.jobs.metrics import metric_values, rounded
from paddock.jobs.optimizers import make_optimizer, make_rate
from paddock.jobs.parameters import TrainParameters

_SECONDS_BETWEEN_NEWS = 0.5
_SECONDS_BETWEEN_EPOCHS_NEWS = 0.1


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
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    """Train the layer in place, from the state that was kept last if there is one.

    Args:
        layer: with its initial weights.
        samples: inputs and checked label.
        parameters: from the contract.
        progress: takes news after epochs, at most ten times a second, and at most twice a second between.
        check: called before every batch.
        checkpoints: where its state is kept between two batches.

    Returns:
        The curve: loss and metrics of every epoch, as they were while training (rounded).

    Raises:
        Diverged: a loss that is not a finite number.
        ShapeMismatch: no batch is complete and incomplete ones are dropped.
        JobStateRefused: what was kept last is not the state of this training.
    """
    compute_loss = loss_function(parameters.loss)
    rate = make_rate(parameters.optimizer, parameters.schedule, parameters.epochs)
    trainable = [tensor for tensor in layer.parameters() if not tensor.stop_gradient]
    optimizer = make_optimizer(parameters.optimizer, rate, trainable)
    per_epoch = sum(1 for _ in batches(range(samples.count), parameters.batch_size, drop_last=parameters.drop_last))
    if not per_epoch:
        raise ShapeMismatch(f"{samples.count} samples make no complete batch of {parameters.batch_size}.")
    news = _News(progress, per_epoch * parameters.epochs)
    layer.train()
    position = Position()
    latest = checkpoints.latest()
    if latest is not None:  # J-15
        position = read_training(latest, layer, optimizer, parameters, samples.count)
        if position.batch >= per_epoch:
            raise JobStateRefused("It says to stand where no training stands.")
        for _ in range(0 if isinstance(rate, float) else position.epoch):
            rate.step()
        news.skip(per_epoch * position.epoch + position.batch)
    loop = _Loop(layer, samples, parameters, optimizer, compute_loss, news, check, checkpoints, position)
    while position.epoch < parameters.epochs:
        row = {"epoch": position.epoch + 1, **loop.epoch()}
        if not isinstance(rate, float):
            rate.step()
        news.tell_epoch(row)
        loop.position = position = Position(epoch=position.epoch + 1, rows=[*position.rows, row])
    return {"epochs": position.rows}


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """What the engine's generator is seeded with before a batch (J-11)."""
    # The last number keeps it apart from J-10: a sequence and the same one with a zero behind it give one state.
    return int(np.random.SeedSequence([seed, epoch, batch, 1]).generate_state(1)[0])


@dataclass
class _Loop:
    layer: ProgramLayer
    samples: Samples
    parameters: TrainParameters
    optimizer: Any
    compute_loss: LossFunction
    news: _News
    check: Callable[[], None]
    checkpoints: Checkpoints
    position: Position

    def epoch(self) -> dict[str, float]:
        """What is left of a pass over all samples; loss and metrics as they were on the way."""
        layer, samples, parameters, optimizer = self.layer, self.samples, self.parameters, self.optimizer
        at = self.position
        order = epoch_order(parameters.seed, at.epoch, samples.count, shuffle=parameters.shuffle)
        every = batches(order, parameters.batch_size, drop_last=parameters.drop_last)
        for picked in islice(every, at.batch, None):
            self.check()
            if self.checkpoints.due():
                _finite(at.total)
                self.checkpoints.save(write_training(at, layer, optimizer, parameters, samples.count))
            engine.seed(batch_seed(parameters.seed, at.epoch, at.batch))  # J-11
            output = layer(*[engine.to_tensor(each[picked]) for each in samples.inputs])
            loss = self.compute_loss(output, engine.to_tensor(samples.label[picked]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            at.total += float(loss) * len(picked)
            at.seen += len(picked)
            at.batch += 1
            if parameters.metrics:
                at.outputs.append(output.detach().numpy())
            if self.news.due():
                _finite(at.total)
                self.news.tell({"epoch": at.epoch + 1, "loss": rounded(at.total / at.seen)})
        _finite(at.total)
        row = {"loss": rounded(at.total / at.seen)}
        if at.outputs:
            labels = samples.label[order[: at.seen]]
            row.update(metric_values(parameters.metrics, np.concatenate(at.outputs), labels, parameters.loss))
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

    def skip(self, steps: int) -> None:
        """Count steps that an earlier process did."""
        self._step += steps

    def due(self) -> bool:
        """Count a step; whether it is time to tell."""
        self._step += 1
        return time.monotonic() - self._told >= _SECONDS_BETWEEN_NEWS

    def tell_epoch(self, values: dict[str, Any]) -> None:
        """Tell of a finished epoch, unless others were told of a moment ago; of the last one always."""
        if self._step == self._total or time.monotonic() - self._told >= _SECONDS_BETWEEN_EPOCHS_NEWS:
            self.tell(values)

    def tell(self, values: dict[str, Any]) -> None:
        """Tell."""
        self._told = time.monotonic()
        self._progress(Progress(self._step, self._total, values))
