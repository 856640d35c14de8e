"""The optimisers and learning-rate schedules that a contract can name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paddock.jobs.engine import engine
from paddock.jobs.parameters import Adam, AdamW, CosineSchedule, Momentum, Optimizer, Schedule, StepSchedule


def make_optimizer(wanted: Optimizer, rate: Any, parameters: Sequence[Any]) -> Any:
    """PaddlePaddle's optimiser.

    Args:
        wanted: from the contract.
        rate: a number, or a scheduler.
        parameters: the trainable ones, in the order in which the developer's layer made them.
    """
    shared = {"learning_rate": rate, "parameters": list(parameters), "weight_decay": wanted.weight_decay or None}
    if isinstance(wanted, Adam | AdamW):
        kind = engine.optimizer.AdamW if isinstance(wanted, AdamW) else engine.optimizer.Adam
        shared["weight_decay"] = wanted.weight_decay if isinstance(wanted, AdamW) else wanted.weight_decay or None
        return kind(beta1=wanted.beta1, beta2=wanted.beta2, epsilon=wanted.epsilon, **shared)
    if isinstance(wanted, Momentum):
        return engine.optimizer.Momentum(momentum=wanted.momentum, use_nesterov=wanted.nesterov, **shared)
    return engine.optimizer.SGD(**shared)


def make_rate(wanted: Optimizer, schedule: Schedule, epochs: int) -> Any:
    """The learning rate: a number, or a scheduler that is stepped after every epoch (J-12)."""
    # J-12
    if isinstance(schedule, StepSchedule):
        return engine.optimizer.lr.StepDecay(wanted.learning_rate, schedule.every, schedule.factor)
    if isinstance(schedule, CosineSchedule):
        return engine.optimizer.lr.CosineAnnealingDecay(wanted.learning_rate, epochs, schedule.lowest)
    return wanted.learning_rate
