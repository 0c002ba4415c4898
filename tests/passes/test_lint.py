"""Findings as the user sees them, and that no rewrite is offered that does not hold."""

import dataclasses

import pytest
from linting import data, graph_of, only

import minigrad as mg
from minigrad import nn
from minigrad.passes.linting import RULES, Hit, Rule
from minigrad.passes.linting.finding import Fix
from minigrad.passes.linting.numbers import disagreement, points

NAMES = [rule.name for rule in RULES]


def test_a_finding_says_rule_line_scope_and_reason():
    with mg.scope("block"):
        x = data()
        v = mg.mean(x**2, 0) - mg.mean(x, 0) ** 2
    finding = only(graph_of(v), "one-pass-variance")
    text = str(finding)
    assert text.startswith("test_lint.py:")
    assert "(in block)" in text
    assert "mg.var(x, axes)" in text
    assert finding.location[0].endswith("test_lint.py")
    assert finding.why == next(r.why for r in RULES if r.name == finding.rule)


def test_findings_come_in_order_of_computation_and_by_rule_when_asked():
    x = data()
    v = mg.mean(x**2, 0) - mg.mean(x, 0) ** 2
    graph = graph_of((x - mg.mean(x, 0)) / mg.sqrt(v))
    assert [f.rule for f in mg.lint(graph)] == ["one-pass-variance", "root-without-eps"]
    (one,) = mg.lint(graph, ["root-without-eps"], fixes=False)
    assert one.fixed is None
    with pytest.raises(mg.GraphError, match="no rule 'eps'; there is one-pass-variance"):
        mg.lint(graph, ["eps"])


def test_rules_do_not_read_scopes_or_names():
    def build(names, scope):
        with mg.scope(scope):
            x = data()
            gamma = mg.parameter(names[0], [1.0] * 3)
            y = nn.batch_norm(x + mg.parameter(names[1], [0.0] * 3), gamma, None)
        return mg.optim.sgd(graph_of(y, mg.mean(y**3)), lr=0.1, weight_decay=0.1)

    rows = [[f.rule for f in mg.lint(build(names, scope))] for names, scope in (
        (("gamma", "bias"), "bn1"), (("u", "v"), "grad"))]  # fmt: skip
    assert rows[0] == rows[1]
    assert len(rows[0]) == 2


def test_a_rewrite_that_does_not_hold_is_not_offered(monkeypatch):
    x = data()
    graph = graph_of(mg.mean(x**2, 0) - mg.mean(x, 0) ** 2)
    node = graph.outputs["y"]

    def wrong(subject):
        still = subject.graph.outputs["y"]
        if still is node:
            yield Hit(node, "is wrong", Fix(lambda _: graph.substitute({node: node * 1.000001})))

    def useless(subject):
        yield Hit(node, "stays", Fix(lambda _: graph))

    from minigrad.passes.linting import run

    for find in (wrong, useless):
        monkeypatch.setattr(run, "RULES", (Rule("r", "", "", "", find),))
        (finding,) = mg.lint(graph)
        assert (finding.fixed, finding.checked) == (None, "")


def test_disagreement_sees_outputs_updates_and_nan():
    x, m = data(), mg.state("m", 1.0)
    graph = mg.Graph([x], {"y": x * 2.0}, [mg.Update(m, m + 1.0)])
    trials = points(graph)
    assert disagreement(graph, graph, trials) == 0
    other = mg.Graph([x], {"y": x * 2.0}, [mg.Update(m, m + 1.001)])
    assert disagreement(graph, other, trials) == pytest.approx(5e-4, rel=0.5)
    assert disagreement(graph, other, trials, exempt=["m"]) == 0
    for y in (mg.log(-abs(x)), x[:, :2]):
        assert disagreement(graph, mg.Graph([x], {"y": y}), trials) == float("inf")


def test_every_rule_is_a_complete_row_with_a_source():
    assert len(set(NAMES)) == len(NAMES) == 9
    for rule in RULES:
        for field in dataclasses.fields(rule):
            assert getattr(rule, field.name)
        assert any(mark in rule.why for mark in ("19", "20", "#")), rule.name


def test_a_useless_bias_is_told_from_the_norm_alone(monkeypatch):
    """Where all paths lead through the norm, no layer before it is computed."""
    from minigrad.passes.linting import gradients

    roots = []
    compute = gradients.values
    monkeypatch.setattr(gradients, "values", lambda r, *more: roots.append(r) or compute(r, *more))
    monkeypatch.setattr(gradients, "disagreement", lambda *_: pytest.fail("the whole graph"))
    x = mg.input("x", ("N", 4))
    h = mg.nn.BatchNorm(4, name="bn")(mg.nn.Linear(4, name="a")(mg.tanh(x)))
    (found,) = mg.lint(mg.Graph([x], {"y": mg.tanh(h)}), ["bias-before-norm"], fixes=False)
    assert "a/bias" in found.message
    assert all(root.scope.path == ("bn",) for pair in roots for root in pair)
    assert roots


def test_a_bias_that_a_shortcut_needs_is_no_finding():
    x = mg.input("x", ("N", 4))
    h = mg.nn.Linear(4, name="a")(x)
    y = mg.nn.BatchNorm(4, name="bn")(h) + h
    assert mg.lint(mg.Graph([x], {"y": y}), ["bias-before-norm"]) == []
