"""Running error bounds: what float32 gets wrong is never more, and not thousands of times less."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.fold_rounding import BOUNDS, run
from minigrad.passes.precision import retyped
from minigrad.primitives import PRIMITIVES

UNIT = 2.0**-24

# Each op on operands that carry errors of their own: z and v are results, v is positive.
CASES = {
    "add": lambda z, v: z + v,
    "sub": lambda z, v: z - v,
    "mul": lambda z, v: z * v,
    "div": lambda z, v: z / v,
    "neg": lambda z, v: -z,
    "pow": lambda z, v: v**-0.5,
    "pow of two": lambda z, v: z**2,
    "sqrt": lambda z, v: mg.sqrt(v),
    "exp": lambda z, v: mg.exp(z),
    "log": lambda z, v: mg.log(v),
    "log1p": lambda z, v: mg.log1p(v),
    "tanh": lambda z, v: mg.tanh(z),
    "erf": lambda z, v: mg.erf(z),
    "abs": lambda z, v: mg.abs(z),
    "maximum": lambda z, v: mg.maximum(z, v),
    "minimum": lambda z, v: mg.minimum(z, v),
    "where": lambda z, v: mg.where(z > 0, z, v),
    "matmul": lambda z, v: mg.matmul(z, mg.transpose(v)),
    "sum": lambda z, v: mg.sum(z, 0),
    "mean": lambda z, v: mg.mean(z, 1, keepdims=True),
    "max": lambda z, v: mg.max(z, 1),
    "min": lambda z, v: mg.min(z, 0),
    "take": lambda z, v: mg.take(z, np.array([3, 0, 3]), 1),
    "cast": lambda z, v: mg.cast(mg.cast(z, "float64"), "float32"),
    "stop_gradient": lambda z, v: mg.stop_gradient(z),
    "reshape": lambda z, v: mg.reshape(z, -1),
    "pad": lambda z, v: mg.pad(z, [(1, 1), (0, 2)], value=7.0),
    "slice": lambda z, v: z[1:, ::2],
    "concatenate": lambda z, v: mg.concatenate([z, v], 1),
    "unfold": lambda z, v: mg.unfold(z, (0, 1), (2, 3)),
}


@pytest.mark.parametrize("op", CASES)
def test_the_error_of_an_op_is_within_its_bound(op: str) -> None:
    x, w = mg.input("x", (6, 8)), mg.input("w", (6, 8))
    z = x * w + 0.3 * w
    y = CASES[op](z, z * z + 0.05)
    wide = retyped([y], np.float64)[y]
    worst = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        leaves = {name: rng.normal(size=(6, 8)).astype("f") for name in ("x", "w")}
        exact, bounds = run([wide], leaves, {}, UNIT)
        found, _ = run([y], leaves, {})
        off, bound = np.abs(found[y] - exact[wide]), bounds[wide]
        assert (off <= bound).all()
        worst = max(worst, float(np.max(off / np.where(bound > 0, bound, np.inf))))
    assert worst > 0.02  # a bound that is never near is no bound


def test_every_elementwise_op_with_a_value_has_a_bound() -> None:
    exact = {"equal", "less", "less_equal"}
    named = {name for name, row in PRIMITIVES.items() if row.kind.value == "elementwise"}
    assert named - exact <= set(BOUNDS)


def test_an_op_without_a_bound_gives_none_rather_than_zero() -> None:
    x = mg.input("x", (4, 4))
    y = mg.grad(mg.sum(mg.unfold(x, (0, 1), (2, 2)) ** 2), [x])[0]  # sums windows back
    assert any(n.prim.name == "fold" for n in mg.Graph([x], y).nodes)
    _, bounds = run([y], {"x": np.ones((4, 4))}, {}, UNIT)
    assert np.isnan(bounds[y]).all()
