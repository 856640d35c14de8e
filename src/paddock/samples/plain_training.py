"""The same training without Paddock: the developer's own Layer class, plain CSV files, ordinary PaddlePaddle.

It is what a confidential run is held against: same seed, same order of samples, so the same weights bit for bit.

    python plain_training.py OUTPUT.safetensors INITIAL.safetensors EPOCHS BATCH_SIZE SEED RATE RECORDS.csv …
"""

from __future__ import annotations

import csv
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import paddle

_NETWORK = Path(__file__).parent / "networks" / "tumour_net.py"


def read_records(paths: list[Path]) -> tuple[Any, Any]:
    """Measurements as float64[patients, 30] and diagnoses as int64[patients], one file after the other."""
    rows = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as stream:
            rows += [[float(cell) for cell in row] for row in list(csv.reader(stream))[1:]]
    table = np.array(rows, dtype="float64")
    return table[:, :-1], table[:, -1].astype("int64")


def make_network() -> Any:
    """The developer's own layer."""
    spec = importlib.util.spec_from_file_location("tumour_net", _NETWORK)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{_NETWORK} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with paddle.utils.unique_name.guard():
        return module.TumourNet()


def train(network: Any, x: Any, y: Any, *, epochs: int, batch_size: int, seed: int, rate: float) -> list[float]:
    """Train in place; the mean loss of every epoch."""
    optimizer = paddle.optimizer.Adam(learning_rate=rate, parameters=network.parameters())
    losses = []
    network.train()
    for epoch in range(epochs):
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch]))).permutation(len(x))
        total = 0.0
        for number, start in enumerate(range(0, len(x), batch_size)):
            paddle.seed(int(np.random.SeedSequence([seed, epoch, number, 1]).generate_state(1)[0]))
            picked = order[start : start + batch_size]
            loss = paddle.nn.functional.cross_entropy(network(paddle.to_tensor(x[picked])), paddle.to_tensor(y[picked]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            total += float(loss) * len(picked)
        losses.append(total / len(x))
    return losses


def main(arguments: list[str]) -> None:
    """See above."""
    output, initial, epochs, batch_size, seed, rate, *records = arguments
    x, y = read_records([Path(record) for record in records])
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32")
    network = make_network()
    weights = load_file(initial)
    for tensor in network.state_dict().values():
        tensor.set_value(weights[tensor.name])
    train(network, x, y, epochs=int(epochs), batch_size=int(batch_size), seed=int(seed), rate=float(rate))
    save_file({tensor.name: tensor.numpy() for tensor in network.state_dict().values()}, output)


if __name__ == "__main__":
    main(sys.argv[1:])
