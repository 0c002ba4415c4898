"""The table of samples: for every primitive some graphs of one op, their inputs and a reference.

One line is one sample: the row's name, a builder from input nodes to a node, the operands (shape,
dtype, where the numbers come from), and numpy's answer where it is not `NUMPY`'s. Tests of values,
types, derivatives and backends are parametrised over `SAMPLES`; `tests/primitives/test_samples.py`
proves that every primitive has some.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from sample import (
    Operand,
    Sample,
    above_minus_one,
    apart,
    below,
    bind,
    dilated,
    fold,
    make,
    nearby,
    normal,
    of,
    positive,
    scatter,
    signs,
    uniform,
    windows,
)

import minigrad as mg
from minigrad.primitives import PRIMITIVES
from minigrad.primitives.index import SCATTER_ADD
from minigrad.primitives.reduce import COUNT
from minigrad.primitives.shape import PAD

FOLD = PRIMITIVES["fold"]

UNARY_SHAPES = [(2, 3), (), (1,), (0, 3), ("N", 2), (2, 1, 3)]
BINARY_SHAPES = [
    ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), ()), ((2, 3), ()),
    ((1,), (4,)), (("N", 3), (3,)), (("N", 1), ("N", 4)), ((0, 3), (3,)), ((4, 1, 2), (3, 1)),
]  # fmt: skip
FLOATS = ("float16", "float32", "float64")
INTS = ("int32", "int64")

# name, where x comes from (and y), which dtypes beside the floats
UNARY = [
    ("neg", normal, INTS), ("sqrt", positive, ()), ("exp", normal, ()), ("log", positive, ()),
    ("log1p", above_minus_one, ()), ("tanh", normal, ()), ("erf", normal, ()),
    ("abs", apart, INTS), ("sign", apart, INTS), ("stop_gradient", normal, (*INTS, "bool")),
]  # fmt: skip
BINARY = [
    ("add", normal, normal, (*INTS, "bool")), ("sub", normal, normal, INTS),
    ("mul", normal, normal, (*INTS, "bool")), ("div", normal, apart, ()),
    ("pow", positive, normal, ()), ("maximum", signs, nearby, (*INTS, "bool")),
    ("minimum", signs, nearby, (*INTS, "bool")), ("equal", normal, normal, (*INTS, "bool")),
    ("less", normal, normal, INTS), ("less_equal", normal, normal, INTS),
]  # fmt: skip


def _elementwise() -> Iterator[Sample]:
    for name, domain, others in UNARY:
        function = getattr(mg, name)
        for shape in UNARY_SHAPES:
            yield make(name, function, of(shape, domain=domain))
        for dtype in ("float16", "float64", *others):
            yield make(name, function, of((2, 3), dtype, domain))
    for name, first, second, others in BINARY:
        function = getattr(mg, name)
        for a, b in BINARY_SHAPES:
            if (first, a) == (signs, (1,)):  # the larger operand has both signs
                x, y = of(a, domain=second), of(b, domain=first)
            else:
                x, y = of(a, domain=first), of(b, domain=second)
            chosen = {"maximum": (1,), "minimum": (0,)} if a == b == () else {}
            yield make(name, function, x, y, zero=chosen.get(name, ()))
        for dtype in ("float16", "float64", *others):
            yield make(name, function, of((2, 3), dtype, first), of((3,), dtype, second))
    yield from _where()
    yield from _powers()
    yield from _casts()
    for dtype in INTS:
        yield make("equal", mg.equal, of((40,), dtype, below(3)), of((40,), dtype, below(3)))
    yield make("mul", lambda x: x * x, of((3,)), ref=np.square)
    yield make("add", lambda x: 2.5 + x, of((3,)), ref=lambda x: x + np.float32(2.5))


def _where() -> Iterator[Sample]:
    for c, a, b in [
        ((2, 3), (2, 3), (2, 3)), ((2, 3), (), (3,)), ((3,), (2, 3), (2, 1)), ((), (2,), (2,)),
        (("N", 1), ("N", 3), (3,)), ((0, 2), (2,), (2,)),
    ]:  # fmt: skip
        never = (2,) if c == () else ()
        yield make("where", mg.where, Operand(c, "bool", _mixed), of(a), of(b), zero=never)
    for dtype in ("float16", "float64", *INTS, "bool"):
        operands = Operand((2, 3), "bool", _mixed), of((2, 3), dtype), of((3,), dtype)
        yield make("where", mg.where, *operands)


def _mixed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Both branches taken wherever there is room for both."""
    size = int(np.prod(shape))
    return rng.permutation(np.arange(size) % 2 == 0).reshape(shape)


def _powers() -> Iterator[Sample]:
    for exponent in (2, 3, 0.5, -1, -2.0, 1, 1.7):
        domain = positive if exponent % 1 else apart
        yield make(
            "pow", lambda x, e=exponent: x**e, of((2, 3), domain=domain),
            ref=lambda x, e=exponent: np.power(x, x.dtype.type(e)), note=f"x**{exponent}",
        )  # fmt: skip
    yield make("pow", lambda x: x**0, of((3,), domain=apart), ref=np.ones_like, zero=(0,))
    exponents = np.array([2.0, 0.0, 1.0, -1.0], np.float32)
    yield make(
        "pow", lambda x: x**exponents, of((3, 4), domain=apart), ref=lambda x: x**exponents,
        note="array exponent",
    )  # fmt: skip
    yield make("pow", lambda p: 1.5**p, of((3,)), ref=lambda p: np.float32(1.5) ** p)


def _casts() -> Iterator[Sample]:
    for start, target in product((*FLOATS, *INTS, "bool"), repeat=2):
        yield make(
            "cast", lambda x, d=target: mg.cast(x, d), of((2, 3), start, apart),
            ref=lambda x, d=target: x.astype(d), note=f"{start} to {target}",
        )  # fmt: skip
    for shape in ((), (0, 2), ("N", 2)):
        yield make(
            "cast", lambda x: mg.cast(x, "float64"), of(shape), ref=lambda x: x.astype("float64")
        )


AXES = [None, 0, -1, (0, 1), (0, -1), 1, ()]


def _reductions() -> Iterator[Sample]:
    for name in ("sum", "mean", "max"):
        function, numpy = getattr(mg, name), getattr(np, name)
        domain = apart if name == "max" else normal
        for axis, keepdims in product(AXES, (False, True)):
            yield make(
                name, bind(function, axis=axis, keepdims=keepdims), of((2, 3, 4), domain=domain),
                ref=bind(numpy, axis=axis, keepdims=keepdims), note=f"{axis} {keepdims}",
            )  # fmt: skip
        for shape in ((), (1,), ("N", 3), (4, 1)):
            yield make(name, function, of(shape, domain=domain), ref=numpy)
        for dtype in ("float16", "float64", *(() if name == "mean" else INTS)):
            kept = {"axis": 0, "keepdims": True}
            yield make(
                name, bind(function, **kept), of((3, 2), dtype, domain), ref=bind(numpy, **kept)
            )
    yield make("sum", mg.sum, of((0, 3)), ref=np.sum)
    yield make("mean", bind(mg.mean, axis=1), of((0, 3)), ref=bind(np.mean, axis=1))
    yield make("argmax", bind(mg.argmax, axis=1), of((0, 3)), ref=bind(np.argmax, axis=1))
    yield make("sum", bind(mg.sum, axis=1), of((2, 0)), ref=bind(np.sum, axis=1))
    yield make("sum", mg.sum, of((4,), "bool"), ref=np.sum)
    yield make("max", bind(mg.max, axis=1), of((0, 3)), ref=bind(np.max, axis=1))
    for axis, keepdims in product((0, 1, -1), (False, True)):
        yield make(
            "argmax", bind(mg.argmax, axis=axis, keepdims=keepdims), of((3, 4), domain=apart),
            ref=bind(np.argmax, axis=axis, keepdims=keepdims), note=f"{axis} {keepdims}",
        )  # fmt: skip
    yield make("argmax", mg.argmax, of((4,), "int64"), ref=bind(np.argmax, axis=-1))
    yield make("argmax", mg.argmax, of(("N", 6), "int32", below(2)), ref=bind(np.argmax, axis=-1))
    for shape, axes in [(("N", 3), (0,)), (("N", 3), (0, 1)), ((2, 3), (1,)), ((0, 2), (0,))]:
        yield make(
            "count", lambda x, a=axes: COUNT(x, axis=a), of(shape),
            ref=lambda x, a=axes: np.float32(np.prod([x.shape[i] for i in a])), note=f"{axes}",
        )  # fmt: skip
    yield make("count", bind(mg.count, axis=0), of(("N",), "float64"), ref=np.size)
    yield make("count", bind(mg.count, axis=0), of(("N",), "int64"), ref=np.size)


def _views() -> Iterator[Sample]:
    for shape, target, sized in [
        ((2, 6), (3, 4), (3, 4)), ((2, 6), -1, -1), ((), (1, 1), (1, 1)), ((1,), (), ()),
        (("N", 2, 3), ("N", -1), (5, 6)), ((0, 3), (3, 0), (3, 0)), ((4,), (2, -1), (2, 2)),
    ]:  # fmt: skip
        yield make(
            "reshape", bind(mg.reshape, shape=target), of(shape),
            ref=lambda x, s=sized: x.reshape(s), note=f"to {target}",
        )  # fmt: skip
    for shape, axes in [
        ((2, 3), None), ((2, 3, 4), (1, 2, 0)), ((2, 3, 4), (-1, 0, 1)), ((3,), (0,)), ((), ()),
        (("N", 3), (1, 0)), ((0, 2), None), ((1, 4), None),
    ]:  # fmt: skip
        yield make(
            "transpose", bind(mg.transpose, axes=axes), of(shape),
            ref=bind(np.transpose, axes=axes), note=f"{axes}",
        )  # fmt: skip
    for shape, target, sized in [
        ((3,), (2, 3), (2, 3)), ((), (4,), (4,)), ((2, 1), (2, 5), (2, 5)), ((1,), (0,), (0,)),
        ((1, 3), ("N", 3), (5, 3)), ((1, 1), (3, 1, 4), (3, 1, 4)),
        (("N", 1), ("N", 3), (5, 3)), ((0, 1), (0, 2), (0, 2)),
    ]:  # fmt: skip
        more = (of(("N",)),) if shape == (1, 3) else ()  # what says how large N is
        yield make(
            "broadcast_to", lambda x, *n, s=target: _spread(x, s, *n), of(shape), *more,
            ref=lambda x, *n, s=sized: np.broadcast_to(x, s), note=f"to {target}",
            zero=(1,) if more else (),
        )  # fmt: skip
    for prim, build, ref, shape in _PLACES:
        yield make(prim, build, of(shape), ref=ref)
    for prim, dtype in product(
        ("reshape", "transpose", "slice", "pad"), ("float16", "int64", "bool")
    ):
        build, ref = _TYPED_VIEWS[prim]
        yield make(prim, build, of((2, 6), dtype), ref=ref)
    yield from _joins()


def _spread(x: mg.Node, shape: Any, *others: mg.Node) -> mg.Node:
    """`broadcast_to`, of a graph whose inputs ``others`` bind the named dims."""
    node = mg.broadcast_to(x, shape)
    for other in others:
        node = node + 0 * mg.sum(other)
    return node


_SLICES = [
    (np.s_[1:3], (4, 2)), (np.s_[:, 1:6:2], (2, 7)), (np.s_[-1], (3, 2)), (np.s_[..., 0], (2, 3)),
    (np.s_[None, 1:], (3,)), (np.s_[2:2], (4,)), (np.s_[:, -2:], ("N", 4)), (np.s_[::3], (8,)),
    (np.s_[1, 2], (2, 3)), (np.s_[:, 1, None, :2], ("N", 3, 4)), (np.s_[:, 0:1], (0, 2)),
]  # fmt: skip
_WIDTHS = [
    (((1, 2),), (3,)), (((0, 1), (2, 0)), (2, 2)), (((0, 0), (1, 1)), ("N", 3)), (((1, 1),), (0,)),
]  # fmt: skip
_PLACES: list[tuple[str, Any, Any, Any]] = [
    *[("slice", lambda x, i=i: x[i], lambda x, i=i: x[i], shape)
      for i, shape in _SLICES],
    *[("pad", lambda x, w=w: mg.pad(x, w), lambda x, w=w: np.pad(x, w), s) for w, s in _WIDTHS],
    ("pad", lambda x: mg.pad(x, [(1, 0)], value=-1.5),
     lambda x: np.pad(x, [(1, 0)], constant_values=-1.5), (2,)),
    *[("pad", lambda x, a=a: PAD(x, **a), lambda x, a=a: dilated(x, **a), s) for a, s in (
        ({"pad_width": ((1, 2),), "interior": (2,), "value": 0.0}, (3,)),
        ({"pad_width": ((0, 1), (1, 0)), "interior": (1, 3), "value": 2.0}, (2, 2)),
        ({"pad_width": ((1, 1),), "interior": (2,), "value": 0.0}, (0,)),
        ({"pad_width": ((0, 0), (1, 0)), "interior": (0, 1), "value": 0.0}, ("N", 2)),
    )],
]  # fmt: skip
_TYPED_VIEWS: dict[str, tuple[Any, Any]] = {
    "reshape": (lambda x: mg.reshape(x, (4, 3)), lambda x: x.reshape(4, 3)),
    "transpose": (mg.transpose, np.transpose),
    "slice": (lambda x: x[:, 1:4], lambda x: x[:, 1:4]),
    "pad": (lambda x: mg.pad(x, [(1, 0), (0, 2)]), lambda x: np.pad(x, [(1, 0), (0, 2)])),
}


def _joins() -> Iterator[Sample]:
    for shapes, axis in [
        (((2, 3), (4, 3)), 0), (((2, 3), (2, 1), (2, 2)), -1), (((3,),), 0), (((0, 2), (1, 2)), 0),
        ((("N", 2), ("N", 3)), 1),
    ]:  # fmt: skip
        yield make(
            "concatenate", lambda *xs, a=axis: mg.concatenate(xs, axis=a), *map(of, shapes),
            ref=lambda *xs, a=axis: np.concatenate(xs, axis=a), note=f"{axis}",
        )  # fmt: skip
    for dtype in ("float16", "int32", "bool"):
        yield make(
            "concatenate", lambda x, y: mg.concatenate([x, y]), of(2, dtype), of(3, dtype),
            ref=lambda x, y: np.concatenate([x, y]),
        )  # fmt: skip
    yield make(
        "concatenate", lambda x, y: mg.stack([x, y], axis=1), of((2, 3)), of((2, 3)),
        ref=lambda x, y: np.stack([x, y], axis=1), note="stack",
    )  # fmt: skip


_WINDOWS = [
    ((7,), (0,), (3,), (1,), (1,)), ((9,), (0,), (3,), (2,), (1,)), ((9,), (0,), (2,), (3,), (1,)),
    ((2, 6, 5), (1, 2), (3, 2), (2, 1), (1, 2)), (("N", 4, 4), (1, 2), (2, 2), (2, 2), (1, 1)),
    ((3,), (0,), (3,), (1,), (1,)), ((0, 4), (1,), (2,), (1,), (1,)),
    ((5,), (0,), (1,), (1,), (3,)),
]  # fmt: skip


def _window_samples() -> Iterator[Sample]:
    for shape, axis, window, stride, dilation in _WINDOWS:
        attrs = {"axis": axis, "window": window, "stride": stride, "dilation": dilation}
        yield make(
            "unfold", lambda x, a=attrs: mg.unfold(x, a["axis"], a["window"], stride=a["stride"],
            dilation=a["dilation"]), of(shape), ref=bind(windows, **attrs), note=str(window),
        )  # fmt: skip
        size = tuple(shape[a] for a in axis)
        rest = list(shape)
        for a, w, s, d in zip(axis, window, stride, dilation, strict=True):
            rest[a] = len(range(0, shape[a] - (w - 1) * d, s))
        yield make(
            "fold", lambda x, a=attrs, s=size: FOLD(x, size=s, **a), of((*rest, *window)),
            ref=bind(fold, size=size, **attrs), note=str(window),
        )  # fmt: skip
    for dtype in ("float16", "int64"):
        attrs = {"axis": (0,), "window": (2,), "stride": (1,), "dilation": (1,)}
        yield make(
            "unfold",
            lambda x: mg.unfold(x, (0,), (2,)),
            of((4,), dtype),
            ref=bind(windows, **attrs),
        )
        yield make(
            "fold", lambda x, a=attrs: FOLD(x, size=(4,), **a), of((3, 2), dtype),
            ref=bind(fold, size=(4,), **attrs),
        )  # fmt: skip


def _contractions() -> Iterator[Sample]:
    for a, b in [
        ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((4, 2, 3), (3, 2)),
        ((4, 2, 3), (4, 3, 1)), ((2, 1, 2, 3), (5, 3, 2)), (("N", 3), (3, 2)), ((2, 0), (0, 3)),
        ((0, 3), (3, 2)), ((1, 1), (1, 1)),
    ]:  # fmt: skip
        yield make("matmul", mg.matmul, of(a), of(b))
    for dtype in ("float16", "float64", *INTS):
        yield make("matmul", mg.matmul, of((2, 3), dtype), of((3, 2), dtype))
    yield make("matmul", lambda x: x @ x, of((3, 3)), ref=lambda x: x @ x)


def _index() -> Iterator[Sample]:
    for shape, indices, axis in [
        ((4, 3), (2,), 0), ((4, 3), (5,), -1), ((4, 3), (), 0), ((4,), (2, 2), 0),
        ((4, 2), (0,), 0),
        ((4, 3), ("N",), 0), (("N", 4), (3,), 1), ((4, 0), (2,), 0),
    ]:  # fmt: skip
        for dtype in INTS:
            yield make(
                "take", bind(mg.take, axis=axis), of(shape), of(indices, dtype, below(3)),
                ref=bind(np.take, axis=axis), note=f"{axis} {dtype}",
            )  # fmt: skip
    yield make("take", mg.take, of((4,), "int64"), of((2,), "int64", below(3)), ref=np.take)
    yield make("take", mg.take, of((4,), "float16"), of((2,), "int64", below(3)), ref=np.take)
    for shape, indices, axis, full in [
        ((5, 3), (5,), 0, (4, 3)), ((2, 6), (6,), 1, (2, 4)), ((3,), (), 0, (4, 3)),
        ((2, 2), (2, 2), 0, (4,)), ((0, 3), (0,), 0, (4, 3)), (("N", 2), ("N",), 0, (4, 2)),
        (("N", 3), (3,), 1, ("N", 4)),
    ]:  # fmt: skip
        yield make(
            "scatter_add", lambda x, i, a=axis, s=full: SCATTER_ADD(x, i, axis=a, shape=s),
            of(shape), of(indices, "int64", below(3)), note=f"{axis}",
            ref=lambda x, i, a=axis, s=full: scatter(x, i, a, (5, 4) if "N" in s else s),
        )  # fmt: skip
    for shape, dtype in product(((2, 3), (), (0,), (1,)), FLOATS):
        yield make(
            "random_uniform", bind(mg.random_uniform, shape=shape, seed=11, dtype=dtype),
            of((), "int64", below(2**40)), note=f"{shape} {dtype}",
            ref=bind(uniform, shape=shape, seed=11, dtype=dtype),
        )  # fmt: skip


SAMPLES: list[Sample] = [
    *_elementwise(), *_reductions(), *_views(), *_window_samples(), *_contractions(), *_index(),
]  # fmt: skip
