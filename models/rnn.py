"""A recurrent network for sequences of varying length, unrolled, with layer norm at every step.

    x [N,steps,features] -> h_t = tanh(norm(h_{t-1} @ W + x_t @ U) + bias), while there is an x_t
      -> linear of the last h -> logits [N,classes]

Ba, Kiros and Hinton 2016, "Layer Normalization", equation 4. An image is a sequence of its rows,
from the top. A sequence is padded at its end with steps of zeros: these are masked, h stays as the
last real step left it, so the answer does not depend on how much padding follows. There is no
scan: each step is nodes of its own, with the same weights, in the scope step1, step2, ...

Layer norm looks at one example and one step, so it is the same at every step, length and batch.
Batch norm (``norm="batch"``) mixes steps whose statistics differ, and padding with examples;
``norm="batch per step"`` (Cooijmans et al. 2017) needs statistics for every step, from fewer and
fewer sequences, and has none for a sequence that is longer than those in training.

    python tools/train.py models/rnn.py --epochs 30
"""

from __future__ import annotations

from collections.abc import Callable

import minigrad as mg
from minigrad import nn

NORMS = ("layer", "batch", "batch per step", "none")


def build(
    batch: int | str = "N",
    *,
    side: int = 8,
    steps: int | None = None,
    units: int = 64,
    classes: int = 10,
    norm: str = "layer",
    decay: float = 0.9,
    eps: float = 1e-3,
) -> mg.Graph:
    """The training graph: inputs ``x`` f32[batch,steps,side], ``t`` i64[batch]; outputs ``logits``
    and ``loss``, the mean cross entropy. ``steps`` is ``side`` unless it is given.
    """
    if norm not in NORMS:
        raise mg.GraphError(f"rnn: norm is one of {', '.join(NORMS)}; not {norm!r}")
    steps = side if steps is None else steps
    x, t = mg.input("x", (batch, steps, side)), mg.input("t", batch, "int64")
    real = _real_steps(x, steps)
    recurrent = nn.Linear(
        units, bias=False, weight_initializer=nn.initializers.glorot_uniform, name="recurrent"
    )
    incoming = nn.Linear(units, bias=norm == "none", name="incoming")
    normalised = _norms(norm, units, decay, eps)
    u = incoming(x)  # all steps in one product: f32[batch,steps,units]
    h = mg.broadcast_to(mg.constant(0.0), (batch, units))
    for step in range(steps):
        a = u[:, step] if step == 0 else recurrent(h) + u[:, step]
        a = normalised(a, step)
        with mg.scope(f"step{step + 1}"):
            h = mg.where(real[:, step, None], mg.tanh(a), h)
    logits = nn.Linear(classes, name="linear")(h)
    with mg.scope("loss"):
        loss = mg.cross_entropy(logits, t)
    return mg.Graph([x, t], {"logits": logits, "loss": loss})


def _real_steps(x: mg.Node, steps: int) -> mg.Node:
    """bool[N,steps]: whether this step or a later one holds anything but zeros."""
    with mg.scope("mask"):
        filled = mg.max(mg.abs(x), axis=2)
        later = [filled[:, steps - 1]]
        for step in reversed(range(steps - 1)):
            later.append(mg.maximum(later[-1], filled[:, step]))
        return mg.stack(later[::-1], axis=1) > 0


def _norms(norm: str, units: int, decay: float, eps: float) -> Callable[[mg.Node, int], mg.Node]:
    if norm == "none":
        return lambda a, step: a
    if norm == "layer":
        layer_norm = nn.LayerNorm(units, eps=eps, name="ln")
        return lambda a, step: layer_norm(a)
    per_step = norm == "batch per step"
    layers: dict[int, nn.BatchNorm] = {}

    def batch_norm(a: mg.Node, step: int) -> mg.Node:
        number = step + 1 if per_step else 0
        if number not in layers:
            name = f"bn{number}" if per_step else "bn"
            layers[number] = nn.BatchNorm(units, decay=decay, eps=eps, name=name)
        return layers[number](a)

    return batch_norm
