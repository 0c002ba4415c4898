"""The main job, shortened: what it prints and leaves behind, and that it can fail."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("main_job")


def shortened(job, monkeypatch, **changes):
    recipes = tuple(replace(r, **{"epochs": 1, "target": 0.5, **changes}) for r in job.RECIPES)
    monkeypatch.setattr(job, "RECIPES", recipes)


def test_trains_classifies_checks_and_draws_both_models(job, monkeypatch, tmp_path, capsys):
    shortened(job, monkeypatch)
    job.main(["--out", str(tmp_path / "out")])
    out = capsys.readouterr().out
    for text in ("1198 to train on, 599 held out", "one at a time", "gradcheck", "inference graph"):
        assert text in out
    assert str(tmp_path / "out") in out
    for model in ("mlp", "cnn"):
        for kind in ("bn1_gradients", "bn1_values", "inference"):
            picture = tmp_path / "out" / f"{model}_{kind}.svg"
            assert "<svg" in picture.read_text()


def test_a_missed_target_is_a_failure(job, monkeypatch, tmp_path):
    shortened(job, monkeypatch, target=1.01)
    monkeypatch.setattr(job, "RECIPES", job.RECIPES[:1])
    with pytest.raises(SystemExit, match=r"mlp: .* is less than 101%"):
        job.main(["--out", str(tmp_path)])


@pytest.mark.slow
def test_reaches_its_targets(job, tmp_path):
    job.main(["--out", str(tmp_path), "--seed", "1"])
