"""A developer's network: tells benign from malignant tumours by thirty measurements of cell nuclei."""

import paddle
from paddle import nn


class TumourNet(nn.Layer):
    """Two hidden layers with batch normalisation and dropout; float32[batch, 30] to float32[batch, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(30, 64),
            nn.BatchNorm1D(64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(64, 32),
            nn.BatchNorm1D(32),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(32, 2),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The two classes' logits."""
        return self.layers(x)
