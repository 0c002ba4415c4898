"""A data set: examples and their labels, and how it is split into two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...ir import GraphError

Array: TypeAlias = np.ndarray[Any, Any]


class DataError(GraphError, ValueError):
    """A data file is damaged, or a data set is not what was asked for."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples ``x``, one a row, as float32, and their labels ``t`` as int64.

    >>> data = Dataset([[0.0, 1.0], [2.0, 3.0]], [0, 1])
    >>> len(data), data.classes, data.take([1]).x
    (2, 2, array([[2., 3.]], dtype=float32))
    """

    x: Array
    t: Array

    def __post_init__(self) -> None:
        x, t = np.asarray(self.x, np.float32), np.asarray(self.t)
        if t.ndim != 1 or t.dtype.kind not in "iu":
            raise DataError(f"the labels are {t.dtype}{list(t.shape)}; they must be a row of ints")
        if x.ndim < 2 or len(x) != len(t):
            raise DataError(f"{list(x.shape)} examples do not fit {len(t)} labels")
        if len(t) and t.min() < 0:
            raise DataError(f"label {t.min()} is negative; classes count from 0")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "t", t.astype(np.int64))

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        return f"<Dataset of {len(self)} examples {list(self.x.shape[1:])}, {self.classes} classes>"

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.t.max()) + 1 if len(self) else 0

    def take(self, rows: Any) -> Dataset:
        """Some of the examples, in the order of ``rows`` (ints, a slice or a mask)."""
        return Dataset(self.x[rows], self.t[rows])

    def with_x(self, x: Array) -> Dataset:
        """Other examples under the same labels: standardised, reshaped to images."""
        return Dataset(x, self.t)

    def as_images(self) -> Dataset:
        """Flat square images as ``(examples, 1, side, side)``, the layout of a convolution."""
        side = square_side(self.x)
        return self.with_x(self.x.reshape(len(self), 1, side, side))


def split(data: Dataset, test: float = 1 / 3, seed: int = 0) -> tuple[Dataset, Dataset]:
    """A training and a test part with the same mixture of classes; each keeps the data's order.

    ``test`` is the share that is held out. Every class gives its share, rounded so that the
    total is right. The same seed gives the same parts.

    >>> train, test = split(Dataset([[float(i)] for i in range(9)], [0, 1, 2] * 3))
    >>> len(train), sorted(map(int, test.t))
    (6, [0, 1, 2])
    """
    if not 0 < test < 1:
        raise DataError(f"split: test is {test}, it must be a share between 0 and 1")
    rng = np.random.default_rng([seed, len(data)])
    members = [rng.permutation(np.flatnonzero(data.t == label)) for label in np.unique(data.t)]
    exact = np.array([len(rows) * test for rows in members])
    counts = np.floor(exact).astype(int)
    missing = round(len(data) * test) - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1  # largest remainders first
    held_out = np.zeros(len(data), bool)
    for rows, count in zip(members, counts, strict=True):
        held_out[rows[:count]] = True
    return data.take(~held_out), data.take(held_out)


def square_side(x: Array) -> int:
    """The side of flat square images; DataError when their size is no square."""
    size = math.prod(x.shape[1:])
    side = math.isqrt(size)
    if side * side != size:
        raise DataError(f"examples of {size} numbers are not square images")
    return side
