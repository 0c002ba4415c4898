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
    def rms(self) -> float:
        """The root of the mean square: the size of a gradient, whatever its sign."""
        return float(np.hypot(self.mean, self.std))

    @property
    def lines(self) -> tuple[str, ...]:
        """The numbers as text, and how many are not finite."""
        broken = (f"{self.bad} of {self.size} not finite",) if self.bad else ()
        if self.bad == self.size:
            return broken or ("empty",)
        if self.size == 1:
            return (_short(self.mean, 4),)
        mean = "≈ 0" if 0 < abs(self.mean) < 1e-6 * self.std else _short(self.mean)
        spread = f"{mean} ± {_short(self.std)}"
        return (spread, f"{_short(self.low)} … {_short(self.high)}", *broken)


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
    with np.errstate(over="ignore", invalid="ignore"):  # sums of huge values
        mean, std = float(finite.mean()), float(finite.std())
    return Summary(flat.size, mean, std, low, high, bad, _bars(finite))


def _short(number: float, digits: int = 3) -> str:
    return f"{number:.{digits}g}".replace("-", "−")


def _bars(finite: Any) -> tuple[float, ...]:
    if finite.size < 2:
        return ()
    low, high = float(finite.min()), float(finite.max())
    if not high / 2 - low / 2 > abs(high) * 1e-12:  # one value: one bar
        return (0.0,) * (BINS // 2) + (1.0,) + (0.0,) * (BINS - BINS // 2 - 1)
    share = (finite / 2 - low / 2) / (high / 2 - low / 2)  # halves: the range may overflow
    places = np.clip((share * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    return tuple(float(c) for c in counts / counts.max())
