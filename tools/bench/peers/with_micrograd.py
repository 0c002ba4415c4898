"""micrograd: its demo as its author wrote it, scalar by scalar."""

from __future__ import annotations

import numpy as np
from cases import PENALTY, Case, Feed
from micrograd.nn import MLP

from . import Run, Setting, weights_of


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """An epoch: forward, loss, backward and a step of rate 1 on all points."""
    model = MLP(2, [16, 16, 1])
    x, sign = feed["x"].tolist(), (2 * feed["t"] - 1).tolist()

    def call() -> float:
        scores = list(map(model, x))
        losses = [(1 + -yi * score).relu() for yi, score in zip(sign, scores, strict=True)]
        total = sum(losses) * (1.0 / len(losses))
        total = total + PENALTY * sum(p * p for p in model.parameters())
        model.zero_grad()
        total.backward()
        for p in model.parameters():
            p.data -= p.grad
        return float(total.data)

    def reset() -> None:
        for k, layer in enumerate(model.layers, start=1):
            for j, neuron in enumerate(layer.neurons):
                neuron.b.data = float(feed[f"layer{k}/b"][j])
                for i, weight in enumerate(neuron.w):
                    weight.data = float(feed[f"layer{k}/w"][i, j])

    def read(loss: float) -> Feed:
        found = {"loss": np.asarray(loss), **{k: v.copy() for k, v in weights_of(feed).items()}}
        for k, layer in enumerate(model.layers, start=1):
            found[f"layer{k}/b"][:] = [neuron.b.data for neuron in layer.neurons]
            found[f"layer{k}/w"][:] = np.array([[w.data for w in n.w] for n in layer.neurons]).T
        return found

    reset()
    return Run(call, read, reset)
