"""Every model file learns the shipped digits, to the figure that the README states."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("train")


def autoencoder(**options):
    spec = importlib.util.spec_from_file_location("ae", ROOT / "models" / "autoencoder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(**options)


def test_the_autoencoder_has_no_labels_and_reconstructs_pixels():
    graph = autoencoder(inputs=9, hidden=(7, 5), code=2)
    graph.verify()
    assert [n.name for n in graph.inputs] == ["x"]
    types = {name: node.shape for name, node in graph.outputs.items()}
    assert types == {"code": ("N", 2), "reconstruction": ("N", 9), "loss": ()}
    step = mg.compile(graph)
    x = np.random.default_rng(0).uniform(size=(4, 9)).astype(np.float32)
    outputs, _ = step(step.init_state(), x=x)
    assert outputs["loss"] == pytest.approx(((outputs["reconstruction"] - x) ** 2).mean(), rel=1e-5)
    assert {"encoder/bn2", "decoder/bn1", "decoder/pixels"} <= {
        "/".join(n.scope.path) for n in graph.nodes
    }


def test_the_code_of_one_example_is_that_in_a_batch():
    graph = autoencoder(inputs=9, hidden=(7,), code=2)
    infer = mg.compile(mg.to_inference(graph, ["code"]))
    state = mg.compile(graph).init_state()
    x = np.random.default_rng(0).uniform(size=(4, 9)).astype(np.float32)
    together = infer(state, x=x)[0]["code"]
    alone = np.concatenate([infer(state, x=x[i : i + 1])[0]["code"] for i in range(4)])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


def test_the_tool_trains_an_autoencoder_and_prints_its_loss(tool, capsys, tmp_path):
    rng = np.random.default_rng(0)
    x = np.clip(rng.normal(size=(90, 2)) @ rng.normal(size=(2, 16)) + 0.5, 0, 1)
    np.savez(tmp_path / "plane.npz", x=x, t=np.arange(90) % 3)
    tool.main([str(ROOT / "models" / "autoencoder.py"), "--data", str(tmp_path / "plane.npz")])
    out = capsys.readouterr().out
    assert "accuracy" not in out
    losses = [float(v) for v in re.findall(r"test loss ([\d.]+)  ", out)]
    assert losses[-1] < 0.5 * losses[0]
    assert re.search(r"test loss of the inference graph 0\.\d{5}", out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options", "target"),
    [
        ("resnet", ["--epochs", "15", "--lr", "0.01"], 98.0),
        ("rnn", ["--epochs", "15", "--lr", "0.01"], 97.0),
    ],
)
def test_a_classifier_reaches_its_accuracy(tool, capsys, model, options, target):
    tool.main([str(ROOT / "models" / f"{model}.py"), *options])
    (found,) = re.findall(r"inference graph ([\d.]+)%", capsys.readouterr().out)
    assert float(found) >= target


@pytest.mark.slow
def test_the_autoencoder_halves_the_error_of_principal_components(tool, capsys):
    tool.main([str(ROOT / "models" / "autoencoder.py"), "--epochs", "60", "--lr", "0.01"])
    (found,) = re.findall(r"test loss of the inference graph ([\d.]+)", capsys.readouterr().out)
    train, test = tool.prepared("digits", 1 / 3, 0, "range")
    mean = train.x.mean(axis=0)
    axes = np.linalg.svd(train.x - mean, full_matrices=False)[2][:16]  # as many as the code has
    centred = test.x - mean
    linear = ((centred - centred @ axes.T @ axes) ** 2).mean()
    assert float(found) < 0.55 * linear
