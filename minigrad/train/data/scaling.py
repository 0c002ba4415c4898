"""Standardisation: every feature to mean 0 and variance 1, measured on the training part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dataset import Array, DataError


@dataclass(frozen=True, eq=False)
class Standardizer:
    """``(x - mean) / scale``, feature by feature, as scikit-learn's StandardScaler defines it.

    ``scale`` is the biased standard deviation (divide by n), and 1 for a constant feature.

    >>> scaler = Standardizer.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaler(np.array([[1.0, 5.0], [5.0, 6.0]]))
    array([[-1., 0.],
           [ 3., 1.]])
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, x: Array) -> Standardizer:
        """Measure ``x``, examples by rows; give it the training part only."""
        if not len(x):
            raise DataError("Standardizer.fit: there are no examples to measure")
        exact = np.asarray(x, np.float64)
        mean, variance = exact.mean(axis=0), exact.var(axis=0)
        # scikit-learn's bound on the variance that rounding alone gives a constant feature.
        n, eps = len(exact), np.finfo(np.float64).eps
        constant = variance <= n * eps * variance + (n * mean * eps) ** 2
        return cls(mean, np.where(constant, 1.0, np.sqrt(variance)))

    def __call__(self, x: Array) -> Array:
        """``x`` standardised, in its own float dtype."""
        scaled: Array = (x - self.mean) / self.scale
        return scaled.astype(x.dtype) if x.dtype.kind == "f" else scaled

    def inverse(self, x: Array) -> Array:
        """What ``x`` was before it was standardised."""
        original: Array = x * self.scale + self.mean
        return original.astype(x.dtype) if x.dtype.kind == "f" else original
