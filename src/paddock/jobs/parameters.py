"""What a contract may say about a job: loss, optimiser, schedule, metrics, mapping. Read without PaddlePaddle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from paddock.errors import ParametersRefused

LABEL = "label"
_MAX_COLUMNS = 65_536

Name = Annotated[str, Field(min_length=1, max_length=200)]
Rate = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


T = TypeVar("T", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FieldMapping(_Strict):
    """Where a program's input, or the label, comes from.

    Exactly one of `columns`, `column` and `array` is given (J-2).
    """

    columns: list[Name] | None = Field(default=None, min_length=1, max_length=_MAX_COLUMNS)
    column: Name | None = None
    array: Name | None = None
    dtype: Literal["float32", "float64", "int32", "int64"]
    normalise: Literal["none", "standard", "minmax"] = "none"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.columns, self.column, self.array)) != 1:
            raise ValueError("give one of columns, column and array")
        if self.columns is not None and len(set(self.columns)) != len(self.columns):
            raise ValueError("a column is listed twice")
        if self.normalise != "none" and not self.dtype.startswith("float"):
            raise ValueError("only float32 and float64 can be normalised")
        return self


class CrossEntropy(_Strict):
    """Classes by softmax; labels are whole numbers from 0."""

    kind: Literal["cross_entropy"]
    label_smoothing: Share = 0.0
    class_weights: list[Weight] | None = Field(default=None, min_length=2, max_length=10_000)


class BinaryCrossEntropy(_Strict):
    """Yes or no for each output by sigmoid; labels are 0 and 1."""

    kind: Literal["binary_cross_entropy_with_logits"]
    positive_weight: Weight | None = None


class MeanSquaredError(_Strict):
    """Numbers."""

    kind: Literal["mse"]


class MeanAbsoluteError(_Strict):
    """Numbers."""

    kind: Literal["mae"]


Loss = Annotated[CrossEntropy | BinaryCrossEntropy | MeanSquaredError | MeanAbsoluteError, Field(discriminator="kind")]


class Sgd(_Strict):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: Rate
    weight_decay: Weight = 0.0


class Momentum(_Strict):
    """Gradient descent with momentum."""

    kind: Literal["momentum"]
    learning_rate: Rate
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Weight = 0.0


class Adam(_Strict):
    """Adam; `weight_decay` is an L2 penalty."""

    kind: Literal["adam"]
    learning_rate: Rate
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-8
    weight_decay: Weight = 0.0


class AdamW(_Strict):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"]
    learning_rate: Rate
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-8
    weight_decay: Weight = 0.01


Optimizer = Annotated[Sgd | Momentum | Adam | AdamW, Field(discriminator="kind")]


class StepSchedule(_Strict):
    """The learning rate times `factor` after every `every` epochs."""

    kind: Literal["step"]
    every: Annotated[int, Field(ge=1, le=1_000_000)]
    factor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class CosineSchedule(_Strict):
    """The learning rate along half a cosine down to `lowest` at the last epoch."""

    kind: Literal["cosine"]
    lowest: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0


class ConstantSchedule(_Strict):
    """The learning rate as it is."""

    kind: Literal["constant"]


Schedule = Annotated[ConstantSchedule | StepSchedule | CosineSchedule, Field(discriminator="kind")]

Metric = Literal[
    "loss", "accuracy", "auc", "sensitivity", "recall", "specificity", "precision", "f1", "mae", "mse", "rmse", "r2",
]  # fmt: skip
_FOR_NUMBERS = frozenset({"loss", "mae", "mse", "rmse", "r2"})
_FOR_CLASSES = frozenset({"loss", "accuracy", "auc", "sensitivity", "recall", "specificity", "precision", "f1"})
_LABEL_DTYPES = {
    "cross_entropy": ("int64",),
    "binary_cross_entropy_with_logits": ("float32", "float64"),
    "mse": ("float32", "float64"),
    "mae": ("float32", "float64"),
}


class _Mapped(_Strict):
    batch_size: Annotated[int, Field(ge=1, le=1_000_000, description="Samples per step.")]
    mapping: dict[Name, FieldMapping] = Field(
        min_length=1, max_length=64, description="Each input of the program, and the label, to its columns or array."
    )


class _Judged(_Mapped):
    loss: Loss = Field(description="cross_entropy, binary_cross_entropy_with_logits, mse or mae.")
    metrics: list[Metric] = Field(default=[], max_length=16, description="What to report beside the loss.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if LABEL not in self.mapping or len(self.mapping) < 2:
            raise ValueError("the mapping needs a label and at least one input")
        label = self.mapping[LABEL]
        if label.dtype not in _LABEL_DTYPES[self.loss.kind]:
            raise ValueError(f"the label's dtype must be {' or '.join(_LABEL_DTYPES[self.loss.kind])} for this loss")
        if label.normalise != "none":
            raise ValueError("the label is not normalised")
        known = _FOR_NUMBERS if self.loss.kind in {"mse", "mae"} else _FOR_CLASSES
        if len(set(self.metrics)) != len(self.metrics) or not set(self.metrics) <= known:
            raise ValueError(f"metrics for this loss are, each once: {', '.join(sorted(known))}")
        return self


class TrainParameters(_Judged):
    """Parameters of `train`."""

    seed: Annotated[int, Field(ge=0, lt=1 << 31, description="Of every random number drawn in training.")]
    epochs: Annotated[int, Field(ge=1, le=100_000, description="How often all samples are gone through.")]
    shuffle: bool = Field(default=True, description="Whether each epoch has an order of its own.")
    drop_last: bool = Field(default=False, description="Whether an incomplete last batch is left out.")
    optimizer: Optimizer = Field(description="sgd, momentum, adam or adamw, with learning_rate.")
    schedule: Schedule = Field(
        default=ConstantSchedule(kind="constant"), description="constant, step or cosine learning rate."
    )


class EvaluateParameters(_Judged):
    """Parameters of `evaluate`."""


class PredictParameters(_Mapped):
    """Parameters of `predict`."""

    output: Literal["softmax", "sigmoid", "raw"] = Field(description="What the network's output is turned into.")
    id_column: Name | None = Field(default=None, description="A column that is copied beside each prediction.")

    @model_validator(mode="after")
    def _no_label(self) -> Self:
        if LABEL in self.mapping:
            raise ValueError("there is no label to predict from")
        return self


def read_parameters(model: type[T], parameters: Mapping[str, Any]) -> T:
    """Read a step's parameters strictly (J-1).

    Raises:
        ParametersRefused: the first thing that is wrong, by its place.
    """
    # J-1
    try:
        return model.model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ParametersRefused(f"{place or 'parameters'}: {said}.") from None
