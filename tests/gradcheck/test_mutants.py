"""The mutation test: every derivative rule, made wrong in every way, is killed and named."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from samples import SAMPLES

import minigrad as mg
from minigrad.autodiff import vjp
from minigrad.ir import is_leaf, toposort
from minigrad.primitives import PRIMITIVES

pytestmark = pytest.mark.slow  # CI runs it, and `pytest -m slow`

_spec = importlib.util.spec_from_file_location("mutants", Path(__file__).parent / "mutants.py")
mutants = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutants)

ROWS = sorted(name for name, row in PRIMITIVES.items() if row.vjp and name != "mark")
SAMPLES_EACH = 2  # samples on which a mutant is tried
totals: Counter[str] = Counter()  # mutants killed, by row
named_rightly: Counter[str] = Counter()


def posed(sample):
    """A sample in float64: output, float inputs, feed."""
    nodes = sample.nodes("float64")
    feed = {f"x{i}": array for i, array in enumerate(sample.arrays())}
    return sample.build(*nodes), [n for n in nodes if n.type.is_float], nodes, feed


def gradient(output, wrt, nodes, feed):
    """The gradient under a fixed random cotangent, zeros where none flows, None if it raises."""
    shape = mg.evaluate(output, feed).shape
    ct = mg.input("ct", output.shape, "float64")
    zeros = [mg.broadcast_to(mg.constant(np.zeros(())), x.shape) for x in wrt]
    feed = {**feed, "ct": np.random.default_rng(1).normal(size=shape)}
    try:
        found = vjp([output, *wrt], wrt, [ct, *zeros])
    except Exception:
        return None
    return mg.evaluate(mg.Graph([*nodes, ct], found), feed)


def equivalent(right, wrong):
    """Whether a mutant has the right gradient after all, so that nothing could notice."""
    return wrong is not None and all(
        np.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(right, wrong, strict=True)
    )


@pytest.mark.parametrize("name", ROWS)
def test_every_mutant_of_a_row_is_killed(name):
    chosen = [s for s in SAMPLES if s.prim == name and s.differentiable and not s.zero]
    chosen = sorted(chosen, key=lambda s: -max(np.prod(s.sized(o.shape)) for o in s.operands))
    for title, rule in mutants.mutants(name):
        tried = 0
        for sample in chosen:
            output, wrt, nodes, feed = posed(sample)
            bad, bad_wrt = mutants.mutated(output, mutants.every(name, rule), wrt)
            right = gradient(output, wrt, nodes, feed)
            if equivalent(right, gradient(bad, bad_wrt, nodes, feed)):
                continue
            report = mg.gradcheck(bad, bad_wrt, at=feed)
            assert not report.passed, f"{name}: {title} survived {sample.id}\n{report}"
            named = report.culprit is not None and report.culprit.primitive == name
            totals[name] += 1
            named_rightly[name] += named
            tried += 1
            if tried == SAMPLES_EACH:
                break
        assert tried, f"{name}: {title} is right on every sample"


def test_at_least_95_percent_of_the_killed_mutants_are_named():
    if not totals:
        pytest.skip("counts what the mutation test killed")
    killed, named = totals.total(), named_rightly.total()
    print(f"\n{'row':<14} killed  named")
    for name, count in sorted(totals.items()):
        print(f"{name:<14} {count:6d} {named_rightly[name]:6d}")
    print(f"{'all':<14} {killed:6d} {named:6d}")
    assert named >= 0.95 * killed


def network():
    """Linear, batch norm, relu, linear, cross entropy; scopes and lines of their own."""
    rng = np.random.default_rng(5)
    x, t = mg.input("x", ("N", 6)), mg.input("t", "N", "int64")
    with mg.scope("linear1"):
        h = x @ mg.parameter("w", rng.normal(size=(6, 8)))
    with mg.scope("bn1"):
        mu = mg.mean(h, axis=0, keepdims=True)
        c = h - mu
        v = mg.mean(c**2, axis=0, keepdims=True)
        inv_std = mg.sqrt(v + 1e-3) ** -1
        gamma = mg.parameter("gamma", rng.uniform(0.5, 1.5, 8))
        h = gamma * (c * inv_std) + mg.parameter("beta", rng.normal(size=8))
    with mg.scope("relu1"):
        h = mg.maximum(h, 0)
    with mg.scope("linear2"):
        h = h @ mg.parameter("w", rng.normal(size=(8, 3))) + mg.parameter("b", rng.normal(size=3))
    with mg.scope("loss"):
        loss = mg.cross_entropy(h, t)
    return mg.Graph([x, t], {"loss": loss})


INNER = [n for n in toposort([network().outputs["loss"]]) if not is_leaf(n) and n.prim.vjp]


@pytest.mark.parametrize("place", range(len(INNER)), ids=lambda i: f"{i}-{INNER[i].prim.name}")
def test_a_mutant_inside_a_network_is_named_with_scope_and_line(place):
    graph = network()
    loss = graph.outputs["loss"]
    inner = [n for n in toposort([loss]) if not is_leaf(n) and n.prim.vjp]
    victim = inner[place]
    wrt = [graph.inputs[0], *graph.parameters]
    rule = mutants._changed(victim.prim.vjp, lambda part: part * 1.01)
    bad, bad_wrt = mutants.mutated(loss, lambda n: rule if n is victim else None, wrt)
    feed = {"t": [0, 1, 2, 1, 0], "x": np.random.default_rng(2).normal(size=(5, 6))}
    pair = [mg.evaluate(mg.grad(g, w), feed) for g, w in ((loss, wrt), (bad, bad_wrt))]
    same = all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(*pair, strict=True))
    report = mg.gradcheck(bad, bad_wrt, at=feed)
    assert report.passed == same, report  # where no gradient passes, the mutant is right
    if same:
        return
    found = report.culprit
    assert (found.primitive, found.line) == (victim.prim.name, victim.line), report
    assert found.scope == str(victim.scope)
    assert found.line in str(report)


def test_a_wrong_rule_in_the_gradient_is_found_at_order_2_and_named_as_gradient():
    x = mg.input("x", 3, "float64")
    seen = []

    def rule(ct, y, a):
        """Right itself; the nodes it builds have a wrong rule of their own."""
        out = mg.tanh(a)
        square, _ = mutants.mutated(
            out * out, lambda n: wrong if n.prim.name == "mul" else None, []
        )
        seen.append(square)
        return (ct * (1 - square),)

    wrong = mutants._changed(PRIMITIVES["mul"].vjp, lambda part: part * 1.1)
    with mg.scope("act"):
        y = mg.tanh(x)
    bad, (wrt,) = mutants.mutated(y, mutants.every("tanh", rule), [x])
    assert mg.gradcheck(bad, wrt)
    report = mg.gradcheck(bad, wrt, order=2)
    assert not report
    assert [e.verdict for e in report.entries] == ["ok", "mismatch"]
    assert (report.culprit.primitive, report.culprit.scope) == ("mul", "grad(act)")
