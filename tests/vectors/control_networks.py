"""Networks with branches and loops, as developers write them: Python that PaddlePaddle's export turns into a graph."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn


class Gated(nn.Layer):
    """Two linear layers and a gate to decide between them; float32[batch, 4] to the same."""

    def __init__(self, gate: float = 0.5) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.gate = self.create_parameter([1], default_initializer=nn.initializer.Constant(gate))


class Branch(Gated):
    """Either layer, as the gate says; dropout in one branch, batch statistics in the other, two results."""

    def __init__(self, gate: float = 0.5) -> None:
        super().__init__(gate)
        self.norm = nn.BatchNorm1D(4)

    def forward(self, x: Any) -> Any:
        more = x * 3
        if self.gate > 0:
            x = self.norm(self.first(x))
            more = x * 2
        else:
            x = nn.functional.dropout(self.second(x), 0.5, training=self.training)
        return x + more


class NestedBranch(Gated):
    """A branch inside a branch, and conditions joined."""

    def forward(self, x: Any) -> Any:
        if self.gate.sum() > 0 and self.gate.min() != 2:
            x = self.first(x) if self.gate.max() > 1 else self.second(x) * self.gate
        return x


class EarlyReturn(Gated):
    """A return inside a branch."""

    def forward(self, x: Any) -> Any:
        if self.gate.sum() > 0:
            return self.first(x)
        return self.second(x)


class Chosen(Gated):
    """Elements chosen one by one, and positions counted."""

    def forward(self, x: Any) -> Any:
        return paddle.where(x > 0, self.first(x), self.second(x)) + paddle.arange(4, dtype="float32")


class PlainLoop(Gated):
    """A loop of Python, which PaddlePaddle unrolls itself."""

    def forward(self, x: Any) -> Any:
        for _ in range(3):
            x = self.first(x)
        return x


class CountedLoop(Gated):
    """A loop that a tensor counts."""

    def forward(self, x: Any) -> Any:
        turn = paddle.full([1], 0, "int64")
        while turn < 3:
            x = self.first(x)
            turn = turn + 1
        return x


class NestedLoop(Gated):
    """A loop in a loop, a branch that the turn decides, and a way out."""

    def forward(self, x: Any) -> Any:
        outer = paddle.full([], 0, "int64")
        while outer < 5:
            inner = paddle.full([], 0, "int64")
            while inner < 2:
                x = paddle.tanh(self.first(x)) if outer == 1 else self.second(x)
                inner = inner + 1
            if outer == 2:
                break
            outer = outer + 1
        return x


class BranchInLoop(Gated):
    """A branch that weights decide, in every turn of a loop."""

    def forward(self, x: Any) -> Any:
        turn = paddle.full([], 0, "int64")
        while turn < 3:
            x = self.first(x) if self.gate.sum() > 0 else self.second(x)
            turn = turn + 1
        return x


class Functions(Gated):
    """The choices that PaddlePaddle offers as functions, of which one is decided in the file."""

    def forward(self, x: Any) -> Any:
        choose = paddle.static.nn.switch_case
        x = choose(paddle.full([1], 1, "int64"), {0: lambda: self.first(x), 1: lambda: self.second(x)})
        return paddle.static.nn.cond(self.gate.sum() > 0, lambda: self.second(x), lambda: x)


class Unbounded(Gated):
    """A loop that the data ends, or not."""

    def forward(self, x: Any) -> Any:
        while self.first(x).max([1]).unsqueeze(0).max() < 10:
            x = x * 2
        return x


class EndedByWeights(Gated):
    """A loop that weights end, or not."""

    def forward(self, x: Any) -> Any:
        while self.gate.sum() < 10:
            x = self.first(x)
        return x


class EndedByFractions(Gated):
    """A loop that counts in fractions, which round."""

    def forward(self, x: Any) -> Any:
        turn = paddle.full([], 0.0)
        while turn < 1:
            x = self.first(x)
            turn = turn + 0.25
        return x


class Endless(Gated):
    """A loop that counts and never comes to its end."""

    def forward(self, x: Any) -> Any:
        turn = paddle.full([], 0, "int64")
        while turn < 5:
            x = self.first(x)
            turn = turn - 1
        return x


class ByData(Gated):
    """A branch that the samples of a batch decide together."""

    def forward(self, x: Any) -> Any:
        if x.mean() > 0:
            x = self.first(x)
        return x


class BySample(Gated):
    """A branch that the first size of a batch decides."""

    def forward(self, x: Any) -> Any:
        if x.shape[0] > 2:
            x = self.first(x)
        return x


class DividedByBatch(Gated):
    """The number of samples as a number to compute with."""

    def forward(self, x: Any) -> Any:
        return self.first(x) / x.shape[0]


class Printed(Gated):
    """Data printed to the host's terminal."""

    def forward(self, x: Any) -> Any:
        return paddle.static.Print(self.first(x))


class OwnGradient(Gated):
    """A gradient of its own, which is Python that the file names by number."""

    def forward(self, x: Any) -> Any:
        return paddle.static.nn.static_pylayer(lambda t: t * 2, [self.first(x)], lambda g: g * 2)


class Listed(Gated):
    """A list that grows in a loop."""

    def forward(self, x: Any) -> Any:
        found = []
        turn = paddle.full([1], 0, "int64")
        while turn < 3:
            found.append(self.first(x))
            turn = turn + 1
        return paddle.concat(found, 1)


class Random(Gated):
    """Random numbers drawn outside dropout."""

    def forward(self, x: Any) -> Any:
        return self.first(x) + paddle.rand([4])


class Fused(Gated):
    """A fused kernel of PaddlePaddle's incubator."""

    def forward(self, x: Any) -> Any:
        squares = self.first(x).reshape([-1, 1, 2, 2])
        return paddle.incubate.softmax_mask_fuse(squares, squares)
