"""The recurrent network: lengths, padding, and the same numbers as in PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

FILE = Path(__file__).parents[2] / "models" / "rnn.py"
spec = importlib.util.spec_from_file_location("rnn", FILE)
rnn = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rnn)

LENGTHS = (1, 3, 6, 6, 4)
EPS = 2.0**-10


def sequences(steps=6, side=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(LENGTHS), steps, side))
    for row, length in zip(x, LENGTHS, strict=True):
        row[length:] = 0
    x[2, 1] = 0  # zeros in the middle are no padding
    return {"x": x, "t": np.array([0, 1, 2, 0, 1])}


def small(norm="layer", steps=6):
    return mg.retype(
        rnn.build(side=3, steps=steps, units=5, classes=3, norm=norm, eps=EPS), "float64"
    )


def test_padding_does_not_change_the_answer():
    feed, short, long = sequences(), small(), small(steps=9)
    state = mg.compile(short, "interpreter").init_state()
    padded = np.concatenate([feed["x"], np.zeros((5, 3, 3))], axis=1)
    ours, theirs = (
        mg.predict(mg.to_inference(g, ["logits"]), state, x)
        for g, x in ((short, feed["x"]), (long, padded))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def test_a_sequence_without_a_real_step_gives_the_bias():
    graph = small()
    state = dict(mg.compile(graph).init_state())
    state["linear/bias"] = np.array([1.0, 2.0, 3.0])
    logits = mg.predict(mg.to_inference(graph, ["logits"]), state, np.zeros((2, 6, 3)))
    np.testing.assert_array_equal(logits, [[1, 2, 3]] * 2)


def test_batch_norm_lets_padding_change_the_answer_of_others_in_training():
    """What layer norm avoids: statistics over the batch see whatever else is in it."""
    feed = sequences()
    changed = feed["x"].copy()
    changed[2:] *= 3
    for norm, same in (("layer", True), ("batch", False), ("batch per step", False)):
        graph = small(norm)
        state = mg.compile(graph, "interpreter").init_state()
        step = mg.compile(mg.Graph((), {"logits": graph.outputs["logits"]}), "interpreter")
        found = [step(state, x=x)[0]["logits"][1] for x in (feed["x"], changed)]
        assert np.allclose(*found, rtol=0, atol=1e-12) == same, norm


def test_batch_norm_per_step_keeps_statistics_for_every_step():
    means = [u.state.name for u in small("batch per step").updates if "mean" in u.state.name]
    assert means == [f"bn{step}/running_mean" for step in range(1, 7)]
    shared = [u.state.name for u in small("batch").updates]
    assert shared == ["bn/running_mean", "bn/running_var"]


def test_an_unknown_norm_lists_those_there_are():
    with pytest.raises(mg.GraphError, match="norm is one of layer, batch, batch per step, none"):
        rnn.build(norm="group")


@pytest.mark.torch
def test_loss_and_gradients_are_torchs_on_each_sequence_alone():
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    graph, feed = small(), sequences()
    state = dict(mg.compile(graph, "interpreter").init_state())
    rng = np.random.default_rng(1)
    for name in ("ln/gamma", "ln/beta", "linear/bias"):
        state[name] = rng.normal(size=state[name].shape)
    gradients = mg.grad(graph.outputs["loss"], graph.parameters)
    found = mg.evaluate([graph.outputs["loss"], *gradients], {**feed, **state})
    p = {name: torch.tensor(value, requires_grad=True) for name, value in state.items()}
    last = []
    for x, length in zip(feed["x"], LENGTHS, strict=True):  # no padding, no mask
        h = torch.zeros(5, dtype=torch.float64)
        for row in torch.tensor(x[:length]):
            a = h @ p["recurrent/weight"] + row @ p["incoming/weight"]
            h = torch.tanh(f.layer_norm(a, (5,), p["ln/gamma"], p["ln/beta"], EPS))
        last.append(h @ p["linear/weight"] + p["linear/bias"])
    loss = f.cross_entropy(torch.stack(last), torch.tensor(feed["t"]))
    loss.backward()
    np.testing.assert_allclose(found[0], loss.item(), rtol=1e-13)
    for parameter, value in zip(graph.parameters, found[1:], strict=True):
        wanted = p[parameter.name].grad.numpy()
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-13, err_msg=parameter.name)
