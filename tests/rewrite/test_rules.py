"""Every rule and every law is true, fires, and says honestly how exact it is."""

import inspect
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.points import random_point
from minigrad.rewrite import (
    DOMAIN,
    EXACT,
    REASSOCIATING,
    RULES,
    Rule,
    Strength,
    contractions,
    normal,
    powers,
    readings,
    relations,
    rewrite,
)
from minigrad.rewrite.laws import LAWS
from minigrad.rewrite.normal import Normal
from minigrad.rewrite.relations import reduced
from minigrad.rewrite.rule import VARIABLE

SHAPES = ((), (3,), (2, 3), ("N", 3))
MATRICES = {"transpose twice", "transpose nothing"}
REPEATED = {"mean of a repeated number", "sum of a repeated number"}


def instance(rule, shape, dtype="float64"):
    """The left side of a rule over inputs of one shape; views and reductions are made real."""
    names = rule.left.__code__.co_varnames[: rule.left.__code__.co_argcount]
    if rule.name in REPEATED:
        return getattr(mg, rule.name.split()[0])(mg.broadcast_to(mg.input("x", (), dtype), (2, 3)))
    leaves = [mg.input(name, shape, "bool" if name == "condition" else dtype) for name in names]
    real = {
        "cast to the same": lambda x: mg.cast(x, dtype),
        "reshape twice": lambda x: mg.reshape(mg.reshape(x, (1, *shape)), (*shape, 1)),
        "transpose twice": lambda x: mg.transpose(mg.transpose(x)),
        "broadcast twice": lambda x: mg.broadcast_to(
            mg.broadcast_to(x, (4, *shape)), (2, 4, *shape)
        ),
        "max of max": lambda x: mg.max(mg.max(x, 0)),
        "sum of sum": lambda x: mg.sum(mg.sum(x, 0)),
        "mean of mean": lambda x: mg.mean(mg.mean(x, 0)),
        "mean of a negative": lambda x: mg.mean(-x, 0),
        "sum of a negative": lambda x: mg.sum(-x, 0),
    }  # fmt: skip
    return real.get(rule.name, rule.left)(*leaves)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_a_rule_fires_and_agrees_in_value(rule, shape, seed):
    if not shape and any(word in rule.name for word in ("of max", "of sum", "of mean", "of a neg")):
        pytest.skip("a scalar has no axis")
    before = instance(rule, shape)
    after = rule.apply(before)
    assert after is not None
    assert after.type == before.type
    point = random_point([before, after], seed, positive=mg.Graph((), before).leaves)
    a, b = point.values([before, after])
    if rule.strength is EXACT:
        np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("rule", [r for r in RULES if r.strength is EXACT], ids=lambda r: r.name)
def test_an_exact_rule_keeps_every_bit_of_float32_at_awkward_values(rule):
    before = instance(rule, (9,), "float32")
    after = rule.apply(before)
    special = np.array([0.0, 1.0, -1.0, 3e38, -3e38, 1e-42, np.inf, -np.inf, 0.1], "f")
    feed = {
        leaf.name: special > 0 if leaf.dtype == bool else np.roll(special, 2 * i)
        for i, leaf in enumerate(mg.Graph((), before).inputs)
    }
    with np.errstate(all="ignore"):
        wanted, found = mg.evaluate([before, after], feed)
    np.testing.assert_array_equal(found, wanted)  # 0.0 equals -0.0, NaN equals NaN


def test_rules_have_names_of_their_own_and_state_their_conditions():
    assert len({r.name for r in RULES}) == len(RULES)
    assert {r.strength for r in RULES} == set(Strength)
    assert all(bool(r.condition) == (r.strength is DOMAIN) for r in RULES)
    with pytest.raises(ValueError, match="states a condition"):
        Rule("no condition", DOMAIN, lambda x: x - x, lambda x: x)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("shape", [(5, 3), ("N", 4), (1, 2), ("N", 1)], ids=str)
def test_a_law_is_true_fires_and_is_what_the_normal_form_knows(name, shape):
    law = LAWS[name]
    x, y = mg.input("x", shape, "float64"), mg.input("y", shape, "float64")
    a, w = mg.input("a", shape[1:], "float64"), mg.input("w", (shape[1], 3), "float64")
    left, right = law.left(x, y, a, w), law.right(x, y, a, w)
    for seed in range(3):
        values = random_point([left, right], seed).values([left, right])
        np.testing.assert_allclose(*values, rtol=1e-12, atol=1e-12)
    if shape == (5, 3):
        difference = left - right
        found = Normal(deep=name != "mean of a sum")  # deep down there is no sum to take it of
        found.read([difference])
        assert not reduced(found, found.poly[difference])
        assert name in {law for laws in found.laws.values() for law in laws} | found.fired


def test_every_law_that_fires_has_a_row():
    """The names in the code of the normal form are those of the table."""
    source = "".join(
        inspect.getsource(m) for m in (contractions, normal, powers, readings, relations)
    )
    assert set(re.findall(r'fired\.add\("([^"]+)"\)', source)) == set(LAWS)


def test_a_pattern_variable_is_one_node_wherever_it_stands():
    rule = next(r for r in RULES if r.name == "x minus x")
    x, y = mg.input("x", 3), mg.input("y", 3)
    assert rule.apply(x - y) is None
    assert rule.apply(x - x) is not None


def test_commutative_patterns_match_both_orders_also_inside():
    rule = Rule("seen", REASSOCIATING, lambda x, y: (2 * x) * mg.exp(y), lambda x, y: x)
    x, y = mg.input("x", 3), mg.input("y", 3)
    for node in (
        (2 * x) * mg.exp(y),
        mg.exp(y) * (2 * x),
        mg.exp(y) * (x * 2),
        (x * 2) * mg.exp(y),
    ):
        assert rule.match(node)["x"] is x
    assert rule.match((3 * x) * mg.exp(y)) is None


def test_a_rule_that_would_change_the_dtype_does_not_fire():
    rule = next(r for r in RULES if r.name == "cast to the same")
    x = mg.input("x", 3, "int32")
    assert rule.apply(mg.cast(x, "float32")) is None
    assert rule.apply(mg.cast(mg.input("y", 3), "float32")) is not None


def test_variables_do_not_leak_into_results():
    x = mg.input("x", (2, 3))
    (y,) = rewrite([mg.exp(mg.log(mg.neg(-x)))], RULES)
    assert all(n.prim is not VARIABLE for n in mg.Graph((), y).nodes)
    assert y is x
