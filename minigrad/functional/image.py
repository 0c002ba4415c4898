"""Convolution and pooling: windows, then a matrix product, a maximum or a mean."""

from __future__ import annotations

import math
from typing import TypeAlias

from ..ir import Node, ShapeError, place
from ..ir.scope import HERE, caller
from ..primitives import Operand, floating, matmul, max, mean, pad, reshape, transpose, unfold

Pair: TypeAlias = int | tuple[int, int]


def conv2d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    *,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Node:
    """2-D cross-correlation: all windows as rows of a matrix, times the kernels.

    Parameters
    ----------
    x : [N, C, H, W].
    weight : [O, C / groups, kh, kw].
    bias : [O], added to every pixel.
    padding : zeros on each side, ``"valid"`` for none, or ``"same"`` for an output of
        ``ceil(size / stride)``.

    Returns [N, O, H', W']. Raises ShapeError when ranks, channels or sizes do not fit.

    >>> import minigrad as mg
    >>> w = mg.parameter("w", lambda rng, shape, dtype: rng.normal(size=shape), (8, 3, 3, 3))
    >>> mg.conv2d(mg.input("x", ("N", 3, 28, 28)), w, padding="same").type
    f32[N,8,28,28]
    """
    image, kernel = floating(x), floating(weight)
    _check_conv(image, kernel, groups)
    channels, out = int(image.type.shape[1]), int(kernel.type.shape[0])
    window = (int(kernel.type.shape[2]), int(kernel.type.shape[3]))
    steps, holes = _pair("stride", stride), _pair("dilation", dilation)
    padded = _padded(image, window, steps, holes, padding)
    windows = unfold(padded, (2, 3), window, stride=steps, dilation=holes)
    batch = windows.type.shape[0]
    high, wide = int(windows.type.shape[2]), int(windows.type.shape[3])
    size = channels // groups * window[0] * window[1]
    if groups == 1:  # channels innermost, as a product leaves them
        rows = transpose(windows, (0, 2, 3, 4, 5, 1))  # [N, H', W', kh, kw, C]
        columns = reshape(transpose(kernel, (2, 3, 1, 0)), (size, out))
        product = matmul(reshape(rows, (batch, high * wide, size)), columns)
    else:
        rows = transpose(windows, (0, 2, 3, 1, 4, 5))  # [N, H', W', C, kh, kw]
        grouped = reshape(rows, (batch, high * wide, groups, size))
        columns = transpose(reshape(kernel, (groups, out // groups, size)), (0, 2, 1))
        product = matmul(transpose(grouped, (0, 2, 1, 3)), columns)
        product = reshape(transpose(product, (0, 2, 1, 3)), (batch, high * wide, out))
    image_out = reshape(transpose(product, (0, 2, 1)), (batch, out, high, wide))
    return image_out if bias is None else image_out + reshape(bias, (out, 1, 1))


def max_pool2d(
    x: Operand, window: Pair, *, stride: Pair | None = None, padding: Pair | str = 0
) -> Node:
    """The largest element of each window of [N, C, H, W]; elements that tie share the gradient.

    Padding counts as minus infinity; ShapeError where a window could lie in it as a whole.
    """
    for size, edge in zip(_pair("window", window), _sides(padding), strict=True):
        if edge >= size:
            raise ShapeError(
                f"max_pool2d: padding {edge} leaves a window of {size} without pixels{_here()}"
            )
    return max(_pool_windows(x, window, stride, padding, -math.inf), (4, 5))


def avg_pool2d(
    x: Operand, window: Pair, *, stride: Pair | None = None, padding: Pair | str = 0
) -> Node:
    """The mean of each window of [N, C, H, W]; padding counts as zeros."""
    return mean(_pool_windows(x, window, stride, padding, 0.0), (4, 5))


def _pool_windows(
    x: Operand, window: Pair, stride: Pair | None, padding: Pair | str, fill: float
) -> Node:
    image, size = floating(x), _pair("window", window)
    steps = size if stride is None else _pair("stride", stride)
    if image.ndim != 4:
        raise ShapeError(f"pool2d: needs [N,C,H,W], not {image.type}{_here()}")
    return unfold(_padded(image, size, steps, (1, 1), padding, fill), (2, 3), size, stride=steps)


def _padded(
    image: Node,
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Pair | str,
    fill: float = 0.0,
) -> Node:
    edges = _sides(padding)
    if padding == "valid":
        return image
    if padding == "same":
        both = [
            _missing(size, w, s, d)
            for size, w, s, d in zip(image.type.shape[2:], window, stride, dilation, strict=True)
        ]
        sides = [(n // 2, n - n // 2) for n in both]
    else:
        sides = [(edge, edge) for edge in edges]
    return pad(image, [(0, 0), (0, 0), *sides], value=fill)


def _missing(size: int | str, window: int, stride: int, dilation: int) -> int:
    """How many elements ``"same"`` adds to a dim, on both sides together."""
    if isinstance(size, str) or stride < 1:
        raise ShapeError(
            f"padding 'same' needs a known size and a stride >= 1, not {size} and {stride}{_here()}"
        )
    needed = (math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1
    return needed - size if needed > size else 0


def _sides(padding: Pair | str) -> tuple[int, int]:
    """Padding on each side of height and width; 0 for a word, which never exceeds a window."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ShapeError(f"padding {padding!r} is not a number, 'same' or 'valid'{_here()}")
        return 0, 0
    return _pair("padding", padding)


def _check_conv(image: Node, kernel: Node, groups: int) -> None:
    where = _here()
    if image.ndim != 4 or kernel.ndim != 4:
        raise ShapeError(
            f"conv2d: needs x [N,C,H,W] and weight [O,C,kh,kw], not {image.type} and "
            f"{kernel.type}{where}"
        )
    channels, out, inside = image.type.shape[1], kernel.type.shape[0], kernel.type.shape[1]
    fits = isinstance(channels, int) and isinstance(inside, int) and channels == inside * groups
    if not fits or int(out) % groups:
        raise ShapeError(
            f"conv2d: weight {kernel.type} with groups={groups} does not fit {channels} channels "
            f"of {image.type}{where}"
        )


def _pair(what: str, value: Pair) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if len(value) != 2:
        raise ShapeError(
            f"{what} {value} is neither a number nor two, for height and width{_here()}"
        )
    return int(value[0]), int(value[1])


def _here() -> str:
    return place(HERE.scope, caller())
