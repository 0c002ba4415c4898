"""infer(x, statistics of x) == train(x), exactly and in float64, on random models; and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from passes.random_models import random_model

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.slow  # CI runs it, and `pytest -m slow`

MODELS = [(seed, style) for style in ("by hand", "from layers") for seed in range(30)]


def prepared(seed: int, style: str) -> mg.Graph:
    graph = random_model(seed, style)
    return mg.track_statistics(graph) if style == "by hand" else graph


@pytest.mark.parametrize(("seed", "style"), MODELS)
def test_inference_on_the_statistics_of_x_is_training_on_x(seed: int, style: str) -> None:
    train = prepared(seed, style)
    infer = mg.to_inference(train, ["logits"])
    found = mg.certify_inference(train, infer)
    assert found.exact, found
    assert found.error < 1e-12, found
    assert found.independent
    assert found.holds


@pytest.mark.parametrize(("seed", "style"), MODELS[::7])
def test_the_numbers_agree_with_the_backend(seed: int, style: str) -> None:
    """The same comparison outside of the pass: mg.evaluate, states fed by name."""
    train = prepared(seed, style)
    found = mg.certify_inference(train)
    if found.shared or found.replaced:
        return
    infer = mg.retype(mg.to_inference(train, ["logits"]), "float64")
    estimates = {state.name: estimate for state, estimate in found.statistics}
    whole = mg.retype(
        mg.Graph(train.inputs, {"logits": train.outputs["logits"], **estimates}), "float64"
    )
    rng = np.random.default_rng(seed)
    x = rng.normal(size=[7 if isinstance(d, str) else d for d in train.inputs[0].shape])
    feed = {node.name: x for node in whole.inputs if node.name == "x"}
    logits, *statistics = mg.evaluate(whole, feed)
    states = {leaf.name: leaf for leaf in infer.states}
    fed = {
        name: value.reshape(states[name].shape)
        for name, value in zip(estimates, statistics, strict=True)
    }
    (answer,) = mg.evaluate(infer, {**feed, **fed})
    np.testing.assert_allclose(answer, logits, rtol=1e-10, atol=1e-12)


def batch_norm_graph() -> tuple[mg.Node, mg.Graph]:
    x = mg.input("x", ("N", 3))
    return x, mg.Graph([x], {"y": nn.BatchNorm(3, name="bn")(x)})


def test_an_inference_graph_with_another_eps_is_refused() -> None:
    x, train = batch_norm_graph()
    m, s, g, b = (n for n in mg.to_inference(train).leaves if n.name and n is not x)
    by_name = {n.name: n for n in (m, s, g, b)}
    y = nn.normalize(
        x, by_name["bn/running_mean"], by_name["bn/running_var"], by_name["bn/beta"],
        by_name["bn/gamma"], 1e-2,
    )  # fmt: skip
    found = mg.certify_inference(train, mg.Graph([x], {"y": y}))
    assert not found.exact
    assert found.error > 1e-3
    assert not found
    assert "y differ in structure" in str(found)


def test_an_inference_graph_in_other_words_is_equal_but_no_template() -> None:
    x, train = batch_norm_graph()
    leaves = {n.name: n for n in mg.to_inference(train).leaves if n.name}
    scale = leaves["bn/gamma"] / mg.sqrt(leaves["bn/running_var"] + 1e-3)
    y = x * scale + (leaves["bn/beta"] - leaves["bn/running_mean"] * scale)
    found = mg.certify_inference(train, mg.Graph([x], {"y": y}))
    assert not found.exact
    assert found.error < 1e-14


def test_an_inference_graph_that_still_reads_the_batch_is_refused() -> None:
    x, train = batch_norm_graph()
    found = mg.certify_inference(train, mg.Graph([x], train.outputs))
    assert not found.exact
    assert found.error == 0.0  # on this batch it is training itself
    assert found.independent is False
    assert not found


def test_mean_and_variance_confused_are_refused() -> None:
    _, train = batch_norm_graph()
    infer = mg.to_inference(train)
    leaves = {n.name: n for n in infer.leaves}
    m, s = leaves["bn/running_mean"], leaves["bn/running_var"]
    found = mg.certify_inference(train, infer.substitute({m: s, s: m}))
    assert not found.exact
    assert found.error > 1e-3


def test_dropout_is_compared_with_training_without_it() -> None:
    x = mg.input("x", ("N", 4))
    net = nn.Sequential(nn.Linear(4), nn.BatchNorm(4), nn.Dropout(0.5), nn.BatchNorm(4))
    found = mg.certify_inference(mg.Graph([x], {"y": net(x)}))
    assert found.holds, found
    assert len(found.replaced) == 1
    assert len(found.statistics) == 4


def test_a_shared_layer_is_said_to_be_shared() -> None:
    x = mg.input("x", ("N", 4))
    bn = nn.BatchNorm(4, name="bn")
    found = mg.certify_inference(mg.Graph([x], {"y": bn(mg.tanh(bn(x)))}))
    assert found.holds, found
    assert found.shared == ("bn/running_mean", "bn/running_var")
    assert len(found.statistics) == 4


def test_a_model_without_statistics_is_its_own_inference_graph() -> None:
    x = mg.input("x", ("N", 4))
    found = mg.certify_inference(mg.Graph([x], {"y": nn.LayerNorm(4)(x)}))
    assert found.holds
    assert (found.error, found.statistics) == (0.0, ())


def test_outputs_must_be_known() -> None:
    x, train = batch_norm_graph()
    with pytest.raises(mg.GraphError, match="no output 'z' in training; there is y"):
        mg.certify_inference(train, mg.Graph([x], {"z": x * 2}))
