"""The networks and the data of the laboratory, and how a network is trained.

A graph is compiled once; its learning rate is a state, so one compilation serves every rate. It
runs on one thread: these networks are too small for two to help, the sums come out the same
whatever the number of processors, and experiments run side by side. All of it is the public API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from train import prepared

import minigrad as mg
from minigrad import nn
from minigrad.train.data import Dataset, Order, batches

Norm = Callable[[int, str], Callable[[mg.Node], mg.Node]]  # (units, name) -> layer
ACTIVATIONS = {"relu": mg.relu, "sigmoid": mg.sigmoid, "tanh": mg.tanh}


@cache
def data(source: str, scale: str = "range") -> tuple[Dataset, Dataset]:
    """Two thirds to train on, one third held out; the same split for every seed."""
    return prepared(source, 1 / 3, 0, scale)


def batch_norm(decay: float = 0.9, **options: Any) -> Norm:
    return lambda units, name: nn.BatchNorm(units, decay=decay, name=name, **options)


@dataclass(frozen=True)
class Net:
    """A training graph, and the nodes that experiments watch."""

    graph: mg.Graph
    pre: tuple[mg.Node, ...]  # what enters each activation
    normalised: tuple[mg.Node, ...]  # what leaves each norm
    linear: tuple[mg.Node, ...]  # what leaves each hidden linear layer


def network(
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    norm: Norm | None = None,
    after: bool = False,
    bias: bool = True,
    dropout: float = 0.0,
    start: Any = nn.initializers.glorot_uniform,
    between: Callable[[mg.Node, int], mg.Node] | None = None,
) -> Net:
    """A multilayer perceptron ``sizes[0]-...-sizes[-1]`` and its cross entropy.

    ``after`` puts the norm behind the activation; ``between`` changes what enters an activation.
    """
    x, t = mg.input("x", ("N", sizes[0])), mg.input("t", "N", "int64")
    random = mg.Generator(name="dropout") if dropout else None
    pre, normalised, linear, h = [], [], [], x
    for layer, units in enumerate(sizes[1:-1], start=1):
        dense = nn.Linear(units, bias=bias, weight_initializer=start, name=f"linear{layer}")
        h = dense(h)
        linear.append(h)
        if norm is not None and not after:
            h = norm(units, f"norm{layer}")(h)
            normalised.append(h)
        if between is not None:
            h = between(h, layer)
        pre.append(h)
        with mg.scope(f"{activation}{layer}"):
            h = ACTIVATIONS[activation](h)
        if norm is not None and after:
            h = norm(units, f"norm{layer}")(h)
            normalised.append(h)
        if random is not None:
            h = nn.Dropout(dropout, generator=random, name=f"dropout{layer}")(h)
    out = nn.Linear(sizes[-1], weight_initializer=start, name=f"linear{len(sizes) - 1}")
    logits = out(h)
    with mg.scope("loss"):
        loss = mg.cross_entropy(logits, t)
    graph = mg.Graph((), {"logits": logits, "loss": loss})  # inputs x, t and those of ``between``
    return Net(graph, tuple(pre), tuple(normalised), tuple(linear))


def with_outputs(net: Net, **nodes: mg.Node) -> mg.Graph:
    """The forward graph of ``net`` with further outputs, in training form."""
    return mg.Graph(net.graph.inputs, {**net.graph.outputs, **nodes})


def compiled(graph: mg.Graph) -> mg.Executable:
    return mg.compile(graph, threads=1)


class Trainer:
    """A network compiled to train and to be measured."""

    def __init__(
        self, graph: mg.Graph, optimiser: str = "sgd", watch: Any = None, **options: Any
    ) -> None:
        """``watch`` maps names to nodes that each step gives beside the loss."""
        rate = mg.state("lr", np.float64(0.1))
        outputs = {**graph.outputs, **(watch or {})}
        watched = mg.Graph(graph.inputs, outputs, graph.updates)
        make = mg.optim.OPTIMISERS[optimiser]
        self.graph = graph
        self.step = compiled(make(watched, lr=lambda step: rate, **options))
        self.infer = compiled(mg.to_inference(graph, ["logits", "loss"]))

    def start(self, seed: int, lr: float) -> dict[str, Any]:
        return {**self.step.init_state(seed), "lr": np.asarray(lr, np.float64)}

    def run(
        self, state: Any, stream: Iterator[Dataset], steps: int, **inputs: Any
    ) -> Iterator[tuple[int, dict[str, Any], Any]]:
        """Train for ``steps`` steps; each gives its number, from 1, its outputs and the state.

        An input given as a function is called with the number of the step.
        """
        for number in range(1, steps + 1):
            batch = next(stream)
            more = {k: v(number) if callable(v) else v for k, v in inputs.items()}
            outputs, state = self.step(state, x=batch.x, t=batch.t, **more)
            yield number, outputs, state

    def trained(self, seed: int, lr: float, part: Dataset, size: int, steps: int) -> Any:
        """The state after ``steps`` steps on batches of ``size``."""
        *_, (_, _, state) = self.run(self.start(seed, lr), stream(part, size, seed), steps)
        return state

    def measure(self, state: Any, part: Dataset, **inputs: Any) -> tuple[float, float]:
        """Accuracy and mean loss of the inference graph on a whole part."""
        outputs, _ = self.infer(state, x=part.x, t=part.t, **inputs)
        right = (outputs["logits"].argmax(axis=1) == part.t).mean()
        return float(right), float(outputs["loss"])


def stream(part: Dataset, size: int, seed: int) -> Iterator[Dataset]:
    """Full batches for ever, in an order that depends on the seed alone."""
    if size > len(part):
        raise ValueError(f"a batch of {size} does not fit {len(part)} examples")
    for epoch in count():
        for batch, _ in batches(part, size, Order(seed, epoch)):
            if len(batch) == size:
                yield batch


def right_in_batches(forward: mg.Executable, state: Any, part: Dataset, size: int) -> float:
    """The accuracy of a training graph that sees ``size`` test examples at a time."""
    right = 0
    for start in range(0, len(part) - size + 1, size):
        x = part.x[start : start + size]
        t = part.t[start : start + size]
        outputs, _ = forward(state, x=x, t=t)
        right += int((outputs["logits"].argmax(axis=1) == t).sum())
    return right / (len(part) // size * size)
