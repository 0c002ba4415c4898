"""Rewriting for fewer passes over memory. Every rule reassociates sums; none knows a normaliser.

A value needs as many passes over its operands as reductions follow one another on the way to it.
Three rules make that chain shorter:

* **factor**: ``sum(a * v)`` is ``a * sum(v)`` where ``a`` does not vary along the axes, and a sum
  of such terms is summed term by term. So a reduction that waited for ``a`` waits no longer.
* **shift**: ``mean((x - mean(x))**2)`` is ``mean(d**2) - mean(d)**2`` for ``d = x - s`` with any
  ``s`` that does not vary. So that nothing cancels, ``s`` is near the mean: the median of three
  medians of three elements each, of which one that lies far off does no harm. The mean itself is
  ``s + mean(d)``, or ``mean(x)`` where that is the smaller sum. Both sums are taken in one pass.
  It is used where a block does not stay in the cache; elsewhere two passes cost one (`CACHED`).
* **stack**: a stack of products summed over the stack is one product of longer rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...ir import (
    Kind,
    Node,
    Primitive,
    TensorType,
    is_leaf,
    map_nodes,
    rebuild,
    toposort,
)
from ...ir.scope import HERE
from ...passes.cse import share
from ...primitives import abs as magnitude
from ...primitives import (
    broadcast_to,
    count,
    maximum,
    minimum,
    reshape,
    sum,
    where,
)
from ...primitives.reduce import reduced_shape
from .access import reduces_nothing
from .views import LAST

CACHED = 1 << 13  # elements of a block that a second pass finds in the nearest cache
_MOST_TERMS = 12


ELEMENT = Primitive(
    "element", Kind.VIEW, None,
    lambda x, *, axis, which: TensorType(
        tuple(1 if a in axis else d for a, d in enumerate(x.shape)), x.dtype
    ),
    None, None, None, "element",
)  # fmt: skip


def simplified(roots: Sequence[Node]) -> list[Node]:
    """The same values by fewer passes, up to rounding."""
    roots = share(roots)
    if any(0 in node.type.shape for node in toposort(roots)):
        return roots
    finder = _Rewriter(frozenset())
    map_nodes(roots, finder.rule)
    rewriter = _Rewriter(frozenset(finder.found))
    mapped = map_nodes(roots, rewriter.rule)
    return share([mapped[root] for root in roots])


@dataclass(frozen=True)
class _Term:
    """``number * product(steady) * product(varying)``; only the last varies along the axes."""

    number: float = 1.0
    steady: tuple[Node, ...] = ()
    varying: tuple[Node, ...] = ()

    def times(self, other: _Term) -> _Term:
        return _Term(
            self.number * other.number,
            self.steady + other.steady,
            self.varying + other.varying,
        )


def _collected(terms: Iterable[_Term]) -> list[_Term]:
    """Like terms as one."""
    found: dict[tuple[frozenset[tuple[Node, int]], ...], _Term] = {}
    for term in terms:
        key = tuple(frozenset(Counter(part).items()) for part in (term.steady, term.varying))
        number = term.number + (found[key].number if key in found else 0)
        found[key] = replace(term, number=number)
    return list(found.values())


class _Rewriter:
    """One walk over a graph; the first finds which means to shift, the second shifts them."""

    def __init__(self, shifted: frozenset[Node]) -> None:
        self.shifted = shifted  # means of the graph as it was
        self.found: set[Node] = set()
        self.levels: dict[Node, int] = {}
        self.sources: dict[Node, tuple[Node, Node]] = {}  # a new mean -> the old one, its operand
        self.parts: dict[Node, tuple[Node, Node]] = {}  # a shifted mean -> d, mean(d)
        self.middles: dict[Node, Node] = {}  # mean(d) -> d

    def rule(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        if is_leaf(node):
            return node
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        new = node if same else rebuild(node, inputs)
        kind = new.type.dtype.name
        if new.prim.name not in ("sum", "mean") or kind not in ("float32", "float64"):
            return new
        if reduces_nothing(new):
            return new
        before = HERE.scope, HERE.source
        HERE.scope, HERE.source = node.scope, node.source
        try:
            if node in self.shifted:
                return self.shift(new)
            found = self.stacked(new)
            if found is not None:
                return found
            found = self.factored(new)
            if node.prim.name == "mean":
                self.sources[_viewed(found)] = node, new.inputs[0]
            return found
        finally:
            HERE.scope, HERE.source = before

    def level(self, node: Node) -> int:
        """How many reductions or products follow one another up to a value."""
        if node not in self.levels:
            for found in toposort([node], stop=self.levels):
                own = found.prim.kind in (Kind.REDUCTION, Kind.CONTRACTION, Kind.INDEX)
                own = own and found.prim.name != "count"
                before = max((self.levels[x] for x in found.inputs), default=0)
                self.levels[found] = before + own
        return self.levels[node]

    # --- factor and shift --------------------------------------------------------------------

    def factored(self, node: Node) -> Node:
        """A sum or mean as sums of what varies; one form for all, so that equal ones are shared."""
        x, axis = node.inputs[0], node.attrs["axis"]
        top = self.level(x)
        terms = _Expansion(self, axis, x, top).terms(x)
        if terms is None or any(self.level(v) >= top > 0 for t in terms for v in t.varying):
            terms = [_Term(varying=(x,))]
        total: Node | None = None
        for term in _collected([self.as_a_sum(term) for term in terms]):
            value = self.summed(term, x, axis)
            total = value if total is None else total + value
        assert total is not None
        total = broadcast_to(total, reduced_shape(x.type.shape, axis, keepdims=True))
        if node.prim.name == "mean":
            total = total / count(x, axis)
        if x.prim.name == "pow" and _exponent(x) == 2.0 and len(terms) > 1:
            total = maximum(total, 0)  # what a sum of squares is, whatever was rounded
        return total if node.attrs["keepdims"] else reshape(total, node.type.shape)

    def as_a_sum(self, term: _Term) -> _Term:
        """``sum(m)`` is ``sum(d)`` where ``m`` is ``mean(d)``."""
        for k, factor in enumerate(term.steady if not term.varying else ()):
            if factor in self.middles:
                rest = term.steady[:k] + term.steady[k + 1 :]
                return _Term(term.number, rest, (self.middles[factor],))
        return term

    def summed(self, term: _Term, x: Node, axis: tuple[int, ...]) -> Node:
        """The sum of one term, its reduced dims kept."""
        if term.varying:
            value = term.varying[0]
            for factor in term.varying[1:]:
                value = value * factor
            value = sum(broadcast_to(value, x.type.shape), axis, keepdims=True)
        else:
            value = count(x, axis)
        for factor in term.steady:
            value = value * factor
        return value if term.number == 1.0 else value * term.number

    def shift(self, node: Node) -> Node:
        """``mean(x)`` as ``s + mean(d)``, ``d = x - s``; as ``mean(x)`` where 0 is nearer to it.

        The rounding of a sum grows with what is summed. And ``x - s`` must not be rounded to the
        same side for all ``x``: with no digits of its own below those of ``x``, ``s`` leaves that
        to ``x``.
        """
        x, axis = node.inputs[0], node.attrs["axis"]
        some = [ELEMENT(x, axis=axis, which=which) for which in range(LAST + 1)]
        a, b, c = (_median(*some[k::3]) for k in range(3))
        coarse = 4 * (magnitude(a) + magnitude(b) + magnitude(c))
        shift = (_median(a, b, c) + coarse) - coarse
        d = x - shift
        number = count(x, axis)
        plain = sum(x, axis, keepdims=True) / number
        middle = sum(d, axis, keepdims=True) / number
        centre = where(magnitude(middle) <= magnitude(plain), shift + middle, plain)
        self.parts[centre] = d, middle
        self.middles[middle] = d
        self.sources[centre] = node, x
        return centre if node.attrs["keepdims"] else reshape(centre, node.type.shape)

    # --- stack -------------------------------------------------------------------------------

    def stacked(self, node: Node) -> Node | None:
        """``sum(a @ b)`` over the stack: rows of all matrices contracted at once."""
        product = node.inputs[0]
        rank = product.ndim
        if node.prim.name != "sum" or product.prim.name != "matmul" or rank < 3:
            return None
        if product.type.dtype.itemsize < 4:  # half precision is numpy's
            return None
        a, b = product.inputs
        if node.attrs["axis"] != tuple(range(rank - 2)) or a.ndim != b.ndim:
            return None
        if a.type.shape[:-2] != b.type.shape[:-2]:
            return None
        return self._kept(node, STACKED(a, b))

    def _kept(self, node: Node, value: Node) -> Node:
        return reshape(value, node.type.shape) if node.attrs["keepdims"] else value


STACKED = Primitive(
    "stacked_matmul", Kind.CONTRACTION, None,
    lambda a, b: TensorType((a.shape[-2], b.shape[-1]), a.dtype),
    None, None, None, "@",
)  # fmt: skip


class _Expansion:
    """A value as a sum of terms, expanded only where it waits for the last reduction."""

    def __init__(self, rewriter: _Rewriter, axis: Iterable[int], root: Node, top: int) -> None:
        self.rewriter, self.root, self.top = rewriter, root, top
        self.rank = root.ndim
        self.axis = frozenset(axis)
        self.steady_memo: dict[Node, Node | None] = {}

    def steady(self, node: Node, depth: int = 0) -> Node | None:
        """``node`` without the axes that it does not vary along, or None where it varies."""
        if node not in self.steady_memo:
            self.steady_memo[node] = self._steady(node, depth)
        return self.steady_memo[node]

    def _steady(self, node: Node, depth: int) -> Node | None:
        missing = self.rank - node.ndim
        dims = [node.type.shape[a - missing] if a >= missing else 1 for a in self.axis]
        if all(d == 1 for d in dims):
            return node
        if depth > 20:
            return None
        if node.prim.name == "broadcast_to":
            return self.steady(node.inputs[0], depth + 1)
        if node.prim.kind is Kind.ELEMENTWISE:
            inputs = [self.steady(x, depth + 1) for x in node.inputs]
            if all(x is not None for x in inputs):
                return rebuild(node, tuple([x for x in inputs if x is not None]))
        return None

    def terms(self, node: Node, depth: int = 0) -> list[_Term] | None:
        small = self.steady(node)
        if small is not None:
            return [_Term(steady=(small,))]
        below = self.rewriter.level(node) < self.top or self.top == 0 or depth > 20
        found = self._factors(node, depth) if below else self._expanded(node, depth)
        return found if found is not None and len(found) <= _MOST_TERMS else None

    def _factors(self, node: Node, depth: int) -> list[_Term]:
        """One term: the steady factors of a product taken out of it."""
        name = node.prim.name
        if depth <= 20 and node.type.shape == self.root.type.shape:
            if name == "mul":
                for a, b in (node.inputs, node.inputs[::-1]):
                    factor = self.steady(a)
                    if factor is not None:
                        return [
                            t.times(_Term(steady=(factor,))) for t in self._factors(b, depth + 1)
                        ]
            if name == "neg":
                return [t.times(_Term(-1.0)) for t in self._factors(node.inputs[0], depth + 1)]
        return [_Term(varying=(node,))]

    def _expanded(self, node: Node, depth: int) -> list[_Term] | None:
        name = node.prim.name
        if name == "broadcast_to" and node.type.shape == self.root.type.shape:
            return self.terms(node.inputs[0], depth + 1)
        if name == "neg":
            return self._scaled(self.terms(node.inputs[0], depth + 1), -1.0)
        if name in ("add", "sub"):
            return self._sum(node, depth, -1.0 if name == "sub" else 1.0)
        if name == "mul" or (name == "pow" and _exponent(node) == 2.0):
            a = self.terms(node.inputs[0], depth + 1)
            b = a if name == "pow" else self.terms(node.inputs[1], depth + 1)
            return None if a is None or b is None else [s.times(t) for s in a for t in b]
        if name == "div":
            below = self.steady(node.inputs[1])
            above = self.terms(node.inputs[0], depth + 1)
            if below is not None and above is not None:
                return [t.times(_Term(steady=(1.0 / below,))) for t in above]
        return None

    def _sum(self, node: Node, depth: int, sign: float) -> list[_Term] | None:
        a, b = node.inputs
        below = self.steady(b)
        if sign < 0 and below is not None:
            centred = self._centred(a, below)
            if centred is not None:
                return centred
        if self.steady(a) is not None or below is not None:
            return None  # a shift by a steady value is there because it cancels
        left, right = self.terms(a, depth + 1), self._scaled(self.terms(b, depth + 1), sign)
        return None if left is None or right is None else left + right

    def _centred(self, x: Node, below: Node) -> list[_Term] | None:
        """``x - mean(x)`` as ``d - mean(d)``, where a block does not stay in the cache."""
        centre = _viewed(below)
        mean, operand = self.rewriter.sources.get(centre, (None, None))
        if mean is None or operand is not x or x.ndim != self.rank:
            return None
        if frozenset(mean.attrs["axis"]) != self.axis or self._is_cached(x):
            return None
        self.rewriter.found.add(mean)
        d, middle = self.rewriter.parts.get(centre, (x, centre))
        return [_Term(varying=(d,)), _Term(-1.0, (middle,))]

    def _is_cached(self, x: Node) -> bool:
        """Blocks of known size whose elements lie together."""
        sizes: list[Any] = [x.type.shape[a] for a in self.axis]
        if x.ndim - 1 not in self.axis or any(isinstance(d, str) for d in sizes):
            return False
        return math.prod(int(d) for d in sizes) <= CACHED

    @staticmethod
    def _scaled(terms: list[_Term] | None, by: float) -> list[_Term] | None:
        return None if terms is None else [t.times(_Term(by)) for t in terms]


def _viewed(node: Node) -> Node:
    while node.prim.name in ("reshape", "broadcast_to"):
        node = node.inputs[0]
    return node


def _median(a: Node, b: Node, c: Node) -> Node:
    return maximum(minimum(a, b), minimum(maximum(a, b), c))


def _exponent(node: Node) -> float | None:
    power = node.inputs[1]
    if power.prim.name == "constant" and power.ndim == 0:
        return float(power.attrs["value"])
    return None
