"""Views: where an element of a result comes from, for every op that only moves elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product as pairs
from typing import Any

import numpy as np

from ...ir import Node
from .parts import KINDS, Indices, Key, NeedsSplit, Part, broadcast, literal, strides_of
from .sizes import NOWHERE, ZERO, Axis, Index, Size, flat, product, quotient, size_of

LAST = 8  # of the elements that lie evenly along axes


def _reshape(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    x = node.inputs[0]
    return _alias(x, reshaped(node.type.shape, x.type.shape, index, axes))


def reshaped(
    shape: Sequence[Any], inner: Sequence[Any], index: Indices, axes: Mapping[Axis, Size]
) -> Indices:
    """The index into ``inner`` of position ``index`` of ``shape``, which holds as much."""
    if any(size_of(d) == ZERO for d in (*shape, *inner)):
        return (NOWHERE,) * len(inner)
    result = [NOWHERE] * len(inner)
    outs = [k for k, d in enumerate(shape) if d != 1]
    ins = [k for k, d in enumerate(inner) if d != 1]
    while outs and ins:
        a, b = [outs.pop(0)], [ins.pop(0)]
        while (left := product(size_of(shape[k]) for k in a)) != (
            right := product(size_of(inner[k]) for k in b)
        ):
            if outs and (right.split(left) is not None or not ins):
                a.append(outs.pop(0))
            elif ins and (left.split(right) is not None or not outs):
                b.append(ins.pop(0))
            elif outs:
                a.append(outs.pop(0))
            else:
                b.append(ins.pop(0))
        linear = flat([index[k] for k in a], strides_of([shape[k] for k in a]))
        for k in reversed(b[1:]):
            linear, result[k] = _divided(linear, size_of(inner[k]), axes)
        result[b[0]] = linear
    return tuple(result)


def _divided(linear: Index, by: Size, axes: Mapping[Axis, Size]) -> tuple[Index, Index]:
    found = quotient(linear, by, axes)
    if found is not None:
        return found
    for axis, size in linear.terms:
        inner = by.split(size)
        extent = axes[axis]
        if inner is not None and not inner.is_one and extent != inner:
            outer = extent.split(inner)
            if outer is not None and not outer.is_one:
                raise NeedsSplit(axis, inner)
    text = marked(linear)
    return (
        Index((), 0, f"({text}) // ({by})", linear.axes),
        Index((), 0, f"({text}) % ({by})", linear.axes),
    )


def marked(index: Index) -> str:
    """An index as text whose axes can still be renamed."""
    parts = [f"@{axis}@" if size.is_one else f"@{axis}@ * {size}" for axis, size in index.terms]
    parts += [index.text] if index.text else []
    return " + ".join([*parts, str(index.offset)] if index.offset or not parts else parts)


def _alias(x: Node, index: Indices) -> Part:
    return Part(((x, index),), lambda texts: texts[0], alias=True)


def _transpose(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    inner = [NOWHERE] * len(index)
    for position, axis in enumerate(node.attrs["axes"]):
        inner[axis] = index[position]
    return _alias(node.inputs[0], tuple(inner))


def _broadcast_to(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    return _alias(node.inputs[0], broadcast(index, node.inputs[0]))


def _slice(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    bounds = zip(index, node.attrs["start"], node.attrs["step"], strict=True)
    return _alias(node.inputs[0], tuple([i.scaled(step).plus(start) for i, start, step in bounds]))


def _unrolled(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    """A reduction of few elements, each of them read: a window of a pool, or a single one."""
    x, axis = node.inputs[0], node.attrs["axis"]
    if node.attrs["keepdims"]:
        kept = list(index)
    else:
        rest = iter(index)
        kept = [NOWHERE if a in axis else next(rest) for a in range(x.ndim)]
    operands: list[Key] = []
    for offsets in pairs(*[range(int(x.type.shape[a])) for a in axis]):
        inner = list(kept)
        for a, offset in zip(axis, offsets, strict=True):
            inner[a] = Index((), offset) if offset else NOWHERE
        operands.append((x, tuple(inner)))
    if len(operands) == 1:
        return _alias(*operands[0])
    return Part(tuple(operands), lambda texts: _reduced(node, list(texts)))


def _reduced(node: Node, texts: list[str]) -> str:
    """A tree, so that the order of additions is numpy's or better."""
    count, kind = len(texts), KINDS[node.type.dtype]
    wide = "f32" if kind == "f16" else kind
    if wide != kind and node.prim.name != "max":
        texts = [f"{wide}({text})" for text in texts]
    form = "maximum({}, {})" if node.prim.name == "max" else "({} + {})"
    while len(texts) > 1:
        pairs_ = zip(texts[::2], texts[1::2], strict=False)
        texts = [form.format(a, b) for a, b in pairs_] + texts[len(texts) // 2 * 2 :]
    total = f"{texts[0]} / {wide}({count})" if node.prim.name == "mean" else texts[0]
    return f"{kind}({total})" if wide != kind else total


def _element(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    """One element along some axes: the first, the last, or one of seven between them."""
    x, inner, which = node.inputs[0], list(index), node.attrs["which"]
    for a in node.attrs["axis"]:
        dim = x.type.shape[a]
        if isinstance(dim, int):
            inner[a] = Index((), which * (dim - 1) // LAST)
        else:
            text = f"({which} * ({size_of(dim)} - 1) // {LAST})"
            inner[a] = Index((), 0, text if which else "")
    return _alias(x, tuple(inner))


def _unfold(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    rank = node.inputs[0].ndim
    inner = list(index[:rank])
    at = node.attrs
    for position, (a, s, d) in enumerate(
        zip(at["axis"], at["stride"], at["dilation"], strict=True)
    ):
        inner[a] = inner[a].scaled(s).plus(index[rank + position].scaled(d))
    return _alias(node.inputs[0], tuple(inner))


def _pad(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    x = node.inputs[0]
    inner: list[Index] = []
    tests: list[str] = []
    widths = zip(index, node.attrs["pad_width"], node.attrs["interior"], x.type.shape, strict=True)
    for i, (low, high), gap, dim in widths:
        if not (low or high or gap):
            inner.append(i)
            continue
        at, checks = _inside(i.plus(-low), gap + 1, int(dim))
        tests += checks
        inner.append(at)
    value = literal(np.asarray(node.attrs["value"], node.type.dtype))
    if 0 in x.type.shape:
        return Part((), lambda _: f"{KINDS[node.type.dtype]}({value})")
    test = _join(tests)
    return Part(((x, tuple(inner)),), lambda texts: f"({texts[0]} if {test} else {value})")


def _inside(i: Index, step: int, dim: int) -> tuple[Index, list[str]]:
    """``i / step`` kept inside ``dim``, and the tests that it was there."""
    text, reads = marked(i), i.axes
    tests = [f"({text}) >= 0", f"({text}) <= {(dim - 1) * step}"]
    if step > 1:
        tests.append(f"({text}) % {step} == 0")
    safe = f"clamp(({text}) // {step}, {dim - 1})" if step > 1 else f"clamp({text}, {dim - 1})"
    return Index((), 0, safe, reads), tests


def _join(tests: Sequence[str]) -> str:
    return " and ".join(tests).replace("@", "") or "True"


def _concatenate(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    at, start = node.attrs["axis"], 0
    operands: list[Key] = []
    tests: list[str] = []
    for x in node.inputs:
        size = int(x.type.shape[at])
        if size:
            inside, _ = _inside(index[at].plus(-start), 1, size)
            operands.append((x, (*index[:at], inside, *index[at + 1 :])))
            start += size
            tests.append(f"({marked(index[at])}) < {start}".replace("@", ""))

    if not operands:
        nothing = literal(np.zeros((), node.type.dtype))
        return Part((), lambda _: f"{KINDS[node.type.dtype]}({nothing})")

    def build(texts: Sequence[str]) -> str:
        chosen = texts[-1]
        for text, test in zip(texts[-2::-1], tests[-2::-1], strict=True):
            chosen = f"({text} if {test} else {chosen})"
        return chosen

    return Part(tuple(operands), build, alias=len(operands) == 1)


def _fold(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    """Every window that covers the position, or the one, where windows tile the dim."""
    at = node.attrs
    rows = list(
        zip(at["axis"], at["size"], at["window"], at["stride"], at["dilation"], strict=True)
    )
    if all(w == s and d == 1 and size % w == 0 for _, size, w, s, d in rows):
        inner, inside = list(index), []
        for a, _, w, _, _ in rows:
            inner[a], low = _divided(index[a], Size((), w), axes)
            inside.append(low)
        return _alias(node.inputs[0], (*inner, *inside))
    kind, operands, tests = KINDS[node.type.dtype], [], []
    for offsets in pairs(*[range(w) for _, _, w, _, _ in rows]):
        inner, checks = list(index), []
        for o, (a, _, _, s, d) in zip(offsets, rows, strict=True):
            count = int(node.inputs[0].type.shape[a])
            inner[a], found = _inside(index[a].plus(-o * d), s, count)
            checks += found
        operands.append((node.inputs[0], (*inner, *[Index((), o) for o in offsets])))
        tests.append(_join(checks))

    def build(texts: Sequence[str]) -> str:
        zero = f"{kind}(0)"
        terms = [f"({t} if {test} else {zero})" for t, test in zip(texts, tests, strict=True)]
        return "(" + " + ".join(terms) + ")"

    return Part(tuple(operands), build)


def _count(node: Node, index: Indices, axes: Mapping[Axis, Size]) -> Part:
    shape = node.inputs[0].type.shape
    number = product(size_of(shape[a]) for a in node.attrs["axis"])
    return Part((), lambda _: f"{KINDS[node.type.dtype]}({number})")


VIEWS: dict[str, Callable[[Node, Indices, Mapping[Axis, Size]], Part]] = {
    "reshape": _reshape, "transpose": _transpose, "broadcast_to": _broadcast_to,
    "slice": _slice, "unfold": _unfold, "pad": _pad, "concatenate": _concatenate,
    "fold": _fold, "count": _count, "element": _element,
    "sum": _unrolled, "mean": _unrolled, "max": _unrolled,
}  # fmt: skip
