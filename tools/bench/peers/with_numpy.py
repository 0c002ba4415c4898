"""numpy by hand: closed forms of the gradient, written into buffers that are reused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import EPS, PENALTY, Case, Feed, axes, beside

from . import Run, Setting, weights_of
from .numpy_mlp import Mlp

Array = np.ndarray[Any, Any]


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """Buffers, and the function that fills them."""
    return _PREPARE[case.kind](case, feed)


def _bn(case: Case, feed: Feed) -> Run:
    x, dy = feed["x"], feed["dy"]
    over, shape = axes(case), beside(case)
    gamma, beta = feed["gamma"].reshape(shape), feed["beta"].reshape(shape)
    x_hat, y, dx = (np.empty_like(x) for _ in range(3))
    n = np.float32(x.size // gamma.size)
    letters = "nchw"[: x.ndim] if not case.options.get("last") else "nhwc"
    dot = f"{letters},{letters}->c"  # the sum of a product, without the product as an array

    def call() -> tuple[Array, ...]:
        mu = x.mean(over).reshape(shape)
        np.subtract(x, mu, out=x_hat)
        v = (np.einsum(dot, x_hat, x_hat) / n).reshape(shape)
        r = 1 / np.sqrt(v + np.float32(EPS))
        np.multiply(x_hat, r, out=x_hat)
        np.multiply(x_hat, gamma, out=y)
        np.add(y, beta, out=y)
        dbeta, dgamma = dy.sum(over), np.einsum(dot, dy, x_hat)
        np.subtract(dy, (dbeta / n).reshape(shape), out=dx)
        np.multiply(x_hat, (dgamma / n).reshape(shape), out=x_hat)
        np.subtract(dx, x_hat, out=dx)
        np.multiply(dx, gamma * r, out=dx)
        return y, dx, dgamma, dbeta

    names = ("y", "dx", "dgamma", "dbeta")
    return Run(call, lambda arrays: dict(zip(names, arrays, strict=True)))


def _linear(case: Case, feed: Feed) -> Run:
    x, w, b = feed["x"], feed["w"], feed["b"]
    y = np.empty((len(x), w.shape[1]), np.float32)

    def call() -> Array:
        np.matmul(x, w, out=y)
        return np.add(y, b, out=y)

    return Run(call, lambda y: {"y": y})


def _bn_inference(case: Case, feed: Feed) -> Run:
    x, shape = feed["x"], beside(case)
    m, s, gamma, beta = (feed[k].reshape(shape) for k in ("m", "s", "gamma", "beta"))
    y = np.empty_like(x)

    def call() -> Array:
        scale = gamma / np.sqrt(s + np.float32(EPS))
        np.multiply(x, scale, out=y)
        return np.add(y, beta - m * scale, out=y)

    return Run(call, lambda y: {"y": y})


def _mlp(case: Case, feed: Feed) -> Run:
    network = Mlp(case, feed)
    return Run(
        lambda: network.step(feed["x"], feed["t"]),
        lambda loss: {"loss": np.asarray(loss), **network.weights},
        network.reset,
    )


def _moons(case: Case, feed: Feed) -> Run:
    """micrograd's demo: a step of gradient descent with rate 1."""
    start = weights_of(feed)
    w = {name: array.copy() for name, array in start.items()}
    x, sign = feed["x"], (2 * feed["t"] - 1).astype(np.float32)
    shrink = np.float32(1 - 2 * PENALTY)

    def call() -> float:
        w1, b1, w2, b2, w3, b3 = (w[f"layer{k}/{n}"] for k in (1, 2, 3) for n in "wb")
        h1 = np.maximum(x @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        margin = 1 - sign * (h2 @ w3 + b3)[:, 0]
        loss = float(np.maximum(margin, 0).mean())
        loss += PENALTY * math.fsum(float(np.vdot(p, p)) for p in w.values())
        d3 = (-sign * (margin > 0) / np.float32(len(sign)))[:, None]
        d2 = (d3 @ w3.T) * (h2 > 0)
        d1 = (d2 @ w2.T) * (h1 > 0)
        for p, g in ((w1, x.T @ d1), (w2, h1.T @ d2), (w3, h2.T @ d3), (b1, d1.sum(0)),
                     (b2, d2.sum(0)), (b3, d3.sum(0))):  # fmt: skip
            p *= shrink
            p -= g
        return loss

    def reset() -> None:
        for name, array in start.items():
            w[name][...] = array

    return Run(call, lambda loss: {"loss": np.asarray(loss), **w}, reset)


_PREPARE: dict[str, Callable[[Case, Feed], Run]] = {
    "bn": _bn,
    "linear": _linear,
    "bn_inference": _bn_inference,
    "mlp": _mlp,
    "moons": _moons,
}
