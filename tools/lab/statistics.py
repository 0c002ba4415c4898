"""Numbers over seeds: means with Student's intervals, paired differences, exponents of laws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and half the width of its 95 % interval (nan for one seed)."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def holds(self, value: float) -> bool:
        """Whether the interval covers ``value``."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isnan(self.half):
            return f"{_rounded(self.mean, abs(self.mean) / 100)} (one seed)"
        return f"{_rounded(self.mean, self.half)} ± {_rounded(self.half, self.half)}"

    def percent(self) -> str:
        """The estimate of a share, as percent: ``93.1 ± 0.4 %``."""
        return f"{Estimate(100 * self.mean, 100 * self.half, self.n)} %"


def estimate(values: Iterable[float]) -> Estimate:
    """The mean of one value a seed, with Student's t interval at 95 %.

    >>> print(estimate([1.0, 2.0, 3.0]))
    2.0 ± 2.5
    """
    from scipy.stats import t

    sample = np.asarray(list(values), np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"estimate: needs one value a seed, not shape {sample.shape}")
    if len(sample) == 1:
        return Estimate(float(sample[0]), math.nan, 1)
    error = sample.std(ddof=1) / math.sqrt(len(sample))
    quantile = t.ppf((1 + LEVEL) / 2, len(sample) - 1)
    return Estimate(float(sample.mean()), float(quantile * error), len(sample))


def difference(ours: Iterable[float], theirs: Iterable[float]) -> Estimate:
    """The mean of ``ours - theirs``, seed by seed: pairs share the data order and the start."""
    pairs = zip(ours, theirs, strict=True)
    return estimate(a - b for a, b in pairs)


def power(x: Any, y: Any) -> float:
    """The exponent p of ``y = c * x**p``, by least squares on the logarithms.

    >>> round(power([1.0, 4.0, 16.0], [3.0, 1.5, 0.75]), 6)
    -0.5
    """
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.asarray(y, float)), 1)[0])


def verdict(*facts: bool) -> str:
    """What to say of a claim whose parts came out so."""
    if all(facts):
        return "holds"
    return "holds in part" if any(facts) else "does not hold"


def number(value: float) -> str:
    """Three significant digits, without a needless exponent.

    >>> number(1234.5), number(0.000123), number(2.0)
    ('1,230', '1.23e-04', '2')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        return f"{value:.2e}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def _rounded(value: float, scale: float) -> str:
    """``value`` to two digits of ``scale``."""
    if not math.isfinite(value):
        return f"{value:g}"
    if not scale or not math.isfinite(scale):
        return number(value)
    if scale < 1e-4 or abs(value) >= 1e6:
        return f"{value:.1e}"
    places = max(0, 1 - math.floor(math.log10(scale)))
    return f"{value:,.{places}f}"
