"""Numbers of a value for its box: mean, std, min, max, what is not finite, a small histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 12


@dataclass(frozen=True, slots=True)
class Summary:
    """What a value holds. ``bars`` are the heights of the histogram, from 0 to 1."""

    size: int
    mean: float
    std: float
    low: float
    high: float
    bad: int
    bars: tuple[float, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The numbers as text: one line for one number, else two, and one for what is not finite."""
        broken = (f"{self.bad} of {self.size} not finite",) if self.bad else ()
        if self.bad == self.size:
            return broken or ("empty",)
        if self.size == 1:
            return (f"{self.mean:.4g}",)
        spread = f"{self.mean:.3g} ± {self.std:.3g}"
        return (spread, f"{self.low:.3g} … {self.high:.3g}", *broken)


def summarize(value: Any) -> Summary:
    """The summary of an array, in float64; statistics are those of its finite elements.

    >>> summarize([1.0, 2.0, 3.0, float("nan")]).lines
    ('2 ± 0.816', '1 … 3', '1 of 4 not finite')
    """
    array = np.asarray(value)
    flat = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64).real.ravel()
    finite = flat[np.isfinite(flat)]
    bad = flat.size - finite.size
    if not finite.size:
        return Summary(flat.size, np.nan, np.nan, np.nan, np.nan, bad, ())
    low, high = float(finite.min()), float(finite.max())
    return Summary(
        flat.size, float(finite.mean()), float(finite.std()), low, high, bad, _bars(finite)
    )


def _bars(finite: Any) -> tuple[float, ...]:
    if finite.size < 2:
        return ()
    low, high = float(finite.min()), float(finite.max())
    if not high - low > abs(high) * 1e-12:  # one value: one bar
        return (0.0,) * (BINS // 2) + (1.0,) + (0.0,) * (BINS - BINS // 2 - 1)
    places = np.clip(((finite - low) * (BINS / (high - low))).astype(int), 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    return tuple(float(c) for c in counts / counts.max())
