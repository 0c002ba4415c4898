"""The rules of folding: how an affine map moves past an op, each a row with its condition.

They know no batch norm and no convolution. An op is affine in the operand that depends on the
inputs (``STEPS``), moves elements without mixing channels (``VIEWS``), or sums products with a
weight (``SINKS``); a rule gives the map behind the op, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from ..ir import Node, rebuild
from ..primitives import add, as_node, div, matmul, mul, neg, sub
from .fold_algebra import (
    Affine,
    aligned,
    changed,
    constant_along,
    fits_in,
    moved,
    reshape_groups,
    shaped,
    through_reshape,
    trimmed,
    widened,
)

Reason: TypeAlias = str
# (the op, the position of its varying operand, the map of that operand) -> the map of the result
Step: TypeAlias = Callable[[Node, int, Affine], Affine | Reason]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: the identity, in words when it holds, and the function that applies it."""

    name: str
    formula: str
    when: str
    apply: Step


@dataclass(frozen=True, slots=True, eq=False)
class Sink:
    """What a product makes of the map of its operand: another weight, and a shift behind it."""

    weight: Node
    shift: Node | None


# --- steps: y is affine in x, element by element -------------------------------------------------


def _add(node: Node, at: int, m: Affine) -> Affine | Reason:
    c = node.inputs[1 - at]
    return Affine(m.scale, c if m.shift is None else add(m.shift, c))


def _sub(node: Node, at: int, m: Affine) -> Affine | Reason:
    c = node.inputs[1 - at]
    if at == 0:
        return Affine(m.scale, neg(c) if m.shift is None else sub(m.shift, c))
    shift = c if m.shift is None else sub(c, m.shift)
    return Affine(neg(_scale(node, m)), shift)


def _mul(node: Node, at: int, m: Affine) -> Affine | Reason:
    c = node.inputs[1 - at]
    scale = c if m.scale is None else mul(m.scale, c)
    return Affine(scale, changed(m.shift, lambda t: mul(t, c)))


def _div(node: Node, at: int, m: Affine) -> Affine | Reason:
    if at == 1:
        return "a quotient is not affine in its denominator"
    c = node.inputs[1]
    scale = div(_scale(node, m), c)
    return Affine(scale, changed(m.shift, lambda t: div(t, c)))


def _neg(node: Node, at: int, m: Affine) -> Affine | Reason:
    return Affine(_scale(node, m), m.shift).each(lambda part: neg(part))


def _scale(node: Node, m: Affine) -> Node:
    return as_node(1.0, node.dtype) if m.scale is None else m.scale


# --- views: f(scale * x + shift) = f'(scale) * f(x) + f'(shift) ----------------------------------


def _reshape(node: Node, at: int, m: Affine) -> Affine | Reason:
    before, after = node.inputs[0].shape, node.shape
    if reshape_groups(before, after) is None or 0 in before:
        return "a reshape of no elements hides which axis is which"
    return m.each(lambda part: through_reshape(part, before, after))


def _transpose(node: Node, at: int, m: Affine) -> Affine | Reason:
    return m.each(lambda p: trimmed(moved(aligned(p, node.ndim), node.attrs["axes"])))


def _unfold(node: Node, at: int, m: Affine) -> Affine | Reason:
    x, axes = node.inputs[0], node.attrs["axis"]

    def windows(part: Node) -> Node:
        part = aligned(part, x.ndim)
        if constant_along(part, axes):
            return shaped(part, (*part.shape, *[1] * len(axes)))
        return rebuild(node, (widened(part, x.shape, axes),))

    return m.each(windows)


def _pad(node: Node, at: int, m: Affine) -> Affine | Reason:
    edges = [i for i, (low, high) in enumerate(node.attrs["pad_width"]) if low or high]
    edges += [i for i, gap in enumerate(node.attrs["interior"]) if gap]
    if node.attrs["value"] != 0:
        return f"padding with {node.attrs['value']:g} is not linear; zeros are"
    if m.shift is not None:
        return "a shift does not pass through padding with zeros (a scale does)"
    assert m.scale is not None
    if not constant_along(aligned(m.scale, node.ndim), edges):
        return f"the scale varies along the padded axes {tuple(edges)}"
    return m


def _slice(node: Node, at: int, m: Affine) -> Affine | Reason:
    """The same slice, but of axes of size 1 all there is."""

    def cut(part: Node) -> Node:
        part = aligned(part, node.ndim)
        attrs = {
            key: tuple(
                [whole if d == 1 else b for d, b in zip(part.shape, node.attrs[key], strict=True)]
            )
            for key, whole in (("start", 0), ("stop", 1), ("step", 1))
        }
        return trimmed(
            part if constant_along(part, range(part.ndim)) else rebuild(node, (part,), attrs)
        )

    return m.each(cut)


def _mean(node: Node, at: int, m: Affine) -> Affine | Reason:
    x, axes = node.inputs[0], node.attrs["axis"]
    if m.scale is not None and not constant_along(aligned(m.scale, x.ndim), axes):
        return f"the scale varies along the reduced axes {axes}"
    scale = changed(m.scale, lambda part: _reduced(part, node))
    if m.shift is None:
        return Affine(scale)
    shift = aligned(m.shift, x.ndim)
    if node.prim.name == "mean" and constant_along(shift, axes):
        return Affine(scale, _reduced(shift, node))
    if not all(isinstance(x.shape[a], int) for a in axes):
        return f"the sum of a shift over the named dims of {x.type} is not a number yet"
    return Affine(scale, rebuild(node, (widened(shift, x.shape, axes),)))


def _reduced(part: Node, node: Node) -> Node:
    full = aligned(part, node.inputs[0].ndim)
    kept = node.attrs["keepdims"]
    axes = () if kept else node.attrs["axis"]
    return shaped(full, tuple(d for i, d in enumerate(full.shape) if i not in axes))


# --- sinks: a product with a weight takes the map in ---------------------------------------------


def scale_into_next(node: Node, at: int, scale: Node) -> Node | Reason:
    """``(scale * x) @ W = x @ (scale * W)``, the scale along the summed axis: the new weight."""
    weight = node.inputs[1 - at]
    factor = aligned(scale, node.inputs[at].ndim)
    free, what = (-2, "rows") if at == 0 else (-1, "columns")
    if factor.shape[free] != 1:
        summed = node.inputs[at].ndim + (-1 if at == 0 else -2)
        return (
            f"the scale varies along the {what} of {node.inputs[at].type}, not along the summed "
            f"axis {summed} alone"
        )
    factor = trimmed(moved(factor, _swapped(factor.ndim)))
    if not fits_in(factor, weight):
        return f"the scale {factor.type} would make {weight.type} larger"
    return mul(weight, factor)


def shift_through_next(node: Node, at: int, shift: Node) -> Node | Reason:
    """``(x + shift) @ W = x @ W + shift @ W``: the shift behind the product."""
    x, weight = node.inputs[at], node.inputs[1 - at]
    axis = x.ndim + (-1 if at == 0 else -2)
    full = trimmed(widened(aligned(shift, x.ndim), x.shape, (axis,)), least=2)
    return trimmed(matmul(full, weight) if at == 0 else matmul(weight, full))


def scale_into_previous(node: Node, at: int, scale: Node) -> Node | Reason:
    """``scale * (x @ W) = x @ (W * scale)``, the scale along the axis that W brings in."""
    weight = node.inputs[1 - at]
    factor = aligned(scale, node.ndim)
    free, what = (-2, "rows") if at == 0 else (-1, "columns")
    if factor.shape[free] != 1:
        return (
            f"the scale varies along the {what} of the product {node.type}, not along the axis "
            f"{node.ndim + (-1 if at == 0 else -2)} of its weight {weight.type} alone"
        )
    if not fits_in(factor := trimmed(factor), weight):
        return f"the scale {factor.type} would make {weight.type} larger"
    return mul(weight, factor)


def _swapped(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


# --- back through a view: the scale of f(x) as a scale of x --------------------------------------


def _reshape_back(node: Node, scale: Node) -> Node | Reason:
    before, after = node.inputs[0].shape, node.shape
    if reshape_groups(after, before) is None or 0 in before:
        return "a reshape of no elements hides which axis is which"
    return through_reshape(scale, after, before)


def _transpose_back(node: Node, scale: Node) -> Node | Reason:
    axes = node.attrs["axes"]
    inverse = tuple(sorted(range(len(axes)), key=axes.__getitem__))
    return trimmed(moved(aligned(scale, node.ndim), inverse))


def _mean_back(node: Node, scale: Node) -> Node | Reason:
    factor, axes, rank = aligned(scale, node.ndim), node.attrs["axis"], node.inputs[0].ndim
    if not node.attrs["keepdims"]:
        dims = iter(factor.shape)
        factor = shaped(factor, tuple(1 if i in axes else next(dims) for i in range(rank)))
    return trimmed(factor)


def _unfold_back(node: Node, scale: Node) -> Node | Reason:
    factor, rank = aligned(scale, node.ndim), node.inputs[0].ndim
    axes = (*node.attrs["axis"], *range(rank, node.ndim))
    if not constant_along(factor, axes):
        return "the scale varies along the windows"
    return trimmed(shaped(factor, factor.shape[:rank]))


# --- the tables ----------------------------------------------------------------------------------

STEPS: Mapping[str, Rule] = MappingProxyType({
    "add": Rule("add a shift", "(s x + t) + c = s x + (t + c)", "c depends on no input", _add),
    "sub": Rule("subtract", "(s x + t) - c = s x + (t - c); c - (s x + t) = -s x + (c - t)",
                "c depends on no input", _sub),
    "mul": Rule("multiply", "c (s x + t) = (c s) x + c t", "c depends on no input", _mul),
    "div": Rule("divide", "(s x + t) / c = (s / c) x + t / c", "c depends on no input", _div),
    "neg": Rule("negate", "-(s x + t) = (-s) x + (-t)", "always", _neg),
})  # fmt: skip

VIEWS: Mapping[str, Rule] = MappingProxyType({
    "reshape": Rule("reshape", "f(s x + t) = f(s) f(x) + f(t)", "there are elements", _reshape),
    "transpose": Rule("transpose", "f(s x + t) = f(s) f(x) + f(t)", "always", _transpose),
    "unfold": Rule("windows", "f(s x + t) = f(s) f(x) + f(t)", "always", _unfold),
    "pad": Rule("pad with zeros", "f(s x) = s f(x)",
                "zeros are padded, there is no shift, s is constant along the padded axes", _pad),
    "slice": Rule("slice", "f(s x + t) = f(s) f(x) + f(t)", "always", _slice),
    "mean": Rule("mean", "M(s x + t) = s M(x) + M(t)", "s is constant along the axes", _mean),
    "sum": Rule("sum", "S(s x + t) = s S(x) + S(t)",
                "s is constant along the axes, whose sizes are known", _mean),
})  # fmt: skip

Into: TypeAlias = Callable[[Node, int, Node], "Node | Reason"]


@dataclass(frozen=True, slots=True)
class ProductRule:
    """One row: how a scale or a shift passes a product with a weight."""

    name: str
    formula: str
    when: str
    apply: Into


PRODUCTS: Mapping[str, ProductRule] = MappingProxyType({
    row.name: row
    for row in (
        ProductRule("scale into the next weight", "(s x) @ W = x @ (s W)",
                    "s varies along the summed axis alone", scale_into_next),
        ProductRule("shift through the next weight", "(x + t) @ W = x @ W + t @ W",
                    "always", shift_through_next),
        ProductRule("scale into the previous weight", "s (x @ W) = x @ (W s)",
                    "s varies along the axis that W brings in; nothing else reads x @ W",
                    scale_into_previous),
    )
})  # fmt: skip

BACK: Mapping[str, Callable[[Node, Node], Node | Reason]] = MappingProxyType({
    "reshape": _reshape_back,
    "transpose": _transpose_back,
    "mean": _mean_back,
    "sum": _mean_back,
    "unfold": _unfold_back,
})  # fmt: skip
