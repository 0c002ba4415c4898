"""Weight decay on gamma and beta, and statistics that are tracked and never move."""

import numpy as np
import pytest
from linting import data, found, graph_of, only

import minigrad as mg
from minigrad import nn

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


def test_a_penalty_in_the_loss_and_a_rate_for_each_channel_are_no_weight_decay():
    layer = nn.BatchNorm(3, name="bn", gamma_regularizer=nn.regularizers.l2(0.01))
    y = layer(data())
    penalised = mg.optim.sgd(graph_of(y, mg.mean(y**3)), lr=0.1, weight_decay=0.1)
    assert found(penalised, "decayed-norm-weights") == []
    graph = with_norm()
    (gamma,) = [p for p in graph.parameters if p.name == "gamma"]
    rates = mg.state("rates", [0.1, 0.2, 0.3])
    scaled = graph.with_updates([mg.Update(gamma, gamma * rates)])
    assert found(scaled, "decayed-norm-weights") == []


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
