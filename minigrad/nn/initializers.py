"""Initialisers: ``(rng, shape, dtype) -> array``, the start of a parameter.

Fans follow Keras: a matrix [in, out], or a convolution kernel [O, I, kh, kw].
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..primitives import Initializer

Array = np.ndarray[Any, Any]


def constant(value: float) -> Initializer:
    """Every element ``value``."""

    def constant_initializer(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
        return np.full(shape, value, dtype)

    return constant_initializer


zeros = constant(0.0)
ones = constant(1.0)


def normal(stddev: float = 0.05, mean: float = 0.0) -> Initializer:
    """Gaussian."""

    def normal_initializer(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
        return np.asarray(rng.normal(mean, stddev, shape), dtype)

    return normal_initializer


def uniform(limit: float = 0.05) -> Initializer:
    """Uniform in [-limit, limit)."""

    def uniform_initializer(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
        return np.asarray(rng.uniform(-limit, limit, shape), dtype)

    return uniform_initializer


def glorot_uniform(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 16)."""
    fan_in, fan_out = fans(shape)
    limit = math.sqrt(6 / (fan_in + fan_out))
    return np.asarray(rng.uniform(-limit, limit, shape), dtype)


def he_normal(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Gaussian with variance 2 / fan_in, for ReLU (He et al. 2015, eq. 10)."""
    return normal(math.sqrt(2 / fans(shape)[0]))(rng, shape, dtype)


def he_uniform(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Uniform with variance 2 / fan_in (He et al. 2015)."""
    return uniform(math.sqrt(6 / fans(shape)[0]))(rng, shape, dtype)


def lecun_normal(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Gaussian with variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp")."""
    return normal(math.sqrt(1 / fans(shape)[0]))(rng, shape, dtype)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of one unit of [in, out], [O, I, kh, kw] or a vector."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    if len(shape) == 2:
        return shape
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field
