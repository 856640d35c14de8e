"""The demo's contract, as modelco's lawyer would write it."""

from __future__ import annotations

from collections.abc import Sequence

_TEXT = """\
# Five parties, level 5: no party's code runs, only built-in jobs over a sealed network.
title = "Tumour classification from two hospitals' records"
level = "L5"
expires = {expires}
runs = 10
parties = ["north", "south", "lakeside", "modelco", "clinic"]

[environment]
simulated = true        # this machine has no trusted hardware, and all five sign that they know

[inputs]
north.asset = "north/records"
south.asset = "south/records"
test.asset = "lakeside/records"
patients.asset = "clinic/patients"
network.asset = "modelco/tumour-net"

[[steps]]
name = "training"
kind = "train"
inputs = {{ program = ["network"], data = ["north", "south"] }}     # pooled inside, in this order

[steps.parameters]
seed = 7
epochs = {epochs}
batch_size = 32
loss = {{ kind = "cross_entropy" }}
optimizer = {{ kind = "adam", learning_rate = 0.001 }}
metrics = ["accuracy"]
{mapping}
mapping.label = {{ column = "malignant", dtype = "int64" }}

[[steps]]
name = "evaluation"
kind = "evaluate"
inputs = {{ program = ["network"], weights = ["training.weights"], data = ["test"] }}

[steps.parameters]
batch_size = 64
loss = {{ kind = "cross_entropy" }}
metrics = ["accuracy", "auc", "sensitivity", "specificity"]
{mapping}
mapping.label = {{ column = "malignant", dtype = "int64" }}

[[steps]]
name = "prediction"
kind = "predict"
inputs = {{ program = ["network"], weights = ["training.weights"], data = ["patients"] }}

[steps.parameters]
batch_size = 64
output = "softmax"
id_column = "patient"
{mapping}

[outputs]
weights = {{ from = "training.weights", to = ["modelco"] }}
curve = {{ from = "training.curve", to = {all} }}
metrics = {{ from = "evaluation.metrics", to = {all} }}
predictions = {{ from = "prediction.predictions", to = ["clinic"] }}
"""


def draft(columns: Sequence[str], names: Sequence[str], *, epochs: int, expires: str) -> str:
    """The draft's text.

    Args:
        columns: the records' feature columns.
        names: all parties.
        epochs: of training.
        expires: RFC 3339.
    """
    listed = ", ".join(f'"{column}"' for column in columns)
    mapping = f'mapping.x = {{ columns = [{listed}], dtype = "float32", normalise = "standard" }}'
    everybody = "[" + ", ".join(f'"{name}"' for name in names) + "]"
    return _TEXT.format(expires=expires, epochs=epochs, mapping=mapping, all=everybody)
