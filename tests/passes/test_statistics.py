"""Statistics for batch norms written by hand: the numbers, states and names that a layer has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from passes.random_models import SPELLINGS, random_model

import minigrad as mg
from minigrad import Node, nn
from minigrad.passes.conventions import CONVENTIONS

GAMMA, BETA = np.array([1.5, 0.5, 2.0], "f"), np.array([0.1, 0.2, -0.3], "f")
rng = np.random.default_rng(0)
BATCHES = [rng.normal(i, 1 + i, (6, 3)).astype("f") for i in range(4)]


def by_hand(spelling: Any = SPELLINGS[0], **options: Any) -> mg.Graph:
    x = mg.input("x", ("N", 3))
    y = spelling(x, mg.parameter("bn/gamma", GAMMA), mg.parameter("bn/beta", BETA), (0,))
    return mg.track_statistics(mg.Graph([x], {"y": y}), **options)


def layer(**options: Any) -> mg.Graph:
    x = mg.input("x", ("N", 3))
    bn = nn.BatchNorm(
        3, eps=1e-3, name="bn", gamma_initializer=lambda *_: GAMMA,
        beta_initializer=lambda *_: BETA, **options,
    )  # fmt: skip
    return mg.Graph([x], {"y": bn(x)})


def after(graph: mg.Graph, batches: list[Any] = BATCHES) -> dict[str, Any]:
    exe = mg.compile(graph, backend="interpreter")
    state = exe.init_state()
    for batch in batches:
        _, state = exe(state, x=batch)
    return state


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("decay", [None, 0.7, "cumulative"])
def test_states_move_as_those_of_the_layer(convention: str, decay: Any) -> None:
    ours = after(by_hand(convention=convention, decay=decay))
    theirs = after(layer(convention=convention, decay=decay))
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda f: f.__name__)
def test_inference_answers_as_the_layer_does(spelling: Any) -> None:
    graph = by_hand(spelling)
    state = after(graph)
    infer = mg.to_inference(graph)
    assert mg.batch_dependence(infer)
    (ours,) = mg.evaluate(infer, {"x": BATCHES[0], **state})
    (theirs,) = mg.evaluate(mg.to_inference(layer()), {"x": BATCHES[0], **after(layer())})
    np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=3e-5)


@pytest.mark.torch
def test_states_and_answers_are_pytorch_s() -> None:
    torch = pytest.importorskip("torch")
    bn = torch.nn.BatchNorm1d(3, eps=1e-3, momentum=0.1)
    with torch.no_grad():
        bn.weight.copy_(torch.tensor(GAMMA))
        bn.bias.copy_(torch.tensor(BETA))
    for batch in BATCHES:
        bn(torch.tensor(batch))
    graph = by_hand(convention="pytorch")
    state = after(graph)
    np.testing.assert_allclose(state["bn/running_mean"], bn.running_mean, rtol=1e-6)
    np.testing.assert_allclose(state["bn/running_var"], bn.running_var, rtol=1e-6)
    (ours,) = mg.evaluate(mg.to_inference(graph), {"x": BATCHES[1], **state})
    theirs = bn.eval()(torch.tensor(BATCHES[1])).detach()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_nodes_and_outputs_of_the_graph_stay_as_they_are() -> None:
    x = mg.input("x", ("N", 3))
    before = mg.Graph([x], {"y": SPELLINGS[0](x, mg.constant(GAMMA), mg.constant(BETA), (0,))})
    tracked = mg.track_statistics(before)
    assert tracked.outputs == before.outputs
    assert tracked.inputs == before.inputs
    assert set(before.nodes) < set(tracked.nodes)
    assert [u.state.name for u in tracked.updates] == [
        "batch_norm1/running_mean", "batch_norm1/running_var",
    ]  # fmt: skip


def hand(x: Node, name: str | None = None) -> Node:
    c = x - mg.mean(x, 0)
    y = c / mg.sqrt(mg.mean(c * c, 0) + 1e-3)
    return y if name is None else y * mg.parameter(name, GAMMA)


def test_names_come_from_scopes_then_from_gamma_then_from_numbers() -> None:
    x = mg.input("x", ("N", 3))
    with mg.scope("stage1"), mg.scope("bn"):
        y = hand(x)
    y = hand(mg.tanh(y), "second/gamma")
    y = hand(mg.tanh(hand(mg.tanh(y))))
    with mg.scope("stage1"), mg.scope("bn"):
        y = hand(mg.tanh(y))
    names = [u.state.name for u in mg.track_statistics(mg.Graph([x], {"y": y})).updates]
    assert names[::2] == [
        "stage1/bn/running_mean", "second/running_mean", "batch_norm1/running_mean",
        "batch_norm2/running_mean", "stage1/bn/batch_norm1/running_mean",
    ]  # fmt: skip


def test_a_name_that_is_taken_is_not_used_again() -> None:
    x = mg.input("x", ("N", 3))
    other = mg.state("batch_norm1/running_mean", np.zeros(3)) * 2
    found = mg.track_statistics(mg.Graph([x], {"y": hand(x), "z": other}))
    assert [u.state.name for u in found.updates] == [
        "batch_norm2/running_mean", "batch_norm2/running_var",
    ]  # fmt: skip


def test_a_norm_used_twice_has_one_pair_of_states_that_move_twice() -> None:
    def twice(norm: Any) -> mg.Graph:
        x = mg.input("x", ("N", 3))
        return mg.Graph([x], {"y": norm(mg.tanh(norm(x)))})

    g, b = mg.parameter("bn/gamma", GAMMA), mg.parameter("bn/beta", BETA)
    ours = mg.track_statistics(twice(lambda x: SPELLINGS[0](x, g, b, (0,))), decay=0.8)
    bn = nn.BatchNorm(
        3, decay=0.8, name="bn", gamma_initializer=lambda *_: GAMMA,
        beta_initializer=lambda *_: BETA,
    )  # fmt: skip
    theirs = twice(bn)
    assert len(ours.updates) == 2
    for name, value in after(theirs).items():
        np.testing.assert_allclose(after(ours)[name], value, rtol=1e-6, atol=1e-6)
    feed = {"x": BATCHES[2], **after(theirs)}
    answers = [mg.evaluate(mg.to_inference(graph), feed)[0] for graph in (ours, theirs)]
    np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-6)


def test_layers_that_are_tracked_and_norms_that_keep_rows_apart_are_left_alone() -> None:
    x = mg.input("x", ("N", 3))
    y = nn.BatchNorm(3, name="bn")(nn.RMSNorm(3, name="rms")(nn.LayerNorm(3, name="ln")(x)))
    graph = mg.Graph([x], {"y": y})
    assert mg.track_statistics(graph) is graph
    frozen = mg.Graph([x], {"y": nn.BatchNorm(3, name="frozen", update=False)(x)})
    assert mg.track_statistics(frozen) is frozen


def test_it_works_after_an_optimiser_too() -> None:
    graph = random_model(3, "by hand")
    late = mg.track_statistics(mg.optim.sgd(graph, lr=0.1))
    early = mg.optim.sgd(mg.track_statistics(graph), lr=0.1)
    names = [{u.state.name for u in g.updates} for g in (late, early)]
    assert names[0] == names[1]
    answers = [mg.to_inference(g, ["logits"]).structural_hash() for g in (late, early)]
    assert answers[0] == answers[1]


def test_a_fixed_batch_and_an_unbiased_estimate_of_one_row() -> None:
    x = mg.input("x", (1, 3, 1, 1))
    y = SPELLINGS[0](x, mg.constant(1.0), mg.constant(0.0), (0, 2, 3))
    assert mg.track_statistics(mg.Graph([x], {"y": y})).updates == ()  # one element: no variance
    graph = by_hand(convention="pytorch")
    exe = mg.compile(graph, backend="interpreter")
    with pytest.raises(mg.GraphError, match="at least 2"):
        exe(exe.init_state(), x=BATCHES[0][:1])


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(mg.GraphError, match="'caffe' is not one of keras"):
        by_hand(convention="caffe")
    with pytest.raises(mg.GraphError, match=r"decay 1\.5 is neither"):
        by_hand(decay=1.5)
    x = mg.input("x", ("N", "T", 3))
    with pytest.raises(mg.GraphError, match=r"keeps a dim of unknown size.*test_statistics\.py:"):
        mg.track_statistics(mg.Graph([x], {"y": hand(x)}))
