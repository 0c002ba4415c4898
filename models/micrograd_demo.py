"""micrograd's demo, twice: a 2-16-16-1 network on two moons, as scalars and as tensors.

    python models/micrograd_demo.py              train on 100 points, then compare the gradients
    python models/micrograd_demo.py --compare 20 compare on more points (the scalar graph grows)

Everything is as in https://github.com/karpathy/micrograd, demo.ipynb: ReLU neurons and a linear
one at the end, max-margin loss, an L2 penalty of 1e-4 on every weight, full-batch gradient descent
with a rate that falls from 1.0 to 0.1 in 100 steps. Here the two ways of writing it are graphs of
the same engine: a scalar is a tensor of shape ().
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from typing import Any

import numpy as np

import minigrad as mg

SIZES = (2, 16, 16, 1)
PENALTY = 1e-4


# --- as tensors ------------------------------------------------------------------------------


def build(batch: int | str = "N", *, seed: int = 0, dtype: str = "float32") -> mg.Graph:
    """The network on a batch of points: ``x`` f32[N,2], labels ``t`` 0 or 1.

    Outputs: ``score`` [N], positive for class 1; ``logits`` [N,2]; ``loss``.
    """
    x = mg.input("x", (batch, 2), dtype)
    t = mg.input("t", batch, "int64")
    h, parameters = x, []
    for layer, (w0, b0) in enumerate(initial_weights(seed, dtype), start=1):
        with mg.scope(f"layer{layer}"):
            w, b = mg.parameter("w", w0), mg.parameter("b", b0)
            h = h @ w + b
            if layer < len(SIZES) - 1:
                h = mg.maximum(h, 0)
            parameters += [w, b]
    score = h[:, 0]
    with mg.scope("loss"):
        target = 2 * mg.cast(t, dtype) - 1  # -1 or 1
        margin = mg.mean(mg.maximum(1 - target * score, 0))
        loss = margin + PENALTY * total([mg.sum(p * p) for p in parameters])
    logits = mg.stack([-score, score], axis=1)
    return mg.Graph([x, t], {"score": score, "logits": logits, "loss": loss})


# --- as scalars ------------------------------------------------------------------------------


def build_scalars(batch: int, *, seed: int = 0, dtype: str = "float32") -> mg.Graph:
    """The same network with a node for every number, neuron by neuron, as micrograd has it.

    A leaf is called after its place in the tensor: ``x[3,0]``, ``layer1/w[0,15]``.
    """
    points = [[mg.input(f"x[{i},{j}]", (), dtype) for j in range(2)] for i in range(batch)]
    labels = [mg.input(f"t[{i}]", (), "int64") for i in range(batch)]
    layers = []
    for number, (w0, b0) in enumerate(initial_weights(seed, dtype), start=1):
        with mg.scope(f"layer{number}"):
            n, m = w0.shape
            w = [[mg.parameter(f"w[{i},{j}]", w0[i, j]) for j in range(m)] for i in range(n)]
            layers.append((w, [mg.parameter(f"b[{j}]", b0[j]) for j in range(m)]))
    scores = [network(point, layers) for point in points]
    losses = [
        mg.maximum(1 - (2 * mg.cast(label, dtype) - 1) * score, 0)
        for label, score in zip(labels, scores, strict=True)
    ]
    weights = [p for w, b in layers for p in (*(v for row in w for v in row), *b)]
    loss = total(losses) / batch + PENALTY * total([p * p for p in weights])
    outputs = {f"score[{i}]": score for i, score in enumerate(scores)}
    inputs = [value for point in points for value in point] + labels
    return mg.Graph(inputs, {**outputs, "loss": loss})


def network(values: list[mg.Node], layers: list[Any]) -> mg.Node:
    """The score of one point."""
    for number, (w, b) in enumerate(layers, start=1):
        with mg.scope(f"layer{number}"):
            values = [neuron(values, [row[j] for row in w], bias) for j, bias in enumerate(b)]
            if number < len(layers):
                values = [mg.maximum(value, 0) for value in values]
    (score,) = values
    return score


def neuron(values: list[mg.Node], weights: list[mg.Node], bias: mg.Node) -> mg.Node:
    """A weighted sum."""
    return total([w * v for w, v in zip(weights, values, strict=True)]) + bias


def total(terms: list[mg.Node]) -> mg.Node:
    """The sum of some nodes, left to right."""
    found = terms[0]
    for term in terms[1:]:
        found = found + term
    return found


# --- data, training, comparison --------------------------------------------------------------


def initial_weights(seed: int, dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights uniform in [-1, 1) and biases 0 for each layer, as in micrograd."""
    rng = np.random.default_rng(seed)
    return [
        (rng.uniform(-1, 1, size=(n, m)).astype(dtype), np.zeros(m, dtype))
        for n, m in pairwise(SIZES)
    ]


def two_moons(points: int = 100, noise: float = 0.1, seed: int = 1) -> tuple[Any, Any]:
    """Two half circles that reach into each other (scikit-learn's make_moons)."""
    angle = np.linspace(0, np.pi, points // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    x = np.concatenate([upper, lower])
    x += np.random.default_rng(seed).normal(scale=noise, size=x.shape)
    return x.astype(np.float32), np.repeat([0, 1], points // 2)


def falling_rate(step: mg.Node) -> mg.Node:
    """1.0 - 0.9 * step / 100."""
    return 1.0 - 0.9 * mg.cast(step, "float64") / 100


def train(steps: int = 100, seed: int = 0) -> list[tuple[float, float]]:
    """Loss and accuracy before each step, and after the last."""
    x, t = two_moons()
    step = mg.compile(mg.optim.sgd(build(seed=seed), lr=falling_rate), "interpreter")
    state, history = step.init_state(), []
    for _ in range(steps + 1):
        outputs, state = step(state, x=x, t=t)
        right = (outputs["score"] > 0) == (t == 1)
        history.append((float(outputs["loss"]), float(right.mean())))
    return history


def gradients(points: int, *, scalars: bool, seed: int = 0, dtype: str = "float64") -> Any:
    """The gradient of the loss by name of number, ``layer1/w[0,15]``, and the graph's size."""
    x, t = two_moons()
    rows = np.linspace(0, len(x) - 1, points).astype(int)
    feed: dict[str, Any] = {"x": x[rows], "t": t[rows]}
    if scalars:
        graph = build_scalars(points, seed=seed, dtype=dtype)
        feed = by_place(feed)
    else:
        graph = build(points, seed=seed, dtype=dtype)
    named = {p.name: g for p, g in zip(graph.parameters, _grads(graph), strict=True)}
    values = dict(zip(named, mg.evaluate(list(named.values()), feed), strict=True))
    if not scalars:
        values = by_place(values)
    return values, len(mg.Graph([], named).nodes)


def by_place(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Every number of some arrays under the name of its place: ``x[3,0]``."""
    return {
        f"{name}[{','.join(map(str, index))}]": number
        for name, array in arrays.items()
        for index, number in np.ndenumerate(array)
    }


def _grads(graph: mg.Graph) -> list[mg.Node]:
    return mg.grad(graph.outputs["loss"], graph.parameters)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100, help="steps of gradient descent (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (0)")
    parser.add_argument("--compare", type=int, default=8, help="points to compare on (8)")
    args = parser.parse_args()
    begin = time.perf_counter()
    history = train(args.steps, args.seed)
    seconds = time.perf_counter() - begin
    for k in range(0, len(history), 10):
        print(f"step {k:3d}  loss {history[k][0]:.4f}  accuracy {history[k][1]:.0%}")
    print(f"{args.steps} steps on 100 points in {seconds:.2f} s, as tensors")
    found, sizes = {}, {}
    for way in ("scalars", "tensors"):
        begin = time.perf_counter()
        found[way], sizes[way] = gradients(args.compare, scalars=way == "scalars", seed=args.seed)
        seconds = time.perf_counter() - begin
        print(f"as {way}: {sizes[way]:6d} nodes for {args.compare} points, {seconds:.2f} s")
    worst = max(abs(found["scalars"][k] - found["tensors"][k]) for k in found["tensors"])
    print(f"largest difference of {len(found['tensors'])} gradients: {worst:.1e}")


if __name__ == "__main__":
    main()
