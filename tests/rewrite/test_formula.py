"""Formulas: what is written reads back as what it says."""

import random
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.points import random_point
from minigrad.rewrite.formula import LATEX, formula

X = mg.input("x", (3, 3), "float64")
Y = mg.input("y", (3, 3), "float64")
A = mg.input("a", (), "float64")

READ = {
    "M": np.mean, "sum": np.sum, "sqrt": np.sqrt, "exp": np.exp, "abs": np.abs, "tanh": np.tanh,
    "log": np.log,
}  # fmt: skip

OPS = (
    mg.add, mg.sub, mg.mul, mg.div, mg.pow, mg.matmul,
    mg.neg, mg.exp, mg.sqrt, mg.abs, mg.mean, mg.sum, mg.tanh, mg.log,
)  # fmt: skip


def grown(seed):
    """An expression of some ops over x, y, a, and numbers of both signs."""
    rng = random.Random(f"formula/{seed}")
    pool = [X, Y, A, mg.constant(np.float64(-2)), mg.constant(np.float64(3)), -A]
    for _ in range(rng.randint(3, 9)):
        op = rng.choice(OPS)
        if op is mg.matmul:
            square = [n for n in pool if n.ndim == 2]
            pool.append(rng.choice(square[-2:]) @ rng.choice(square))
        elif op in OPS[:6]:
            pool.append(op(*rng.sample([pool[-1], rng.choice(pool)], 2)))
        else:
            pool.append(op(rng.choice(pool[-2:])))
    return pool[-1]


@pytest.mark.parametrize("seed", range(200))
def test_a_text_evaluates_to_the_value_of_its_node(seed):
    node = grown(seed)
    text = formula(node)
    point = random_point([node], seed)
    leaves = {leaf.name: value for leaf, value in point.leaves.items() if leaf.name}
    (wanted,) = point.values([node])
    with np.errstate(all="ignore"):
        found = eval(text, {**READ, **leaves})
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (mg.sum(X) * Y, mg.sum(X * Y)),
        (A * (X @ Y), (A * X) @ Y),
        ((X @ Y) * X, X @ (Y * X)),
        (mg.sum(X) + Y, mg.sum(X + Y)),
        (-(X**2), (-X) ** 2),
        (X / Y * X, X / (Y * X)),
        (mg.exp(X) ** 2, mg.exp(X**2)),
        (mg.constant(-2.0) ** mg.input("k"), -(mg.constant(2.0) ** mg.input("k"))),
    ],
    ids=lambda node: formula(node),
)
def test_different_values_are_written_differently_in_latex(one, other):
    assert formula(one, style=LATEX) != formula(other, style=LATEX)


@pytest.mark.parametrize("style", ["text", "latex"])
def test_what_is_too_long_is_cut_without_leaving_a_bracket_open(style):
    node = X
    for i in range(12):
        node = mg.sqrt(mg.exp(node) + node / (1 + mg.abs(node * i)))
    written = formula(node, style=LATEX) if style == "latex" else formula(node)
    assert len(written) < 10_000
    assert balanced(written)


def balanced(text):
    pairs = (
        (r"\{", r"\}"),
        (r"\(", r"\)"),
        (r"\\left\b|\\left(?=[(|])", r"\\right\b|\\right(?=[)|])"),
    )
    return all(len(re.findall(a, text)) == len(re.findall(b, text)) for a, b in pairs)


def test_names_of_ops_and_numbers_are_latex_that_compiles():
    i = mg.input("i", "N", "int64")
    written = formula(mg.take(X, i) * 1e-5 + mg.maximum(X[:1], -np.inf), style=LATEX)
    operators = re.findall(r"\\operatorname\{([^}]*)\}", written)
    assert all("_" not in name.replace(r"\_", "") for name in operators)
    assert r"10^{-5}" in written
    assert r"-\infty" in written
    rng = mg.random_uniform(mg.state("counter", 0), (3, 3))
    assert r"\operatorname{random\_uniform}" in formula(X * mg.cast(rng, "float64"), style=LATEX)
