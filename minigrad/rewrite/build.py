"""From polynomials back to nodes, by the cheapest way found: the second half of `simplify`.

What all terms share comes out of a sum; small factors are multiplied before large ones; products
that the forward graph has anyway (``xhat = c * r``) are used again, also inside a mean:
``r * M(u * c) = M(u * xhat)``. This is where the textbook's form of a gradient comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..ir import Node, TensorType, attrs_key, rebuild
from ..primitives import broadcast_to, cast, count, reshape, transpose
from ..primitives.elementwise import ABS, ADD, DIV, MUL, NEG, POW, SQRT, SUB
from ..primitives.leaf import CONSTANT
from ..primitives.reduce import MEAN, SUM
from .cost import elements
from .normal import Normal
from .polynomial import Atom, Monomial, Number, Places, Poly, magnitude, power, product, scaled
from .remainder import Remainder, ratio
from .representable import represented

Term = tuple[Monomial, Number]

USES = 8  # known products in one product: x ** 1000 is not made of a thousand
CANDIDATES = 6  # known products that are tried for a factor; keeps the work linear


@dataclass(slots=True)
class Builder:
    """Makes nodes for polynomials; equal nodes are made once."""

    normal: Normal
    dtype: Any = None
    pool: dict[Any, Node] = field(default_factory=dict)
    values: dict[int, Node] = field(default_factory=dict)  # of atoms, in their home frame
    products: dict[Monomial, tuple[Node, Number]] = field(default_factory=dict)
    by_factor: dict[int, list[tuple[Monomial, Monomial]]] = field(default_factory=dict)
    sums: dict[frozenset[Term], Node] = field(default_factory=dict)
    made: dict[Node, Poly] = field(default_factory=dict)  # reductions, and what they are

    def remember(self, poly: Poly, node: Node) -> None:
        """From now on ``node`` is a way to have ``poly``, unless it repeats it along an axis."""
        if not self.normal.ring.fills(poly, node):
            return
        if len(poly) > 1:
            self.sums.setdefault(frozenset(poly.items()), node)
            return
        for monomial, coefficient in poly.items():
            factors = self._solid(monomial)
            if factors and monomial not in self.products:
                self.products[monomial] = (node, coefficient)
                for f, _ in factors:
                    candidates = self.by_factor.setdefault(f, [])
                    if len(candidates) < CANDIDATES:
                        candidates.append((monomial, factors))

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
        known = self.sums.get(frozenset(poly.items()))
        if known is not None:
            return known
        negated = self.sums.get(frozenset(scaled(poly, -1).items()))
        if negated is not None:
            return self.op(NEG(negated))
        shared, scale = self._shared(poly)
        if shared or scale != 1:
            inverse = power(shared, -1)
            rest = {product(m, inverse): ratio(c, scale) for m, c in poly.items()}
            return self.product(shared, scale, [self.sum(rest)])
        return self._grouped(poly)

    def _grouped(self, poly: Poly) -> Node:
        """A sum without a factor in all of its terms."""
        factor = self._most_shared(poly)
        if factor is None:
            return self._chain(poly)
        inverse = power((factor,), -1)
        inside = {product(m, inverse): c for m, c in poly.items() if factor in m}
        rest = {m: c for m, c in poly.items() if factor not in m}
        with_factor = self.product((factor,), 1, [self.sum(inside)])
        return self.op(ADD(with_factor, self.sum(rest))) if rest else with_factor

    def _most_shared(self, poly: Poly) -> tuple[int, Number] | None:
        uses: dict[tuple[int, Number], int] = {}
        for monomial in poly:
            for power_ in self._solid(monomial):
                uses[power_] = uses.get(power_, 0) + 1
        best = max(uses.items(), key=lambda item: (item[1], -item[0][0]), default=(None, 0))
        return best[0] if best[1] > 1 else None

    def _chain(self, poly: Poly) -> Node:
        """The terms one after the other: a large one, what is small, the other large ones."""
        terms = sorted(poly.items(), key=lambda t: (-self._extent(t[0]), t[1] < 0))
        sizes = [self._extent(m) for m, _ in terms]
        large = [t for t, size in zip(terms, sizes, strict=True) if size == sizes[0]]
        small = [t for t, size in zip(terms, sizes, strict=True) if size != sizes[0]]
        total, rest = self._signed(large[0]), large[1:]
        if len(small) > 1:
            joined = dict(small)
            if all(c < 0 for c in joined.values()):
                total = self.op(SUB(total, self.sum(scaled(joined, -1))))
            else:
                total = self.op(ADD(total, self.sum(joined)))
        else:
            rest = [*small, *rest]
        for monomial, coefficient in rest:
            row = SUB if coefficient < 0 else ADD
            total = self.op(row(total, self.product(monomial, magnitude(coefficient))))
        return total

    def _signed(self, term: Term) -> Node:
        return self.product(*term)

    def _shared(self, poly: Poly) -> tuple[Monomial, Number]:
        """The factors and the number that all terms have in common."""
        monomials = [dict(m) for m in poly]
        shared: dict[int, Number] = {}
        for f in set.intersection(*[set(m) for m in monomials]):
            powers = [m[f] for m in monomials]
            if min(powers) > 0 or max(powers) < 0:
                shared[f] = min(powers, key=magnitude)
        scales = {magnitude(c) for c in poly.values()}
        scale: Number = scales.pop() if len(scales) == 1 else 1
        if all(c < 0 for c in poly.values()):
            scale = -scale
        return tuple(sorted(shared.items())), scale

    # --- products ----------------------------------------------------------------------------

    def product(self, monomial: Monomial, scale: Number = 1, parts: Sequence[Node] = ()) -> Node:
        """``scale`` times a monomial times ``parts``; small operands meet first."""
        exact = self.products.get(monomial)
        if exact is not None and not parts and exact[1] == scale:
            return exact[0]
        left = Remainder(monomial, scale, list(parts), [])
        self._absorb(left)
        self._use_known(left)
        self._use_sums(left)
        for f, e in left.monomial:
            node, inverted = self._raised(f, e)
            (left.under if inverted else left.over).append(node)
        return self._assembled(left)

    def _assembled(self, left: Remainder) -> Node:
        """The operands multiplied: pairs that exist, then the smallest first."""
        over = self._existing(left.over)
        queue = [(elements(n.type.shape), False, n) for n in over]
        queue += [(elements(n.type.shape), True, n) for n in left.under]
        queue.sort(key=lambda item: item[:2])
        negative, scale = left.scale < 0, magnitude(left.scale)
        total = self.number(scale) if scale != 1 else None
        for _, inverted, node in queue:
            if total is None:
                total = self.op(DIV(self.number(1), node)) if inverted else node
            else:
                total = self.op((DIV if inverted else MUL)(total, node))
            if negative and not inverted:
                total, negative = self.op(NEG(total)), False
        if total is None:
            return self.number(left.scale)
        return self.op(NEG(total)) if negative else total

    def _existing(self, operands: list[Node]) -> list[Node]:
        """Pairs of operands whose product has been made already become one."""
        pairs = ((a, b) for a in operands for b in operands if a is not b)
        for a, b in pairs:
            made = self.pool.get((MUL, (id(a), id(b)), ()))
            if made is not None:
                rest = list(operands)
                rest.remove(a)
                rest.remove(b)
                return self._existing([made, *rest])
        return operands

    def _use_known(self, left: Remainder) -> None:
        """Take products that exist already, or their inverses, out of a monomial."""
        for _ in range(USES):
            if len(left.monomial) == 1 and left.monomial[0][1] == 1:
                return
            powers = dict(left.monomial)
            best, gain, sign = None, 0.0, 1
            for f in powers:
                for candidate, solid in self.by_factor.get(f, ()):
                    found, way = _gain(solid, powers)
                    if found > gain:
                        best, gain, sign = candidate, found, way
            if best is None:
                return
            node, coefficient = self.products[best]
            left.take(power(best, sign), Fraction(coefficient) ** sign)
            (left.over if sign == 1 else left.under).append(node)

    def _absorb(self, left: Remainder) -> None:
        """Move invariants into a mean where they complete a product that exists there."""
        ring = self.normal.ring
        for f, e in left.monomial:
            atom = ring.of(f)
            if e != 1 or atom.kind != "mean" or ring.factors[f][1] != atom.home:
                continue
            ((inside, _),) = atom.content[0].items()
            outside = product(left.monomial, ((f, -1),))
            found = self._completed(inside, outside, frozenset(atom.reduced))
            if found is not None:
                rest, coefficient = found
                left.monomial = outside
                left.take(rest, coefficient)
                inner = self.product(product(inside, rest), coefficient)
                self._reduce(left, inner, product(inside, rest), coefficient, atom)

    def _completed(
        self, inside: Monomial, outside: Monomial, reduced: frozenset[int]
    ) -> tuple[Monomial, Number] | None:
        """What a known product has outside of a mean that holds its other part, and its number."""
        powers, free = dict(inside), dict(outside)
        for f, _ in self._solid(inside):
            for candidate, _ in self.by_factor.get(f, ()):
                part = [(g, e) for g, e in candidate if powers.get(g, 0) == e]
                rest = tuple([term for term in candidate if term not in part])
                solid = self._solid(rest)
                fits = all(
                    free.get(g, 0) * e > 0 and magnitude(free[g]) >= magnitude(e) for g, e in solid
                )
                if part and solid and fits and reduced.isdisjoint(self.normal.ring.places(rest)):
                    return rest, self.products[candidate][1]
        return None

    def _use_sums(self, left: Remainder) -> None:
        """``n`` times a mean is a sum, also below the line, unless the mean exists."""
        ring = self.normal.ring
        for f, e in left.monomial:
            atom = ring.of(f)
            known = ((f, 1),) in self.products
            if (
                magnitude(e) == 1
                and atom.kind == "mean"
                and not known
                and ring.factors[f][1] == atom.home
            ):
                ((inside, _),) = atom.content[0].items()
                if self._has_size(left, atom, e):
                    left.take(((f, e),), 1)
                    self._reduce(left, self.product(inside), inside, 1, atom, e)

    def _has_size(self, left: Remainder, atom: Atom, exponent: Number) -> bool:
        ((size, static),) = self.normal.size(atom.sizes).items()
        powers = dict(left.monomial)
        share = Fraction(left.scale) / Fraction(static) ** int(exponent)
        simpler = share.denominator <= Fraction(left.scale).denominator and (
            exponent == 1 or share.denominator < Fraction(left.scale).denominator or static == 1
        )
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
            left.take(power(size, exponent), Fraction(static) ** int(exponent))
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
        known = self.products.get(((factor, exponent),))
        if known is not None and known[1] == 1:
            return known[0], False
        if exponent == 1:
            return self.factor(factor), False
        half = self.products.get(((factor, Fraction(exponent) / 2),))
        if half is not None and half[1] == 1:
            return self.op(MUL(half[0], half[0])), False
        if exponent < 0:
            return self._raised(factor, -exponent)[0], True
        node = self.factor(factor)
        if exponent == Fraction(1, 2):
            return self.op(SQRT(node)), False
        return self.op(POW(node, self.number(exponent))), False

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
            return self.op(ABS(self.sum(atom.content[0])))
        types = [i.type for i in atom.node.inputs]
        operands = [self.exact(p, t) for p, t in zip(atom.content, types, strict=True)]
        return self.op(rebuild(atom.node, tuple(operands)))

    def number(self, value: Number) -> Node:
        """A constant scalar of the dtype at hand."""
        return self.op(CONSTANT(value=represented(value, self.dtype)))

    def op(self, node: Node) -> Node:
        """``node``, or the one made before that is equal to it."""
        if node.prim.name in ("input", "parameter", "state"):
            return node
        inputs = tuple(map(id, node.inputs))
        return self.pool.setdefault((node.prim, inputs, attrs_key(node.attrs)), node)

    def _solid(self, monomial: Monomial) -> Monomial:
        """A monomial without its dims, which cost nothing."""
        of = self.normal.ring.of
        return tuple([(f, e) for f, e in monomial if of(f).kind != "dim"])

    def _extent(self, monomial: Monomial) -> float:
        return elements(tuple(self.normal.ring.sizes([monomial]).values()))


def _gain(solid: Monomial, powers: dict[int, Number]) -> tuple[float, int]:
    """How many powers the use of a known product saves, or of its inverse; 0 when neither fits."""
    first, e = solid[0]
    sign = 1 if powers.get(first, 0) * e > 0 else -1
    saved = 0.0 if sign == 1 else -0.5
    for f, e in solid:
        have = powers.get(f)
        if have is None or have * e * sign <= 0 or magnitude(have) < magnitude(e):
            return 0.0, sign
        saved += 1.0 if have == e * sign else 0.25
    return saved, sign
