"""An autoencoder: pixels to a short code and back, with batch norm in every hidden layer.

    x [N,inputs] -> (linear -> bn -> relu) * len(hidden) -> linear -> code [N,code]
      -> (linear -> bn -> relu) * len(hidden), backwards -> linear -> sigmoid
      -> reconstruction [N,inputs]

Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks", who had
to train it layer by layer; batch norm is what lets all of it learn at once. Pixels are in [0, 1].
There are no labels: the loss is the mean squared error of the reconstruction.

    python tools/train.py models/autoencoder.py --epochs 60 --lr 0.01
"""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg
from minigrad import nn


def build(
    batch: int | str = "N",
    *,
    inputs: int = 64,
    hidden: Sequence[int] = (128,),
    code: int = 16,
    decay: float = 0.9,
    eps: float = 1e-3,
) -> mg.Graph:
    """The training graph: input ``x`` f32[batch,inputs]; outputs ``code``, ``reconstruction`` and
    ``loss``, the mean squared error. Layer 1 is in the scopes encoder/linear1, encoder/bn1, ...
    """
    x = mg.input("x", (batch, inputs))

    def hidden_layers(h: mg.Node, widths: Sequence[int]) -> mg.Node:
        for layer, width in enumerate(widths, start=1):
            h = nn.Linear(width, bias=False, name=f"linear{layer}")(h)
            h = nn.BatchNorm(width, decay=decay, eps=eps, name=f"bn{layer}")(h)
            with mg.scope(f"relu{layer}"):
                h = mg.relu(h)
        return h

    with mg.scope("encoder"):
        z = nn.Linear(code, name="code")(hidden_layers(x, hidden))
    with mg.scope("decoder"):
        h = nn.Linear(inputs, name="pixels")(hidden_layers(z, tuple(hidden)[::-1]))
        with mg.scope("sigmoid"):
            reconstruction = mg.sigmoid(h)
    with mg.scope("loss"):
        loss = mg.mse(reconstruction, x)
    return mg.Graph([x], {"code": z, "reconstruction": reconstruction, "loss": loss})
