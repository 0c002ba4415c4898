"""The training tool and the main job, as a user calls them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).parents[2]
MLP, CNN = str(ROOT / "models" / "mlp.py"), str(ROOT / "models" / "cnn.py")


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("train")


@pytest.fixture
def small_data(tmp_path) -> str:
    """A few 8x8 images whose brightest quarter tells the class."""
    rng = np.random.default_rng(0)
    t = np.arange(90) % 3
    x = rng.uniform(size=(90, 4, 16))
    x[np.arange(90), t] += 1
    np.savez(tmp_path / "small.npz", x=x.reshape(90, 8, 8), t=t)
    return str(tmp_path / "small.npz")


def test_help_teaches(tool, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for word in ("python tools/train.py models/mlp.py", "--resume", "--set", "inference graph"):
        assert word in out


def test_trains_on_digits_and_measures_both_graphs(tool, capsys):
    tool.main([MLP, "--epochs", "3"])
    out = capsys.readouterr().out
    assert "1198 examples, 599 held out" in out
    assert "epoch   3" in out
    training, inference = map(float, re.findall(r"of the \w+ graph +([\d.]+)%", out))
    assert training > 90
    assert inference > 90


def test_data_in_order_of_class_does_not_mislead_the_training_graph(tool, capsys, tmp_path):
    rng, t = np.random.default_rng(0), np.repeat([0, 1], 400)
    x = rng.normal(size=(800, 64)) + 2 * t[:, None]
    np.savez(tmp_path / "sorted.npz", x=x, t=t)
    tool.main([MLP, "--data", str(tmp_path / "sorted.npz"), "--epochs", "3", "--test", "0.75"])
    assert "training graph  100.00%" in capsys.readouterr().out


@pytest.mark.parametrize("optimiser", mg.optim.OPTIMISERS)
def test_every_optimiser_learns(tool, capsys, small_data, optimiser):
    tool.main([MLP, "--data", small_data, "--optimiser", optimiser, "--lr", "0.02"])
    assert "inference graph 100.00%" in capsys.readouterr().out


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
@pytest.mark.parametrize("scale", ["range", "standard", "none"])
def test_every_schedule_and_scale_learns(tool, capsys, small_data, schedule, scale):
    tool.main([MLP, "--data", small_data, "--schedule", schedule, "--scale", scale])
    assert "inference graph 100.00%" in capsys.readouterr().out


def test_a_cnn_takes_images_and_options(tool, capsys, small_data):
    options = ["--set", "channels=(4, 8)", "--augment", "--epochs", "30", "--opt", "clip_norm=1.0"]
    tool.main([CNN, "--data", small_data, *options])
    assert re.search(r"inference graph (9[5-9]|100)\.", capsys.readouterr().out)


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_same_state(tool, capsys, small_data, tmp_path):
    def run(path: Path, *more: str) -> dict[str, np.ndarray]:
        tool.main([MLP, "--data", small_data, "--checkpoint", str(path), *more])
        return mg.load(path)

    two = ["--schedule-epochs", "4", "--set", "dropout=0.2"]
    whole = run(tmp_path / "out" / "whole", "--epochs", "4", *two)
    run(tmp_path / "half", "--epochs", "2", "--every", "1", *two)
    resumed = run(tmp_path / "half", "--epochs", "4", "--resume", *two)
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        assert array.tobytes() == resumed[name].tobytes(), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.py"], "there is no model file nothing.py"),
        ([MLP, "--data", "nothing"], "nothing: no such data"),
        ([MLP, "--set", "width=3"], "build takes no option 'width'"),
        ([MLP, "--set", "inputs=9", "--data", "digits"], r"takes f32\[N,9\], an example is \[64\]"),
        ([MLP, "--resume"], "give --checkpoint too"),
        ([MLP, "--resume", "--checkpoint", "{tmp}/none"], "no such checkpoint"),
        ([MLP, "--lr", "-1", "--schedule", "constant"], "lr is -1.0, it must be positive"),
        ([MLP, "--opt", "beta3=1"], "beta3"),
    ],
)
def test_a_mistake_ends_in_one_line(tool, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message) as stop:
        tool.main([a.replace("{tmp}", str(tmp_path)) for a in arguments])
    assert "\n" not in str(stop.value)
