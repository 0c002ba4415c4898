"""The laws that the normal form uses, as rows: what it means, and that it is true, in one place.

`normal` records these names. The two sides are written in the ops' own syntax over variables, for
the tests, which try every row at random points and shapes, and for derivations, which quote it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..primitives import abs, broadcast_to, count, exp, log, matmul, mean, sqrt, sum
from .rule import DOMAIN, REASSOCIATING, Strength


@dataclass(frozen=True)
class Law:
    """``left(x, y, a, w) = right(x, y, a, w)`` for x, y of [N,C], a of [C], and w of [C,K].

    ``text`` and ``latex`` state it; M is the mean over the reduced axes. ``condition`` belongs to
    a DOMAIN law.
    """

    strength: Strength
    text: str
    latex: str
    left: Callable[..., Any]
    right: Callable[..., Any]
    condition: str = ""


LAWS: dict[str, Law] = {
    "like terms": Law(
        REASSOCIATING, "a x + b x = (a + b) x", r"ax + bx = (a+b)\,x",
        lambda x, y, a, w: (2 * x + y) - x * 3 + y, lambda x, y, a, w: 2 * y - x,
    ),
    "powers of one base": Law(
        DOMAIN, "x^a x^b = x^(a+b)", r"x^a\,x^b = x^{a+b}",
        lambda x, y, a, w: x * y / x, lambda x, y, a, w: y,
        "the base is not 0 where its power is negative, nor negative where it is a root",
    ),
    "product of numbers": Law(
        REASSOCIATING, "a (b x) = (a b) x for numbers a, b", r"a\,(b\,x) = (ab)\,x",
        lambda x, y, a, w: 3 * (x * 0.5), lambda x, y, a, w: 1.5 * x,
    ),
    "distribute": Law(
        REASSOCIATING, "a (x + y) = a x + a y", r"a(x+y) = ax + ay",
        lambda x, y, a, w: a * (x + mean(y, 0)) * (y - mean(x, 0)),
        lambda x, y, a, w: (
            a * x * y - a * x * mean(x, 0) + a * mean(y, 0) * y - a * mean(y, 0) * mean(x, 0)
        ),
    ),
    "power of a product": Law(
        DOMAIN, "(x y)^e = x^e y^e", r"(xy)^e = x^e\,y^e",
        lambda x, y, a, w: sqrt(exp(x) * exp(y)), lambda x, y, a, w: sqrt(exp(x)) * sqrt(exp(y)),
        "no factor is negative, or e is an integer",
    ),
    "root of a square": Law(
        REASSOCIATING, "sqrt(x^2) = |x|", r"\sqrt{x^2} = |x|",
        lambda x, y, a, w: sqrt(x**2 * exp(y)), lambda x, y, a, w: abs(x) * sqrt(exp(y)),
    ),
    "linearity of the mean": Law(
        REASSOCIATING, "M(x + y) = M(x) + M(y)", r"M(x+y) = M(x) + M(y)",
        lambda x, y, a, w: mean(x + y, 0), lambda x, y, a, w: mean(x, 0) + mean(y, 0),
    ),
    "invariant factor of a mean": Law(
        REASSOCIATING, "M(a x) = a M(x) for a that does not vary along the axes",
        r"M(a\,x) = a\,M(x) \text{ for } a \text{ invariant}",
        lambda x, y, a, w: mean(a * x, 0), lambda x, y, a, w: a * mean(x, 0),
    ),
    "mean of an invariant": Law(
        REASSOCIATING, "M(a) = a for a that does not vary along the axes",
        r"M(a) = a \text{ for } a \text{ invariant}",
        lambda x, y, a, w: mean(broadcast_to(a, x.type.shape), 0), lambda x, y, a, w: a,
    ),
    "mean of a sum": Law(
        REASSOCIATING, "M(x - M(x)) = 0", r"M(x - M(x)) = 0",
        lambda x, y, a, w: mean(x - mean(x, 0), 0), lambda x, y, a, w: a * 0,
    ),
    "mean of means": Law(
        REASSOCIATING, "M(M(x)) = M(x), over all axes of both", r"M_B(M_A(x)) = M_{A\cup B}(x)",
        lambda x, y, a, w: mean(mean(x, 0)), lambda x, y, a, w: mean(x),
    ),
    "sum is n means": Law(
        REASSOCIATING, "sum(x) = n M(x)", r"\sum x = n\,M(x)",
        lambda x, y, a, w: sum(x, 0), lambda x, y, a, w: count(x, 0) * mean(x, 0),
    ),
    "definition of a base": Law(
        REASSOCIATING, "with B = v + eps: v = B - eps",
        r"B = v + \varepsilon,\; v = B - \varepsilon",
        lambda x, y, a, w: mean(x**2, 0) / (mean(x**2, 0) + 0.5),
        lambda x, y, a, w: 1 - 0.5 / (mean(x**2, 0) + 0.5),
    ),
    "exponential of a sum": Law(
        REASSOCIATING, "exp(x + y) = exp(x) exp(y)", r"e^{x+y} = e^x\,e^y",
        lambda x, y, a, w: exp(x - y), lambda x, y, a, w: exp(x) / exp(y),
    ),
    "logarithm of a product": Law(
        DOMAIN, "log(x y) = log(x) + log(y)", r"\ln(xy) = \ln x + \ln y",
        lambda x, y, a, w: log(exp(x) * mean(exp(y), 0)),
        lambda x, y, a, w: x + log(mean(exp(y), 0)),
        "both factors are greater than 0",
    ),
    "linearity of a map": Law(
        REASSOCIATING, "L(x + y) = L(x) + L(y) for slices, windows, padding, reshapes",
        r"L(x+y) = L(x) + L(y)",
        lambda x, y, a, w: (x + 2 * y)[:, 1:], lambda x, y, a, w: x[:, 1:] + 2 * y[:, 1:],
    ),
    "mean of a product": Law(
        REASSOCIATING, "M(x W) = M(x) W over the rows of x", r"M(x\,W) = M(x)\,W",
        lambda x, y, a, w: mean(matmul(x, w), 0, keepdims=True),
        lambda x, y, a, w: matmul(mean(x, 0, keepdims=True), w),
    ),
    "bilinearity of the product": Law(
        REASSOCIATING, "(x + y) W = x W + y W", r"(x+y)\,W = xW + yW",
        lambda x, y, a, w: matmul(x + 3 * y, w), lambda x, y, a, w: matmul(x, w) + 3 * matmul(y, w),
    ),
}  # fmt: skip
