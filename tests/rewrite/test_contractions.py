"""Means go through matrix products, and what is found equal is equal."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest

import minigrad as mg
from minigrad import Node
from minigrad.rewrite.normal import Normal

SHAPES = [
    (4, 3), (3, 3), (2, 3, 3), (3, 1), (1, 3), (2, 1, 3), ("N", 3), (3, "N"), ("B", 3, 3),
]  # fmt: skip


def forms(*roots: Node) -> list[object]:
    normal = Normal(deep=True)
    normal.read(roots)
    return [normal.poly[root] for root in roots]


X, W, V = mg.input("x", ("B", "N", 3)), mg.input("w", (3, 4)), mg.input("v", (4, 5))
S = mg.input("s", ("B", 3, 4))


@pytest.mark.parametrize(
    ("whole", "through"),
    [
        (mg.mean(X @ W, 1, keepdims=True), mg.mean(X, 1, keepdims=True) @ W),
        (mg.mean(X @ W, 2, keepdims=True), X @ mg.mean(W, 1, keepdims=True)),
        (mg.mean(X @ W, (0, 1), keepdims=True), mg.mean(X, (0, 1), keepdims=True) @ W),
        (mg.mean(X @ W @ V, (0, 1), keepdims=True), mg.mean(X, (0, 1), keepdims=True) @ W @ V),
        (mg.sum(X @ S, 1, keepdims=True), mg.sum(X, 1, keepdims=True) @ S),
        (mg.mean(X @ W), mg.mean(mg.mean(X, (0, 1)) * mg.mean(W, 1)) * 3),
    ],
    ids=["rows", "columns", "batch", "two products", "stack", "all"],
)
def test_a_mean_goes_through_a_product(whole: Node, through: Node) -> None:
    left, right = forms(whole, through)
    if whole.shape:
        assert left == right
    else:  # the axis that is contracted stays inside: a product of means is another thing
        assert left != right


def test_a_mean_over_an_axis_of_both_operands_stays_outside() -> None:
    """``M(x_b s_b) != M(x_b) M(s_b)`` over the stack."""
    left, right = forms(
        mg.mean(X @ S, 0, keepdims=True),
        mg.mean(X, 0, keepdims=True) @ mg.mean(S, 0, keepdims=True),
    )
    assert left != right


def grown(rng: random.Random) -> tuple[list[Node], list[Node]]:
    """Leaves, and random products, means, sums and transposes of them."""
    leaves = [mg.input(f"x{i}", rng.choice(SHAPES), "float64") for i in range(4)]
    pool = list(leaves)
    for _ in range(40):
        a, b = rng.choice(pool[-12:]), rng.choice(pool)
        axes = tuple(rng.sample(range(a.ndim), rng.randint(1, a.ndim))) if a.ndim else ()
        ways = {
            "product": lambda a=a, b=b: a @ b,
            "mean": lambda a=a, axes=axes: mg.mean(a, axes, keepdims=True),
            "sum": lambda a=a, axes=axes: mg.sum(a, axes),
            "add": lambda a=a, b=b: a + b,
            "sub": lambda a=a, b=b: a - b,
            "mul": lambda a=a, b=b: a * b,
            "turn": lambda a=a: mg.transpose(a, tuple(rng.sample(range(a.ndim), a.ndim))),
        }
        try:
            found = ways[rng.choice([*ways, "product", "product", "mean", "mean"])]()
        except mg.ShapeError:
            continue
        if found.ndim <= 4:
            pool.append(found)
    return leaves, pool


@pytest.mark.parametrize("block", range(4))
def test_what_is_found_equal_is_equal(block: int) -> None:
    equal = 0
    for seed in range(40 * block, 40 * block + 40):
        leaves, pool = grown(random.Random(seed))
        normal = Normal(deep=True)
        normal.read(pool)
        rng = np.random.default_rng(seed)
        dims = {"N": 5, "B": 4}
        feed = {x.name: rng.normal(size=[dims.get(d, d) for d in x.shape]) for x in leaves}
        groups = defaultdict(list)
        for node, value in zip(pool, mg.evaluate(pool, feed), strict=True):
            groups[frozenset(normal.poly[node].items()), node.type].append(value)
        for first, *others in groups.values():
            for other in others:
                equal += 1
                scale = max(1.0, float(np.abs(first).max()))
                np.testing.assert_allclose(other, first, rtol=1e-7, atol=1e-9 * scale)
    assert equal > 100
