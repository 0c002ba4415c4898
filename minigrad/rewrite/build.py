"""From polynomials back to nodes, by the cheapest way found: the second half of `simplify`.

What all terms share comes out of a sum; small factors are multiplied before large ones; products
that the forward graph has anyway (``xhat = c * r``) are used again, also inside a mean:
``r * M(u * c) = M(u * xhat)``. This is where the textbook's form of a gradient comes from.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any

from ..ir import Node, Primitive, TensorType, node_key, rebuild
from ..primitives import broadcast_to, cast, count, reshape, transpose
from ..primitives.elementwise import ABS, ADD, DIV, MUL, NEG, POW, SQRT, SUB
from ..primitives.leaf import CONSTANT
from ..primitives.reduce import MEAN, SUM
from .cost import OP, TooDearError, cost_of, elements
from .exact import Number, magnitude, quotient, ratio
from .known import Products
from .normal import Normal
from .polynomial import Atom, Monomial, Places, Poly, in_common, power, product, scaled
from .remainder import Remainder
from .representable import represented

Term = tuple[Monomial, Number]


@dataclass(slots=True)
class Builder:
    """Makes nodes for polynomials; equal nodes are made once."""

    normal: Normal
    dtype: Any = None
    pool: dict[Any, Node] = field(default_factory=dict)
    values: dict[int, Node] = field(default_factory=dict)  # of atoms, in their home frame
    sums: dict[frozenset[Term], Node] = field(default_factory=dict)
    multiplied: set[Node] = field(default_factory=set)  # first operands of products in the pool
    leads: set[Monomial] = field(default_factory=set)  # one monomial of every sum
    made: dict[Node, Poly] = field(default_factory=dict)  # reductions, and what they are
    paid: set[Node] = field(default_factory=set)  # what is computed anyway
    budget: float = math.inf
    usable: Container[Node] | None = None  # the known products that may be used, if not all
    counted: set[Node] = field(default_factory=set)
    built: dict[Any, Node] = field(default_factory=dict)  # products, for what is asked for
    rounded: dict[Node, Number] | None = None  # constants and what they mean, if that is asked for
    products: Products = field(init=False)

    def __post_init__(self) -> None:
        self.products = Products(self.normal.ring)

    def remember(self, poly: Poly, node: Node) -> None:
        """From now on ``node`` is a way to have ``poly``, unless it repeats it along an axis."""
        if len(poly) == 1:
            ((monomial, coefficient),) = poly.items()
            if monomial not in self.products.nodes and self.normal.ring.fills(poly, node):
                self.products.remember(monomial, coefficient, node)
        elif poly and self.normal.ring.fills(poly, node):
            self.sums.setdefault(frozenset(poly.items()), node)
            self.leads.add(min(poly))

    def within(self, budget: float, poly: Poly, type_: TensorType) -> Node:
        """`exact`, as long as the nodes that nobody has paid for cost no more than the budget."""
        if len(poly) > 4 and self._additions(poly) > budget and self._known(poly) is None:
            raise TooDearError
        self.budget, self.counted, self.built = budget, set(), {}
        try:
            return self.exact(poly, type_)
        finally:
            self.budget = math.inf

    def _additions(self, poly: Poly) -> float:
        """What adding the terms up costs at least, if no two of them are a sum that exists."""
        smallest = min([self._extent(m) for m in poly])
        return (len(poly) - 2) * (OP + smallest)

    def exact(self, poly: Poly, type_: TensorType) -> Node:
        """A node of exactly this type that holds the polynomial."""
        before, self.dtype = self.dtype, type_.dtype
        node = self.sum(poly)
        self.dtype = before
        if node.type.shape == type_.shape:
            return node
        if node.ndim > len(type_.shape):
            node = self.op(reshape(node, node.type.shape[node.ndim - len(type_.shape) :]))
        return node if node.type == type_ else self.op(broadcast_to(node, type_.shape))

    # --- sums --------------------------------------------------------------------------------

    def sum(self, poly: Poly) -> Node:
        """A polynomial, aligned at the right; dims along which it does not vary may be missing."""
        if not poly:
            return self.number(0)
        if len(poly) == 1:
            ((monomial, coefficient),) = poly.items()
            return self.product(monomial, coefficient)
        known = self._known(poly)
        if known is not None:
            return known
        shared, scale = in_common(poly)
        if shared or scale != 1:
            inverse = power(shared, -1)
            rest = {product(m, inverse): quotient(c, scale) for m, c in poly.items()}
            return self.product(shared, scale, [self.sum(rest)])
        return self._grouped(poly)

    def _known(self, poly: Poly) -> Node | None:
        """The node that holds a sum, or what its negative makes of one that does."""
        if self.leads.isdisjoint(frozenset(poly)):
            return None
        known = self.sums.get(frozenset(poly.items()))
        if known is not None:
            return known
        negated = self.sums.get(frozenset([(m, -c) for m, c in poly.items()]))
        return None if negated is None else self.apply(NEG, negated)

    def _grouped(self, poly: Poly) -> Node:
        """A sum without a factor in all of its terms."""
        factor = self._most_shared(poly)
        if factor is None:
            return self._chain(poly)
        inside, rest = {}, {}
        for monomial, coefficient in poly.items():
            if factor in monomial:
                inside[tuple([term for term in monomial if term != factor])] = coefficient
            else:
                rest[monomial] = coefficient
        with_factor = self.product((factor,), 1, [self.sum(inside)])
        return self.apply(ADD, with_factor, self.sum(rest)) if rest else with_factor

    def _most_shared(self, poly: Poly) -> tuple[int, Number] | None:
        """The power of a factor that most terms have, if several do."""
        dims = self.normal.ring.dims
        uses: dict[tuple[int, Number], int] = {}
        for term in chain.from_iterable(poly):
            uses[term] = uses.get(term, 0) + 1
        several = [(n, -t[0], t) for t, n in uses.items() if n > 1 and t[0] not in dims]
        return max(several, key=itemgetter(0, 1))[2] if several else None

    def _chain(self, poly: Poly) -> Node:
        """The terms one after the other: a large one, what is small, the other large ones."""
        terms = [(self._extent(m), c > 0, m, c) for m, c in poly.items()]
        terms.sort(key=itemgetter(0, 1), reverse=True)
        largest = terms[0][0]
        large = [(m, c) for size, _, m, c in terms if size == largest]
        small = [(m, c) for size, _, m, c in terms if size != largest]
        total, rest = self.product(*large[0]), large[1:]
        if len(small) > 1:
            joined = dict(small)
            if all(c < 0 for c in joined.values()):
                total = self.apply(SUB, total, self.sum(scaled(joined, -1)))
            else:
                total = self.apply(ADD, total, self.sum(joined))
        else:
            rest = [*small, *rest]
        for monomial, coefficient in rest:
            row = SUB if coefficient < 0 else ADD
            total = self.apply(row, total, self.product(monomial, magnitude(coefficient)))
        return total

    # --- products ----------------------------------------------------------------------------

    def product(self, monomial: Monomial, scale: Number = 1, parts: Sequence[Node] = ()) -> Node:
        """``scale`` times a monomial times ``parts``; small operands meet first."""
        if parts:
            return self._multiplied(monomial, scale, parts)
        exact = self.products.nodes.get(monomial)
        if exact is not None and exact[1] == scale:
            return exact[0]
        key = monomial, scale, self.dtype
        built = self.built.get(key)
        if built is None:
            built = self.built[key] = self._multiplied(monomial, scale, ())
        return built

    def _multiplied(self, monomial: Monomial, scale: Number, parts: Sequence[Node]) -> Node:
        left = Remainder(monomial, scale, list(parts), [])
        averaged = self.normal.ring.has_mean(monomial)  # what is used brings no mean in
        if averaged:
            self._absorb(left)
        self.products.use(left, self.usable)
        if averaged:
            self._use_sums(left)
        for f, e in left.monomial:
            node, inverted = self._raised(f, e)
            (left.under if inverted else left.over).append(node)
        return self._assembled(left)

    def _assembled(self, left: Remainder) -> Node:
        """The operands multiplied: pairs that exist, then the smallest first."""
        if len(left.over) == 1 == left.scale and not left.under:
            return left.over[0]
        over = self._existing(left.over)
        queue = [(elements(n.type.shape), False, n) for n in over]
        queue += [(elements(n.type.shape), True, n) for n in left.under]
        queue.sort(key=itemgetter(0, 1))
        negative = left.scale == -1
        total = self.number(left.scale) if magnitude(left.scale) != 1 else None
        for _, inverted, node in queue:
            if total is None and inverted:
                total = self.number(1)
            total = node if total is None else self.apply(DIV if inverted else MUL, total, node)
            if negative and not inverted:
                total, negative = self.apply(NEG, total), False
        total = self.number(left.scale) if total is None else total
        return self.apply(NEG, total) if negative and queue else total

    def _existing(self, operands: list[Node]) -> list[Node]:
        """Pairs of operands whose product has been made already become one."""
        if len(operands) < 2:
            return operands
        for a in operands:
            if a not in self.multiplied:
                continue
            for b in operands:
                made = None if a is b else self.pool.get((MUL, (a, b), ()))
                if made is not None:
                    rest = list(operands)
                    rest.remove(a)
                    rest.remove(b)
                    return self._existing([made, *rest])
        return operands

    def _absorb(self, left: Remainder) -> None:
        """Move invariants into a mean where they complete a product that exists there."""
        ring = self.normal.ring
        for f, e in left.monomial:
            if e != 1 or f not in ring.means:
                continue
            atom = ring.of(f)
            if ring.factors[f][1] != atom.home:
                continue
            ((inside, _),) = atom.content[0].items()
            outside = product(left.monomial, ((f, -1),))
            found = self.products.completed(inside, outside, frozenset(atom.reduced))
            if found is not None:
                rest, coefficient = found
                left.monomial = outside
                left.take(rest, coefficient)
                inner = self.product(product(inside, rest), coefficient)
                self._reduce(left, inner, product(inside, rest), coefficient, atom)

    def _use_sums(self, left: Remainder) -> None:
        """``n`` times a mean is a sum, also below the line, unless the mean exists."""
        ring = self.normal.ring
        for f, e in left.monomial:
            if f not in ring.means or magnitude(e) != 1 or ((f, 1),) in self.products.nodes:
                continue
            atom = ring.of(f)
            if ring.factors[f][1] == atom.home:
                ((inside, _),) = atom.content[0].items()
                if self._has_size(left, atom, e):
                    left.take(((f, e),), 1)
                    self._reduce(left, self.product(inside), inside, 1, atom, e)

    def _has_size(self, left: Remainder, atom: Atom, exponent: Number) -> bool:
        ((size, static),) = self.normal.size(atom.sizes).items()
        powers = dict(left.monomial)
        under = quotient(left.scale, static if exponent == 1 else quotient(1, static)).denominator
        given = left.scale.denominator
        simpler = under <= given and (exponent == 1 or under < given or static == 1)
        return simpler and all(powers.get(f, 0) * exponent >= e for f, e in size)

    def _reduce(
        self, left: Remainder, inner: Node, inside: Monomial, scale: Number, atom: Atom,
        exponent: Number = 1,
    ) -> None:  # fmt: skip
        """Append the mean of ``inner``, or its sum where ``n`` stands outside."""
        row: Any = MEAN
        poly = self.normal.mean({inside: scale}, frozenset(atom.reduced), atom.rank)
        if self._has_size(left, atom, exponent):
            row = SUM
            ((size, static),) = self.normal.size(atom.sizes).items()
            left.take(power(size, exponent), static if exponent == 1 else quotient(1, static))
            poly = {product(m, size): c * static for m, c in poly.items()}
        node = self.reduced(row, inner, atom)
        self.made[node] = poly
        (left.over if exponent == 1 else left.under).append(node)

    def reduced(self, row: Any, inside: Node, atom: Atom) -> Node:
        """A reduction of ``inside`` over an atom's axes, aligned with its home."""
        axis = tuple(sorted([p + inside.ndim for p in atom.reduced]))
        leading = axis == tuple(range(len(axis)))
        return self.op(row(inside, axis=axis, keepdims=not leading))

    # --- factors -----------------------------------------------------------------------------

    def _raised(self, factor: int, exponent: Number) -> tuple[Node, bool]:
        """A power of a factor, or its inverse and True."""
        known = self.products.plain(((factor, exponent),))
        if known is not None:
            return known, False
        if exponent == 1:
            return self.factor(factor), False
        half = self.products.plain(((factor, quotient(exponent, 2)),))
        if half is not None:
            return self.apply(MUL, half, half), False
        if exponent < 0:
            return self._raised(factor, -exponent)[0], True
        node = self.factor(factor)
        if exponent == ratio(1, 2):
            return self.apply(SQRT, node), False
        return self.apply(POW, node, self.number(exponent)), False

    def factor(self, factor: int) -> Node:
        """The value of a factor, its axes at the factor's places."""
        number, places = self.normal.ring.factors[factor]
        atom = self.normal.ring.atoms[number]
        node = self.values.get(number)
        if node is None:
            node = self._atom(atom)
            if atom.kind != "dim":  # a count is of the dtype that is asked for
                self.values[number] = node
        return self.placed(node, atom, places)

    def placed(self, node: Node, atom: Atom, places: Places) -> Node:
        """``node`` holds the atom at home; the same with axis i at ``places[i]``."""
        if atom.home == places or not places:
            if not places and node.ndim:
                return self.op(reshape(node, ()))
            return node
        order = sorted(range(len(places)), key=lambda i: places[i])
        at_home = sorted(range(len(places)), key=lambda i: atom.home[i])
        dense = self.op(reshape(node, tuple([atom.shape[i] for i in at_home])))
        if order != at_home:
            dense = self.op(transpose(dense, tuple([at_home.index(i) for i in order])))
        shape: list[Any] = [1] * -min(places)
        for place, dim in zip(places, atom.shape, strict=True):
            shape[place] = dim
        return dense if dense.type.shape == tuple(shape) else self.op(reshape(dense, tuple(shape)))

    def _atom(self, atom: Atom) -> Node:
        if atom.kind == "dim":
            node, axis = self.normal.dims[atom.key[1]]  # type: ignore[index]
            size = self.op(count(node, axis))
            return size if size.dtype == self.dtype else self.op(cast(size, self.dtype))
        if atom.kind == "sum":
            return self.sum(atom.content[0])
        if atom.kind == "mean":
            ((inside, _),) = atom.content[0].items()
            return self.reduced(MEAN, self.product(inside), atom)
        if atom.node is None:
            assert isinstance(atom.key, tuple)
            assert atom.key[0] == "abs"
            return self.apply(ABS, self.sum(atom.content[0]))
        types = [i.type for i in atom.node.inputs]
        operands = [self.exact(p, t) for p, t in zip(atom.content, types, strict=True)]
        return self.op(rebuild(atom.node, tuple(operands)))

    def number(self, value: Number) -> Node:
        """A constant scalar of the dtype at hand."""
        key = CONSTANT, value, self.dtype
        node = self.pool.get(key)
        if node is None:
            node = CONSTANT(value=represented(value, self.dtype))
            if self.rounded is not None and float(node.attrs["value"]) != value:
                self.rounded[node] = value
            else:
                node = self.op(node)
            self.pool[key] = node
        return node

    def apply(self, row: Primitive, *operands: Node) -> Node:
        """``row(*operands)``, made once."""
        key = row, operands, ()
        found = self.pool.get(key)
        if found is None:
            found = self.pool[key] = row(*operands)
            if row is MUL:
                self.multiplied.add(operands[0])
        return self._spent(found)

    def op(self, node: Node) -> Node:
        """``node``, or the one made before that is equal to it."""
        if node.prim.name in ("input", "parameter", "state"):
            return node
        return self._spent(self.pooled(node))

    def pooled(self, node: Node) -> Node:
        """``node``, or the one met before that is equal to it."""
        if node.prim is MUL:
            self.multiplied.add(node.inputs[0])
        return self.pool.setdefault(node_key(node, node.inputs), node)

    def _spent(self, node: Node) -> Node:
        """``node``, which every form that is built here needs."""
        if self.budget < math.inf and node not in self.paid and node not in self.counted:
            self.counted.add(node)
            self.budget -= cost_of(node)
            if self.budget < 0:
                raise TooDearError
        return node

    def _extent(self, monomial: Monomial) -> float:
        """How many elements a monomial has."""
        return elements(tuple(self.normal.ring.sizes([monomial]).values()))
