"""A training step of an MLP with batch norm in numpy, by hand.

All weights lie in one flat array and all gradients in another, so that the optimiser is a handful
of calls; activations and gradients are written into buffers that are reused.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from cases import DECAY, EPS, Case, Feed, rate

from . import weights_of

Array = np.ndarray[Any, Any]


class Mlp:
    """x -> (linear -> batch norm -> activation) * k -> linear -> cross entropy."""

    def __init__(self, case: Case, feed: Feed) -> None:
        self._start = weights_of(feed)
        self._relu = case.options["activation"] == "relu"
        self._adam = case.options["optimiser"] == "adam"
        self._rate = rate(case)
        self._layers = range(1, len(case.options["hidden"]) + 1)
        trained = {k: v for k, v in self._start.items() if "running" not in k}
        size = sum(array.size for array in trained.values())
        self._flat, self._slopes, self._m, self._v, self._spare = np.zeros((5, size), np.float32)
        self.weights = _views(self._flat, trained)
        self.gradients = _views(self._slopes, trained)
        self.weights.update({k: v.copy() for k, v in self._start.items() if "running" in k})
        sizes = (case.options["inputs"], *case.options["hidden"])
        batch = case.options["batch"]
        self._x_hat, self._h, self._d = (
            [np.empty((batch, units), np.float32) for units in sizes] for _ in range(3)
        )
        self._inv_std = [np.empty(0, np.float32) for _ in sizes]
        self.reset()

    def reset(self) -> None:
        """Back to the initial weights."""
        for name, array in self._start.items():
            self.weights[name][...] = array
        self._m[...], self._v[...], self._count = 0, 0, 0

    def step(self, x: Array, t: Array) -> float:
        """Forward, gradient, statistics, optimiser; the loss before the step."""
        loss, d = self._output(self._forward(x), t)
        for k in reversed(self._layers):
            d = self._backward(k, d, x if k == 1 else self._h[k - 1])
        (self._adam_move if self._adam else self._sgd_move)()
        return loss

    def _forward(self, h: Array) -> Array:
        w = self.weights
        for k in self._layers:
            z, y = self._x_hat[k], self._h[k]
            np.matmul(h, w[f"linear{k}/weight"], out=z)
            n = len(z)
            mu = z.mean(0)
            z -= mu
            v = np.einsum("nc,nc->c", z, z) / np.float32(n)
            self._inv_std[k] = 1 / np.sqrt(v + np.float32(EPS))
            z *= self._inv_std[k]
            for name, statistic in (("mean", mu), ("var", v * np.float32(n / (n - 1)))):
                running = w[f"bn{k}/running_{name}"]
                running *= DECAY
                running += (1 - DECAY) * statistic
            np.multiply(z, w[f"bn{k}/gamma"], out=y)
            y += w[f"bn{k}/beta"]
            h = np.maximum(y, 0, out=y) if self._relu else _sigmoid(y)
        return h

    def _output(self, h: Array, t: Array) -> tuple[float, Array]:
        """Cross entropy, and the gradient by the last hidden layer."""
        k = self._layers[-1] + 1
        w, g, n = self.weights[f"linear{k}/weight"], self.gradients, len(h)
        p = h @ w
        p += self.weights[f"linear{k}/bias"]
        p -= p.max(1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(1, keepdims=True)
        rows = np.arange(n)
        loss = -float(np.log(p[rows, t]).mean())
        p[rows, t] -= 1
        p /= n
        np.matmul(h.T, p, out=g[f"linear{k}/weight"])
        p.sum(0, out=g[f"linear{k}/bias"])
        return loss, np.matmul(p, w.T, out=self._d[k - 1])

    def _backward(self, k: int, d: Array, below: Array) -> Array:
        """Through activation, batch norm and product; ``d`` and x_hat are overwritten."""
        g, x_hat, n = self.gradients, self._x_hat[k], np.float32(len(d))
        d *= self._h[k] > 0 if self._relu else self._h[k] * (1 - self._h[k])
        dbeta = d.sum(0, out=g[f"bn{k}/beta"])
        dgamma = np.einsum("nc,nc->c", d, x_hat, out=g[f"bn{k}/gamma"])
        d -= dbeta / n
        x_hat *= dgamma / n
        d -= x_hat
        d *= self.weights[f"bn{k}/gamma"] * self._inv_std[k]
        np.matmul(below.T, d, out=g[f"linear{k}/weight"])
        if k == 1:
            return d
        return np.matmul(d, self.weights[f"linear{k}/weight"].T, out=self._d[k - 1])

    def _sgd_move(self) -> None:
        self._slopes *= np.float32(self._rate)
        self._flat -= self._slopes

    def _adam_move(self) -> None:
        g, m, v, spare = self._slopes, self._m, self._v, self._spare
        self._count += 1
        m *= np.float32(0.9)
        v *= np.float32(0.999)
        np.multiply(g, g, out=spare)
        spare *= np.float32(0.001)
        v += spare
        g *= np.float32(0.1)
        m += g
        np.sqrt(v, out=spare)
        spare *= np.float32(1 / math.sqrt(1 - 0.999**self._count))
        spare += np.float32(1e-8)
        np.divide(m, spare, out=spare)
        spare *= np.float32(self._rate / (1 - 0.9**self._count))
        self._flat -= spare


def _sigmoid(y: Array) -> Array:
    np.negative(y, out=y)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def _views(flat: Array, like: Feed) -> Feed:
    """The flat array, cut and shaped like some arrays."""
    ends = np.cumsum([0, *(array.size for array in like.values())])
    parts = [flat[low:high] for low, high in pairwise(ends)]
    return {k: part.reshape(like[k].shape) for k, part in zip(like, parts, strict=True)}
