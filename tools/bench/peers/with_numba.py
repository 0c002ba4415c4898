"""Batch norm by hand in numba: the yardstick, the fastest we know how to write in Python.

Forward: one pass of sums of ``d = x - x[0]`` and ``d * d`` (the shift makes them robust where
``E[x^2] - E[x]^2`` is not), then one pass ``x * scale + shift``. Backward: one pass for ``sum u``
and ``sum u * (x - mu)``, then one pass ``a * u + b * x + c``. Six array reads and two writes are
all the traffic. On [N,C] each thread takes a range of rows with its own partial sums; on
[N,C,H,W] each thread takes channels. Every buffer is reused.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from cases import EPS, Case, Feed

from . import Run, Setting

Array = np.ndarray[Any, Any]
FAST: dict[str, Any] = {"parallel": True, "fastmath": True, "cache": True}


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """Buffers, and the kernel for this layout."""
    numba.set_num_threads(setting.threads)
    x, dy, gamma, beta = (feed[k] for k in ("x", "dy", "gamma", "beta"))
    y, dx = np.empty_like(x), np.empty_like(x)
    dgamma, dbeta, mu, inv_std = np.empty((4, len(gamma)), np.float32)
    channels_last = x.ndim == 2 or case.options.get("last")
    rows = (-1, len(gamma)) if channels_last else (len(x), len(gamma), -1)
    flat = [array.reshape(rows) for array in (x, dy, y, dx)]
    eps = np.float32(EPS)

    def by_rows() -> None:
        forward_rows(flat[0], gamma, beta, eps, sums, mu, inv_std, flat[2])
        backward_rows(flat[0], flat[1], gamma, mu, inv_std, sums, flat[3], dgamma, dbeta)

    def by_channels() -> None:
        forward_channels(flat[0], gamma, beta, eps, mu, inv_std, flat[2])
        backward_channels(flat[0], flat[1], gamma, mu, inv_std, flat[3], dgamma, dbeta)

    sums = np.empty((setting.threads, 3, len(gamma)), np.float32)
    found = {"y": y, "dx": dx, "dgamma": dgamma, "dbeta": dbeta}
    return Run(by_rows if channels_last else by_channels, lambda _: found)


@numba.njit(**FAST)
def forward_rows(
    x: Array, gamma: Array, beta: Array, eps: Any, sums: Array, mu: Array, inv_std: Array, y: Array
) -> None:
    """``y`` of [N,C], with the statistics; ``sums`` is [threads,3,C] of scratch."""
    n, channels = x.shape
    threads = sums.shape[0]
    for thread in numba.prange(threads):
        total, squares = sums[thread, 0], sums[thread, 1]
        total[:] = 0
        squares[:] = 0
        for i in range(n * thread // threads, n * (thread + 1) // threads):
            for j in range(channels):
                d = x[i, j] - x[0, j]
                total[j] += d
                squares[j] += d * d
    scale, shift = sums[0, 0], sums[0, 1]
    for j in range(channels):
        d, dd = np.float32(0), np.float32(0)
        for thread in range(threads):
            d += sums[thread, 0, j]
            dd += sums[thread, 1, j]
        d /= np.float32(n)
        r = np.float32(1) / np.sqrt(dd / np.float32(n) - d * d + eps)
        mu[j], inv_std[j] = x[0, j] + d, r
        scale[j] = gamma[j] * r
        shift[j] = beta[j] - mu[j] * scale[j]
    for thread in numba.prange(threads):
        for i in range(n * thread // threads, n * (thread + 1) // threads):
            for j in range(channels):
                y[i, j] = x[i, j] * scale[j] + shift[j]


@numba.njit(**FAST)
def backward_rows(
    x: Array, u: Array, gamma: Array, mu: Array, inv_std: Array, sums: Array, dx: Array,
    dgamma: Array, dbeta: Array,
) -> None:  # fmt: skip
    """``dx``, ``dgamma`` and ``dbeta`` of [N,C]."""
    n, channels = x.shape
    threads = sums.shape[0]
    for thread in numba.prange(threads):
        total, products = sums[thread, 0], sums[thread, 1]
        total[:] = 0
        products[:] = 0
        for i in range(n * thread // threads, n * (thread + 1) // threads):
            for j in range(channels):
                total[j] += u[i, j]
                products[j] += u[i, j] * (x[i, j] - mu[j])
    a, b, c = sums[0, 0], sums[0, 1], sums[0, 2]
    for j in range(channels):
        total_u, product = np.float32(0), np.float32(0)
        for thread in range(threads):
            total_u += sums[thread, 0, j]
            product += sums[thread, 1, j]
        r = inv_std[j]
        dgamma[j], dbeta[j] = product * r, total_u
        a[j] = gamma[j] * r
        b[j] = -a[j] * r * r * product / np.float32(n)
        c[j] = -a[j] * total_u / np.float32(n) - b[j] * mu[j]
    for thread in numba.prange(threads):
        for i in range(n * thread // threads, n * (thread + 1) // threads):
            for j in range(channels):
                dx[i, j] = a[j] * u[i, j] + b[j] * x[i, j] + c[j]


@numba.njit(**FAST)
def forward_channels(
    x: Array, gamma: Array, beta: Array, eps: Any, mu: Array, inv_std: Array, y: Array
) -> None:
    """``y`` of [N,C,pixels], with the statistics."""
    examples, channels, pixels = x.shape
    n = np.float32(examples * pixels)
    for j in numba.prange(channels):
        first = x[0, j, 0]
        total, squares = np.float32(0), np.float32(0)
        for i in range(examples):
            for k in range(pixels):
                d = x[i, j, k] - first
                total += d
                squares += d * d
        total /= n
        r = np.float32(1) / np.sqrt(squares / n - total * total + eps)
        mu[j], inv_std[j] = first + total, r
        scale = gamma[j] * r
        shift = beta[j] - mu[j] * scale
        for i in range(examples):
            for k in range(pixels):
                y[i, j, k] = x[i, j, k] * scale + shift


@numba.njit(**FAST)
def backward_channels(
    x: Array, u: Array, gamma: Array, mu: Array, inv_std: Array, dx: Array, dgamma: Array,
    dbeta: Array,
) -> None:  # fmt: skip
    """``dx``, ``dgamma`` and ``dbeta`` of [N,C,pixels]."""
    examples, channels, pixels = x.shape
    n = np.float32(examples * pixels)
    for j in numba.prange(channels):
        middle = mu[j]
        total, product = np.float32(0), np.float32(0)
        for i in range(examples):
            for k in range(pixels):
                total += u[i, j, k]
                product += u[i, j, k] * (x[i, j, k] - middle)
        r = inv_std[j]
        dgamma[j], dbeta[j] = product * r, total
        a = gamma[j] * r
        b = -a * r * r * product / n
        c = -a * total / n - b * middle
        for i in range(examples):
            for k in range(pixels):
                dx[i, j, k] = a * u[i, j, k] + b * x[i, j, k] + c
