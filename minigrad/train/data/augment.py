"""Augmentation: the same example as it might have been written another time."""

from __future__ import annotations

import numpy as np

from .dataset import Array, square_side


def random_affine(
    rng: np.random.Generator, x: Array, *, shift: float = 0.5, turn: float = 0.15, zoom: float = 0.1
) -> Array:
    """Every image a little moved, turned and stretched about its middle, zeros coming in.

    ``x`` is ``(examples, 1, side, side)``, ``(examples, side, side)``, or flat square images.
    Up to ``shift`` pixels, ``turn`` radians and ``1 +- zoom`` along each axis, drawn uniformly for
    each image; values are interpolated linearly. Simard, Steinkraus and Platt 2003, "Best
    practices for convolutional neural networks applied to visual document analysis", section 2.

    >>> x = np.eye(4, dtype=np.float32)[None]
    >>> same = random_affine(np.random.default_rng(0), x, shift=0, turn=0, zoom=0)
    >>> bool((same == x).all())
    True
    """
    count, side = len(x), square_side(x)
    angle = rng.uniform(-turn, turn, (count, 1, 1))
    stretch = 1 + rng.uniform(-zoom, zoom, (2, count, 1, 1))
    offset = rng.uniform(-shift, shift, (2, count, 1, 1))
    middle = (side - 1) / 2
    row, column = np.arange(side)[:, None] - middle, np.arange(side)[None, :] - middle
    cos, sin = np.cos(angle), np.sin(angle)
    rows = stretch[0] * (cos * row - sin * column) + middle + offset[0]
    columns = stretch[1] * (sin * row + cos * column) + middle + offset[1]
    return _sample(x.reshape(count, side, side), rows, columns).astype(x.dtype).reshape(x.shape)


def _sample(images: Array, rows: Array, columns: Array) -> Array:
    """Bilinear interpolation of each image at its own points; zero outside."""
    padded = np.pad(images, [(0, 0), (1, 2), (1, 2)])
    last = images.shape[-1] + 1
    y, x = np.clip(rows + 1, 0, last), np.clip(columns + 1, 0, last)
    i, j = y.astype(int), x.astype(int)
    down, right = y - i, x - j
    n = np.arange(len(images))[:, None, None]
    upper = (1 - right) * padded[n, i, j] + right * padded[n, i, j + 1]
    lower = (1 - right) * padded[n, i + 1, j] + right * padded[n, i + 1, j + 1]
    sampled: Array = (1 - down) * upper + down * lower
    return sampled
