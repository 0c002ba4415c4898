"""What a sample is: a graph of one primitive, where its numbers come from, numpy's answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from scipy.special import erf

import minigrad as mg

Domain = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Operand:
    """One input of a sample: its type, and where its numbers are drawn."""

    shape: Any
    dtype: str
    domain: Domain


@dataclass(frozen=True)
class Sample:
    """A graph of one primitive (or a few around it), its operands and its reference.

    ``zero`` lists operands whose gradient is zero by mathematics; ``complex_step`` is False where
    that method does not apply; ``dims`` gives the named dims a size.
    """

    prim: str
    label: str
    build: Callable[..., mg.Node]
    operands: tuple[Operand, ...]
    reference: Callable[..., Any]
    complex_step: bool = True
    zero: tuple[int, ...] = ()
    dims: Mapping[str, int] = field(default_factory=lambda: {"N": 5, "M": 3})

    @property
    def id(self) -> str:
        return f"{self.prim}-{self.label}"

    @property
    def differentiable(self) -> bool:
        """Whether a gradient check has something to check."""
        from minigrad.primitives import PRIMITIVES

        sizes = [np.prod(self.sized(o.shape)) for o in self.operands]
        floats = [o for o in self.operands if o.dtype.startswith("float")]
        if PRIMITIVES[self.prim].vjp is None or not floats or 0 in sizes:
            return False
        found = self.build(*self.nodes()).type
        return found.is_float and 0 not in found.shape

    def sized(self, shape: Any) -> tuple[int, ...]:
        """``shape`` with its named dims as numbers."""
        return tuple(self.dims[d] if isinstance(d, str) else d for d in shape)

    def nodes(self, dtype: str | None = None) -> list[mg.Node]:
        """Fresh inputs ``x0``, ``x1``, ...; floats in ``dtype`` if it is given."""
        kinds = [dtype if dtype and o.dtype.startswith("float") else o.dtype for o in self.operands]
        pairs = zip(self.operands, kinds, strict=True)
        return [mg.input(f"x{i}", o.shape, kind) for i, (o, kind) in enumerate(pairs)]

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        """An array for each operand; the same for the same seed."""
        rng = np.random.default_rng([seed, *self.id.encode()])
        drawn = [o.domain(rng, self.sized(o.shape)) for o in self.operands]
        return [np.asarray(a).astype(o.dtype) for a, o in zip(drawn, self.operands, strict=True)]


# --- where numbers come from -----------------------------------------------------------------


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.5, 2.0, shape)


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Away from zero and from each other."""
    size = int(np.prod(shape))
    numbers = (rng.permutation(size) + rng.uniform(0.3, 0.7, size)) / max(size, 1)
    return (rng.choice([-1.0, 1.0], size) * (0.2 + 1.5 * numbers)).reshape(shape)


def above_minus_one(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(-0.6, 2.0, shape)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Positive and negative in turn, away from zero."""
    return (np.arange(np.prod(shape)) % 2 * -2 + 1).reshape(shape) * rng.uniform(0.5, 2, shape)


def nearby(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Around zero, nearer than `signs`."""
    return rng.uniform(-0.3, 0.3, shape)


def bits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2, shape).astype(bool)


def below(high: int, low: int = 0) -> Domain:
    return lambda rng, shape: rng.integers(low, high, shape)


def of(shape: Any, dtype: str = "float32", domain: Domain = normal) -> Operand:
    if dtype == "bool":
        domain = bits
    elif dtype.startswith("int") and domain in (normal, apart, positive, signs, nearby):
        domain = below(7, 1) if domain is positive else below(5, -5)
    return Operand(shape, dtype, domain)


# --- references ------------------------------------------------------------------------------

NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "neg": np.negative, "pow": np.power, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "log1p": np.log1p, "tanh": np.tanh, "erf": erf, "abs": np.abs, "sign": np.sign,
    "maximum": np.maximum, "minimum": np.minimum, "where": np.where, "equal": np.equal,
    "less": np.less, "less_equal": np.less_equal, "stop_gradient": lambda x: x,
    "matmul": np.matmul,
}  # fmt: skip


def windows(x: np.ndarray, axis: Any, window: Any, stride: Any, dilation: Any) -> np.ndarray:
    """`unfold` by loops, one element at a time."""
    shape = list(x.shape)
    for a, w, s, d in zip(axis, window, stride, dilation, strict=True):
        shape[a] = len(range(0, x.shape[a] - (w - 1) * d, s))
    out = np.empty((*shape, *window), x.dtype)
    for index in np.ndindex(*out.shape):
        at = list(index[: x.ndim])
        for a, offset, s, d in zip(axis, index[x.ndim :], stride, dilation, strict=True):
            at[a] = at[a] * s + offset * d
        out[index] = x[tuple(at)]
    return out


def fold(x: np.ndarray, size: Any, axis: Any, window: Any, stride: Any, dilation: Any) -> Any:
    """The transpose of `windows`, by loops."""
    rank = x.ndim - len(axis)
    shape = list(x.shape[:rank])
    for a, full in zip(axis, size, strict=True):
        shape[a] = full
    out = np.zeros(shape, x.dtype)
    for index in np.ndindex(*x.shape):
        at = list(index[:rank])
        for a, offset, s, d in zip(axis, index[rank:], stride, dilation, strict=True):
            at[a] = at[a] * s + offset * d
        out[tuple(at)] += x[index]
    return out


def scatter(x: np.ndarray, i: np.ndarray, axis: int, shape: Any) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    for index in np.ndindex(*x.shape):
        tail = index[axis + i.ndim :]
        out[(*index[:axis], i[index[axis : axis + i.ndim]], *tail)] += x[index]
    return out


def dilated(x: np.ndarray, pad_width: Any, interior: Any, value: float) -> np.ndarray:
    for axis, ((low, high), gap) in enumerate(zip(pad_width, interior, strict=True)):
        x = np.moveaxis(x, axis, 0)
        gaps = np.full((gap, *x.shape[1:]), value, x.dtype)
        rows = [np.concatenate([row[None], gaps]) for row in x]
        inner = np.concatenate(rows)[: -gap or None] if rows else x
        ends = [np.full((n, *x.shape[1:]), value, x.dtype) for n in (low, high)]
        x = np.moveaxis(np.concatenate([ends[0], inner, ends[1]]), 0, axis)
    return x


def uniform(counter: Any, shape: Any, seed: int, dtype: str) -> np.ndarray:
    """Threefry-2x32-20 in Python integers, element by element."""
    mask, rotations = 2**32 - 1, (13, 15, 26, 6, 17, 29, 16, 24)
    key = (seed & mask, seed >> 32, (seed & mask) ^ (seed >> 32) ^ 0x1BD11BDA)
    numbers = []
    for element in range(int(np.prod(shape))):
        a, b = (element + key[0]) & mask, ((int(counter) & mask) + key[1]) & mask
        for turn in range(20):
            a, r = (a + b) & mask, rotations[turn % 8]
            b = ((b << r | b >> (32 - r)) & mask) ^ a
            if turn % 4 == 3:
                n = turn // 4 + 1
                a, b = (a + key[n % 3]) & mask, (b + key[(n + 1) % 3] + n) & mask
        numbers.append((a >> 8) / 2**24)
    return np.array(numbers, np.float64).reshape(shape).astype(dtype)


def bind(function: Callable[..., Any], **attrs: Any) -> Callable[..., Any]:
    return lambda *arrays: function(*arrays, **attrs)


_counters: defaultdict[str, count[int]] = defaultdict(count)


def make(
    prim: str,
    build: Callable[..., mg.Node],
    *operands: Operand,
    ref: Callable[..., Any] | None = None,
    note: str = "",
    zero: tuple[int, ...] = (),
) -> Sample:
    shapes = "_".join("x".join(map(str, dims(o.shape))) or "scalar" for o in operands)
    kind = "" if operands[0].dtype == "float32" else operands[0].dtype
    words = [shapes, kind, note.replace(" ", "_"), str(next(_counters[prim]))]
    found = tuple(Operand(dims(o.shape), o.dtype, o.domain) for o in operands)
    return Sample(prim, "-".join(filter(None, words)), build, found, ref or NUMPY[prim], zero=zero)


def dims(shape: Any) -> tuple[Any, ...]:
    return (shape,) if isinstance(shape, int | str) else tuple(shape)
