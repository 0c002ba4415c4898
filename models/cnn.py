"""A small convolutional network with batch norm, for images of 8x8 or 28x28 pixels.

    x [N,1,side,side] -> (conv 3x3 -> bn -> relu) * len(channels), every one but the first
    followed by a 2x2 max pool -> linear -> logits [N,classes]

Batch norm of images takes its statistics over examples, rows and columns, one pair a channel
(Ioffe and Szegedy 2015, section 3.2), so a convolution before it needs no bias.

    python tools/train.py models/cnn.py --augment
"""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg
from minigrad import nn


def build(
    batch: int | str = "N",
    *,
    side: int = 8,
    channels: Sequence[int] = (16, 32),
    classes: int = 10,
    decay: float = 0.9,
    eps: float = 1e-3,
) -> mg.Graph:
    """The training graph: inputs ``x`` f32[batch,1,side,side], ``t`` i64[batch]; outputs ``logits``
    and ``loss``, the mean cross entropy. Layer 1 is in the scopes conv1, bn1 and relu1.
    """
    x, t = mg.input("x", (batch, 1, side, side)), mg.input("t", batch, "int64")
    h = x
    for layer, width in enumerate(channels, start=1):
        h = nn.Conv2d(width, 3, padding="same", bias=False, name=f"conv{layer}")(h)
        h = nn.BatchNorm(width, channel_axis=1, decay=decay, eps=eps, name=f"bn{layer}")(h)
        with mg.scope(f"relu{layer}"):
            h = mg.relu(h)
        if layer > 1:
            h = nn.MaxPool2d(2, name=f"pool{layer}")(h)
    logits = nn.Linear(classes, name="linear")(nn.Flatten(name="flatten")(h))
    with mg.scope("loss"):
        loss = mg.cross_entropy(logits, t)
    return mg.Graph([x, t], {"logits": logits, "loss": loss})
