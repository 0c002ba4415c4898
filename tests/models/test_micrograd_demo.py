"""micrograd's demo: it learns, and both ways of writing it are the same function."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.scalars import scalar_feed

FILE = Path(__file__).parents[2] / "models" / "micrograd_demo.py"
spec = importlib.util.spec_from_file_location("micrograd_demo", FILE)
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)


def test_learns_the_two_moons_completely():
    history = demo.train()
    assert history[0][1] < 0.9
    assert history[-1][1] == 1.0


def test_has_micrograds_337_parameters():
    assert sum(np.prod(p.shape) for p in demo.build().parameters) == 337
    assert len(demo.build_scalars(1).parameters) == 337


def test_scalars_and_tensors_have_equal_gradients():
    scalars, _ = demo.gradients(4, scalars=True)
    tensors, _ = demo.gradients(4, scalars=False)
    assert scalars.keys() == tensors.keys()
    np.testing.assert_allclose(
        [float(scalars[k]) for k in tensors], list(tensors.values()), rtol=1e-12, atol=1e-15
    )
    assert sum(abs(v) > 1e-3 for v in tensors.values()) > 100  # there is something to compare


def test_written_by_hand_it_is_what_scalarize_makes():
    x, t = demo.two_moons()
    feed = scalar_feed({"x": x[:2], "t": t[:2]})
    by_hand = demo.build_scalars(2, dtype="float64")
    unrolled = mg.scalarize(demo.build(2, dtype="float64"))
    assert {p.name for p in by_hand.parameters} == {p.name for p in unrolled.parameters}
    losses = [mg.evaluate(g.outputs["loss"], feed) for g in (by_hand, unrolled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-14)


def test_the_moons_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    x, t = datasets.make_moons(100, shuffle=False)
    ours, labels = demo.two_moons(noise=0.0)
    np.testing.assert_allclose(ours, x, atol=1e-7)
    np.testing.assert_array_equal(labels, t)


def test_runs_as_a_script(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["micrograd_demo.py", "--steps", "20", "--compare", "2"])
    demo.main()
    out = capsys.readouterr().out
    assert "20 steps on 100 points" in out
    assert "largest difference of 337 gradients" in out
