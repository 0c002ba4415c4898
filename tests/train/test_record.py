"""Recordings of training runs: what is recorded, and the file."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.train import Recorder, Recording, load_record, save_record
from minigrad.train.data import Dataset


@pytest.fixture(scope="module")
def run():
    """A small network trained for 12 steps, every third one recorded."""
    x, t = mg.input("x", ("N", 3)), mg.input("t", "N", "int64")
    h = mg.nn.Linear(4, bias=False, name="linear1")(x)
    h = mg.nn.BatchNorm(4, name="bn1", decay=0.9)(h)
    logits = mg.nn.Linear(2, name="out")(mg.relu(h))
    graph = mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})
    trained = mg.optim.sgd(graph, lr=0.1)
    random = np.random.default_rng(0)
    data = Dataset(random.normal(size=(24, 3)).astype("f"), random.integers(0, 2, 24))
    recorder = Recorder(trained, every=3)
    seen = []

    def watch(state, batch):
        seen.append((dict(state), batch))
        recorder(state, batch)

    end = mg.fit(trained, data, epochs=2, batch_size=4, before_step=watch)
    plain = mg.fit(trained, data, epochs=2, batch_size=4)
    return graph, recorder.recording, seen, end, plain


def test_recording_changes_nothing_that_is_trained(run):
    _, _, _, end, plain = run
    for name, value in end.state.items():
        np.testing.assert_array_equal(value, plain.state[name], err_msg=name)


def test_every_third_step_is_recorded(run):
    assert run[1].step.tolist() == [0, 3, 6, 9]


def test_batch_and_running_statistics_are_those_of_the_step(run):
    """Closed form: mean and biased variance of the layer's input, and the EMA after the step."""
    _, recording, seen, _, _ = run
    norm = recording.norms["bn1"]
    for row, step in enumerate(recording.step):
        state, batch = seen[step]
        h = batch.x.astype(float) @ np.asarray(state["linear1/weight"], float)
        np.testing.assert_allclose(norm["batch_mean"][row], h.mean(0), atol=1e-6)
        np.testing.assert_allclose(norm["batch_var"][row], h.var(0), rtol=1e-5)
        after = 0.9 * np.asarray(state["bn1/running_var"], float) + 0.1 * h.var(0)
        np.testing.assert_allclose(norm["running_var"][row], after, rtol=1e-5)


def test_gradient_norms_and_loss_are_those_of_the_graph(run):
    graph, recording, seen, _, _ = run
    assert set(recording.gradients) == {p.name for p in graph.parameters}
    state, batch = seen[3]
    fed = {p.name: state[p.name] for p in graph.parameters} | {"x": batch.x, "t": batch.t}
    leaf = next(p for p in graph.parameters if p.name == "out/weight")
    loss = graph.outputs["loss"]
    value, slope = mg.evaluate([loss, *mg.grad(loss, [leaf])], fed)
    assert recording.loss[1] == pytest.approx(float(value), rel=1e-5)
    assert recording.gradients["out/weight"][1] == pytest.approx(np.linalg.norm(slope), rel=1e-4)


def test_activations_are_percentiles_of_what_a_scope_gives(run):
    _, recording, seen, _, _ = run
    state, batch = seen[6]
    h = batch.x.astype(float) @ np.asarray(state["linear1/weight"], float)
    expected = np.percentile(h, [1, 15, 50, 85, 99])
    np.testing.assert_allclose(recording.activations["linear1"][2], expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".npz", ".jsonl"])
def test_a_file_reads_back_what_was_written(run, tmp_path, suffix):
    path = tmp_path / f"run{suffix}"
    save_record(path, run[1])
    found = load_record(path)
    assert found.step.tolist() == run[1].step.tolist()
    np.testing.assert_array_equal(found.loss, run[1].loss)
    for name, rows in run[1].norms["bn1"].items():
        np.testing.assert_array_equal(found.norms["bn1"][name], rows)
    np.testing.assert_array_equal(found.activations["bn1"], run[1].activations["bn1"])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_page_gets_few_steps_and_no_nan():
    rows = np.arange(5000.0)
    rows[7:] = np.nan
    data = Recording(np.arange(5000), rows, {}, {"w": rows}, {}).as_data()
    assert len(data["step"]) == 400
    assert (data["step"][0], data["step"][-1]) == (0, 4999)
    assert data["loss"][-1] is None


def test_what_is_no_recording_is_refused(run, tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    (tmp_path / "text.jsonl").write_text('{"format": "else"}\n{"step": 1}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 broken")
    for name in ("other.npz", "text.jsonl", "empty.jsonl", "half.npz", "missing.npz"):
        with pytest.raises(mg.CheckpointError, match=r"no recording|no such recording"):
            load_record(tmp_path / name)
    with pytest.raises(mg.CheckpointError, match=r"an \.npz or a \.jsonl"):
        save_record(tmp_path / "run.csv", run[1])


def test_a_graph_without_a_loss_is_refused():
    with pytest.raises(mg.GraphError, match="no output 'loss'"):
        Recorder(mg.Graph([], {"y": mg.exp(mg.input("x", 3))}))
