"""The inference graph: one example whatever the batch, and nothing of training left in it."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def classifier(*layers: object) -> mg.Graph:
    x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
    logits = nn.Sequential(*layers)(x)
    return mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})


def network() -> mg.Graph:
    return classifier(
        nn.Linear(8, name="fc1"), nn.BatchNorm(8, name="bn1"), mg.relu,
        nn.Dropout(0.5, name="drop"), nn.Linear(3, name="fc2"),
    )  # fmt: skip


def trained(graph: mg.Graph, steps: int = 5) -> dict[str, np.ndarray]:
    step = mg.compile(mg.optim.sgd(graph, lr=0.1))
    state, rng = step.init_state(), np.random.default_rng(0)
    for _ in range(steps):
        _, state = step(state, x=3 + rng.normal(size=(16, 4)), t=rng.integers(0, 3, 16))
    return state


def test_one_example_is_answered_alike_in_every_batch() -> None:
    graph = network()
    state = trained(graph)
    infer = mg.compile(mg.to_inference(graph, ["logits"]))
    batch = np.random.default_rng(1).normal(size=(9, 4))
    together = infer(state, x=batch)[0]["logits"]
    alone = np.concatenate([infer(state, x=row[None])[0]["logits"] for row in batch])
    shuffled = infer(state, x=batch[::-1])[0]["logits"][::-1]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(together, shuffled, rtol=1e-5, atol=1e-6)


def test_the_training_graph_does_mix_the_batch() -> None:
    graph = network()
    state = trained(graph)
    ready = mg.compile(graph)
    batch = np.random.default_rng(1).normal(size=(9, 4))
    state = dict(state)  # two steps start from it
    mixed = ready(state, x=batch, t=np.zeros(9, int))[0]["logits"]
    part = ready(state, x=batch[:4], t=np.zeros(4, int))[0]["logits"]
    assert not np.allclose(mixed[:4], part, atol=1e-2)


def test_nothing_of_training_is_left() -> None:
    infer = mg.to_inference(mg.optim.adam(network(), lr=0.1), ["logits"])
    assert infer.updates == ()
    assert infer.replacements == {}
    assert [node.name for node in infer.inputs] == ["x"]
    assert {s.name for s in infer.states} == {"bn1/running_mean", "bn1/running_var"}
    assert "random_uniform" not in {node.prim.name for node in infer.nodes}


def test_batch_norm_at_inference_is_the_formula() -> None:
    x = mg.input("x", ("N", 2))
    graph = mg.Graph([x], {"y": nn.BatchNorm(2, eps=1e-3, name="bn")(x)})
    state = {
        "bn/gamma": [2.0, 3.0], "bn/beta": [1.0, -1.0],
        "bn/running_mean": [0.5, 1.5], "bn/running_var": [4.0, 9.0],
    }  # fmt: skip
    numbers = np.array([[1.0, 2.0], [0.0, -1.0], [5.0, 0.0]])
    outputs, after = mg.compile(mg.to_inference(graph))(state, x=numbers)
    scale = np.array([2, 3]) / np.sqrt(np.array([4, 9]) + 1e-3)
    np.testing.assert_allclose(outputs["y"], (numbers - [0.5, 1.5]) * scale + [1, -1], rtol=1e-5)
    assert after == state


def test_dropout_after_a_tracked_statistic_and_before_one() -> None:
    graph = classifier(
        nn.Dropout(0.3, name="d1"), nn.BatchNorm(4, name="bn1"), nn.Dropout(0.3, name="d2"),
        nn.BatchNorm(4, name="bn2"), nn.Dropout(0.3, name="d3"),
    )  # fmt: skip
    infer = mg.to_inference(graph, ["logits"])
    plain = classifier(nn.BatchNorm(4, name="bn1"), nn.BatchNorm(4, name="bn2"))
    plain = mg.to_inference(plain, ["logits"])
    assert infer.structural_hash() == plain.structural_hash()


def test_nested_dropout_is_the_identity_at_inference() -> None:
    x = mg.input("x", ("N", 4))
    generator = mg.Generator(seed=3)
    y = mg.dropout(mg.dropout(mg.exp(x), 0.5, generator), 0.5, generator)
    graph = mg.Graph([x], {"y": y})
    assert str(mg.to_inference(graph)) == str(mg.Graph([x], {"y": mg.exp(x)}))


def test_a_residual_around_batch_norm() -> None:
    x = mg.input("x", ("N", 4))
    body = nn.Sequential(nn.BatchNorm(4, name="bn1"), mg.relu, nn.BatchNorm(4, name="bn2"))
    graph = mg.Graph([x], {"y": x + body(x)})
    infer = mg.compile(mg.to_inference(graph))
    state = infer.init_state()
    batch = np.random.default_rng(0).normal(size=(5, 4))
    shrink = 1 / np.sqrt(1 + 1e-3)
    expected = batch + np.maximum(batch * shrink, 0) * shrink
    np.testing.assert_allclose(infer(state, x=batch)[0]["y"], expected, rtol=1e-5)


def test_a_layer_used_twice_reads_one_statistic_twice() -> None:
    x = mg.input("x", ("N", 4))
    shared = nn.BatchNorm(4, name="bn")
    infer = mg.to_inference(mg.Graph([x], {"y": shared(mg.relu(shared(x)))}))
    assert len(infer.states) == 2
    assert "mean" not in {node.prim.name for node in infer.nodes}


def test_replacements_that_need_each_other_are_an_error() -> None:
    x = mg.input("x")
    a, b = mg.exp(x), mg.tanh(x)
    with pytest.raises(mg.GraphError, match="to_inference: replacements need each other"):
        mg.to_inference(mg.Graph((), a + b, (), {a: b + 1, b: a + 1}))


def test_outputs_are_chosen_by_name_and_keep_their_order() -> None:
    graph = network()
    assert list(mg.to_inference(graph).outputs) == ["logits", "loss"]
    assert list(mg.to_inference(graph, ["loss"]).outputs) == ["loss"]
    with pytest.raises(mg.GraphError, match="no output 'probabilities'; there is logits, loss"):
        mg.to_inference(graph, ["logits", "probabilities"])


def test_an_inference_graph_is_its_own_inference_graph() -> None:
    once = mg.to_inference(network())
    assert str(mg.to_inference(once)) == str(once)


def test_the_training_graph_is_left_as_it_was() -> None:
    graph = network()
    before = str(graph)
    mg.to_inference(graph)
    assert str(graph) == before


def test_an_inference_graph_can_be_differentiated() -> None:
    infer = mg.to_inference(network(), ["logits"])
    (dx,) = mg.grad(infer.outputs["logits"], infer.inputs, ct=1.0)
    assert dx.type == infer.inputs[0].type
    mg.Graph(infer.inputs, {"dx": dx}).verify()
