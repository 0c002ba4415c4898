"""The right answers: every case in float64 numpy, written as the textbook has it, not for speed.

``expected(case, feed)`` gives a list of arrays by name, one entry a call: a training step is
checked over three calls, and the weights after the last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from cases import DECAY, EPS, GROUPS, PENALTY, RMS_EPS, Case, Feed
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray[Any, Any]


def expected(case: Case, feed: Feed) -> list[Feed]:
    """What each of the checked calls must give."""
    double = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in feed.items()}
    return _EXPECTED[case.kind](case, double)


def tolerance(case: Case) -> float:
    """The largest `error` that float32 explains; a wrong formula gives 1e-2 and more."""
    return 1e-3 if case.kind in cases.STEPS else 1e-4


def error(case: Case, found: Array, right: Array, start: Array | None = None) -> float:
    """How far ``found`` is off: the largest difference over the largest number.

    A weight is measured by how it moved from its ``start``, and in the Euclidean norm, because one
    gradient of 1e-9 +- 1e-9 moves it by a whole step of Adam, up or down, in any float32 system.
    """
    if found.shape != right.shape:
        raise ValueError(f"shape {found.shape} where {right.shape} is right")
    order, least, move = np.inf, 1e-30, right
    if start is not None:
        order, least, move = 2, 1e-3, right - start  # a bias may hardly move from 0
    off = (np.asarray(found, np.float64) - right).ravel()
    return float(np.linalg.norm(off, order) / max(np.linalg.norm(move.ravel(), order), least))


# --- norms -----------------------------------------------------------------------------------


def batch_norm(x: Array, gamma: Array, beta: Array, axes: Any) -> tuple[Array, Any]:
    """``gamma * x_hat + beta`` over ``axes``, and what its gradient needs."""
    mu = x.mean(axes, keepdims=True)
    v = ((x - mu) ** 2).mean(axes, keepdims=True)
    inv_std = (v + EPS) ** -0.5
    x_hat = (x - mu) * inv_std
    return gamma * x_hat + beta, (x_hat, inv_std, gamma, mu, v)


def norm_gradient(g: Array, x_hat: Array, inv_std: Array, axes: Any) -> Array:
    """dL/dx from ``g = dL/dx_hat``: ``r * (g - M(g) - x_hat * M(g * x_hat))``."""
    correlation = (g * x_hat).mean(axes, keepdims=True)
    return inv_std * (g - g.mean(axes, keepdims=True) - x_hat * correlation)


def _norm(case: Case, feed: Feed) -> list[Feed]:
    x, dy, shape = feed["x"], feed["dy"], feed["x"].shape
    gamma, beta = (feed[name].reshape(cases.beside(case)) for name in ("gamma", "beta"))
    axes = cases.axes(case)
    if case.kind == "gn":
        x, axes = x.reshape(shape[0], GROUPS, -1), (2,)
    _, (x_hat, inv_std, *_rest) = batch_norm(x, np.array(1.0), np.array(0.0), axes)
    g = (dy * gamma).reshape(x.shape)
    dx = norm_gradient(g, x_hat, inv_std, axes).reshape(shape)
    x_hat = x_hat.reshape(shape)
    kept = tuple(axis for axis in range(x_hat.ndim) if axis != cases.channel(case))
    dgamma, dbeta = (dy * x_hat).sum(kept), dy.sum(kept)
    return [{"y": gamma * x_hat + beta, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}]


def _rms(case: Case, feed: Feed) -> list[Feed]:
    x, dy, gamma = feed["x"], feed["dy"], feed["gamma"]
    r = ((x**2).mean(-1, keepdims=True) + RMS_EPS) ** -0.5
    x_hat, g = x * r, dy * gamma
    dx = r * (g - x_hat * (g * x_hat).mean(-1, keepdims=True))
    dgamma = (dy * x_hat).sum(tuple(range(x.ndim - 1)))
    return [{"y": gamma * x_hat, "dx": dx, "dgamma": dgamma}]


def softmax(x: Array) -> Array:
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _softmax(case: Case, feed: Feed) -> list[Feed]:
    y, dy = softmax(feed["x"]), feed["dy"]
    return [{"y": y, "dx": y * (dy - (dy * y).sum(-1, keepdims=True))}]


# --- inference -------------------------------------------------------------------------------


def _linear(case: Case, feed: Feed) -> list[Feed]:
    return [{"y": feed["x"] @ feed["w"] + feed["b"]}]


def _bn_inference(case: Case, feed: Feed) -> list[Feed]:
    gamma, beta, m, s = (feed[k].reshape(cases.beside(case)) for k in ("gamma", "beta", "m", "s"))
    return [{"y": gamma * (feed["x"] - m) / np.sqrt(s + EPS) + beta}]


# --- networks --------------------------------------------------------------------------------


def _network(case: Case, feed: Feed) -> list[Feed]:
    """Steps of an MLP or a CNN: forward, gradient, optimiser, running statistics."""
    weights = {name: array.copy() for name, array in feed.items() if "/" in name}
    slots: dict[str, tuple[Array, Array]] = {}
    found: list[Feed] = []
    for step in range(1, case.steps + 1):
        loss, gradients, statistics = _gradients(case, weights, feed["x"], feed["t"])
        for name, g in gradients.items():
            weights[name] = weights[name] - _move(case, name, g, slots, step)
        for name, statistic in statistics.items():
            weights[name] = DECAY * weights[name] + (1 - DECAY) * statistic
        found.append({"loss": np.asarray(loss)})
    found[-1].update(weights)
    return found


def _gradients(case: Case, w: Feed, x: Array, t: Array) -> tuple[Array, Feed, Feed]:
    """Loss, gradient by weight, and batch statistics by running statistic."""
    convolution = case.kind == "cnn"
    layers = len([name for name in w if name.startswith("bn")]) // 4
    linear = "conv" if convolution else "linear"
    out = "linear" if convolution else f"linear{layers + 1}"
    h, kept, statistics, gradients = x, [], {}, {}
    for k in range(1, layers + 1):
        z, cause = _product(h, w[f"{linear}{k}/weight"])
        axes, shape = ((0, 2, 3), (-1, 1, 1)) if convolution else ((0,), (-1,))
        gamma, beta = (w[f"bn{k}/{name}"].reshape(shape) for name in ("gamma", "beta"))
        y, bn = batch_norm(z, gamma, beta, axes)
        n = z.size // gamma.size
        statistics[f"bn{k}/running_mean"] = bn[3].ravel()
        statistics[f"bn{k}/running_var"] = bn[4].ravel() * n / (n - 1)
        h, slope = _activated(case.options.get("activation", "relu"), y)
        h, back = _pooled(h) if convolution else (h, None)
        kept.append((cause, axes, bn, slope, back))
    flat = h.reshape(len(x), -1)
    p = softmax(flat @ w[f"{out}/weight"] + w[f"{out}/bias"])
    loss = -np.log(p[np.arange(len(t)), t]).mean()
    d = (p - np.eye(p.shape[1])[t]) / len(t)
    gradients[f"{out}/weight"], gradients[f"{out}/bias"] = flat.T @ d, d.sum(0)
    d = (d @ w[f"{out}/weight"].T).reshape(h.shape)
    for k in range(layers, 0, -1):
        cause, axes, (x_hat, inv_std, gamma, *_rest), slope, back = kept[k - 1]
        d = (d if back is None else back(d)) * slope
        gradients[f"bn{k}/gamma"], gradients[f"bn{k}/beta"] = (d * x_hat).sum(axes), d.sum(axes)
        d = norm_gradient(d * gamma, x_hat, inv_std, axes)
        gradients[f"{linear}{k}/weight"], d = cause(d)
    return loss, gradients, statistics


def _product(h: Array, w: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    """``h @ w``, or a 3x3 convolution that keeps the size; and (dw, dh) of an output gradient."""
    if w.ndim == 2:
        return h @ w, lambda d: (h.T @ d, d @ w.T)
    turned = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return _convolved(h, w), lambda d: (
        np.tensordot(d, _windows(h), axes=((0, 2, 3), (0, 2, 3))),
        _convolved(d, turned),
    )


def _windows(h: Array) -> Array:
    return sliding_window_view(np.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))


def _convolved(h: Array, w: Array) -> Array:
    product = np.tensordot(_windows(h), w, axes=((1, 4, 5), (1, 2, 3)))
    return np.moveaxis(product, -1, 1)


def _activated(name: str, y: Array) -> tuple[Array, Array]:
    if name == "relu":
        return np.maximum(y, 0), (y > 0).astype(y.dtype)
    h = 1 / (1 + np.exp(-y))
    return h, h * (1 - h)


def _pooled(h: Array) -> tuple[Array, Callable[[Array], Array]]:
    """2x2 max pooling; a gradient goes to the first largest of each window."""
    n, c, rows, columns = h.shape
    cells = h.reshape(n, c, rows // 2, 2, columns // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    cells = cells.reshape(n, c, rows // 2, columns // 2, 4)
    at = cells.argmax(-1)[..., None]

    def back(d: Array) -> Array:
        spread = np.zeros_like(cells)
        np.put_along_axis(spread, at, d[..., None], -1)
        spread = spread.reshape(n, c, rows // 2, columns // 2, 2, 2)
        return spread.transpose(0, 1, 2, 4, 3, 5).reshape(h.shape)

    return np.take_along_axis(cells, at, -1)[..., 0], back


def _move(case: Case, name: str, g: Array, slots: dict[str, Any], step: int) -> Array:
    """What the optimiser takes away from a weight."""
    rate = cases.rate(case)
    if case.options["optimiser"] == "sgd":
        return rate * g
    m, v = slots.get(name, (np.zeros_like(g), np.zeros_like(g)))
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    slots[name] = m, v
    return rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)


# --- micrograd's demo ------------------------------------------------------------------------


def _moons(case: Case, feed: Feed) -> list[Feed]:
    w = {name: array.copy() for name, array in feed.items() if "/" in name}
    found: list[Feed] = []
    sign = 2.0 * feed["t"] - 1
    for _ in range(case.steps):
        h = [feed["x"]]
        for k in (1, 2, 3):
            z = h[-1] @ w[f"layer{k}/w"] + w[f"layer{k}/b"]
            h.append(np.maximum(z, 0) if k < 3 else z)
        margin = 1 - sign * h[3][:, 0]
        penalty = PENALTY * sum((p**2).sum() for p in w.values())
        found.append({"loss": np.maximum(margin, 0).mean() + penalty})
        d = (-sign * (margin > 0) / len(sign))[:, None]
        for k in (3, 2, 1):
            dw, db = h[k - 1].T @ d, d.sum(0)
            d = (d @ w[f"layer{k}/w"].T) * (h[k - 1] > 0)
            w[f"layer{k}/w"] = w[f"layer{k}/w"] * (1 - 2 * PENALTY) - dw
            w[f"layer{k}/b"] = w[f"layer{k}/b"] * (1 - 2 * PENALTY) - db
    found[-1].update(w)
    return found


_EXPECTED: dict[str, Callable[[Case, Feed], list[Feed]]] = {
    **dict.fromkeys(("bn", "ln", "gn", "in"), _norm),
    "rms": _rms,
    "softmax": _softmax,
    "mlp": _network,
    "cnn": _network,
    "linear": _linear,
    "bn_inference": _bn_inference,
    "moons": _moons,
}
