"""minigrad: every case as one graph of primitives, compiled once.

Weights of a norm are parameters, so that they lie in the state; ``x`` and ``dy`` are inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import DECAY, EPS, GROUPS, PENALTY, RMS_EPS, Case, Feed, axes, beside, rate

import minigrad as mg
from minigrad import nn
from minigrad.passes.scalars import scalar_feed

from . import Run, Setting, weights_of


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """Build the graph and compile it."""
    graph = build(case, feed)
    if setting.variant == "scalars":
        graph = mg.scalarize(graph)
    cache = Path(setting.cache) if setting.cache else None
    step = mg.compile(graph, setting.backend, threads=setting.threads, cache=cache)
    inputs: Feed = {leaf: feed[leaf] for leaf in ("x", "t", "dy") if leaf in feed}
    start = {**step.init_state(seed=0)}
    weights = {k: v for k, v in feed.items() if k not in inputs}
    if setting.variant == "scalars":
        inputs, weights = scalar_feed(inputs), scalar_feed(weights)
    start.update({k: np.asarray(v) for k, v in weights.items() if k in start})
    if "loss" in graph.outputs:
        return _training(step, start, inputs, feed)
    return Run(lambda: step(start, **inputs)[0], lambda outputs: outputs)


def build(case: Case, feed: Feed) -> mg.Graph:
    """The graph of a case, its dims as they are in the feed."""
    return GRAPHS[case.kind](case, feed)


def _training(step: mg.Executable, start: dict[str, Any], inputs: Feed, feed: Feed) -> Run:
    state = start

    def call() -> float:
        nonlocal state
        outputs, state = step(state, **inputs)
        return float(outputs["loss"])

    def read(loss: float) -> Feed:
        return {"loss": np.asarray(loss), **whole(state, feed)}

    def reset() -> None:
        nonlocal state
        state = start

    return Run(call, read, reset)


def whole(state: dict[str, Any], feed: Feed) -> Feed:
    """Tensors by name, also from a state of scalars (``layer1/w[0,15]``)."""
    found: Feed = {}
    for name, like in weights_of(feed).items():
        if name in state:
            found[name] = state[name]
        else:
            scalars = scalar_feed({name: like})
            found[name] = np.array([float(state[key]) for key in scalars]).reshape(like.shape)
    return found


# --- graphs ----------------------------------------------------------------------------------


def _norm(case: Case, feed: Feed) -> mg.Graph:
    x, dy = mg.input("x", feed["x"].shape), mg.input("dy", feed["x"].shape)
    leaves = {k: mg.parameter(k, feed[k]) for k in ("gamma", "beta") if k in feed}
    shape = beside(case)
    scaled = [v if len(shape) == 1 else mg.reshape(v, shape) for v in leaves.values()]
    y = NORMS[case.kind](case, x, *scaled)
    gradients = mg.grad(y, [x, *leaves.values()], ct=dy)
    names = ("dx", *(f"d{name}" for name in leaves))
    return mg.Graph([x, dy], {"y": y, **dict(zip(names, gradients, strict=True))})


NORMS: dict[str, Callable[..., mg.Node]] = {
    "bn": lambda case, x, g, b: nn.batch_norm(x, g, b, axes=axes(case), eps=EPS),
    "ln": lambda case, x, g, b: nn.layer_norm(x, g, b, eps=EPS),
    "in": lambda case, x, g, b: nn.instance_norm(x, g, b, eps=EPS),
    "gn": lambda case, x, g, b: nn.group_norm(x, g, b, groups=GROUPS, eps=EPS),
    "rms": lambda case, x, g: nn.rms_norm(x, g, eps=RMS_EPS),
    "softmax": lambda case, x: mg.softmax(x),
}


def _linear(case: Case, feed: Feed) -> mg.Graph:
    x = mg.input("x", feed["x"].shape)
    return mg.Graph([x], {"y": x @ mg.parameter("w", feed["w"]) + mg.parameter("b", feed["b"])})


def _bn_inference(case: Case, feed: Feed) -> mg.Graph:
    x, shape = mg.input("x", feed["x"].shape), beside(case)
    leaves = {k: mg.parameter(k, feed[k]) for k in ("m", "s", "beta", "gamma")}
    y = nn.normalize(x, *(mg.reshape(leaf, shape) for leaf in leaves.values()), EPS)
    return mg.Graph([x], {"y": y})


def _mlp(case: Case, feed: Feed) -> mg.Graph:
    x, t = mg.input("x", feed["x"].shape), mg.input("t", feed["t"].shape, "int64")
    activation = {"relu": mg.relu, "sigmoid": mg.sigmoid}[case.options["activation"]]
    h: mg.Node = x
    for layer, units in enumerate(case.options["hidden"], start=1):
        h = nn.Linear(units, bias=False, name=f"linear{layer}")(h)
        h = activation(_batch_norm(units, layer, -1)(h))
    logits = nn.Linear(10, name=f"linear{len(case.options['hidden']) + 1}")(h)
    return _trained(case, x, t, logits)


def _cnn(case: Case, feed: Feed) -> mg.Graph:
    x, t = mg.input("x", feed["x"].shape), mg.input("t", feed["t"].shape, "int64")
    h: mg.Node = x
    for layer, width in enumerate(case.options["channels"], start=1):
        h = nn.Conv2d(width, 3, padding="same", bias=False, name=f"conv{layer}")(h)
        h = mg.relu(_batch_norm(width, layer, 1)(h))
        h = nn.MaxPool2d(2, name=f"pool{layer}")(h)
    return _trained(case, x, t, nn.Linear(10, name="linear")(nn.Flatten(name="flatten")(h)))


def _batch_norm(features: int, layer: int, channel_axis: int) -> nn.BatchNorm:
    """With PyTorch's running statistics, so that all peers agree on them."""
    return nn.BatchNorm(
        features,
        channel_axis=channel_axis,
        convention="pytorch",
        decay=DECAY,
        eps=EPS,
        name=f"bn{layer}",
    )


def _trained(case: Case, x: mg.Node, t: mg.Node, logits: mg.Node) -> mg.Graph:
    optimiser = case.options["optimiser"]
    graph = mg.Graph([x, t], {"loss": mg.cross_entropy(logits, t)})
    return mg.optim.OPTIMISERS[optimiser](graph, lr=rate(case))


def _moons(case: Case, feed: Feed) -> mg.Graph:
    """As in models/micrograd_demo.py, with the weights of the feed and a rate of 1."""
    x, t = mg.input("x", feed["x"].shape), mg.input("t", feed["t"].shape, "int64")
    h: mg.Node = x
    parameters = []
    for layer in (1, 2, 3):
        w, b = (mg.parameter(f"layer{layer}/{n}", feed[f"layer{layer}/{n}"]) for n in "wb")
        h = h @ w + b
        h = mg.relu(h) if layer < 3 else h
        parameters += [w, b]
    margin = mg.relu(1 - (2 * mg.cast(t, "float32") - 1) * h[:, 0])
    loss = mg.mean(margin)
    for p in parameters:
        loss = loss + PENALTY * mg.sum(p * p)
    return mg.optim.sgd(mg.Graph([x, t], {"loss": loss}), lr=1.0)


GRAPHS: dict[str, Callable[[Case, Feed], mg.Graph]] = {
    **dict.fromkeys(NORMS, _norm),
    "linear": _linear,
    "bn_inference": _bn_inference,
    "mlp": _mlp,
    "cnn": _cnn,
    "moons": _moons,
}
