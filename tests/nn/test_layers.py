"""Layers: their parameters, names, scopes, sharing, and the errors that name them."""

import dataclasses

import numpy as np
import pytest

import minigrad as mg

X = np.random.default_rng(3).normal(size=(5, 4))
ROWS = mg.input("x", ("N", 4))
IMAGE = mg.input("image", ("N", 4, 6, 6))


def names(*outputs):
    return {leaf.name for leaf in mg.Graph([], outputs).parameters}


def test_linear_is_a_product_and_a_bias():
    graph = mg.Graph([], mg.nn.Linear(3, bias_initializer=mg.nn.initializers.normal(1.0))(ROWS))
    state = mg.compile(graph).init_state(seed=2)
    (y,) = mg.evaluate(graph, {"x": X, **state})
    np.testing.assert_allclose(y, X @ state["weight"] + state["bias"], rtol=1e-5, atol=1e-6)


def test_linear_takes_any_leading_axes():
    layer = mg.nn.Linear(3)
    assert str(layer(mg.input("s", ("N", 7, 4))).type) == "f32[N,7,3]"
    assert str(layer(mg.input("v", 4)).type) == "f32[3]"


def test_parameters_take_the_float_type_of_the_input():
    double = mg.nn.Linear(3)(mg.input("x", ("N", 4), "float64"))
    assert str(double.type) == "f64[N,3]"
    whole = mg.nn.Linear(3)(mg.input("x", ("N", 4), "int64"))
    assert str(whole.type) == "f32[N,3]"


@pytest.mark.parametrize(
    "layer", [mg.nn.Linear(3, bias=False, name="a"), mg.nn.Conv2d(3, bias=False, name="a")]
)
def test_bias_can_be_off(layer):
    assert names(layer(IMAGE if isinstance(layer, mg.nn.Conv2d) else ROWS)) == {"a/weight"}


def test_a_layer_called_twice_shares_parameters_and_scope():
    layer = mg.nn.Linear(4, name="shared")
    with mg.scope("first"):
        once = layer(ROWS)
    with mg.scope("second"):
        twice = layer(once)
    assert names(once, twice) == {"first/shared/weight", "first/shared/bias"}
    assert twice.scope.path == ("first", "shared")


def test_two_layers_of_one_name_are_refused_when_the_graph_is_made():
    y = mg.nn.Linear(4, name="a")(mg.nn.Linear(4, name="a")(ROWS))
    with pytest.raises(mg.GraphError, match=r"two leaves are called 'a/.*test_layers\.py"):
        mg.Graph([], y)


def test_a_layer_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        mg.nn.Linear(3).features = 4


def test_sequential_names_stages_by_kind_and_number():
    def double(x):
        return x * 2

    net = mg.nn.Sequential(
        mg.nn.Conv2d(2, padding="same"),
        mg.nn.BatchNorm(2, channel_axis=1),
        mg.relu,
        mg.nn.MaxPool2d(2),
        mg.nn.Conv2d(2),
        double,
        mg.nn.Flatten(name="flat"),
        mg.nn.Linear(3, name="head"),
        name="net",
    )
    scopes = mg.Graph([], net(IMAGE)).scopes
    stages = ["conv1", "bn1", "relu1", "pool1", "conv2", "double1", "flat", "head"]
    assert list(scopes) == ["net", *[f"net/{stage}" for stage in stages]]


def test_nested_sequentials_nest_their_scopes():
    inner = mg.nn.Sequential(mg.nn.Linear(4), mg.relu, name="block")
    net = mg.nn.Sequential(inner, mg.nn.Sequential(mg.nn.Linear(4)))
    assert names(net(ROWS)) == {
        "block/linear1/weight", "block/linear1/bias",
        "sequential1/linear1/weight", "sequential1/linear1/bias",
    }  # fmt: skip


def test_sequential_called_twice_shares_everything():
    net = mg.nn.Sequential(mg.nn.Linear(4), mg.nn.BatchNorm(4), mg.relu)
    graph = mg.Graph([], net(net(ROWS)))
    assert len(graph.parameters) == 4
    assert [u.state.name for u in graph.updates] == ["bn1/running_mean", "bn1/running_var"]


def test_flatten_joins_all_but_the_batch():
    data = np.arange(24.0).reshape(2, 3, 4)
    y = mg.nn.Flatten()(mg.input("x", ("N", 3, 4), "float64"))
    np.testing.assert_array_equal(mg.evaluate(y, {"x": data}), data.reshape(2, 12))


@pytest.mark.parametrize("layer", [mg.nn.MaxPool2d, mg.nn.AvgPool2d])
def test_pooling_layers_are_the_functions(layer):
    function = {mg.nn.MaxPool2d: mg.max_pool2d, mg.nn.AvgPool2d: mg.avg_pool2d}[layer]
    ours = mg.Graph([], layer(3, stride=2, padding=1)(IMAGE))
    assert ours.structural_hash() == (
        mg.Graph([], function(IMAGE, 3, stride=2, padding=1)).structural_hash()
    )


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": (2, 0)}, {"dilation": 2}, {"groups": 2}, {"padding": "same"}],
    ids=str,
)
def test_convolution_layer_is_the_function(options):
    y = mg.nn.Conv2d(2, (3, 2), **options)(IMAGE)
    leaves = {leaf.name: leaf for leaf in mg.Graph([], y).parameters}
    function = mg.conv2d(IMAGE, leaves["weight"], leaves["bias"], **options)
    hashes = [mg.Graph([], node).structural_hash() for node in (y, function)]
    assert hashes[0] == hashes[1]


def test_weight_regulariser_and_constraint_reach_the_weight():
    layer = mg.nn.Linear(3, weight_regularizer=mg.nn.regularizers.l2(0.5), weight_constraint=mg.abs)
    y = layer(ROWS)
    graph = mg.Graph([], {"loss": mg.mean(y), "plain": mg.mean(y)})
    weight = next(p for p in graph.parameters if p.name == "weight")
    assert weight.attrs["constraint"] is mg.abs
    w = mg.compile(graph).init_state()["weight"]
    loss, plain = mg.evaluate(graph, {"x": X})
    assert loss - plain == pytest.approx(0.5 * (w**2).sum(), rel=1e-5)


def test_dropout_layers_have_a_counter_each_and_may_share_a_generator():
    own = mg.nn.Sequential(mg.nn.Dropout(0.5), mg.nn.Dropout(0.5))
    states = {s.name for s in mg.Graph([], own(ROWS)).states}
    assert states == {"dropout1/rng/counter", "dropout2/rng/counter"}
    one = mg.Generator(7, name="noise")
    shared = mg.nn.Sequential(*[mg.nn.Dropout(0.5, generator=one) for _ in range(2)])
    graph = mg.Graph([], shared(ROWS))
    assert [s.name for s in graph.states] == ["noise/counter"]
    step = mg.compile(graph)
    _, state = step(step.init_state(), x=X)
    assert state["noise/counter"] == 2


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (mg.nn.Linear(64), mg.input("x", ("N", "D")), r"Linear: needs a known size along axis -1"),
        (mg.nn.Linear(64), mg.input("x"), r"Linear: needs a known size .* f32\[\]"),
        (mg.nn.Conv2d(4, groups=3), IMAGE, r"Conv2d: groups=3 does not divide 4 channels"),
        (mg.nn.Conv2d(3, groups=2), IMAGE, r"Conv2d: groups=2 does not divide .* 3 features"),
        (mg.nn.Conv2d(4, groups=0), IMAGE, r"Conv2d: groups=0 does not divide"),
        (mg.nn.BatchNorm(4), mg.input("x", 4), r"BatchNorm: nothing to average over in f32\[4\]"),
        (mg.nn.BatchNorm(4, channel_axis=3), ROWS, r"BatchNorm: needs 4 along axis 3"),
        (mg.nn.LayerNorm(5), ROWS, r"LayerNorm: needs 5 along axis -1, was given f32\[N,4\]"),
        (mg.nn.RMSNorm(5), ROWS, r"RMSNorm: needs 5 along axis -1, was given f32\[N,4\]"),
        (mg.nn.Dropout(1.5), ROWS, r"dropout: rate 1.5 is not in"),
        (
            mg.nn.Flatten(),
            mg.input("x", ("N", "H", 3)),
            r"Flatten: needs a known size along axis 1",
        ),
        (mg.nn.Flatten(), mg.input("x"), r"Flatten: needs a batch axis, was given f32\[\]"),
    ],
)
def test_error_names_layer_scope_and_line(layer, x, message):
    with (
        mg.scope("stage1"),
        pytest.raises(mg.GraphError, match=rf"{message}.*\(in stage1, test_layers\.py:\d+\)"),
    ):
        layer(x)


def test_a_layer_made_for_one_width_refuses_another():
    layer = mg.nn.Linear(64, name="fc")
    layer(mg.input("x", ("N", 64)))
    with pytest.raises(mg.ShapeError, match=r"Linear: needs 64 .* f32\[N,32\] \(in fc, test_lay"):
        layer(mg.input("z", ("N", 32)))


def test_sequential_refuses_what_cannot_be_called():
    with pytest.raises(mg.GraphError, match=r"Sequential: 3 is neither a layer nor a function"):
        mg.nn.Sequential(mg.relu, 3)
