"""A residual network for images of 8x8 or 28x28 pixels: batch norm on every branch.

    x [N,1,side,side] -> conv 3x3 -> bn -> relu -> block * len(channels) * blocks
      -> mean over the pixels -> linear -> logits [N,classes]

    block: h -> conv 3x3 -> bn -> relu -> conv 3x3 -> bn -> (+ shortcut) -> relu

He, Zhang, Ren and Sun 2016, "Deep Residual Learning", figure 2: a stage after the first halves the
sides and its first shortcut is a convolution 1x1 with batch norm. The last gamma of a block starts
at 0, so that every block starts as its shortcut (Goyal et al. 2017, section 5.1).

    python tools/train.py models/resnet.py --augment --lr 0.01
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import minigrad as mg
from minigrad import nn


def build(
    batch: int | str = "N",
    *,
    side: int = 8,
    channels: Sequence[int] = (16, 32),
    blocks: int = 1,
    classes: int = 10,
    decay: float = 0.9,
    eps: float = 1e-3,
) -> mg.Graph:
    """The training graph: inputs ``x`` f32[batch,1,side,side], ``t`` i64[batch]; outputs ``logits``
    and ``loss``, the mean cross entropy. Block 2 of stage 1 is in the scope stage1/block2.
    """
    norm = partial(nn.BatchNorm, channel_axis=1, decay=decay, eps=eps)
    x, t = mg.input("x", (batch, 1, side, side)), mg.input("t", batch, "int64")
    with mg.scope("stem"):
        h = mg.relu(norm(channels[0], name="bn")(_conv(channels[0], 3, "conv")(x)))
    for stage, width in enumerate(channels, start=1):
        for block in range(1, blocks + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            with mg.scope(f"stage{stage}"), mg.scope(f"block{block}"):
                h = _block(h, width, stride, norm)
    with mg.scope("pool"):
        h = mg.mean(h, axis=(2, 3))
    logits = nn.Linear(classes, name="linear")(h)
    with mg.scope("loss"):
        loss = mg.cross_entropy(logits, t)
    return mg.Graph([x, t], {"logits": logits, "loss": loss})


def _block(x: mg.Node, width: int, stride: int, norm: partial[nn.BatchNorm]) -> mg.Node:
    h = mg.relu(norm(width, name="bn1")(_conv(width, 3, "conv1", stride)(x)))
    h = _conv(width, 3, "conv2")(h)
    h = norm(width, gamma_initializer=nn.initializers.zeros, name="bn2")(h)
    if stride > 1 or x.shape[1] != width:
        with mg.scope("shortcut"):
            x = norm(width, name="bn")(_conv(width, 1, "conv", stride)(x))
    return mg.relu(x + h)


def _conv(width: int, size: int, name: str, stride: int = 1) -> nn.Conv2d:
    """Odd sizes keep the sides, or halve them, rounding up; batch norm makes a bias useless."""
    return nn.Conv2d(width, size, stride=stride, padding=size // 2, bias=False, name=name)
