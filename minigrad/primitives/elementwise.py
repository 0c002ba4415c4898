"""Elementwise ops: one row each, derivatives in textbook order, then the public functions.

A vjp rule never mentions broadcasting: cotangents come out in the shape of the result, and `grad`
sums them back to the operand's shape in one place. `pow` is the one rule longer than a line.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ..ir import (
    DTypeError,
    Kind,
    Node,
    Primitive,
    Shape,
    ShapeError,
    TensorType,
    broadcast_shapes,
)
from ..ir.types import BOOL
from .leaf import Operand, as_node, checked_dtype, floating, same_dtype

VJP = tuple[Node | None, ...]


# --- types -----------------------------------------------------------------------------------


def same(first: TensorType, *rest: TensorType) -> TensorType:
    """Operands of one dtype, broadcast."""
    same_shapes = True
    for other in rest:
        if other is not first:
            if other.dtype != first.dtype:
                raise DTypeError(
                    f"operands {_listed((first, *rest))} have different dtypes; cast one"
                )
            same_shapes = same_shapes and other.shape == first.shape
    return first if same_shapes else _joined((first, *rest), first.dtype)


def floats(*types: TensorType) -> TensorType:
    """As `same`, floats only."""
    for found in types:
        if not found.is_float:
            raise DTypeError(f"needs a float, not {found}; cast it")
    return same(*types)


def signed(*types: TensorType) -> TensorType:
    """As `same`, not bool."""
    for found in types:
        if found.dtype == BOOL:
            raise DTypeError(f"has no meaning for {found}; cast it, or use mg.where")
    return same(*types)


def comparison(*types: TensorType) -> TensorType:
    """As `same`, with a bool result."""
    return _joined((same(*types),), BOOL)


def _where_type(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype != BOOL:
        raise DTypeError(f"the condition must be bool, not {condition}")
    chosen = same(x, y)
    return _joined((condition, chosen), chosen.dtype)


def _cast_type(x: TensorType, *, dtype: np.dtype[Any]) -> TensorType:
    return TensorType(x.shape, dtype)


def _joined(types: tuple[TensorType, ...], dtype: np.dtype[Any]) -> TensorType:
    try:
        return _broadcast(dtype, *[found.shape for found in types])
    except ShapeError:
        raise ShapeError(f"cannot broadcast {_listed(types)}") from None


@lru_cache(1 << 12)
def _broadcast(dtype: np.dtype[Any], *shapes: Shape) -> TensorType:
    """One object for all results of a type, which are then quickly told to be of one type."""
    return TensorType(broadcast_shapes(*shapes), dtype)


def _listed(types: tuple[TensorType, ...]) -> str:
    return " with ".join(map(str, types))


# --- values that numpy does not give directly ------------------------------------------------


def _pow(xp: Any, x: Any, p: Any) -> Any:
    if xp.ndim(p) == 0:  # numpy squares and inverts a scalar power at full speed
        exponent = p.item()
        if isinstance(exponent, complex) and exponent.imag == 0:
            exponent = exponent.real
        return x**exponent
    return xp.power(x, p)


def _erf(xp: Any, x: Any) -> Any:
    from scipy.special import erf as scipy_erf

    return scipy_erf(x).astype(x.dtype)  # half precision comes back wider


# --- derivatives longer than a line ----------------------------------------------------------


def _pow_vjp(ct: Node, y: Node, x: Node, p: Node) -> VJP:
    """d(x**p) = p x**(p-1) dx + x**p log(x) dp; no dp for a constant p, no pole at p = 0, x = 0."""
    if p.prim.name != "constant":
        safe = where(equal(p, 0), 1, p)
        dx = ct * p * x ** where(equal(p, 0), 1, safe - 1)
        positive = x > 0
        return dx, ct * y * where(positive, log(where(positive, x, 1)), 0)
    value = p.attrs["value"]
    if value.ndim:
        return ct * p * x ** np.where(value == 0, 1, value - 1).astype(value.dtype), None
    exponent = float(value)
    if exponent == 0:
        return ct * 0, None
    if exponent == 1:
        return ct, None
    if exponent == 2:
        return ct * (2 * x), None
    if exponent == -1:
        return -ct * y**2, None
    return ct * (exponent * x ** (exponent - 1)), None


def _where_vjp(ct: Node, y: Node, condition: Node, a: Node, b: Node) -> VJP:
    return None, where(condition, ct, 0), where(condition, 0, ct)


def _cast_vjp(ct: Node, y: Node, x: Node, *, dtype: np.dtype[Any]) -> VJP:
    return (cast(ct, x.type.dtype) if x.type.is_float and y.type.is_float else None,)


# --- the table -------------------------------------------------------------------------------

_E = Kind.ELEMENTWISE

ADD = Primitive(
    "add", _E, lambda xp, x, y: xp.add(x, y), same,
    lambda ct, out, x, y: (ct, ct), "{0} + {1}", "Add", "+",
)  # fmt: skip
SUB = Primitive(
    "sub", _E, lambda xp, x, y: xp.subtract(x, y), signed,
    lambda ct, out, x, y: (ct, -ct), "{0} - {1}", "Sub", "−",
)  # fmt: skip
MUL = Primitive(
    "mul", _E, lambda xp, x, y: xp.multiply(x, y), same,
    lambda ct, out, x, y: (ct * y, ct * x), "{0} * {1}", "Mul", "×",
)  # fmt: skip
DIV = Primitive(
    "div", _E, lambda xp, x, y: xp.divide(x, y), floats,
    lambda ct, out, x, y: (ct / y, -ct * out / y), "{0} / {1}", "Div", "÷",
)  # fmt: skip
NEG = Primitive(
    "neg", _E, lambda xp, x: xp.negative(x), signed,
    lambda ct, out, x: (-ct,), "-{0}", "Neg", "−",
)  # fmt: skip
POW = Primitive("pow", _E, _pow, floats, _pow_vjp, "pow({0}, {1})", "Pow", "xᵖ")
SQRT = Primitive(
    "sqrt", _E, lambda xp, x: xp.sqrt(x), floats,
    lambda ct, out, x: (ct / (2 * out),), "sqrt({0})", "Sqrt", "√",
)  # fmt: skip
EXP = Primitive(
    "exp", _E, lambda xp, x: xp.exp(x), floats,
    lambda ct, out, x: (ct * out,), "exp({0})", "Exp", "eˣ",
)  # fmt: skip
LOG = Primitive(
    "log", _E, lambda xp, x: xp.log(x), floats,
    lambda ct, out, x: (ct / x,), "log({0})", "Log", "ln",
)  # fmt: skip
LOG1P = Primitive(
    "log1p", _E, lambda xp, x: xp.log1p(x), floats,
    lambda ct, out, x: (ct / (1 + x),), "log1p({0})", None, "ln(1+x)",
)  # fmt: skip
TANH = Primitive(
    "tanh", _E, lambda xp, x: xp.tanh(x), floats,
    lambda ct, out, x: (ct * (1 - out * out),), "tanh({0})", "Tanh", "tanh",
)  # fmt: skip
ERF = Primitive(
    "erf", _E, _erf, floats,
    lambda ct, out, x: (ct * (2 / math.sqrt(math.pi) * exp(-x * x)),), "erf({0})", "Erf", "erf",
)  # fmt: skip
ABS = Primitive(
    "abs", _E, lambda xp, x: xp.abs(x), signed,
    lambda ct, out, x: (ct * sign(x),), "abs({0})", "Abs", "|x|",
)  # fmt: skip
SIGN = Primitive("sign", _E, lambda xp, x: xp.sign(x), signed, None, "sign({0})", "Sign", "sgn")
MAXIMUM = Primitive(
    "maximum", _E, lambda xp, x, y: xp.maximum(x, y), same,
    lambda ct, out, x, y: (where(x > y, ct, 0), where(x > y, 0, ct)),
    "maximum({0}, {1})", "Max", "max",
)  # fmt: skip
MINIMUM = Primitive(
    "minimum", _E, lambda xp, x, y: xp.minimum(x, y), same,
    lambda ct, out, x, y: (where(x < y, ct, 0), where(x < y, 0, ct)),
    "minimum({0}, {1})", "Min", "min",
)  # fmt: skip
WHERE = Primitive(
    "where", _E, lambda xp, c, x, y: xp.where(c, x, y), _where_type, _where_vjp,
    "({1} if {0} else {2})", "Where", "?:",
)  # fmt: skip
EQUAL = Primitive(
    "equal", _E, lambda xp, x, y: xp.equal(x, y), comparison, None, "{0} == {1}", "Equal", "="
)
LESS = Primitive(
    "less", _E, lambda xp, x, y: xp.less(x, y), comparison, None, "{0} < {1}", "Less", "<"
)
LESS_EQUAL = Primitive(
    "less_equal", _E, lambda xp, x, y: xp.less_equal(x, y), comparison, None,
    "{0} <= {1}", "LessOrEqual", "≤",
)  # fmt: skip
CAST = Primitive(
    "cast", _E, lambda xp, x, *, dtype: xp.asarray(x).astype(dtype), _cast_type, _cast_vjp,
    "cast({0})", None, "cast",
)  # fmt: skip
STOP_GRADIENT = Primitive(
    "stop_gradient", _E, lambda xp, x: x, same, None, "{0}", "Identity", "stop"
)


# --- public functions ------------------------------------------------------------------------


def add(x: Operand, y: Operand) -> Node:
    """``x + y``, broadcast.

    >>> import minigrad as mg
    >>> mg.add(mg.input("x", ("N", 3)), 1.5)
    <add f32[N,3]>
    """
    return ADD(*_pair(x, y))


def sub(x: Operand, y: Operand) -> Node:
    """``x - y``, broadcast."""
    return SUB(*_pair(x, y))


def mul(x: Operand, y: Operand) -> Node:
    """``x * y``, broadcast; on bools it is *and*."""
    return MUL(*_pair(x, y))


def div(x: Operand, y: Operand) -> Node:
    """``x / y``, broadcast; ints divide to float32."""
    x, y = _pair(x, y)
    return DIV(x, y) if x.type.is_float else DIV(floating(x), floating(y))


def neg(x: Operand) -> Node:
    """``-x``."""
    return NEG(as_node(x))


def pow(x: Operand, exponent: Operand) -> Node:
    """``x ** exponent``, broadcast; ints are raised as float32.

    The derivative with respect to the exponent is taken to be 0 where ``x <= 0``.
    """
    x, p = _pair(x, exponent)
    return POW(x, p) if x.type.is_float else POW(floating(x), floating(p))


def sqrt(x: Operand) -> Node:
    """The square root; its gradient at 0 is infinite, so norms add ``eps`` under it."""
    return SQRT(floating(x))


def exp(x: Operand) -> Node:
    """``e ** x``."""
    return EXP(floating(x))


def log(x: Operand) -> Node:
    """The natural logarithm."""
    return LOG(floating(x))


def log1p(x: Operand) -> Node:
    """``log(1 + x)``, exact for small ``x``."""
    return LOG1P(floating(x))


def tanh(x: Operand) -> Node:
    """The hyperbolic tangent."""
    return TANH(floating(x))


def erf(x: Operand) -> Node:
    """The error function, ``2/sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to ``x``."""
    return ERF(floating(x))


def abs(x: Operand) -> Node:
    """``|x|``; its gradient at 0 is 0."""
    return ABS(as_node(x))


def sign(x: Operand) -> Node:
    """-1, 0 or 1; no gradient flows through it."""
    return SIGN(as_node(x))


def maximum(x: Operand, y: Operand) -> Node:
    """The larger of two, elementwise; NaN wins.

    Where they are equal the gradient goes to the *second*, so that ``maximum(x, 0)`` is ReLU with
    derivative 0 at 0, as every framework defines it (PyTorch's `torch.maximum` splits a tie).
    """
    return MAXIMUM(*_pair(x, y))


def minimum(x: Operand, y: Operand) -> Node:
    """The smaller of two, elementwise; a tie's gradient goes to the second, see `maximum`."""
    return MINIMUM(*_pair(x, y))


def where(condition: Operand, x: Operand, y: Operand) -> Node:
    """``x`` where the condition holds, else ``y``; the three broadcast."""
    return WHERE(as_node(condition), *_pair(x, y))


def equal(x: Operand, y: Operand) -> Node:
    """``x == y`` elementwise, as bool (``==`` on nodes is identity)."""
    return EQUAL(*_pair(x, y))


def less(x: Operand, y: Operand) -> Node:
    """``x < y`` elementwise, as bool."""
    return LESS(*_pair(x, y))


def less_equal(x: Operand, y: Operand) -> Node:
    """``x <= y`` elementwise, as bool."""
    return LESS_EQUAL(*_pair(x, y))


def cast(x: Operand, dtype: Any) -> Node:
    """``x`` in another dtype; the gradient flows between floats only."""
    return CAST(as_node(x), dtype=checked_dtype("cast", dtype))


def stop_gradient(x: Operand) -> Node:
    """``x`` itself; no gradient flows through it."""
    return STOP_GRADIENT(as_node(x))


def _pair(x: Operand, y: Operand) -> tuple[Node, Node]:
    if isinstance(x, Node) and isinstance(y, Node) and x.type.dtype == y.type.dtype:
        return x, y
    a, b = same_dtype(x, y)
    return a, b
