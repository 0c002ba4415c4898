"""The certificate of `find_norms`: does this formula compute that normaliser, and with which eps?

`statistic` compares what stands under a root with ``c * V(x) + e`` on every set of axes, where V is
the variance or the mean square. `affine` compares a node with ``a * xhat + b`` for an ``xhat``
computed from the definition by numpy alone, ``a`` and ``b`` independent of x. Formulas are analytic
(see `norms_flow`), so agreement at random points is agreement everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..ir import Node
from .norms_probe import TOLERANCE, Array, Sample, close


@dataclass(frozen=True)
class Statistic:
    """``c * (V_axes(x) + eps)`` stands under the root; V is the variance, or the mean square.

    ``correction`` is 1 when c is n / (n - 1): then V is the unbiased variance and c counts as 1.
    ``folded`` says that c is another number than 1, which gamma must make up for.
    """

    axes: tuple[int, ...]
    centred: bool
    eps: float
    correction: int
    folded: bool

    def mean(self, x: Array) -> Array:
        found: Array = x.mean(self.axes, keepdims=True)
        return found

    def biased(self, x: Array) -> Array:
        """V with n in the denominator."""
        c = x - self.mean(x) if self.centred else x
        found: Array = (c * c).mean(self.axes, keepdims=True)
        return found

    def variance(self, x: Array) -> Array:
        return self.biased(x) * self.bessel(x.shape)

    def bessel(self, shape: Sequence[int]) -> float:
        n = float(np.prod([shape[axis] for axis in self.axes]))
        return n / (n - 1) if self.correction else 1.0

    def normalised(self, x: Array, outside: float) -> Array:
        """xhat by its definition."""
        c = x - self.mean(x) if self.centred else x
        found: Array = c / (np.sqrt(self.variance(x) + self.eps) + outside)
        return found


def statistics(
    sample: Sample, under: Node, hints: Sequence[tuple[int, ...]]
) -> Iterator[Statistic]:
    """Every statistic of the sampled tensor that ``under`` is, the variance first.

    Axes of size 1 make several sets of axes equal; those that a reduction names come first.
    """
    rank = sample.tensor.ndim
    sets = [axes for k in range(1, rank + 1) for axes in combinations(range(rank), k)]
    for centred in (True, False):
        for axes in dict.fromkeys([*hints, *sets]):
            found = _statistic(sample, under, axes, centred)
            if found is not None:
                yield found
                break


def _statistic(
    sample: Sample, under: Node, axes: tuple[int, ...], centred: bool
) -> Statistic | None:
    """Fit ``under = c V + e``, or its inverse, in every trial; c may follow n, e / c may not."""
    plain = Statistic(axes, centred, 0.0, 0, False)
    factors, shifts, bessel = [], [], []
    for trial, draws in enumerate(sample.draws):
        xs = [values[sample.tensor] for values in draws]
        if not axes or max(axes) >= xs[0].ndim:
            return None
        n = float(np.prod([xs[0].shape[axis] for axis in axes]))
        t = sample.stacked(under, trial).reshape(len(xs), -1)
        if n < 2 or t.shape[1] * n != xs[0].size or not np.isfinite(t).all():
            return None
        v = np.stack([plain.biased(x).ravel() for x in xs])
        line = _line(v, t) or _line(v, 1 / np.where(t == 0, np.nan, t))
        if line is None:
            return None
        factors.append(line[0])
        shifts.append(line[1])
        bessel.append(n / (n - 1))
    return _named(plain, np.array(factors), np.array(shifts), np.array(bessel))


def _line(v: Array, t: Array) -> tuple[float, float] | None:
    """c > 0 and e >= 0 with ``t = c v + e``; the last two rows are small and tell e exactly."""
    if not np.isfinite(t).all():
        return None
    large, small = slice(0, -2), slice(-2, None)
    spread = v[large] - v[large].mean()
    norm = float((spread**2).sum())
    c = float((spread * t[large]).sum()) / norm if norm > 0 else 0.0
    e = float((t[small] - c * v[small]).mean())
    fits = c > 0 and close(c * v[large] + e, t[large]) and close(c * v[small] + e, t[small], 1e-7)
    e = 0.0 if abs(e) < 1e-9 * c * float(v[small].max()) else e
    return (c, e) if fits and e >= 0 else None


def _named(plain: Statistic, c: Array, e: Array, bessel: Array) -> Statistic | None:
    """What the fits of all trials say together; None when eps is not one number."""
    correction = int(plain.centred and close(c, bessel))
    eps = e if correction else e / c
    if np.ptp(eps) > 1e-6 * eps.max():
        return None
    folded = not correction and not close(c, np.ones_like(c))
    return Statistic(plain.axes, plain.centred, float(eps[0]), correction, folded)


def affine(xs: Array, ys: Array) -> tuple[Array, Array] | None:
    """a and b with ``y = a * x + b`` at every draw, elementwise; None when there are none.

    Draws come in pairs x, -x, so the mean of y over the draws is b.
    """
    if xs.shape != ys.shape or not np.isfinite(ys).all() or not np.isfinite(xs).all():
        return None
    b = ys.mean(0)
    a = (xs * (ys - b)).sum(0) / (xs * xs).sum(0)
    if not np.isfinite(a).all() or not (np.abs(a) > 1e-12).all():
        return None
    return (a, b) if close(a * xs + b, ys, TOLERANCE) else None
