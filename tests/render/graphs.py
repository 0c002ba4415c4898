"""Graphs to draw: batch norm from primitives, a small network around it, a training step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import minigrad as mg

Point = tuple[float, float]


def batch_norm(x: mg.Node, features: int, decay: float = 0.9) -> mg.Node:
    gamma, beta = mg.parameter("gamma", 1.0, features), mg.parameter("beta", 0.0, features)
    mean, var = mg.state("running_mean", 0.0, features), mg.state("running_var", 1.0, features)
    mu = mg.mean(x, 0)
    mu = mg.track(mu, mean, decay * mean + (1 - decay) * mu)
    c = x - mu
    v = mg.mean(c**2, 0)
    v = mg.track(v, var, decay * var + (1 - decay) * v)
    return gamma * (c * mg.sqrt(v + 1e-3) ** -1) + beta


def bn_graph() -> mg.Graph:
    x = mg.input("x", ("N", 4))
    with mg.scope("bn1"):
        y = batch_norm(x, 4)
    return mg.Graph([x], {"y": y})


def network(layers: int = 2) -> mg.Graph:
    x, t = mg.input("x", ("N", 4)), mg.input("t", ("N", 4))
    h = x
    for i in range(1, layers + 1):
        with mg.scope(f"stage{i}"):
            with mg.scope("linear"):
                h = h @ mg.parameter("weight", 0.5, (4, 4)) + mg.parameter("bias", 0.1, 4)
            with mg.scope("bn"):
                h = batch_norm(h, 4)
            with mg.scope("act"):
                h = mg.maximum(h, 0)
    with mg.scope("mse"):
        loss = mg.mean((h - t) ** 2)
    return mg.Graph([x, t], {"logits": h, "loss": loss})


def training_step() -> mg.Graph:
    graph = network()
    weights = list(graph.parameters)
    gradients = mg.grad(graph.outputs["loss"], weights)
    with mg.scope("sgd"):
        updates = [mg.Update(w, w - 0.1 * g) for w, g in zip(weights, gradients, strict=True)]
    return graph.with_updates(updates)


def layout(drawing: Any) -> Any:
    """The drawing after Graphviz placed it: an AGraph with positions."""
    import pygraphviz

    graph = pygraphviz.AGraph(string=drawing.dot)
    graph.layout(prog="dot")
    return graph


def place(graph: Any, key: str) -> Point:
    x, y = graph.get_node(key).attr["pos"].split(",")
    return float(x), float(y)


def texts(svg: str) -> str:
    """What a reader of the SVG sees, as one text."""
    return " ".join(_strings(ElementTree.fromstring(svg)))


def _strings(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        yield " ".join("".join(element.itertext()).split())
