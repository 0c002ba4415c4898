"""The complex step: how each primitive computes on numbers ``x + i h v`` with a tiny ``h``.

For an analytic f, ``Im f(x + i h v) / h`` is the derivative along v with no subtraction, so h can
be 1e-30 and the result is exact to the last digits (Squire and Trapp 1998). What is not analytic
(abs, comparisons, max) acts on the real part, as in Martins, Sturdza and Alonso 2003, "The
complex-step derivative approximation", section 3. Every primitive stands in exactly one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..ir import Node
from ..primitives import PRIMITIVES

STEP = 1e-30


def _chosen(first: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda xp, x, y: np.where(first(x.real, y.real), x, y)


def _compared(ufunc: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda xp, x, y: ufunc(x.real, y.real)


def _max(xp: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The element whose real part is largest; several that tie give their mean."""
    top = x.real == np.max(x.real, axis=axis, keepdims=True)
    share = np.sum(top, axis=axis, keepdims=keepdims)
    return np.sum(np.where(top, x, 0), axis=axis, keepdims=keepdims) / share


def _argmax(xp: Any, x: Any, *, axis: int, keepdims: bool) -> Any:
    return np.argmax(x.real, axis=axis, keepdims=keepdims)


def _cast(xp: Any, x: Any, *, dtype: np.dtype[Any]) -> Any:
    x = np.asarray(x)
    if dtype.kind in "fc":
        return x if x.dtype.kind == "c" else x.astype(dtype)
    return x.real.astype(dtype)


OVERRIDES: Mapping[str, Callable[..., Any]] = {
    "abs": lambda xp, x: np.where(x.real < 0, -x, x),
    "sign": lambda xp, x: np.sign(x.real),
    "maximum": _chosen(lambda x, y: ~(x < y)),
    "minimum": _chosen(lambda x, y: ~(x > y)),
    "equal": _compared(np.equal),
    "less": _compared(np.less),
    "less_equal": _compared(np.less_equal),
    "cast": _cast,
    "max": _max,
    "argmax": _argmax,
}

# Primitives whose own ``eval`` is right on complex arrays.
ANALYTIC = frozenset({
    "add", "sub", "mul", "div", "neg", "pow", "sqrt", "exp", "log", "log1p", "tanh", "erf",
    "where", "stop_gradient", "sum", "mean", "count", "reshape", "transpose", "broadcast_to",
    "slice", "pad", "concatenate", "unfold", "fold", "matmul", "take", "scatter_add",
    "random_uniform",
})  # fmt: skip

# Primitives that no complex form is known for; a graph with one is checked by differences.
UNSUPPORTED: frozenset[str] = frozenset()


def obstacle(node: Node) -> str | None:
    """Why the complex step cannot pass through ``node``; None when it can."""
    name = node.prim.name
    row = PRIMITIVES.get(name)
    if row is None or row.eval is not node.prim.eval:
        return f"{name} is not one of minigrad's own primitives, it may not be analytic"
    if name in UNSUPPORTED or not (name in OVERRIDES or name in ANALYTIC):
        return f"{name} has no complex form"
    return None
