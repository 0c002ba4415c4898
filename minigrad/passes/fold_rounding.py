"""Values with a running bound of their rounding error (Higham 2002, Accuracy and Stability, 3.3).

Next to every value stands a bound of how far off it can be when each op rounds to a unit ``u``:
the errors of the operands, carried through, plus the op's own rounding. To first order, at the
point computed; a comparison is taken to come out as computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..ir import Kind, Node, is_leaf, toposort

Array: TypeAlias = np.ndarray[Any, Any]
# (values of the operands, their bounds, the value, u, attrs) -> the bound of the value
Bound: TypeAlias = Callable[
    [Sequence[Array], Sequence[Array], Array, float, Mapping[str, Any]], Any
]


def run(
    roots: Iterable[Node],
    leaves: Mapping[str, Array],
    dims: Mapping[str, int],
    unit: float | None = None,
    leaf_bounds: Mapping[str, Array] | None = None,
) -> tuple[dict[Node, Array], dict[Node, Array]]:
    """The value of every node below ``roots`` and, with a ``unit``, the bound of its error.

    ``leaves`` holds arrays by name; ``dims`` the sizes of named dims. A bound is NaN behind an op
    that `BOUNDS` does not know.
    """
    values: dict[Node, Array] = {}
    bounds: dict[Node, Array] = {}
    given = leaf_bounds or {}
    with np.errstate(all="ignore"):
        for node in toposort(roots):
            attrs = _sized(node, dims)
            if is_leaf(node):
                value = node.attrs["value"] if not node.name else leaves[node.name]
                values[node] = np.asarray(value, node.dtype)
                bounds[node] = given.get(node.name, np.zeros(()))
                continue
            assert node.prim.eval is not None
            xs = [values[operand] for operand in node.inputs]
            values[node] = np.asarray(node.prim.eval(np, *xs, **attrs))
            if unit is not None:
                es = [bounds[operand] for operand in node.inputs]
                bounds[node] = _bound(node, xs, es, values[node], unit, attrs)
    return values, bounds


def _bound(
    node: Node, xs: list[Array], es: list[Array], y: Array, unit: float, attrs: Mapping[str, Any]
) -> Array:
    if y.dtype.kind != "f":
        return np.zeros(())
    if node.prim.name in BOUNDS:
        return np.asarray(BOUNDS[node.prim.name](xs, es, y, unit, attrs))
    if node.prim.kind is Kind.VIEW:  # moves elements, and their errors with them
        assert node.prim.eval is not None
        full = [np.broadcast_to(e, x.shape) for e, x in zip(es, xs, strict=True)]
        quiet = {**attrs, "value": 0.0} if "value" in attrs else attrs
        return np.asarray(node.prim.eval(np, *full, **quiet))
    return np.asarray(np.nan)


def _sized(node: Node, dims: Mapping[str, int]) -> Mapping[str, Any]:
    shape = node.attrs.get("shape")
    if is_leaf(node) or not isinstance(shape, tuple):
        return node.attrs
    return {**node.attrs, "shape": tuple(dims[d] if isinstance(d, str) else d for d in shape)}


def _gamma(n: int, unit: float) -> float:
    """n roundings in a row: ``n u / (1 - n u)`` (Higham, lemma 3.1)."""
    return n * unit / max(1 - n * unit, 0.5)


def _mul(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    x, z = np.abs(xs[0]), np.abs(xs[1])
    return x * es[1] + z * es[0] + es[0] * es[1] + unit * np.abs(y)


def _div(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    room = np.abs(xs[1]) - es[1]
    carried = (es[0] + np.abs(y) * es[1]) / np.where(room > 0, room, 0)
    return np.where(es[0] + es[1] > 0, carried, 0) + unit * np.abs(y)


def _sqrt(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    low = np.sqrt(np.maximum(xs[0] - es[0], 0))
    carried = np.where(y + low > 0, es[0] / np.where(y + low > 0, y + low, 1), np.sqrt(es[0]))
    return carried + unit * y


def _pow(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    """|d x**p| <= |p| |x|**(p-1) e near x; two units for the power itself."""
    x, p = np.abs(xs[0]), xs[1]
    at = np.where(p < 1, np.maximum(x - es[0], 0), x + es[0])
    carried = np.where(es[0] > 0, np.abs(p) * at ** (p - 1) * es[0], 0)
    by_exponent = np.where(es[1] > 0, np.abs(y * np.log(np.where(x > 0, x, 1))) * es[1], 0)
    return carried + by_exponent + 2 * unit * np.abs(y)


def _matmul(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    """``|x| @ f + e @ |z| + e @ f + gamma |x| @ |z|`` in two products; BLAS wants them whole."""
    x, z = np.abs(xs[0]), np.abs(xs[1])
    found = x @ (es[1] + _gamma(x.shape[-1], unit) * z)
    if not es[0].any():
        return found
    e = np.ascontiguousarray(np.broadcast_to(es[0], x.shape))
    return found + e @ (z + es[1])


def _total(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    x, axis, kept = np.abs(xs[0]), attrs["axis"], attrs["keepdims"]
    n = prod(x.shape[a] for a in axis)
    e = np.broadcast_to(es[0], x.shape)
    return (e + _gamma(n, unit) * x).sum(axis=axis, keepdims=kept)


def _mean(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    n = prod(xs[0].shape[a] for a in attrs["axis"])
    return _total(xs, es, y, unit, attrs) / max(n, 1) + unit * np.abs(y)


def _extreme(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    e = np.broadcast_to(es[0], xs[0].shape)
    return e.max(axis=attrs["axis"], keepdims=attrs["keepdims"])


def _take(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
    return np.take(np.broadcast_to(es[0], xs[0].shape), xs[1], **attrs)


def _slope(slope: Callable[[Any, Any, Any], Any], units: int = 2) -> Bound:
    """A function of one operand: ``slope(x, e, y)`` times e, and its own rounding."""

    def bound(xs: Any, es: Any, y: Array, unit: float, attrs: Any) -> Any:
        return slope(xs[0], es[0], y) * es[0] + units * unit * np.abs(y)

    return bound


BOUNDS: Mapping[str, Bound] = {
    "add": lambda xs, es, y, unit, attrs: es[0] + es[1] + unit * np.abs(y),
    "sub": lambda xs, es, y, unit, attrs: es[0] + es[1] + unit * np.abs(y),
    "mul": _mul,
    "div": _div,
    "neg": _slope(lambda x, e, y: 1, 0),
    "pow": _pow,
    "sqrt": _sqrt,
    "exp": _slope(lambda x, e, y: np.exp(x + e)),
    "log": _slope(lambda x, e, y: 1 / np.maximum(x - e, np.finfo(float).tiny)),
    "log1p": _slope(lambda x, e, y: 1 / np.maximum(1 + x - e, np.finfo(float).tiny)),
    "tanh": _slope(lambda x, e, y: 1),
    "erf": _slope(lambda x, e, y: 2 / np.sqrt(np.pi), 4),
    "abs": _slope(lambda x, e, y: 1, 0),
    "sign": lambda xs, es, y, unit, attrs: np.zeros(()),
    "maximum": lambda xs, es, y, unit, attrs: np.maximum(es[0], es[1]),
    "minimum": lambda xs, es, y, unit, attrs: np.maximum(es[0], es[1]),
    "where": lambda xs, es, y, unit, attrs: np.where(xs[0], es[1], es[2]),
    "cast": _slope(lambda x, e, y: 1, 1),
    "stop_gradient": _slope(lambda x, e, y: 1, 0),
    "matmul": _matmul,
    "sum": _total,
    "mean": _mean,
    "max": _extreme,
    "min": _extreme,
    "count": lambda xs, es, y, unit, attrs: np.zeros(()),
    "random_uniform": lambda xs, es, y, unit, attrs: np.zeros(()),
    "take": _take,
}
