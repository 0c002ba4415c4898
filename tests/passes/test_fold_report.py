"""Folding is checked and told: wrong rules are named, rounding is bounded, the plan is short."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from passes.fold_models import (
    NEXT_SCALE,
    NEXT_SHIFT,
    PREVIOUS,
    assert_same,
    bn,
    infer,
    picture,
    state_of,
    varying,
    vector,
)

import minigrad as mg
from minigrad import nn
from minigrad.passes import fold_plan, fold_rules, fold_values

# --- the check -----------------------------------------------------------------------------------

WRONG = {
    "mul": lambda node, at, m: fold_rules.Affine(node.inputs[1 - at], m.shift),
    "add": lambda node, at, m: fold_rules.Affine(m.scale, node.inputs[1 - at]),
    "sub": lambda node, at, m: fold_rules.Affine(m.scale, node.inputs[1 - at]),
    "pad": lambda node, at, m: m,
}


@pytest.mark.parametrize("op", WRONG)
def test_a_wrong_rule_for_an_op_is_named(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = infer(picture(), bn("a", 3, 1), nn.Conv2d(4, padding=1, name="c"), bn("b", 4, 1))
    table = "VIEWS" if op == "pad" else "STEPS"
    rows = dict(getattr(fold_plan, table))
    rows[op] = replace(rows[op], apply=WRONG[op])
    monkeypatch.setattr(fold_plan, table, MappingProxyType(rows))
    with pytest.raises(mg.GraphError, match=f"fold: rule '{rows[op].name}' changes {op} f32"):
        mg.fold(graph)


@pytest.mark.parametrize("name", [NEXT_SCALE, NEXT_SHIFT, PREVIOUS])
def test_a_wrong_rule_for_a_product_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = infer(vector(), bn("a", 5), nn.Linear(4, bias=False, name="fc"), bn("b", 4), mg.relu)
    rows = dict(fold_plan.PRODUCTS)
    right = rows[name].apply
    rows[name] = replace(rows[name], apply=lambda *given: right(*given) * 1.001)
    monkeypatch.setattr(fold_plan, "PRODUCTS", MappingProxyType(rows))
    with pytest.raises(mg.GraphError, match=rf"fold: rule .*{name}.* changes .* at a random point"):
        mg.fold(graph)


# --- what is told --------------------------------------------------------------------------------


def test_the_measured_error_is_within_its_bound() -> None:
    graph = infer(
        picture(), nn.Conv2d(4, name="conv"), bn("bn", 4, 1), mg.relu, nn.Flatten(),
        nn.Linear(3, name="fc"), bn("out", 3),
    )  # fmt: skip
    for report in (mg.fold_report(graph), mg.fold_report(graph, state_of(graph))):
        assert [str(r.node.scope) for r in report.roundings] == ["bn", "out"]
        for row, channels in zip(report.roundings, (4, 3), strict=True):
            assert row.after.shape == (channels,)
            assert (row.measured <= row.after).all()
            assert (row.after < 1e-2).all()
            assert (row.measured > 0).any()


def test_a_mean_far_from_zero_makes_the_bound_grow() -> None:
    """x s - m s cancels where (x - m) s did not: the report tells before a user finds out."""
    x = vector()
    graph = infer(x, bn("bn", 5), mg.relu)
    near = {"bn/gamma": [1.0] * 5, "bn/beta": [0.0] * 5, "bn/running_mean": [0.1] * 5,
            "bn/running_var": [1.0] * 5}  # fmt: skip
    far = {**near, "bn/running_mean": [1e4] * 5}
    (calm,), (wild,) = (
        mg.fold_report(graph, {k: np.array(v, "f") for k, v in s.items()}).roundings[:1]
        for s in (near, far)
    )
    assert calm.growth < 3
    assert wild.after.max() > 1e3 * calm.after.max()


def test_the_report_reads_as_a_story_and_holds_the_difference() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4), mg.relu)
    report = mg.fold_report(graph, state_of(graph))
    lines = str(report).splitlines()
    assert lines[0] == "2 folds, 1 refusals: 20 nodes before, 7 after"
    assert lines[1] == (f"  {PREVIOUS}: s (x @ W) = x @ (W s); matmul f32[N,4] in fc")
    assert lines[3].startswith("  not into the next weight: add f32[N,4] in bn: maximum is not")
    assert "times the bound before), measured" in lines[4]
    assert {n.name for n in report.difference.removed if n.prim.name == "state"} == {
        "bn/running_mean", "bn/running_var",
    }  # fmt: skip


def test_every_rule_says_when_it_holds() -> None:
    for row in (*fold_rules.STEPS.values(), *fold_rules.VIEWS.values(),
                *fold_rules.PRODUCTS.values()):  # fmt: skip
        assert row.name
        assert "=" in row.formula
        assert row.when


# --- backends and size ---------------------------------------------------------------------------


def test_the_native_backend_runs_a_product_and_one_pass() -> None:
    pytest.importorskip("llvmlite")
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4), mg.relu)
    state = state_of(graph)
    before, after = mg.compile(graph), mg.compile(mg.fold(graph, state))
    steps = [line for line in after.plan(N=8).splitlines() if line.startswith("k")]
    assert [line.split(":")[0].split("_")[1] for line in steps] == ["matmul", "values"]
    assert "maximum f32[N,4]" in steps[1]
    assert "reads  fc_matmul[dim_N * 4], bn_bias[4]" in after.plan(N=8)
    assert len(steps) < len([t for t in before.plan(N=8).splitlines() if t.startswith("k")])
    x = np.random.default_rng(0).normal(size=(8, 5))
    got, want = after(after.init_state(), x=x)[0]["y"], before(state, x=x)[0]["y"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_chain_deeper_than_the_stack() -> None:
    x = vector()
    h = x
    for _ in range(1500):
        h = (h + 0.001) * 0.999
    graph = mg.Graph([x], {"y": mg.relu(h)})
    folded = mg.fold(graph)
    assert varying(folded) == {"mul": 1, "add": 1, "maximum": 1}
    assert_same(graph, folded)


def test_what_cannot_be_checked_is_not_folded() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4))
    state = {**state_of(graph), "bn/running_var": np.full(4, -1.0)}
    with pytest.raises(
        mg.GraphError, match=r"no result of the graph is finite .* variance negative"
    ):
        mg.fold(graph, state)


def test_a_wrong_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4))
    right = fold_values._parameter
    monkeypatch.setattr(
        fold_values, "_parameter", lambda v, *rest: right(v * np.float32(1.001), *rest)
    )
    with pytest.raises(mg.GraphError, match="'numbers in the place of weights' changes"):
        mg.fold(graph, state_of(graph))


def test_results_that_are_no_floats_pass() -> None:
    x = vector()
    y = bn("bn", 4)(nn.Linear(4, name="fc")(x))
    graph = mg.to_inference(mg.Graph([x], {"label": mg.argmax(y, 1), "loud": y > 0}))
    report = mg.fold_report(graph, state_of(graph))
    assert [str(row.node.scope) for row in report.roundings] == ["bn"]
    assert varying(report.graph) == {"matmul": 1, "add": 1, "argmax": 1, "less": 1}
