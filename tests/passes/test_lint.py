"""Each rule: bad graphs in several spellings, good ones beside them, and the verified rewrite."""

import dataclasses

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.passes.lint import RULES, Hit, Rule
from minigrad.passes.lint.finding import Fix
from minigrad.passes.lint.numbers import disagreement, points

NAMES = [rule.name for rule in RULES]


def data(shape=("N", 3), name="x"):
    return mg.input(name, shape)


def graph_of(y, loss=None, **outputs):
    return mg.Graph([], {"y": y, **({} if loss is None else {"loss": loss}), **outputs})


def found(graph, rule):
    """The findings of one rule; whatever else is found is another test's business."""
    return [f for f in mg.lint(graph) if f.rule == rule]


def only(graph, rule):
    (finding,) = found(graph, rule)
    return finding


# --- one-pass variance -----------------------------------------------------------------------

ONE_PASS = {
    "powers": lambda x: mg.mean(x**2, 0) - mg.mean(x, 0) ** 2,
    "products": lambda x: mg.mean(x * x, 0) - mg.mean(x, 0) * mg.mean(x, 0),
    "kept dims": lambda x: mg.mean(x**2, 0, keepdims=True) - mg.mean(x, 0, keepdims=True) ** 2,
    "sums over n": lambda x: mg.sum(x * x, 0) / mg.count(x, 0) - (mg.sum(x, 0) / mg.count(x, 0))**2,
    "negated": lambda x: -(mg.mean(x, 0) ** 2) + mg.mean(x**2, 0),
    "clamped": lambda x: mg.maximum(mg.mean(x**2, 0) - mg.mean(x, 0) ** 2, 0),
    "n times": lambda x: mg.sum(x**2, 0) - mg.count(x, 0) * mg.mean(x, 0) ** 2,
    "sum squared": lambda x: mg.sum(x**2, 0) - mg.sum(x, 0) ** 2 / mg.count(x, 0),
    "sum times mean": lambda x: mg.sum(x**2, 0) - mg.sum(x, 0) * mg.mean(x, 0),
    "reshaped": lambda x: mg.reshape(mg.mean(x**2, 0), (1, 3)) - mg.mean(x, 0, keepdims=True) ** 2,
    "over all": lambda x: mg.mean(x**2) - mg.mean(x) ** 2,
}  # fmt: skip


@pytest.mark.parametrize("spelling", ONE_PASS)
def test_a_one_pass_variance_is_found_and_rewritten_to_two_passes(spelling):
    x = data()
    graph = graph_of(ONE_PASS[spelling](x))
    finding = only(graph, "one-pass-variance")
    assert "agree to" in finding.checked
    far = (1e4 + 0.1 * np.random.default_rng(0).normal(size=(1000, 3))).astype("float32")
    scale = 1000 if spelling in ("n times", "sum squared", "sum times mean") else 1
    wanted = far.astype("float64").var(None if spelling == "over all" else 0) * scale
    good, bad = (mg.evaluate(g, {"x": far})[0].reshape(wanted.shape) for g in (
        finding.fixed, graph))  # fmt: skip
    np.testing.assert_allclose(good, wanted, rtol=5e-3)
    assert np.abs(bad - wanted).max() > 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("good", [
    lambda x: mg.var(x, 0),
    lambda x: mg.mean(x**2, 0) - mg.mean(x, 0),
    lambda x: mg.mean(x**2, 0) - mg.mean(x**2, 0) ** 2,
    lambda x: mg.mean(x**2, 0) - 2 * mg.mean(x, 0) ** 2,
    lambda x: mg.mean(x**2, 0) - mg.mean(mg.exp(x), 0) ** 2,
    lambda x: mg.mean(x**2, 0) + mg.mean(x, 0) ** 2,
    lambda x: mg.sum(x**2, 0) - mg.mean(x, 0) ** 2,
])  # fmt: skip
def test_what_is_not_a_one_pass_variance_is_left_alone(good):
    assert found(graph_of(good(data())), "one-pass-variance") == []


# --- roots -----------------------------------------------------------------------------------


def centred(x):
    c = x - mg.mean(x, 0)
    return c, mg.mean(c**2, 0)


def normed(divide):
    c, v = centred(data())
    return graph_of(divide(c, v))


@pytest.mark.parametrize("divide", [
    lambda c, v: c / mg.sqrt(v),
    lambda c, v: c * mg.sqrt(v) ** -1,
    lambda c, v: c * v**-0.5,
    lambda c, v: c / v**0.5,
    lambda c, v: c / (2.0 * mg.sqrt(mg.sum(c * c, 0) / mg.count(c, 0))),
    lambda c, v: c / mg.sqrt(mg.maximum(v, 0)),
    lambda c, v: c / mg.sqrt(mg.sum(c**2, 1, keepdims=True)),
], ids=["div", "inverse", "power", "root power", "scaled", "clamped", "l2"])  # fmt: skip
def test_a_root_without_eps_is_found_and_gets_one(divide):
    finding = only(normed(divide), "root-without-eps")
    assert "adds eps 1e-05" in finding.checked
    flat = {"x": np.full((4, 3), 2.0, "float32")}
    assert np.isfinite(mg.evaluate(finding.fixed, flat)[0]).all()
    assert not np.isfinite(mg.evaluate(normed(divide), flat)[0]).all()


def test_a_norm_of_weights_in_a_loss_has_an_infinite_gradient_at_0():
    w = mg.parameter("w", [1.0, 2.0])
    bad = mg.Graph([], {"loss": mg.sqrt(mg.sum(w**2))})
    assert "its gradient at 0 is infinite" in only(bad, "root-without-eps").message
    assert found(mg.Graph([], {"loss": mg.sqrt(mg.sum(w**2) + 1e-8)}), "root-without-eps") == []


@pytest.mark.parametrize("divide", [
    lambda c, v: c / mg.sqrt(v + 1e-5),
    lambda c, v: c * (1e-5 + v) ** -0.5,
    lambda c, v: c / mg.sqrt(mg.maximum(v, 1e-6)),
    lambda c, v: c / mg.maximum(mg.sqrt(v), 1e-3),
    lambda c, v: mg.sqrt(v),
    lambda c, v: c / mg.sqrt(mg.exp(v)),
    lambda c, v: c / mg.sqrt(3.0),
])  # fmt: skip
def test_a_root_that_cannot_do_harm_is_left_alone(divide):
    assert found(normed(divide), "root-without-eps") == []


@pytest.mark.parametrize("divide", [
    lambda c, v: c / (mg.sqrt(v) + 1e-5),
    lambda c, v: c * (mg.sqrt(v) + 1e-5) ** -1,
    lambda c, v: c / (1e-3 + v**0.5),
])  # fmt: skip
def test_an_eps_outside_the_root_is_found_and_moved_inside(divide):
    finding = only(normed(divide), "eps-outside-root")
    assert "for eps 0" in finding.checked
    (norm,) = mg.find_norms(finding.fixed)
    assert norm.eps.place == "inside"


def test_an_eps_outside_an_optimisers_root_is_its_own_business():
    w = mg.parameter("w", [1.0, 2.0])
    graph = mg.optim.adam(mg.Graph([], {"loss": mg.sum((w - 3.0) ** 2)}), clip_norm=1.0)
    assert mg.lint(graph) == []


# --- n - 1 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("correct", [
    lambda c, n: mg.sum(c**2, 0) / (n - 1),
    lambda c, n: mg.mean(c**2, 0) * (n / (n - 1)),
    lambda c, n: mg.mean(c**2, 0) * n * (n - 1) ** -1,
    lambda c, n: mg.sum(c**2, 0) / (-1 + n),
])  # fmt: skip
def test_a_named_batch_that_may_be_one_is_found_and_bounded(correct):
    x = data()
    c, _ = centred(x)
    finding = only(graph_of(correct(c, mg.count(x, 0))), "unbiased-of-one")
    assert "when N is 1" in finding.message
    with pytest.raises(mg.GraphError, match="at least 2"):
        mg.evaluate(finding.fixed, {"x": [[1.0, 2.0, 3.0]]})
    good = graph_of(correct(c, mg.count(x, 0, at_least=2)))
    assert found(good, "unbiased-of-one") == []


def test_a_batch_of_one_is_found_and_has_no_rewrite():
    for divisor in (0.0, mg.count(data((1, 3)), 0) - 1):
        c, _ = centred(data((1, 3)))
        finding = only(graph_of(mg.sum(c**2, 0) / divisor), "unbiased-of-one")
        assert "one element" in finding.message
        assert finding.fixed is None


@pytest.mark.parametrize("shape", [(2, 3), ("N", 4, 3)])
def test_enough_elements_are_left_alone(shape):
    x = data(shape)
    axes = tuple(range(len(shape) - 1))
    y = mg.sum(x**2, axes) / (mg.count(x, axes) - 1)
    assert found(graph_of(y), "unbiased-of-one") == []


def test_a_lower_bound_of_the_divisor_is_enough():
    x = data()
    y = mg.sum(x**2, 0) / mg.maximum(mg.count(x, 0) - 1, 1)
    assert found(graph_of(y), "unbiased-of-one") == []


# --- bias before a norm ----------------------------------------------------------------------


def biased(kind):
    x = data(("N", 4, 3, 3) if kind in ("conv", "instance", "conv nhwc") else ("N", 4))
    b = mg.parameter("b", [0.0] * 4)
    if kind == "linear":
        return nn.BatchNorm(5, name="bn")(nn.Linear(5, name="l")(x))
    if kind == "conv":
        return nn.BatchNorm(2, channel_axis=1, name="bn")(nn.Conv2d(2, 2, name="l")(x))
    if kind == "conv nhwc":
        h = mg.transpose(nn.Conv2d(2, 2, name="l")(x), (0, 2, 3, 1))
        return nn.BatchNorm(2, name="bn")(h)
    if kind == "instance":
        return nn.InstanceNorm(2, name="in")(nn.Conv2d(2, 2, name="l")(x))
    if kind == "by hand":
        c = (x - b) - mg.mean(x - b, 0)
        return c / mg.sqrt(mg.mean(c**2, 0) + 1e-5)
    if kind == "scaled sum":
        return nn.BatchNorm(4, name="bn")(2.0 * (nn.Linear(4, bias=False, name="l")(x) + b) + x)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["linear", "conv", "conv nhwc", "instance", "scaled sum"])
def test_a_bias_before_a_norm_is_found_and_dropped(kind):
    y = biased(kind)
    finding = only(graph_of(y, mg.sum(y**3)), "bias-before-norm")
    names = {p.name for p in finding.fixed.parameters}
    assert not names & {"l/bias", "b"}
    if kind not in ("instance",):
        assert "take it off bn/running_mean too" in finding.message


def test_a_bias_written_twice_is_found_at_each_place():
    y = biased("by hand")
    assert {f.rule for f in mg.lint(graph_of(y))} <= {"bias-before-norm"}


@pytest.mark.parametrize("build", [
    lambda x, b: nn.BatchNorm(4, name="bn")(mg.relu(x + b)),
    lambda x, b: nn.LayerNorm(4, name="ln")(x + b),
    lambda x, b: nn.RMSNorm(4, name="rms")(x + b),
    lambda x, b: (x + b) + nn.BatchNorm(4, name="bn")(x + b),
    lambda x, b: nn.BatchNorm(4, name="bn", statistics="running")(x + b),
    lambda x, b: nn.BatchNorm(4, name="bn")(x * b),
    lambda x, b: nn.BatchNorm(4, name="bn")(x) + b,
])  # fmt: skip
def test_a_bias_that_the_norm_does_not_take_away_is_left_alone(build):
    y = build(data(("N", 4)), mg.parameter("b", [0.0] * 4))
    assert found(graph_of(y), "bias-before-norm") == []


def test_with_gradients_in_the_graph_the_bias_is_found_and_the_rewrite_put_off():
    y = biased("linear")
    graph = mg.optim.sgd(graph_of(y, mg.sum(y**3)), lr=0.1)
    finding = only(graph, "bias-before-norm")
    assert finding.fixed is None
    assert "before the gradient" in finding.checked


# --- detached statistics ---------------------------------------------------------------------


def detach(mean=False, var=False, root=False):
    stop = mg.stop_gradient
    x = data()
    mu = mg.mean(x, 0)
    c = x - (stop(mu) if mean else mu)
    v = mg.mean((x - mu) ** 2, 0)
    r = mg.sqrt((stop(v) if var else v) + 1e-5) ** -1
    return c * (stop(r) if root else r)


@pytest.mark.parametrize("what", ["mean", "var", "root"])
def test_a_detached_statistic_is_found_and_set_free(what):
    y = detach(**{what: True})
    graph = graph_of(y, mg.mean(y**3))
    finding = only(graph, "detached-statistic")
    assert "first order" in finding.message
    y = detach()
    free = graph_of(y, mg.mean(y**3))
    at = {"x": np.random.default_rng(0).normal(size=(6, 3)).astype("float32")}
    gradients = []
    for g in (finding.fixed, free):
        (x,) = g.inputs
        gradients.append(mg.evaluate(mg.grad(g.outputs["loss"], [x]), at)[0])
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_a_hand_written_gradient_with_a_frozen_statistic_breaks_the_second_order():
    x, u = data(), data(name="u")
    c, v = centred(x)
    r = mg.stop_gradient(mg.sqrt(v + 1e-5) ** -1)
    x_hat = c * r
    dx = r * (u - mg.mean(u, 0) - x_hat * mg.mean(u * x_hat, 0))
    assert len(found(mg.Graph([], {"dx": dx}), "detached-statistic")) == 1


@pytest.mark.parametrize("build", [
    lambda x: mg.softmax(x, 0),
    lambda x: x - mg.stop_gradient(x) * 1.0 + mg.stop_gradient(x),
    lambda x: mg.mean((x - mg.stop_gradient(mg.sum(x, 0) * 0.0)) ** 2, 0),
    lambda x: nn.BatchRenorm(3, plain_steps=0, r_steps=0, d_steps=0)(x),
    lambda x: mg.exp(x - mg.stop_gradient(mg.mean(x, 1, keepdims=True))) / mg.sum(
        mg.exp(x - mg.stop_gradient(mg.mean(x, 1, keepdims=True))), 1, keepdims=True),
], ids=["softmax", "straight through", "zero", "renorm", "softmax about the mean"])  # fmt: skip
def test_what_changes_no_derivative_or_is_no_statistic_is_left_alone(build):
    y = build(data())
    assert found(graph_of(y, mg.mean(y**3)), "detached-statistic") == []


# --- blind losses ----------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "words"), [
    (lambda y: mg.sum(y), "does not depend"),
    (lambda y: mg.mean(mg.mean(y, 0)), "does not depend"),
    (lambda y: mg.sum(3.0 * y + 1.0), "does not depend"),
    (lambda y: mg.sum(y[:, 0]), "does not depend"),
    (lambda y: mg.mean(y**2), "hardly depends"),
])  # fmt: skip
def test_a_loss_that_a_norm_makes_constant_is_found(loss, words):
    y = mg.nn.batch_norm(nn.Linear(4, bias=False)(data()), None, None)
    finding = only(graph_of(y, loss(y)), "blind-loss")
    assert words in finding.message
    assert finding.fixed is None


@pytest.mark.parametrize("loss", [
    lambda y: mg.sum(y**3),
    lambda y: mg.sum(mg.relu(y)),
    lambda y: mg.sum(y * np.linspace(0, 1, 12, dtype="float32").reshape(3, 4).T[:, :3]),
])  # fmt: skip
def test_a_loss_that_sees_through_the_norm_is_left_alone(loss):
    y = mg.nn.batch_norm(data((4, 3)), None, None)
    assert found(graph_of(y, loss(y)), "blind-loss") == []


def test_a_norm_beside_the_loss_does_not_matter():
    x = data()
    assert found(graph_of(mg.nn.batch_norm(x, None, None), mg.sum(x**3)), "blind-loss") == []


# --- weight decay ----------------------------------------------------------------------------


def with_norm(decayed=True):
    x = data()
    facts = {} if decayed else {"weight_decay": False}
    gamma, beta = (
        mg.parameter("gamma", [1.0] * 3, **facts),
        mg.parameter("beta", [0.0] * 3, **facts),
    )
    y = nn.batch_norm(x @ mg.parameter("w", np.eye(3, dtype="float32")), gamma, beta)
    return mg.Graph([x], {"y": y, "loss": mg.mean((y - 1.0) ** 2 * y)})


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_decay_of_gamma_and_beta_is_found_and_taken_out(optimiser):
    move = getattr(mg.optim, optimiser)
    graph = move(with_norm(), lr=0.1, weight_decay=0.05)
    findings = found(graph, "decayed-norm-weights")
    assert sorted(f.message.split()[3].strip(",") for f in findings) == ["beta", "gamma"]
    plain = move(with_norm(decayed=False), lr=0.1, weight_decay=0.05)
    wanted = {u.state.name: u.value for u in plain.updates}
    for finding in findings:
        name = finding.message.split()[3].strip(",")
        x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
        (value,) = [u.value for u in finding.fixed.updates if u.state.name == name]
        np.testing.assert_allclose(
            mg.evaluate(value, {"x": x}), mg.evaluate(wanted[name], {"x": x}), rtol=1e-6
        )
    assert found(plain, "decayed-norm-weights") == []


def test_decay_of_everything_is_found_in_a_layer_too_and_by_hand():
    y = nn.BatchNorm(3, name="bn")(data())
    graph = graph_of(y, mg.mean(y**3))
    everything = mg.optim.adam(graph, weight_decay=0.1, decay_all=True)
    assert len(found(everything, "decayed-norm-weights")) == 2
    (gamma,) = [p for p in graph.parameters if p.name == "bn/gamma"]
    (g,) = mg.grad(graph.outputs["loss"], [gamma])
    by_hand = graph.with_updates([mg.Update(gamma, 0.999 * gamma - 0.1 * g)])
    assert len(found(by_hand, "decayed-norm-weights")) == 1
    good = graph.with_updates([mg.Update(gamma, gamma - 0.1 * g)])
    assert found(good, "decayed-norm-weights") == []


# --- tracked and never moved -----------------------------------------------------------------


def tracked(value):
    x, m = data(), mg.state("m", [0.5] * 3)
    mu = mg.mean(x, 0)
    return mg.Graph([x], {"y": x - mg.track(mu, m, value(m, mu))})


@pytest.mark.parametrize(("value", "words"), [
    (lambda m, mu: m, "to itself"),
    (lambda m, mu: 1.0 * m + 0.0 * mu, "never moves"),
    (lambda m, mu: m + 0.1 * (m - m), "never moves"),
    (lambda m, mu: 0.9 * m, "not with the data"),
    (lambda m, mu: m * 0.0, "not with the data"),
])  # fmt: skip
def test_a_statistic_that_does_not_follow_the_data_is_found_and_tracked(value, words):
    finding = only(tracked(value), "stuck-statistic")
    assert words in finding.message
    step = mg.compile(finding.fixed, "interpreter")
    _, state = step(step.init_state(), x=[[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(state["m"], 0.99 * 0.5 + 0.01 * np.array([1, 2, 3]), rtol=1e-6)
    assert mg.to_inference(finding.fixed).states == finding.fixed.states


def test_a_stand_in_without_an_update_is_found_and_tracked():
    for graph in (
        graph_of(nn.BatchNorm(3, name="bn", update=False)(data())),
        graph_of(nn.BatchNorm(4, channel_axis=1, name="bn", update=False)(data(("N", 4, 2, 2)))),
    ):
        first, second = found(graph, "stuck-statistic")
        assert "bn/running_mean stands for this" in first.message
        assert [u.state.name for u in second.fixed.updates] == ["bn/running_var"]


@pytest.mark.parametrize("value", [
    lambda m, mu: 0.9 * m + 0.1 * mu,
    lambda m, mu: mu,
    lambda m, mu: m + (mu - m) / 7.0,
    lambda m, mu: mg.maximum(m, mu),
])  # fmt: skip
def test_a_statistic_that_follows_is_left_alone(value):
    assert found(tracked(value), "stuck-statistic") == []


# --- the whole -------------------------------------------------------------------------------


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

    from minigrad.passes.lint import run

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
