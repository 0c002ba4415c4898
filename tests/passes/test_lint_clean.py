"""No false positive: every layer, every model, every optimiser, in training and at inference."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

MODELS = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.py"))


def found(graph):
    return [(f.rule, str(f.node), f.message) for f in mg.lint(graph, fixes=False)]


def classifier(stage, shape, batch="N"):
    x, t = mg.input("x", (batch, *shape)), mg.input("t", batch, "int64")
    h = stage(x)
    logits = nn.Linear(3, name="out")(nn.Flatten()(h) if h.ndim > 2 else h)
    return mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})


FLAT, IMAGE = (4,), (4, 3, 2)
LAYERS = {
    "linear": (nn.Linear(4), FLAT),
    "unit norm": (nn.Linear(4, weight_constraint=nn.constraints.unit_norm()), FLAT),
    "conv": (nn.Conv2d(4, 2), IMAGE),
    "bn": (nn.BatchNorm(4), FLAT),
    "bn image": (nn.BatchNorm(4, channel_axis=1), IMAGE),
    "bn frozen": (nn.BatchNorm(4, statistics="running", update=False, trainable=False), FLAT),
    "bn running": (nn.BatchNorm(4, statistics="running"), FLAT),
    "bn cumulative": (nn.BatchNorm(4, decay="cumulative"), FLAT),
    "bn plain": (nn.BatchNorm(4, center=False, scale=False), FLAT),
    "bn penalty": (nn.BatchNorm(4, gamma_regularizer=nn.regularizers.l2(0.01)), FLAT),
    "bn constraint": (nn.BatchNorm(4, gamma_constraint=nn.constraints.non_negative), FLAT),
    "ln": (nn.LayerNorm(4), FLAT),
    "in": (nn.InstanceNorm(4), IMAGE),
    "gn": (nn.GroupNorm(4, groups=2), IMAGE),
    "rms": (nn.RMSNorm(4), FLAT),
    "dropout": (nn.Dropout(0.3), FLAT),
    "max pool": (nn.MaxPool2d(2), (4, 4, 4)),
    "avg pool": (nn.AvgPool2d(2), (4, 4, 4)),
    "renorm": (nn.BatchRenorm(4), FLAT),
    "renorm at once": (nn.BatchRenorm(4, plain_steps=0, r_steps=0, d_steps=0), FLAT),
    "bias, relu, norm": (
        nn.Sequential(nn.Linear(4), mg.relu, nn.BatchNorm(4), nn.Linear(4), nn.LayerNorm(4)), FLAT
    ),
    "conv, gn": (nn.Sequential(nn.Conv2d(4, 2), nn.GroupNorm(4, groups=2)), IMAGE),
}  # fmt: skip
PRESETS = sorted(nn.CONVENTIONS)


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_is_found_fault_with(name):
    layer, shape = LAYERS[name]
    graph = classifier(layer, shape)
    assert found(graph) == []
    assert found(mg.to_inference(graph)) == []


@pytest.mark.parametrize("convention", PRESETS)
def test_no_preset_is_found_fault_with(convention):
    assert found(classifier(nn.BatchNorm(4, convention=convention), FLAT)) == []


def test_ghosts_and_weights_are_not_found_fault_with():
    ghost = nn.GhostBatchNorm(4, ghost=4, unbiased=True)
    assert found(classifier(ghost, FLAT, batch=8)) == []
    x, w = mg.input("x", ("N", 4)), mg.input("w", ("N", 1), "bool")
    for convention in ("keras", "pytorch"):
        y = nn.BatchNorm(4, name="bn", convention=convention)(x, w)
        assert found(mg.Graph([x, w], {"y": y, "loss": mg.mean(mg.where(w, y**3, 0))})) == []


@pytest.mark.parametrize("function", [
    mg.softmax, mg.log_softmax, mg.gelu, mg.sigmoid, mg.softplus, mg.silu, mg.square,
    lambda x: mg.var(x, 0), lambda x: mg.weighted_var(x, np.ones((5, 1)), 0),
    lambda x: mg.weighted_var(x, np.ones((5, 1)), 0, correction="frequency"),
    lambda x: mg.weighted_var(x, np.ones((5, 1)), 0, correction="reliability"),
])  # fmt: skip
def test_no_composite_is_found_fault_with(function):
    x = mg.input("x", (5, 3))
    y = function(x)
    assert found(mg.Graph([x], {"y": y, "loss": mg.sum(y**3)})) == []


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_no_optimiser_is_found_fault_with(optimiser, clip):
    stages = nn.Sequential(nn.Linear(5, bias=False), nn.BatchNorm(5), mg.relu, nn.LayerNorm(5))
    graph = classifier(stages, FLAT)
    move = getattr(mg.optim, optimiser)
    trained = move(graph, lr=0.1, weight_decay=0.01, clip_norm=clip)
    assert found(trained) == []


def model(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_no_model_is_found_fault_with(path):
    built = getattr(model(path), "build", None)
    if built is None:
        pytest.skip("no model file")
    graph = built()
    assert found(graph) == []
    assert found(mg.optim.adamw(graph, weight_decay=0.1, clip_norm=1.0)) == []
    assert found(mg.to_inference(graph)) == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"norm": "after"}, {"norm": "none"}, {"dropout": 0.3}])
def test_no_option_of_the_mlp_is_found_fault_with(options):
    (path,) = [p for p in MODELS if p.stem == "mlp"]
    assert found(model(path).build(**options)) == []


@pytest.mark.slow
def test_a_deep_graph_is_linted():
    x = mg.input("x", 3)
    y = x
    for _ in range(5_000):
        y = y * 0.999 + 1.0 / 3.0
    assert found(mg.Graph([x], {"y": y})) == []
