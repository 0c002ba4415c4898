"""What a value looks like on the page: its numbers when few, else statistics and two pictures.

The heat strip is the array as a matrix (its first axis down, the others across), averaged over
blocks until it fits; a cell is one character of `LEVELS`, so that a page of thousands of nodes
stays a file of a few megabytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..statistics import summarize

WHOLE = 64  # elements that are shown one by one
BARS, ROWS, COLUMNS = 24, 12, 48
LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-"
BROKEN = "!"  # a block that holds something not finite


def value_data(value: Any, *, rows: int = ROWS, columns: int = COLUMNS) -> dict[str, Any]:
    """A value as JSON.

    >>> value_data([[1.0, 2.0], [3.0, 6.0]])["lines"]
    ['3 ± 1.87', '1 … 6']
    """
    array = np.asarray(value)
    if array.dtype.kind == "c":
        array = array.real
    summary = summarize(array)
    data: dict[str, Any] = {
        "shape": list(array.shape),
        "lines": list(summary.lines),
        "stats": [_number(n) for n in (summary.mean, summary.std, summary.low, summary.high)],
        "bad": summary.bad,
        "norm": _number(_norm(array)),
    }
    if array.size <= WHOLE and array.ndim <= 2:
        data["whole"] = [[_text(n) for n in row] for row in np.atleast_2d(array)]
    if array.size > 1:
        data["bars"] = _bars(array)
        data["heat"] = _heat(array, rows, columns)
    return data


def _norm(array: Any) -> float:
    flat = array.astype(np.float64).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(flat @ flat))


def _number(number: float) -> float | None:
    """Six digits; JSON has no word for what is not finite."""
    return float(f"{number:.6g}") if math.isfinite(number) else None


def _text(number: Any) -> str:
    if isinstance(number, np.bool_):
        return "1" if number else "0"
    text = f"{number:.4g}" if isinstance(number, np.floating) else str(number)
    return text.replace("-", "−")


def _bars(array: Any) -> list[int]:
    """A histogram of the finite elements between the smallest and the largest; highest is 100."""
    flat = array.astype(np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    if not finite.size:
        return []
    low, high = finite.min() / 2, finite.max() / 2  # halves: the range may overflow
    if not high - low > abs(high) * 1e-12:
        return [100 if i == BARS // 2 else 0 for i in range(BARS)]
    places = np.minimum(((finite / 2 - low) / (high - low) * BARS).astype(int), BARS - 1)
    counts = np.bincount(places, minlength=BARS)
    return [math.ceil(100 * int(c) / int(counts.max())) for c in counts]


def _heat(array: Any, rows: int, columns: int) -> dict[str, Any]:
    """Block means as characters; symmetric about 0 when there are both signs."""
    flat = array.astype(np.float64)
    matrix = flat.reshape(1, -1) if array.ndim < 2 else flat.reshape(array.shape[0], -1)
    blocks = _averaged(_averaged(matrix, rows, 0), columns, 1)
    finite = blocks[np.isfinite(blocks)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    with np.errstate(invalid="ignore", over="ignore"):
        span = high / 2 - low / 2
        share = (blocks / 2 - low / 2) / span if span > 0 else np.where(blocks == blocks, 0.5, 0)
    cells = "".join(
        LEVELS[min(int(s * len(LEVELS)), len(LEVELS) - 1)] if np.isfinite(s) else BROKEN
        for s in share.ravel()
    )
    return {"columns": blocks.shape[1], "low": _number(low), "high": _number(high), "cells": cells}


def _averaged(matrix: Any, most: int, axis: int) -> Any:
    size = matrix.shape[axis]
    if size <= most:
        return matrix
    starts = np.arange(most) * size // most
    counts = np.diff([*starts, size])
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.add.reduceat(matrix, starts, axis=axis)
    return sums / (counts if axis else counts[:, None])
