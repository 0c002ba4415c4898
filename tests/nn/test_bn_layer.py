"""The BatchNorm layer: inference, switches, sharing, regularisers, errors."""

import itertools

import numpy as np
import pytest

import minigrad as mg

X = np.random.default_rng(1).normal(2, 3, (6, 4))


def graph_of(y, **more):
    return mg.Graph([], {"y": y, **more})


def x_input(shape=("N", 4)):
    return mg.input("x", shape, "float64")


def test_one_example_at_inference_is_independent_of_the_batch():
    graph = graph_of(mg.nn.BatchNorm(4, name="bn1")(x_input()))
    state = mg.compile(graph).init_state()
    state |= {"bn1/running_mean": np.arange(4.0), "bn1/running_var": np.arange(1.0, 5)}
    infer = mg.compile(mg.to_inference(graph))
    alone = np.concatenate([infer(state, x=X[i : i + 1])[0]["y"] for i in range(6)])
    together, _ = infer(state, x=X)
    np.testing.assert_array_equal(alone, together["y"])
    neighbours, _ = infer(state, x=np.concatenate([X[:1], 100 * X[1:]]))
    np.testing.assert_array_equal(neighbours["y"][0], alone[0])


def test_inference_reads_running_statistics_only():
    infer = mg.to_inference(graph_of(mg.nn.BatchNorm(4)(x_input())))
    assert [s.name for s in infer.states] == ["running_mean", "running_var"]
    assert not infer.updates
    assert "mean" not in {node.prim.name for node in infer.nodes}


def test_training_never_reads_running_statistics():
    graph = graph_of(mg.nn.BatchNorm(4)(x_input()))
    needed = mg.Graph([], graph.outputs)
    assert needed.states == ()
    assert [u.state.name for u in graph.updates] == ["running_mean", "running_var"]


def test_bias_before_it_cancels_in_training_only():
    x, bias = x_input(), mg.parameter("bias", np.zeros(4))
    graph = graph_of(mg.nn.BatchNorm(4)(x + bias))
    moved = {"x": X, "bias": np.full(4, 5.0)}
    train = mg.evaluate([graph.outputs["y"]], {"x": X})[0]
    np.testing.assert_allclose(mg.evaluate(graph, moved)[0], train, atol=1e-12)
    infer = mg.to_inference(graph)
    assert np.abs(mg.evaluate(infer, moved)[0] - mg.evaluate(infer, {"x": X})[0]).min() > 1


@pytest.mark.parametrize(
    ("statistics", "update", "trainable"),
    list(itertools.product(("batch", "running"), (True, False), (True, False))),
)
def test_three_switches_are_separate(statistics, update, trainable):
    layer = mg.nn.BatchNorm(4, statistics=statistics, update=update, trainable=trainable)
    x, t = x_input(), mg.input("t", ("N", 4), "float64")
    y = mg.nn.Linear(4, name="out")(layer(x))
    graph = mg.optim.sgd(mg.Graph([], {"y": y, "loss": mg.mse(y, t)}), lr=0.1)
    step = mg.compile(graph)
    before = step.init_state()
    start = {"running_mean": np.full(4, 0.5), "running_var": np.full(4, 2.0)}
    before = {**before, **start}
    _, after = step(before, x=X, t=np.ones((6, 4)))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert ("running_mean" in changed) == update
    assert ("running_var" in changed) == update
    assert ("gamma" in changed and "beta" in changed) == trainable
    mean, var = (X.mean(0), X.var(0)) if statistics == "batch" else start.values()
    normal = (X - mean) / np.sqrt(var + 1e-3)
    weights = {k: before[k] for k in ("out/weight", "out/bias")}
    expected = normal @ weights["out/weight"] + weights["out/bias"]
    leaves = {leaf.name for leaf in graph.leaves}
    feed = {name: before[name] for name in before if name in leaves}
    found, _ = mg.evaluate(graph, {"x": X, "t": X, **feed})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    if update:
        np.testing.assert_allclose(after["running_mean"], 0.99 * 0.5 + 0.01 * X.mean(0))
    infer = mg.to_inference(graph, ["y"])
    moved = {**before, **start}
    shifted = (X - 0.5) / np.sqrt(2.0 + 1e-3) @ weights["out/weight"] + weights["out/bias"]
    np.testing.assert_allclose(mg.evaluate(infer, {"x": X, **moved})[0], shifted, rtol=1e-5)


def test_shared_layer_updates_twice_in_order_of_use():
    layer = mg.nn.BatchNorm(4, decay=0.9, name="bn1")
    x, z = x_input(), mg.input("z", ("N", 4), "float64")
    graph = mg.Graph([x, z], {"a": layer(x), "b": layer(z)})
    assert len(graph.parameters) == 2
    assert len(graph.updates) == 2
    step = mg.compile(graph)
    Z = X * 2 + 1
    _, state = step(step.init_state(), x=X, z=Z)
    expected = 0.9 * (0.1 * X.mean(0)) + 0.1 * Z.mean(0)
    np.testing.assert_allclose(state["bn1/running_mean"], expected, rtol=1e-12)
    assert {n.scope.path for n in graph.outputs["b"].inputs if n.inputs} == {("bn1",)}


def test_shared_layer_counts_both_uses_cumulatively():
    layer = mg.nn.BatchNorm(4, decay="cumulative")
    x, z = x_input(), mg.input("z", ("N", 4), "float64")
    step = mg.compile(mg.Graph([x, z], {"y": layer(x) + layer(z)}))
    _, state = step(step.init_state(), x=X, z=3 * X)
    np.testing.assert_allclose(state["running_mean"], 2 * X.mean(0), rtol=1e-12)
    assert state["num_batches"] == 2


def test_regulariser_is_added_to_the_loss_once():
    layer = mg.nn.BatchNorm(
        4,
        gamma_initializer=mg.nn.initializers.constant(2.0),
        gamma_regularizer=mg.nn.regularizers.l2(0.5),
        beta_initializer=mg.nn.initializers.constant(-1.0),
        beta_regularizer=mg.nn.regularizers.l1(0.25),
    )
    x = x_input()
    twice = layer(layer(x))
    plain = mg.mean(twice**2)
    graph = mg.Graph([x], {"loss": plain, "plain": plain})
    loss, without = mg.evaluate(graph, {"x": X})
    assert loss - without == pytest.approx(0.5 * 4 * 4 + 0.25 * 4)
    again = mg.Graph(graph.inputs, graph.outputs, graph.updates)
    assert mg.evaluate(again, {"x": X})[0] == pytest.approx(loss)


def test_constraint_is_applied_to_the_update():
    layer = mg.nn.BatchNorm(4, gamma_constraint=mg.nn.constraints.non_negative)
    x = x_input()
    graph = mg.optim.sgd(mg.Graph([x], {"loss": mg.mean(layer(x) ** 2)}), lr=100.0)
    step = mg.compile(graph)
    _, state = step(step.init_state(), x=X)
    np.testing.assert_array_equal(state["gamma"], 0)


def test_center_and_scale_can_be_off():
    bare = graph_of(mg.nn.BatchNorm(4, center=False, scale=False)(x_input()))
    assert bare.parameters == ()
    only_beta = graph_of(mg.nn.BatchNorm(4, scale=False)(x_input()))
    assert [p.name for p in only_beta.parameters] == ["beta"]


def test_initialisers_start_parameters_and_statistics():
    constant = mg.nn.initializers.constant
    layer = mg.nn.BatchNorm(
        4,
        gamma_initializer=constant(2.0),
        beta_initializer=constant(3.0),
        moving_mean_initializer=constant(4.0),
        moving_variance_initializer=constant(5.0),
    )
    state = mg.compile(graph_of(layer(x_input()))).init_state()
    assert {k: v[0] for k, v in state.items()} == {
        "gamma": 2.0,
        "beta": 3.0,
        "running_mean": 4.0,
        "running_var": 5.0,
    }


def test_weight_decay_leaves_gamma_beta_and_biases_alone():
    x = x_input()
    y = mg.nn.Linear(4, name="out")(mg.nn.BatchNorm(4, name="bn1")(x))
    decayed = [p.name for p in graph_of(y).parameters if p.attrs.get("weight_decay", True)]
    assert decayed == ["out/weight"]


def test_unbiased_convention_refuses_one_value_a_channel():
    layer = mg.nn.BatchNorm(4, convention="pytorch", name="bn1")
    with pytest.raises(mg.ShapeError, match=r"at least 2 .*\[1, 4\].*in bn1, test_bn_layer"):
        layer(mg.input("x", (1, 4)))
    graph = graph_of(mg.nn.BatchNorm(4, convention="pytorch", name="bn1")(x_input()))
    step = mg.compile(graph)
    with pytest.raises(mg.GraphError, match=r"at least 2 .*\[1, 4\].*in bn1, test_bn_layer"):
        step(step.init_state(), x=X[:1])
    images = mg.nn.BatchNorm(4, channel_axis=1, convention="pytorch")(x_input((1, 4, 2, 2)))
    mg.evaluate(graph_of(images), {"x": np.ones((1, 4, 2, 2))})  # four pixels a channel


def test_biased_convention_gives_beta_for_one_value_a_channel():
    graph = graph_of(mg.nn.BatchNorm(4)(x_input()))
    step = mg.compile(graph)
    outputs, state = step(step.init_state(), x=X[:1])
    np.testing.assert_array_equal(outputs["y"], 0)
    assert all(np.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convention": "caffe"}, "convention 'caffe' is not one of keras, pytorch"),
        ({"decay": 1.5}, "decay 1.5 is neither"),
        ({"decay": "slow"}, "decay 'slow' is neither"),
        ({"eps": -1.0}, "eps -1.0 is negative"),
        ({"statistics": "global"}, "statistics 'global' is neither"),
    ],
)
def test_bad_configuration_is_refused(options, message):
    with pytest.raises(mg.GraphError, match=rf"BatchNorm: {message}.*test_bn_layer\.py:\d+"):
        mg.nn.BatchNorm(4, **options)


def test_wrong_number_of_features_names_layer_shape_and_line():
    with pytest.raises(mg.ShapeError, match=r"BatchNorm: needs 64 .* f32\[N,4\] \(in bn1, test_bn"):
        mg.nn.BatchNorm(64, name="bn1")(mg.input("x", ("N", 4)))


@pytest.mark.parametrize("offset", [None, 0.5])
@pytest.mark.parametrize("scale", [None, 2.0])
def test_normalize_has_the_meaning_of_tensorflows(offset, scale):
    mean, variance = X.mean(0), X.var(0)
    inverse = 1 / np.sqrt(variance + 0.1) * (1 if scale is None else scale)
    expected = X * inverse + ((0 if offset is None else offset) - mean * inverse)
    found = mg.evaluate(mg.nn.normalize(X, mean, variance, offset, scale, 0.1))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("update", [True, False])
def test_half_precision_keeps_running_statistics_in_single(statistics, update):
    layer = mg.nn.BatchNorm(4, statistics=statistics, update=update)
    graph = graph_of(layer(mg.input("x", ("N", 4), "float16")))
    step = mg.compile(graph)
    state = step.init_state()
    for _ in range(700):  # in half precision 0.99 * m + 0.01 * 1 stops at 0.95
        outputs, state = step(state, x=np.ones((2, 4), np.float16))
    assert outputs["y"].dtype == np.float16
    assert {state[k].dtype for k in ("running_mean", "running_var")} == {np.dtype(np.float32)}
    if update:
        np.testing.assert_allclose(state["running_mean"], 1 - 0.99**700, rtol=1e-4)
    y, _ = mg.compile(mg.to_inference(graph))(state, x=np.ones((1, 4), np.float16))
    assert y["y"].dtype == np.float16
