"""Graphs that the tests of the page share."""

import numpy as np

import minigrad as mg


def network(layers=1, units=4):
    """x -> (linear -> bn -> relu) * layers -> loss, and a batch for it."""
    x, t = mg.input("x", ("N", units)), mg.input("t", ("N", units))
    h = x
    for layer in range(1, layers + 1):
        h = mg.nn.Linear(units, bias=False, name=f"linear{layer}")(h)
        h = mg.nn.BatchNorm(units, name=f"bn{layer}")(h)
        with mg.scope(f"relu{layer}"):
            h = mg.relu(h)
    with mg.scope("loss"):
        loss = mg.mean((h - t) ** 2)
    random = np.random.default_rng(0)
    feed = {name: random.standard_normal((8, units)).astype("f") for name in ("x", "t")}
    return mg.Graph([x, t], {"y": h, "loss": loss}), feed
