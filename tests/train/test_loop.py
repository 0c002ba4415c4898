"""The loop: learns, measures, and goes on bit for bit after any stop."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minigrad as mg
from minigrad.ir import CheckpointError, GraphError, NonFiniteError
from minigrad.train import Run, checkpoint, data, optim, schedule
from minigrad.train.data import Dataset, Order


def blobs(size: int = 50, classes: int = 3, seed: int = 0) -> Dataset:
    """Points around ``classes`` corners; easy to tell apart."""
    rng = np.random.default_rng(seed)
    t = np.arange(size) % classes
    return Dataset(np.eye(classes, 4)[t] * 3 + rng.normal(size=(size, 4)), t)


def network(lr=0.05, width: int = 8) -> mg.Graph:
    """Linear, batch norm, dropout, linear, built from primitives; trained by adam."""
    normal = lambda rng, shape, dtype: rng.normal(size=shape) * 0.5  # noqa: E731
    x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
    h = x @ mg.parameter("w1", normal, (4, width))
    m, s = mg.state("m", np.zeros(width, np.float32)), mg.state("s", np.ones(width, np.float32))
    mu = mg.mean(h, axis=0)
    mu = mg.track(mu, m, 0.9 * m + 0.1 * mu)
    v = mg.mean((h - mu) ** 2, axis=0)
    v = mg.track(v, s, 0.9 * s + 0.1 * v)
    h = mg.maximum((h - mu) / mg.sqrt(v + 1e-5), 0)
    counter = mg.state("counter", 0)
    keep = mg.random_uniform(counter, ("N", width)) < 0.75
    h = mg.at_inference(mg.advance(mg.where(keep, h / 0.75, 0), counter, counter + 1), h)
    logits = h @ mg.parameter("w2", normal, (width, 3))
    shifted = logits - mg.max(logits, axis=1, keepdims=True)
    logp = shifted - mg.log(mg.sum(mg.exp(shifted), axis=1, keepdims=True))
    hot = mg.cast(mg.equal(mg.reshape(t, ("N", 1)), [[0, 1, 2]]), "float32")
    loss = -mg.mean(mg.sum(logp * hot, axis=1))
    return optim.adam(mg.Graph([x, t], {"logits": logits, "loss": loss}), lr=lr)


def assert_same_run(a: Run, b: Run) -> None:
    assert a.order == b.order
    assert set(a.state) == set(b.state)
    for name in a.state:
        assert a.state[name].tobytes() == b.state[name].tobytes(), name
    fields = ("epoch", "loss", "accuracy", "test_accuracy")
    assert [[getattr(e, f) for f in fields] for e in a.history] == [
        [getattr(e, f) for f in fields] for e in b.history
    ]


def test_learns_and_measures():
    graph = network()
    run = mg.fit(graph, blobs(), epochs=15, batch_size=16, test=blobs(30, seed=1))
    assert [e.epoch for e in run.history] == list(range(1, 16))
    assert run.history[-1].loss < 0.5 * run.history[0].loss
    last = run.history[-1]
    assert last.test_accuracy > 0.9
    assert last.test_accuracy == mg.accuracy(
        mg.to_inference(graph), run.state, blobs(30, seed=1), batch_size=7
    )
    assert "accuracy" in str(last)
    assert last.milliseconds > 0


def test_a_step_is_taken_for_every_batch_the_short_one_too():
    run = mg.fit(network(), blobs(), epochs=3, batch_size=16)
    assert run.state["adam/step"] == 12
    assert run.state["counter"] == 12
    assert run.order == Order(0, 3, 0)


def test_epoch_means_weigh_every_example_alike():
    graph = network()
    x = mg.input("x", ("N", 4))
    t = mg.input("t", "N", "int64")
    w = mg.parameter("w", 0.0)
    per_batch = mg.mean(mg.cast(t, "float32")) + 0 * w  # the loss of a batch: its mean label
    graph = optim.sgd(mg.Graph([x, t], {"loss": per_batch, "logits": x}), lr=1.0)
    found = blobs(50)
    run = mg.fit(graph, found, epochs=1, batch_size=16)
    assert run.history[0].loss == pytest.approx(found.t.mean(), rel=1e-6)


def test_the_state_passed_in_is_left_alone():
    graph = network()
    begin = Run(mg.compile(graph, "interpreter").init_state(3), Order(3))
    copies = {name: array.copy() for name, array in begin.state.items()}
    mg.fit(graph, blobs(), epochs=1, resume=begin)
    for name, array in copies.items():
        np.testing.assert_array_equal(begin.state[name], array)


def test_two_and_two_epochs_are_four():
    graph, found = network(schedule.cosine(0.05, steps=16)), blobs()
    whole = mg.fit(graph, found, epochs=4, batch_size=16, seed=7, test=found)
    half = mg.fit(graph, found, epochs=2, batch_size=16, seed=7, test=found)
    assert_same_run(mg.fit(graph, found, epochs=4, batch_size=16, test=found, resume=half), whole)


@pytest.mark.parametrize("stop_after", [1, 3, 4, 6, 8, 9])
def test_a_checkpoint_in_the_middle_of_an_epoch_goes_on_bit_for_bit(tmp_path, stop_after):
    """Killed after any step: with dropout, augmentation, running statistics and a short batch."""
    path, graph, found = tmp_path / "run.safetensors", network(), blobs()
    noise = lambda rng, x: x + rng.normal(size=x.shape).astype(np.float32) * 0.1  # noqa: E731
    options = {"epochs": 4, "batch_size": 16, "augment": noise, "test": found}
    whole = mg.fit(graph, found, **options)
    calls = 0

    def killed(rng, x):
        nonlocal calls
        calls += 1
        if calls > stop_after:
            raise KeyboardInterrupt
        return noise(rng, x)

    with pytest.raises(KeyboardInterrupt):
        mg.fit(graph, found, **{**options, "augment": killed}, checkpoint=path, every=1)
    run = mg.load_run(path, network())
    assert run.state["adam/step"] == stop_after
    assert_same_run(mg.fit(network(), found, **options, resume=run), whole)


def test_a_stop_between_the_last_step_and_the_end_of_an_epoch_loses_no_epoch(tmp_path, monkeypatch):
    from minigrad.train import loop

    path, options = tmp_path / "run", {"epochs": 2, "batch_size": 16, "test": blobs()}
    whole = mg.fit(network(), blobs(), **options)
    measure = loop._on_test
    monkeypatch.setattr(loop, "_on_test", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mg.fit(network(), blobs(), **options, checkpoint=path, every=1)
    monkeypatch.setattr(loop, "_on_test", measure)
    run = mg.load_run(path, network())
    assert_same_run(mg.fit(network(), blobs(), **options, resume=run), whole)


def test_every_batch_is_augmented_anew_and_again_alike():
    drawn = []

    def note(rng, x):
        drawn.append(rng.normal())
        return x

    for _ in range(2):
        mg.fit(network(), blobs(), epochs=2, batch_size=16, augment=note)
    assert len(set(drawn)) == 8
    assert drawn[:8] == drawn[8:]


@pytest.mark.slow
def test_a_second_process_goes_on_bit_for_bit(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = mg.fit(network(), blobs(), epochs=3, batch_size=16)
    mg.fit(network(), blobs(), epochs=1, batch_size=16, checkpoint=path)
    code = f"""
        import importlib.util, minigrad as mg
        spec = importlib.util.spec_from_file_location("first", {__file__!r})
        first = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(first)
        run = mg.load_run({str(path)!r}, first.network())
        mg.fit(first.network(), first.blobs(), epochs=3, batch_size=16, resume=run,
               checkpoint={str(path)!r})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert_same_run(mg.load_run(path, network()), whole)


def test_a_run_of_other_data_is_refused():
    half = Run(mg.compile(network(), "interpreter").init_state(), Order(0, 0, 48))
    with pytest.raises(data.DataError, match="it began with other data"):
        mg.fit(network(), blobs(30), epochs=1, resume=half)


def test_a_checkpoint_of_a_wider_network_names_what_differs(tmp_path):
    mg.fit(network(width=6), blobs(), epochs=1, checkpoint=tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"w1 is f32\[4,6\], the graph has f32\[4,8\]"):
        mg.load_run(tmp_path / "a", network())


@pytest.mark.parametrize("kept", [{}, {"minigrad.run": "{"}, {"minigrad.run": '{"order": {}}'}])
def test_a_bare_state_is_no_run(tmp_path, kept):
    checkpoint.save(tmp_path / "a", {"w": np.ones(1)}, kept)
    with pytest.raises(CheckpointError, match="no training run to go on with"):
        mg.load_run(tmp_path / "a", network())


def test_a_diverging_loss_stops_the_run():
    with pytest.raises(NonFiniteError, match=r"the loss is (nan|inf) at step \d+ of epoch \d+"):
        mg.fit(network(lr=1e38), blobs(), epochs=5)


def test_check_finite_names_the_node():
    broken = Dataset(np.full((4, 4), np.inf), [0, 1, 2, 0])
    with pytest.raises(NonFiniteError, match="input 'x'"):
        mg.fit(network(), broken, epochs=1, check_finite=True)


def test_a_graph_without_an_optimiser_is_explained():
    x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
    loss = mg.sum(x * mg.parameter("w", 1.0))
    with pytest.raises(GraphError, match="add an optimiser"):
        mg.fit(mg.Graph([x, t], {"loss": loss, "logits": x}), blobs(), epochs=1)
    with pytest.raises(GraphError, match="needs inputs x and t, outputs logits and loss"):
        mg.fit(mg.Graph([x, t], {"loss": loss}), blobs(), epochs=1)


def autoencoder() -> mg.Graph:
    x = mg.input("x", ("N", 4))
    h = mg.tanh(mg.nn.BatchNorm(3, decay=0.5, name="bn")(mg.nn.Linear(3, name="in")(x)))
    loss = mg.mse(mg.nn.Linear(4, name="out")(h), x)
    return optim.adam(mg.Graph([x], {"loss": loss}), lr=0.02)


def test_a_graph_without_labels_trains_and_is_measured_by_its_loss(tmp_path):
    graph, data = autoencoder(), blobs()
    run = mg.fit(graph, data, epochs=30, test=data, checkpoint=tmp_path / "run.safetensors")
    last = run.history[-1]
    assert last.accuracy is None
    assert last.test_accuracy is None
    assert last.loss < 0.5 * run.history[0].loss
    infer = mg.compile(mg.to_inference(graph))
    outputs, _ = infer(run.state, x=data.x)
    assert last.test_loss == pytest.approx(float(outputs["loss"]), rel=1e-5)
    assert re.fullmatch(r"epoch  30  loss [\d.]+  test loss [\d.]+  [\d.]+ ms/step", str(last))
    assert mg.load_run(tmp_path / "run.safetensors", graph).history == run.history


def test_the_test_loss_of_a_classifier_is_that_of_the_inference_graph():
    graph, data = network(), blobs()
    run = mg.fit(graph, data, epochs=2, test=data, batch_size=16)
    outputs, _ = mg.compile(mg.to_inference(graph))(run.state, x=data.x, t=data.t)
    assert run.history[-1].test_loss == pytest.approx(float(outputs["loss"]), rel=1e-5)


def test_labels_without_logits_are_refused():
    x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
    graph = mg.Graph([x, t], {"loss": mg.mean(x * mg.parameter("w", 1.0)) * mg.mean(t)})
    with pytest.raises(GraphError, match="without labels, x and loss"):
        mg.fit(graph, blobs(), epochs=1)


def test_predictions_of_an_inference_graph_do_not_depend_on_the_batch():
    graph = network()
    run = mg.fit(graph, blobs(), epochs=2)
    infer, x = mg.to_inference(graph), blobs().x
    together = mg.predict(infer, run.state, x)
    alone = mg.predict(infer, run.state, x, batch_size=1)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_the_bar_shows_only_on_a_terminal(capsys):
    mg.fit(network(), blobs(), epochs=1)
    assert capsys.readouterr() == ("", "")
    mg.fit(network(), blobs(), epochs=1, progress=True)
    assert "ms/step" in capsys.readouterr().err
