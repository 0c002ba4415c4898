"""Data: sources, files, split, standardisation and the order of mini-batches."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pytest

from minigrad.train import data
from minigrad.train.data import DataError, Dataset, Order, Standardizer


def small(size: int = 10) -> Dataset:
    return Dataset(np.arange(size)[:, None], np.arange(size) % 3)


# --- sources -----------------------------------------------------------------------------------


def test_digits_are_the_1797_of_scikit_learn():
    digits = data.digits()
    assert digits.x.shape == (1797, 64)
    assert digits.x.dtype == np.float32
    assert (digits.x.min(), digits.x.max(), digits.classes) == (0, 16, 10)


@pytest.mark.slow
def test_mnist_has_500_of_each_digit():
    mnist = data.mnist()
    assert mnist.x.shape == (5000, 784)
    np.testing.assert_array_equal(np.bincount(mnist.t), [500] * 10)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn: pip install 'minigrad\[data\]'"):
        data.digits()


def test_importing_minigrad_loads_no_optional_package():
    import subprocess

    code = (
        "import sys, minigrad; print([m for m in ('sklearn', 'mlxtend', 'torch', 'rich') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_round_trip(tmp_path, dtype, ending):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data.write_idx(tmp_path / f"a-ubyte{ending}", array)
    found = data.read_idx(tmp_path / f"a-ubyte{ending}")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_idx_bytes_are_as_the_format_says(tmp_path):
    data.write_idx(tmp_path / "a", np.array([[1, 258]], np.int16))
    assert (tmp_path / "a").read_bytes() == bytes.fromhex("00000b02 00000001 00000002 0001 0102")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not an IDX file; it starts with nothing"),
        (b"PK\x03\x04", "not an IDX file; it starts with 50 4b 03 04"),
        (b"\0\0\x07\x01\0\0\0\0", "not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\x01", "cut short inside its header of 16 bytes"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"promises \[5\] of uint8, 13 bytes; there are 11"),
        (b"\0\0\x08\x01\0\0\0\x01abc", r"promises \[1\] of uint8, 9 bytes; there are 11"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abcde")[:-9], "cannot be read"),
    ],
)
def test_a_damaged_idx_file_is_explained(tmp_path, raw, message):
    (tmp_path / "images").write_bytes(raw)
    with pytest.raises(DataError, match=message):
        data.read_idx(tmp_path / "images")


def test_a_directory_of_idx_files_has_two_parts(tmp_path):
    for part, size in (("train", 4), ("t10k", 2)):
        data.write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", np.ones((size, 3, 3), np.uint8))
        data.write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(size, dtype=np.uint8))
    train, test = data.load_parts(tmp_path)
    assert (train.x.shape, test.x.shape, list(train.t)) == ((4, 9), (2, 9), [0, 1, 2, 3])


@pytest.mark.parametrize("names", [("x", "t"), ("x", "y"), ("X", "y"), ("x_train", "y_train")])
def test_npz_under_the_usual_names(tmp_path, names):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (np.ones((2, 3, 3)), [0, 1]), strict=True)))
    found = data.load(tmp_path / "a.npz")
    assert (found.x.shape, list(found.t)) == ((2, 9), [0, 1])


def test_npz_with_its_own_test_part(tmp_path):
    parts = {"x_train": np.ones((3, 4)), "y_train": [0, 1, 1], "x_test": np.ones((1, 4))}
    np.savez(tmp_path / "a.npz", **parts, y_test=[1])
    train, test = data.load_parts(tmp_path / "a.npz")
    assert (len(train), len(test)) == (3, 1)


def test_a_damaged_npz_file_is_explained(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((50, 3)), t=np.zeros(50, int))
    raw = (tmp_path / "a.npz").read_bytes()
    for name, content in {"cut": raw[: len(raw) // 2], "text": b"hello", "empty": b""}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(DataError, match="not a sound npz file"):
            data.read_npz(tmp_path / f"{name}.npz")
    np.save(tmp_path / "array.npz.npy", np.ones(3))
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    with pytest.raises(DataError, match="not a sound npz file"):
        data.read_npz(tmp_path / "array.npz")
    flipped = bytearray(raw)
    flipped[200] ^= 1
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(DataError, match="not a sound npz file"):
        data.read_npz(tmp_path / "flipped.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": [1]}, "no 'x' with 't' or 'x' with 'y' .*; it holds a"),
        ({"x": np.ones((3, 2)), "t": [0, 1]}, r"\[3, 2\] examples do not fit 2 labels"),
        ({"x": np.ones((2, 2)), "t": [0.5, 1.0]}, r"labels are float64\[2\]"),
        ({"x": np.ones((2, 2)), "t": [-1, 1]}, "label -1 is negative"),
    ],
)
def test_an_npz_of_something_else_is_explained(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        data.load(tmp_path / "a.npz")


@pytest.mark.parametrize("source", ["nothing", "missing.npz"])
def test_an_unknown_source_is_explained(source):
    with pytest.raises(DataError, match="no such"):
        data.load(source)


# --- split -------------------------------------------------------------------------------------


def test_a_third_is_held_out_with_every_class_in_proportion():
    digits = data.digits()
    train, test = data.split(digits, 1 / 3, seed=5)
    assert (len(train), len(test)) == (1198, 599)
    counts = np.bincount(digits.t)
    assert np.abs(np.bincount(test.t) - counts / 3).max() < 1


def test_the_two_parts_share_nothing_and_lose_nothing():
    train, test = data.split(small(30), 0.4, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate([train.x, test.x]).ravel()), range(30))


def test_a_seed_decides_the_split():
    first, second = (data.split(small(30), seed=s)[1].x for s in (0, 1))
    np.testing.assert_array_equal(first, data.split(small(30), seed=0)[1].x)
    assert not np.array_equal(first, second)


def test_a_share_outside_zero_to_one_is_an_error():
    with pytest.raises(DataError, match=r"test is 1\.5"):
        data.split(small(), 1.5)


# --- standardisation ---------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_standardizer_is_scikit_learns(offset):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)) * [1, 5, 0.1, 0, 0, 2] + offset + [0, 1, 2, 0.1, 1 / 3, 0]
    peer, ours = preprocessing.StandardScaler().fit(x), Standardizer.fit(x)
    np.testing.assert_allclose(ours.mean, peer.mean_, rtol=1e-12)
    np.testing.assert_allclose(ours.scale, peer.scale_, rtol=1e-9)
    fresh = rng.normal(size=(7, 6)) + offset
    np.testing.assert_allclose(ours(fresh), peer.transform(fresh), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.inverse(ours(fresh)), fresh)


def test_a_constant_feature_keeps_its_scale():
    scaler = Standardizer.fit(data.digits().x)
    assert scaler.scale[0] == 1.0  # this pixel is never inked
    assert scaler(data.digits().x).dtype == np.float32


# --- batches -----------------------------------------------------------------------------------


def served(found: Dataset, size: int, order: Order | None = None) -> list[list[float]]:
    return [list(batch.x.ravel()) for batch, _ in data.batches(found, size, order)]


def test_each_example_comes_once_and_the_short_batch_is_kept():
    got = served(small(), 4)
    assert [len(batch) for batch in got] == [4, 4, 2]
    assert sorted(x for batch in got for x in batch) == list(range(10))


def test_labels_stay_with_their_examples():
    for batch, _ in data.batches(small(), 3):
        np.testing.assert_array_equal(batch.t, batch.x.ravel() % 3)


def test_epochs_and_seeds_differ_and_repeat():
    first = served(small(), 4, Order(0, 0))
    assert first == served(small(), 4, Order(0, 0))
    assert first != served(small(), 4, Order(0, 1))
    assert first != served(small(), 4, Order(1, 0))


@pytest.mark.parametrize("stop", [1, 2])
def test_an_order_goes_on_where_it_stopped(stop):
    whole = served(small(), 4)
    after = [order for _, order in data.batches(small(), 4)]
    assert served(small(), 4, after[stop - 1]) == whole[stop:]
    assert after[-1] == Order(0, 1, 0)


@pytest.mark.parametrize(
    ("size", "order", "message"),
    [(0, Order(), "batch size is 0"), (4, Order(position=10), "it began with other data")],
)
def test_an_impossible_batch_is_explained(size, order, message):
    with pytest.raises(DataError, match=message):
        next(data.batches(small(), size, order))


@pytest.mark.parametrize("shape", [(6, 25), (6, 5, 5), (6, 1, 5, 5)])
def test_random_affine_is_scipys_interpolation_at_the_same_points(shape):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = np.random.default_rng(0).normal(size=(6, 5, 5))
    rng = np.random.default_rng(3)
    angle = rng.uniform(-0.4, 0.4, 6)
    stretch, offset = 1 + rng.uniform(-0.2, 0.2, (2, 6)), rng.uniform(-1, 1, (2, 6))
    expected = []
    for k in range(6):
        cos, sin = np.cos(angle[k]), np.sin(angle[k])
        matrix = np.diag(stretch[:, k]) @ [[cos, -sin], [sin, cos]]
        start = 2 + offset[:, k] - matrix @ [2, 2]
        wide = ndimage.affine_transform(
            np.pad(x[k], 3), matrix, 3 + start - matrix @ [3, 3], output_shape=(11, 11), order=1
        )
        expected.append(wide[3:8, 3:8])
    moved = data.random_affine(
        np.random.default_rng(3), x.reshape(shape), shift=1, turn=0.4, zoom=0.2
    )
    assert moved.shape == shape
    np.testing.assert_allclose(moved.reshape(6, 5, 5), expected, atol=1e-12)


def test_images_of_no_square_size_are_an_error():
    with pytest.raises(DataError, match="not square"):
        Dataset(np.ones((2, 8)), [0, 1]).as_images()
