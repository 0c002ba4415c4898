"""Random graphs over every primitive: what `tools/fuzz.py` runs on two backends.

A graph grows rule by rule. Every new node is computed at once, for the numbers that its inputs are
to be fed first, so that a value that is not tame (huge, infinite, NaN) never gets in; a rule that
does not fit raises GraphError, and another is tried. A special graph is elementwise and unguarded:
made to be fed infinities, NaN, signed zeros, denormals and the largest numbers.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

import minigrad as mg
from minigrad.ir import Dim, Node, Shape, is_leaf, toposort
from minigrad.primitives import PRIMITIVES, initial_value

Rule: TypeAlias = "Callable[[Builder], Node | Sequence[Node]]"

DTYPES = {"f": ("float16", "float32", "float64"), "i": ("int32", "int64"), "b": ("bool",)}
LEAVES = ("input", "parameter", "state", "constant")
LARGEST = 3000  # elements of a leaf
LIMIT = {"float16": 50.0, "float32": 300.0, "float64": 300.0, "int32": 1e6, "int64": 1e6, "bool": 1}
IRRATIONAL = (0.7310585786, -0.3678794412, 1.4142135624, -1.0986122887, 0.0523598776)


def random_graph(b: Builder, largest: int = 40) -> mg.Graph:
    """Grow a graph of 3 to about ``largest`` nodes, then choose its outputs and updates."""
    rules = {elementwise: 1} if b.special else RULES
    wanted = 3 + int((3 if b.special else largest - 3) * b.rng.random() ** 2)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
        for _ in range(6 * wanted):
            if b.size >= wanted:
                break
            b.attempt(b.rng.choices(list(rules), list(rules.values()))[0])
        return b.finish()


class Builder:
    """A graph that grows: its nodes so far, newest last, and their values for the first feed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.pool: list[Node] = []
        self.values: dict[Node, Any] = {}
        self.indices: dict[str, Dim] = {}  # inputs that index a dim, by name
        self.moves: dict[Node, Node] = {}  # states and their next values
        self.dims = {name: rng.choice((1, 1, 2, 3, 7, 19)) for name in ("N", "M")}
        self.sizes: list[Dim] = [1, *rng.choices((1, 2, 3, 4, 5, 6, 8, 17), k=3)]
        self.sizes += ["N"] * (2 * self.chance(0.7)) + ["M"] * self.chance(0.15)
        self.sizes += [0] * self.chance(0.05)
        self.dtype = rng.choices(DTYPES["f"], (1, 6, 1))[0]
        self.special, self.ties = self.chance(0.12), self.chance(0.1)  # ties: few different numbers
        self.size = self.named = 0

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def name(self, prefix: str) -> str:
        self.named += 1
        return f"{prefix}{self.named}"

    def some_dtype(self, kind: str = "f") -> str:
        return self.dtype if kind == "f" and self.chance(0.85) else self.rng.choice(DTYPES[kind])

    def shape(self, rank: int = 0) -> Shape:
        rank = max(rank, self.rng.choices(range(5), (2, 5, 7, 4, 2))[0])
        while True:
            shape = tuple(self.rng.choices(self.sizes, k=rank))
            if math.prod(self.sized(shape)) <= LARGEST:
                return shape

    def sized(self, shape: Shape) -> tuple[int, ...]:
        return tuple(self.dims[d] if isinstance(d, str) else d for d in shape)

    def axes(self, x: Node, least: int = 0) -> tuple[int, ...]:
        return tuple(sorted(self.rng.sample(range(x.ndim), self.rng.randint(least, x.ndim))))

    def pick(self, kinds: str = "f", rank: int = 0) -> Node:
        """A node so far, the newer the likelier, or now and then a new leaf."""
        kind = self.rng.choice(kinds)
        found = [n for n in self.pool if n.dtype.kind == kind and n.ndim >= rank]
        if not found or self.chance(0.12):
            return self.leaf(self.shape(rank), self.some_dtype(kind))
        return found[-1 - int(len(found) * self.rng.random() ** 2)]

    def partner(self, x: Node, dtype: Any = None) -> Node:
        """A node that broadcasts against ``x``, most often of its dtype."""
        dtype = dtype or (self.some_dtype() if self.chance(0.04) else x.dtype)
        found = [n for n in self.pool if n.dtype == dtype and _fits(n.shape, x.shape)]
        if found and self.chance(0.6):
            return self.rng.choice(found)
        shape = x.shape[self.rng.randint(0, x.ndim) :] if self.chance(0.5) else x.shape
        return self.leaf(tuple([1 if self.chance(0.2) else d for d in shape]), dtype)

    def index(self, size: Dim, shape: Shape | None = None) -> Node:
        """Integers that index a dim of that size: an input, a constant, or an argmax."""
        found = [n for n in self.pool if n.prim.name == "argmax" and shape in (None, n.shape)
                 and n.inputs[0].shape[n.attrs["axis"]] == size]  # fmt: skip
        if found and self.chance(0.5):
            return self.rng.choice(found)
        shape = self.shape()[:2] if shape is None else shape
        high, dtype = max(self.sized((size,))[0], 1), self.rng.choice(DTYPES["i"])
        numbers = self.rng.choices(range(high), k=math.prod(self.sized(shape)))
        value = np.reshape(np.array(numbers, dtype), self.sized(shape))
        fixed = self.chance(0.2) and not _named(size, *shape)
        node = mg.constant(value) if fixed else mg.input(self.name("i"), shape, dtype)
        self.values[node], self.indices[node.name] = value, size
        return node

    def leaf(self, shape: Shape, dtype: Any, kind: str = "") -> Node:
        """A new input, parameter, state or constant."""
        kind = kind or self.rng.choices(LEAVES, (6, 2, 1, 1))[0]
        value = self.numbers(self.sized(shape), dtype)
        if kind == "input" or _named(*shape):
            node = mg.input(self.name("x"), shape, dtype)
        elif kind == "constant":
            node = mg.constant(value)
        else:
            drawn = value.dtype.kind == "f" and self.chance(0.3)
            start = mg.nn.initializers.uniform(1.0) if drawn else value
            node = getattr(mg, kind)(self.name(kind[0]), start, shape, dtype=dtype)
            value = initial_value(node, 0)
        self.values[node] = value
        self.pool.append(node)
        return node

    def positive(self, x: Node) -> Node:
        return x if self.special else mg.abs(x) + 0.5

    def irrational(self) -> float:
        return self.rng.choice(IRRATIONAL)

    def numbers(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """In [-2, 2], or whole and in [-3, 3]."""
        rng, found = np.random.default_rng(self.rng.getrandbits(60)), np.dtype(dtype)
        whole = found.kind != "f" or self.ties
        plain = np.asarray(rng.integers(-3, 4, shape) if whole else rng.uniform(-2, 2, shape))
        return np.asarray(plain > 0) if found.kind == "b" else plain.astype(found)

    def attempt(self, rule: Rule) -> None:
        """Apply a rule; what it made stays if its values are tame."""
        try:
            made = rule(self)
            self.pool += [n for n in ([made] if isinstance(made, Node) else made) if self.tame(n)]
        except mg.GraphError:
            return  # it does not fit; another rule will

    def tame(self, node: Node) -> bool:
        """Compute ``node`` for the first feed; whether its numbers are small and few."""
        new = [n for n in toposort([node]) if n not in self.values]
        for n in new:
            if is_leaf(n):
                self.values[n] = n.attrs["value"] if "value" in n.attrs else initial_value(n, 0)
            elif n.prim.eval is not None:
                attrs = {k: self.sized(v) if k == "shape" else v for k, v in n.attrs.items()}
                self.values[n] = n.prim.eval(np, *[self.values[i] for i in n.inputs], **attrs)
        self.size += len([n for n in new if not is_leaf(n)])
        value = np.asarray(self.values[node])
        small = self.special or bool((np.abs(value) <= LIMIT[value.dtype.name]).all())  # NaN is not
        return small and value.size <= 10 * LARGEST

    def finish(self) -> mg.Graph:
        """Outputs: what nothing reads, some that are read, some leaves and views of leaves."""
        rng = self.rng
        moves = {s: v for s, v in self.moves.items() if self.chance(0.85) and self.tame(v)}
        read = {i for n in toposort(self.pool) for i in n.inputs}
        ends = [n for n in self.pool if n not in read and not is_leaf(n)]
        inner = [n for n in self.pool if n in read and not is_leaf(n)]
        leaves = [n for n in self.pool if is_leaf(n)] or [self.leaf((), "float32")]
        chosen = rng.sample(ends, min(len(ends), 4)) + rng.sample(inner, min(len(inner), 2))
        if self.chance(0.2) or not chosen:
            n = rng.choice(leaves)
            chosen.append(rng.choice((n, n.T, n[None], mg.broadcast_to(n, (2, *n.shape)))))
        if self.chance(0.25):
            chosen.append(rng.choice(list(moves.values()) or chosen))
        outputs = {f"y{i}": node for i, node in enumerate(chosen)}
        tracked = {update.state for update in mg.Graph((), outputs).updates}
        updates = tuple([mg.Update(s, v) for s, v in moves.items() if s not in tracked])
        needed = mg.Graph((), outputs, updates).inputs
        sizing = [n for n in self.values if n.prim.name == "input" and _named(*n.shape)]
        return mg.Graph(tuple(dict.fromkeys([*needed, *sizing])), outputs, updates)


def _named(*dims: Dim) -> bool:
    return any(isinstance(dim, str) for dim in dims)


def _fits(shape: Shape, other: Shape) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(shape[::-1], other[::-1], strict=False))


UNARY: tuple[Callable[[Builder, Node], Node], ...] = (
    lambda b, x: -x, lambda b, x: mg.abs(x), lambda b, x: mg.sign(x), lambda b, x: mg.exp(x),
    lambda b, x: mg.tanh(x), lambda b, x: mg.erf(x), lambda b, x: mg.stop_gradient(x),
    lambda b, x: mg.sqrt(b.positive(x)), lambda b, x: mg.log(b.positive(x)),
    lambda b, x: mg.log1p(b.positive(x)), lambda b, x: mg.relu(x), lambda b, x: mg.sigmoid(x),
    lambda b, x: mg.leaky_relu(x), lambda b, x: mg.softplus(x), lambda b, x: mg.silu(x),
    lambda b, x: mg.gelu(x), lambda b, x: mg.gelu(x, "tanh"), lambda b, x: mg.square(x),
    lambda b, x: mg.clip(x, -0.7, 0.9), lambda b, x: mg.stack([x, -x], b.rng.randint(0, x.ndim)),
    lambda b, x: x * b.irrational(),
    lambda b, x: b.irrational() - x, lambda b, x: 1 / b.positive(x), lambda b, x: 1.5**x,
    lambda b, x: x ** b.rng.choice((0, 1, 2, 3, 4)), lambda b, x: x < b.irrational(),
    lambda b, x: x >= b.irrational(), lambda b, x: mg.count(x, b.axes(x)) * x,
    lambda b, x: mg.cast(x, b.some_dtype(b.rng.choice("f" if b.special else "ffib"))),
    lambda b, x: b.positive(x) ** b.rng.choice((0.5, -1, -2, -0.5, 1.7, -3)),
)  # fmt: skip
BINARY: tuple[Callable[[Builder, Node, Node], Node], ...] = (
    lambda b, x, y: x + y, lambda b, x, y: x - y, lambda b, x, y: x * y, lambda b, x, y: y - x,
    lambda b, x, y: mg.maximum(x, y), lambda b, x, y: mg.minimum(x, y),
    lambda b, x, y: x / b.positive(y), lambda b, x, y: b.positive(x) ** y,
    lambda b, x, y: mg.where(b.partner(x, "bool"), x, y), lambda b, x, y: mg.where(x < y, y, x),
    lambda b, x, y: mg.equal(x, y), lambda b, x, y: x <= y,
)  # fmt: skip


def elementwise(b: Builder) -> Node:
    """Some ops in a row, each on the one before; a binary one, a diamond perhaps, at the end."""
    x = y = b.pick("ffffib")
    for _ in range(b.rng.choice((0, 0, 1, 1, 2, 8))):
        y = b.rng.choice(UNARY)(b, y) if y.type.is_float or y is x else y
    other = x if b.chance(0.3) else b.partner(y)
    return y if y is not x and b.chance(0.5) else b.rng.choice(BINARY)(b, y, other)


def reduction(b: Builder) -> Node:
    """A reduction, of a product too, alone or brought back to the elements."""
    x = b.pick("ffffib")
    if x.ndim and b.chance(0.15):
        return mg.argmax(x, b.rng.randrange(x.ndim), keepdims=b.chance(0.3))
    x = x * b.partner(x) if b.chance(0.2) else x
    axes = b.axes(x) if b.chance(0.8) else None
    reduce = b.rng.choice((mg.sum, mg.sum, mg.mean, mg.mean, mg.max, mg.min, mg.var))
    y = reduce(x, axes, keepdims=(kept := b.chance(0.6)))
    return b.rng.choice(BINARY)(b, x, y) if kept and b.chance(0.5) else y


def normaliser(b: Builder) -> Node:
    """Mean, distance, variance, root, on any axes; with gamma and beta, or as a layer."""
    x = b.pick(rank=1)
    axes, eps, channel = b.axes(x, 1), b.rng.choice((1e-3, 1e-2, 0.3)), x.shape[-1]
    gamma, beta = [b.partner(x) if b.chance(0.5) else None for _ in range(2)]
    how = b.rng.choice(("formula", "rms", "layer", "batch", "batch"))
    if how == "formula":
        c = x - mg.mean(x, axes, keepdims=True)
        return c / mg.sqrt(mg.mean(mg.square(c), b.axes(x), keepdims=True) + eps)
    if how == "rms":
        return mg.nn.rms_norm(x, gamma, axes=axes, eps=eps)
    if how == "layer" and isinstance(channel, int):
        rule = b.rng.choice(("keras", "flax", "mlx"))
        return mg.nn.BatchNorm(channel, convention=rule, name=b.name("bn"))(x)
    return mg.nn.batch_norm(x, gamma, beta, axes=axes, eps=eps)


def softmax(b: Builder) -> Node:
    x = b.pick(rank=1)
    at = b.rng.randrange(x.ndim)
    if b.chance(0.4) and isinstance(x.shape[at], int):
        labels = b.index(x.shape[at], (*x.shape[:at], *x.shape[at + 1 :]))
        return mg.cross_entropy(x, labels, axis=at, label_smoothing=b.rng.choice((0.0, 0.1)))
    return b.rng.choice((mg.softmax, mg.log_softmax))(x, at)


def rearranged(b: Builder) -> Node:
    x, how = b.pick("fffib"), b.rng.choice(("transpose", "broadcast", "flat", "shape", "shape"))
    if how == "transpose":
        return mg.transpose(x, b.rng.sample(range(x.ndim), x.ndim))
    if how == "broadcast":
        wide = [b.rng.choice(b.sizes) if d == 1 else d for d in x.shape]
        return mg.broadcast_to(x, [*b.rng.sample(b.sizes, b.rng.choice((0, 0, 1))), *wide])
    whole = math.prod(d for d in x.shape if isinstance(d, int))
    parts: list[Dim] = [whole, *(d for d in x.shape if isinstance(d, str))]
    if how == "shape" and whole:
        first = b.rng.choice([n for n in range(1, whole + 1) if whole % n == 0])
        parts = [first, whole // first, *[1] * b.chance(0.2), *parts[1:]]
    return mg.reshape(x, b.rng.sample(parts, len(parts)))


def piece(b: Builder) -> Node:
    """A slice, with steps, numbers, None and ``...``."""
    x, entries = b.pick("fffib", 1), []
    for dim in x.shape:
        low = b.rng.randint(0, dim) if isinstance(dim, int) else 0
        found = [slice(low, None), slice(None, -low or None), slice(low // 2, None, 2),
                 slice(None, None, 3), -low or slice(None)]  # fmt: skip
        named = _named(dim) or b.chance(0.3)
        entries += [None] * b.chance(0.1) + [slice(None) if named else b.rng.choice(found)]
    return x[tuple([*entries[:-1], ...] if b.chance(0.2) else entries)]


def padded(b: Builder) -> Node:
    x, width, gaps = b.pick("fffib"), [], []
    for dim in x.shape:
        free = isinstance(dim, int) and b.chance(0.6)
        width.append((b.rng.randint(0, 2), b.rng.randint(0, 2)) if free else (0, 0))
        gaps.append(b.rng.choice((0, 0, 1, 2)) if free else 0)
    value = b.rng.choice((0.0, 0.0, -1.5, 1.0)) if x.type.is_float else 0.0
    return PRIMITIVES["pad"](x, pad_width=tuple(width), interior=tuple(gaps), value=value)


def joined(b: Builder) -> Node:
    x = b.pick("fffib", 1)
    at = b.rng.randrange(x.ndim)
    other = b.leaf((*x.shape[:at], b.rng.choice((0, 1, 2, 3)), *x.shape[at + 1 :]), x.dtype)
    return mg.concatenate(b.rng.sample([x, other, x], b.rng.randint(1, 3)), at)


def windows(b: Builder) -> Node:
    """Windows along one or two axes; often something of them, folded back."""
    x = b.pick("fffi", 1)
    axis = tuple([a for a in b.axes(x, 1) if isinstance(x.shape[a], int)][:2])
    draw = [tuple(b.rng.choices(some, k=len(axis))) for some in ((1, 2, 3), (1, 1, 2), (1, 1, 2))]
    attrs = dict(zip(("window", "stride", "dilation"), draw, strict=True), axis=axis)
    y = PRIMITIVES["unfold"](x, **attrs)
    size = tuple(x.shape[a] for a in axis)
    return y if b.chance(0.5) else PRIMITIVES["fold"](y * b.partner(y, y.dtype), size=size, **attrs)


def image(b: Builder) -> Node:
    """A convolution or a pooling of [N,C,H,W]."""
    r, found = b.rng, [n for n in b.pool if n.ndim == 4 and n.type.is_float]
    shape = (r.choice([*b.sizes, "N"]), r.randint(1, 4), r.randint(1, 8), r.randint(1, 8))
    x = r.choice(found) if found and b.chance(0.5) else b.leaf(shape, b.dtype)
    stride, padding = r.choice((1, 1, 2, (2, 1))), r.choice((0, 1, (1, 0), "same"))
    if b.chance(0.5) or _named(*x.shape[1:]):
        window, pool = r.choice((1, 2, 3, (2, 1), (1, 3))), r.choice((mg.max_pool2d, mg.avg_pool2d))
        return pool(x, window, stride=r.choice((None, stride)), padding=padding)
    groups = r.choice((1, 1, int(x.shape[1]))) or 1
    kernel = groups * r.randint(1, 3), int(x.shape[1]) // groups, r.randint(1, 3), r.randint(1, 3)
    bias = b.leaf(kernel[:1], x.dtype) if b.chance(0.5) else None
    return mg.conv2d(x, b.leaf(kernel, x.dtype), bias, stride=stride, padding=padding,
                     dilation=r.choice((1, 1, 2)), groups=groups)  # fmt: skip


def product(b: Builder) -> Node:
    """A matrix product with a node so far, a new leaf, or itself; transposed now and then."""
    x = b.pick("fffi", 1)
    if x.ndim > 1 and b.chance(0.25):
        swapped = mg.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
        return b.rng.choice((x @ swapped, swapped @ x))
    found = [n for n in b.pool if n.dtype == x.dtype and n.ndim > 1 and n.shape[-2] == x.shape[-1]]
    if found and b.chance(0.5):
        return x @ b.rng.choice(found)
    columns = () if b.chance(0.15) else (b.rng.choice(b.sizes),)
    lead = [1 if b.chance(0.3) else d for d in x.shape[:-2]] if columns and b.chance(0.4) else []
    return x @ b.leaf((*lead, x.shape[-1], *columns), x.dtype)


def indexed(b: Builder) -> Node:
    """Elements by number; often added up again in other places."""
    x = b.pick("fffi", 1)
    axis = b.rng.randrange(x.ndim)
    index = b.index(x.shape[axis])
    y = mg.take(x, index, axis) if x.shape[axis] else x[..., None]
    return y if b.chance(0.6) else PRIMITIVES["scatter_add"](-y, index, axis=axis, shape=x.shape)


def noise(b: Builder) -> Node:
    if b.chance(0.5):
        return mg.dropout(b.pick(), 0.3, mg.Generator(b.rng.randrange(99), b.name("rng")))
    counter, seed = mg.state(b.name("count"), b.rng.randrange(2**34)), b.rng.randrange(2**40)
    b.moves[counter] = counter + 1
    return mg.random_uniform(counter, b.shape(), seed=seed, dtype=b.some_dtype())


def gradient(b: Builder) -> Sequence[Node]:
    """The gradient of a scalar made of a node, or with a cotangent, by some of what it reaches."""
    y = b.pick()
    below = [n for n in toposort([y]) if n.type.is_float and n.prim.name != "constant"]
    leaves = [n for n in below if is_leaf(n)]
    wrt = b.rng.sample(below, min(len(below), 1)) + b.rng.sample(leaves, min(len(leaves), 2))
    scalar = b.rng.choice((mg.sum, mg.mean))(b.rng.choice((mg.square, mg.tanh, mg.sigmoid))(y))
    found = mg.grad(y, wrt, b.leaf(y.shape, y.dtype)) if b.chance(0.3) else mg.grad(scalar, wrt)
    for w, dw in zip(wrt, found, strict=True):
        if w.prim.name in ("parameter", "state"):
            b.moves.setdefault(w, w - 0.1 * dw)
    return found


def carried(b: Builder) -> Node:
    """States that move: onto a node, towards it, to another leaf, or in exchange for another."""
    y = b.pick("ffib")
    y = mg.sum(y, [a for a, d in enumerate(y.shape) if _named(d)]) if _named(*y.shape) else y
    first, second = [b.leaf(y.shape, y.dtype, "state") for _ in range(2)]
    towards = 0.9 * first + 0.1 * y if y.type.is_float else y
    b.moves[first], b.moves[second] = b.rng.choice(((second, first), (towards, y), (second, y)))
    return first + y


RULES: dict[Rule, float] = {
    elementwise: 16, reduction: 7, normaliser: 3, softmax: 2, rearranged: 4, piece: 2, padded: 1,
    joined: 1.5, windows: 1.5, image: 1.5, product: 2.5, indexed: 1.5, noise: 1, gradient: 4,
    carried: 3,
}  # fmt: skip
