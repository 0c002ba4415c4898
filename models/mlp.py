"""A multilayer perceptron with batch norm before the activation, after it, or not at all.

    x [N,inputs] -> (linear -> bn -> relu) * len(hidden) -> linear -> logits [N,classes]

Ioffe and Szegedy 2015, "Batch Normalization", section 3.2, put the norm before the activation,
where the linear layer needs no bias: batch norm takes any constant away and beta gives one back.

    python tools/train.py models/mlp.py --set norm=after --set hidden=(256,128)
"""

from __future__ import annotations

from collections.abc import Sequence

import minigrad as mg
from minigrad import nn

NORMS = ("before", "after", "none")
ACTIVATIONS = {"relu": mg.relu, "gelu": mg.gelu, "sigmoid": mg.sigmoid, "tanh": mg.tanh}


def build(
    batch: int | str = "N",
    *,
    inputs: int = 64,
    hidden: Sequence[int] = (100, 100),
    classes: int = 10,
    norm: str = "before",
    activation: str = "relu",
    decay: float = 0.9,
    eps: float = 1e-3,
    dropout: float = 0.0,
) -> mg.Graph:
    """The training graph: inputs ``x`` f32[batch,inputs], ``t`` i64[batch]; outputs ``logits``
    and ``loss``, the mean cross entropy. Layer 1 is in the scopes linear1, bn1 and relu1.
    """
    if norm not in NORMS or activation not in ACTIVATIONS:
        raise mg.GraphError(
            f"mlp: norm is one of {', '.join(NORMS)}, activation one of {', '.join(ACTIVATIONS)}; "
            f"not {norm!r} with {activation!r}"
        )
    x, t = mg.input("x", (batch, inputs)), mg.input("t", batch, "int64")
    random = mg.Generator(name="dropout") if dropout else None
    h = x
    for layer, units in enumerate(hidden, start=1):
        batch_norm = nn.BatchNorm(units, decay=decay, eps=eps, name=f"bn{layer}")
        h = nn.Linear(units, bias=norm != "before", name=f"linear{layer}")(h)
        if norm == "before":
            h = batch_norm(h)
        with mg.scope(f"{activation}{layer}"):
            h = ACTIVATIONS[activation](h)
        if norm == "after":
            h = batch_norm(h)
        if random is not None:
            h = nn.Dropout(dropout, generator=random, name=f"dropout{layer}")(h)
    logits = nn.Linear(classes, name=f"linear{len(hidden) + 1}")(h)
    with mg.scope("loss"):
        loss = mg.cross_entropy(logits, t)
    return mg.Graph([x, t], {"logits": logits, "loss": loss})
