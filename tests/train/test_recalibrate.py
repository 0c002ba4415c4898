"""Precise statistics: against one batch of everything, numpy by hand, and each other."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


def network(build, shape, dtype="float64"):
    x = mg.input("x", ("N", *shape), dtype)
    return mg.Graph([x], {"y": build(x)})


def two_layers(x, convention="keras", seed=0):
    h = nn.BatchNorm(4, name="bn1", convention=convention)(nn.Linear(4, name="l1")(x))
    h = nn.BatchNorm(3, name="bn2", convention=convention)(nn.Linear(3, name="l2")(mg.relu(h)))
    return h


def in_parts(x, size):
    return [{"x": x[i : i + size]} for i in range(0, len(x), size)]


def data(n=23, features=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 3, (n, features)) * np.linspace(0.5, 2, features)


def start_of(graph):
    return mg.compile(graph, "interpreter").init_state()


def run(graph, state, **feed):
    return mg.compile(graph, "interpreter")(state, **feed)[0]["y"]


@pytest.mark.parametrize("size", [4, 7, 22, 23])
def test_inference_answers_what_training_says_of_all_data_as_one_batch(size):
    graph = network(two_layers, (5,))
    x, start = data(), start_of(graph)
    state = mg.recalibrate(graph, start, in_parts(x, size))
    found = run(mg.to_inference(graph), state, x=x)
    np.testing.assert_allclose(found, run(graph, start, x=x), rtol=1e-12, atol=1e-13)
    assert start["bn1/running_mean"].tolist() == [0] * 4  # the state given is left as it is


def test_the_same_for_a_convolutional_network_with_norms_in_parallel_and_in_a_row():
    def build(x):
        a = nn.BatchNorm(3, channel_axis=1, name="a")(nn.Conv2d(3, 2, name="c1")(x))
        b = nn.BatchNorm(3, channel_axis=1, name="b")(nn.Conv2d(3, 2, name="c2")(x))
        return nn.BatchNorm(3, channel_axis=1, name="c")(mg.relu(a) + mg.relu(b))

    graph = network(build, (2, 4, 4))
    x = np.random.default_rng(1).normal(1, 2, (11, 2, 4, 4))
    state = mg.recalibrate(graph, start_of(graph), in_parts(x, 4))
    found = run(mg.to_inference(graph), state, x=x)
    np.testing.assert_allclose(found, run(graph, state, x=x), rtol=1e-12, atol=1e-13)


def test_an_unbiased_convention_gets_the_unbiased_variance_of_the_population():
    graph = network(lambda x: nn.BatchNorm(5, name="bn", convention="pytorch")(x), (5,))
    x = data()
    state = mg.recalibrate(graph, start_of(graph), in_parts(x, 6))
    np.testing.assert_allclose(state["bn/running_mean"], x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(state["bn/running_var"], x.var(0, ddof=1), rtol=1e-13)


@pytest.mark.parametrize("convention", ["keras", "pytorch"])
def test_the_average_is_what_training_tracks_weighted_by_elements(convention):
    graph = network(lambda x: nn.BatchNorm(5, name="bn", convention=convention)(x), (5,))
    parts = in_parts(data(), 6)
    state = mg.recalibrate(graph, start_of(graph), parts, estimator="average")
    sizes = [len(part["x"]) for part in parts]
    ddof = convention == "pytorch"
    wanted = np.average([p["x"].var(0, ddof=ddof) for p in parts], axis=0, weights=sizes)
    np.testing.assert_allclose(state["bn/running_var"], wanted, rtol=1e-13)
    assert sizes[-1] != sizes[0]


def test_pooled_is_the_average_and_the_variance_between_batches():
    graph = network(lambda x: nn.BatchNorm(5, name="bn")(x), (5,))
    x, parts = data(), in_parts(data(), 6)
    pooled, average = (
        mg.recalibrate(graph, start_of(graph), parts, estimator=e)["bn/running_var"]
        for e in ("pooled", "average")
    )
    weights = [len(p["x"]) for p in parts]
    means = np.array([p["x"].mean(0) for p in parts])
    between = np.average((means - x.mean(0)) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(pooled, average + between, rtol=1e-12)
    assert (between > 0.001).all()


def test_one_pass_takes_later_statistics_behind_batch_statistics():
    graph = network(two_layers, (5,))
    x, start = data(), start_of(graph)
    parts = in_parts(x, 6)
    state = mg.recalibrate(graph, start, parts, earlier="batch")
    hidden = graph.updates[2].estimate  # the batch mean of bn2
    one = mg.Graph([], {"y": hidden})
    means = [run(one, start, **part) for part in parts]
    wanted = np.average(means, axis=0, weights=[len(p["x"]) for p in parts])
    np.testing.assert_allclose(state["bn2/running_mean"], wanted, rtol=1e-12)
    exact = mg.recalibrate(graph, start, parts)
    assert np.abs(exact["bn2/running_mean"] - wanted).max() > 1e-3
    np.testing.assert_allclose(exact["bn1/running_mean"], state["bn1/running_mean"], rtol=1e-13)


def test_masks_count_exactly():
    x, w = mg.input("x", ("N", 2), "float64"), mg.input("w", ("N", 1), "bool")
    graph = mg.Graph([x, w], {"y": nn.BatchNorm(2, name="bn", convention="pytorch")(x, w)})
    values, mask = data(20, 2), np.random.default_rng(4).random((20, 1)) < 0.6
    mask[8:12] = False  # a batch without any element
    feeds = [{"x": values[i : i + 4], "w": mask[i : i + 4]} for i in range(0, 20, 4)]
    values[~mask[:, 0]] = np.nan
    state = mg.recalibrate(graph, start_of(graph), feeds)
    chosen = values[mask[:, 0]]
    np.testing.assert_allclose(state["bn/running_mean"], chosen.mean(0), rtol=1e-13)
    np.testing.assert_allclose(state["bn/running_var"], chosen.var(0, ddof=1), rtol=1e-13)


def test_large_means_lose_no_digits():
    graph = network(lambda x: nn.BatchNorm(1, name="bn")(x), (1,))
    x = 1e8 + np.random.default_rng(0).normal(size=(1000, 1))
    state = mg.recalibrate(graph, start_of(graph), in_parts(x, 64))
    np.testing.assert_allclose(state["bn/running_var"], x.var(0), rtol=1e-7)


def test_a_statistic_written_by_hand_is_understood():
    x, m, s = mg.input("x", ("N", 3), "float64"), mg.state("m", [0.0] * 3), mg.state("s", [1.0] * 3)
    n = mg.count(x, 0)
    mu = mg.sum(x, 0) / n
    c = x - mu
    v = mg.sum(c * c, 0) / n
    mu = mg.track(mu, m, m + 0.2 * (mg.cast(mu, "float32") - m))
    v = mg.track(v, s, s + 0.2 * (mg.cast(v, "float32") - s))
    graph = mg.Graph([x], {"y": (x - mu) / mg.sqrt(v + 1e-5)})
    values = data(20, 3)
    state = mg.recalibrate(graph, start_of(graph), in_parts(values, 6))
    np.testing.assert_allclose(state["m"], values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(state["s"], values.var(0), rtol=1e-6)


@pytest.mark.parametrize("layer", [
    nn.BatchRenorm(3, name="bn"), nn.BatchNorm(3, name="bn", statistics="running"),
], ids=["renorm", "running"])  # fmt: skip
def test_what_is_neither_mean_nor_variance_is_averaged_as_the_update_goes(layer):
    graph = network(layer, (3,))
    values = data(18, 3)
    parts = in_parts(values, 6)
    state = mg.recalibrate(graph, start_of(graph), parts, estimator="average")
    v = [p["x"].var(0) for p in parts]
    renorm = "bn/running_std" in state
    wanted = np.mean([np.sqrt(part + 1e-3) for part in v] if renorm else v, axis=0)
    found = state["bn/running_std" if renorm else "bn/running_var"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    with pytest.raises(mg.GraphError, match="use estimator='average'"):
        mg.recalibrate(graph, start_of(graph), parts)


def test_ghosts_are_averaged_over_their_ghosts():
    x = mg.input("x", (8, 3), "float64")
    graph = mg.Graph([x], {"y": nn.GhostBatchNorm(3, ghost=4, name="bn", decay=0.0)(x)})
    values = data(16, 3)
    state = mg.recalibrate(graph, start_of(graph), in_parts(values, 8), estimator="average")
    wanted = np.mean([values[i : i + 4].var(0) for i in (4, 12)], axis=0)  # decay 0: the last
    np.testing.assert_allclose(state["bn/running_var"], wanted, rtol=1e-12)


def test_a_shared_layer_is_averaged_over_its_uses():
    layer = nn.BatchNorm(3, name="bn", decay=0.5)
    graph = network(lambda x: layer(x) + layer(x * 2.0), (3,))
    values = data(12, 3)
    state = mg.recalibrate(graph, start_of(graph), [{"x": values}], estimator="average")
    weights = np.array([0.5, 1.0]) / 1.5  # the later use moves last
    np.testing.assert_allclose(
        state["bn/running_mean"], values.mean(0) * (weights @ [1, 2]), rtol=1e-6
    )
    with pytest.raises(mg.GraphError, match="shared layer"):
        mg.recalibrate(graph, start_of(graph), [{"x": values}])


def test_dropout_is_off():
    def build(x):
        return nn.BatchNorm(5, name="bn")(mg.dropout(x, 0.5, mg.Generator(1)))

    graph, x = network(build, (5,)), data()
    for earlier in ("batch", "recalibrated"):
        state = mg.recalibrate(graph, start_of(graph), in_parts(x, 5), earlier=earlier)
        np.testing.assert_allclose(state["bn/running_var"], x.var(0), rtol=1e-12)


def test_a_data_set_and_an_iterator_serve_too_and_an_optimiser_does_no_harm():
    x, t = mg.input("x", ("N", 5)), mg.input("t", "N", "int64")
    logits = two_layers(x)
    graph = mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})
    graph = mg.optim.adam(graph)
    values = data().astype("float32")
    start = start_of(graph)
    wanted = mg.recalibrate(graph, start, in_parts(values, 8))
    given = mg.data.Dataset(values, np.zeros(23, int))
    for batches in (given, iter(in_parts(values, 5))):
        found = mg.recalibrate(graph, start, batches, batch_size=10)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(wanted["l1/weight"], start["l1/weight"])


@pytest.mark.parametrize(("options", "message"), [
    ({"batches": []}, "no batches"),
    ({"batches": {"x": [[1.0]]}}, "one feed"),
    ({"estimator": "mean"}, "not one of pooled, average"),
    ({"earlier": "none"}, "not one of recalibrated, batch"),
])  # fmt: skip
def test_a_bad_request_is_refused(options, message):
    graph = network(two_layers, (5,))
    wanted = {"batches": in_parts(data(), 8), **options}
    with pytest.raises(mg.GraphError, match=message):
        mg.recalibrate(graph, start_of(graph), **wanted)


def test_an_inference_graph_and_a_state_that_never_moves_are_refused():
    graph = network(two_layers, (5,))
    with pytest.raises(mg.GraphError, match="tracks no running statistics"):
        mg.recalibrate(mg.to_inference(graph), start_of(graph), in_parts(data(), 8))
    stuck = network(lambda x: nn.BatchRenorm(5, name="bn", decay=1.0)(x), (5,))
    with pytest.raises(mg.GraphError, match="never moves it"):
        mg.recalibrate(stuck, start_of(stuck), in_parts(data(), 8), estimator="average")
