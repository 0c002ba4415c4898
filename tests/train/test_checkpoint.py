"""Checkpoints: whole or not at all, and only of the graph they are loaded into."""

from __future__ import annotations

import os

import numpy as np
import pytest

import minigrad as mg
from minigrad.ir import CheckpointError
from minigrad.train import checkpoint, optim


def graph(width: int = 2) -> mg.Graph:
    w, m = mg.parameter("w", np.ones(width)), mg.state("m", 0.5)
    return optim.adam(mg.Graph([], {"loss": mg.sum(w * w) + m}))


def state_of(g: mg.Graph) -> dict[str, np.ndarray]:
    return mg.compile(g, "interpreter").init_state()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.safetensors"
    mg.save(path, state_of(graph()), {"note": "kept"})
    return path


ARRAYS = {
    "f16": np.array([1.5, np.nan, -0.0], np.float16),
    "f32": np.array(np.float32(0.1)),
    "f64": np.arange(6.0).reshape(2, 3).T,  # not contiguous
    "i64": np.array(2**62),
    "i32": np.array([[1]], np.int32),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3)),
}


def test_every_dtype_and_layout_comes_back_bit_for_bit(tmp_path):
    mg.save(tmp_path / "a", ARRAYS)
    found = mg.load(tmp_path / "a")
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


def test_the_file_is_ordinary_safetensors(saved):
    from safetensors.numpy import load_file

    assert sorted(load_file(saved)) == ["adam/m/w", "adam/step", "adam/v/w", "m", "w"]


def test_metadata_comes_back(saved):
    assert checkpoint.read(saved)[1] == {"note": "kept"}


def test_a_graph_takes_its_own_state(saved):
    assert set(mg.load(saved, graph())) == set(state_of(graph()))


def test_an_inference_graph_takes_a_training_checkpoint_when_more_is_allowed(saved):
    infer = mg.to_inference(graph())
    with pytest.raises(CheckpointError, match="too much: adam/m/w"):
        mg.load(saved, infer)
    assert set(mg.load(saved, infer, extra=True)) == {"w", "m"}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match=r"run\.safetensors: cannot be written: No space"):
        mg.save(saved, {"w": np.zeros(9)})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_file_is_complete_before_it_has_its_name(saved, monkeypatch):
    """At the moment of the rename the new file is whole, and the old one still in place."""
    before, seen = saved.read_bytes(), []
    rename = os.replace

    def watched(source, target):
        seen.append((mg.load(source)["w"].sum(), saved.read_bytes() == before))
        rename(source, target)

    monkeypatch.setattr(os, "replace", watched)
    mg.save(saved, {"w": np.full(3, 2.0)})
    assert seen == [(6.0, True)]


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a sound safetensors file"):
        mg.load(saved)


def test_one_flipped_bit_is_noticed(saved):
    raw = bytearray(saved.read_bytes())
    raw[-1] ^= 1
    saved.write_bytes(raw)
    with pytest.raises(CheckpointError, match="damaged"):
        mg.load(saved)


def test_a_file_of_another_program_has_no_digest_and_is_taken(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "a")
    np.testing.assert_array_equal(mg.load(tmp_path / "a")["w"], [1, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("w"), r"missing: w f64\[2\]$"),
        (lambda s: s.update(u=np.ones(3)), r"too much: u f64\[3\]$"),
        (lambda s: s.update(w=np.ones(5)), r"w is f64\[5\], the graph has f64\[2\]$"),
        (lambda s: s.update(w=np.ones(2, np.float32)), r"w is f32\[2\], the graph has f64\[2\]$"),
        (
            lambda s: (s.pop("m"), s.update(z=np.ones(1))),
            r"missing: m f32\[\]; too much: z f64\[1\]$",
        ),
    ],
)
def test_a_checkpoint_of_another_graph_is_explained(tmp_path, change, message):
    state = state_of(graph())
    change(state)
    mg.save(tmp_path / "a", state)
    with pytest.raises(CheckpointError, match=f"belongs to another graph; .*{message}"):
        mg.load(tmp_path / "a", graph())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p: mg.load(p / "none"), "no such checkpoint"),
        (lambda p: mg.load(p), "not a sound safetensors file"),
        (lambda p: mg.save(p / "no" / "folder", {}), "cannot be written: No such file"),
        (lambda p: mg.save(p, {}), "cannot be written: Is a directory"),
        (lambda p: mg.save(p / "a", {"w": "text"}), "'w' is <U4, not an array of numbers"),
    ],
)
def test_a_path_that_does_not_work_is_explained(tmp_path, act, message):
    with pytest.raises(CheckpointError, match=message):
        act(tmp_path)
    assert os.listdir(tmp_path) == []
