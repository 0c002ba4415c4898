"""The algebraic normal form: what a node is, as a polynomial over atoms.

Flow: nodes go in, operands first; each primitive's row in `READINGS` says what polynomial its
result is, or that it is an atom. Two nodes with the same polynomial are equal wherever both are
defined. Every law that was used is named in `laws.py` and recorded for the node where it was.

Two depths: *shallow* keeps sums of the forward graph whole (``c = x - mu`` stays ``c``), which is
what a simplified graph is built from; *deep* multiplies everything out, which decides equality.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from ..ir import Dim, Node, toposort
from . import powers
from .contractions import mean_of_product
from .exact import Number, is_unit, length, whole
from .polynomial import (  # fmt: skip
    ONE,
    ZERO,
    Atom,
    Monomial,
    Places,
    Poly,
    Ring,
    add_to,
    bits,
    in_common,
    number,
    plus,
    product,
    scaled,
    times,
)
from .readings import READINGS, opaque, whole_node

Mean: TypeAlias = tuple[Monomial, int, int]  # of a monomial, along which axes, in which rank

TERMS = {False: 8, True: 600}  # a longer sum is an atom: this bounds the work a node
SHORT = 3  # a longer sum is multiplied out only if its terms have a factor in common
FACTORS = {False: 10, True: 24}
DIGITS = 2048  # bits of a coefficient


@dataclass(slots=True)
class Normal:
    """The polynomials of some nodes, and by which laws they were found."""

    deep: bool = False
    ring: Ring = field(default_factory=Ring)
    poly: dict[Node, Poly] = field(default_factory=dict)
    laws: dict[Node, frozenset[str]] = field(default_factory=dict)
    dims: dict[str, tuple[Node, int]] = field(default_factory=dict)  # a node that has the dim
    kept: set[Node] = field(default_factory=set)
    fired: set[str] = field(default_factory=set)
    atom_of: dict[Node, int] = field(default_factory=dict)  # nodes that are atoms themselves
    means: dict[Mean, tuple[Poly, frozenset[str]]] = field(default_factory=dict)
    counts: dict[tuple[Dim, ...], Poly] = field(default_factory=dict)  # products of dims
    wholes: dict[int, tuple[Poly, Poly]] = field(default_factory=dict)  # by id: sums, kept whole
    sets: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)  # the sets of laws
    nested: int = 0  # matrix products that a mean is going through

    def read(self, roots: Iterable[Node]) -> None:
        """Find the polynomial of every node that the roots need."""
        self.read_in_order(toposort(roots, stop=self.poly))

    def read_in_order(self, order: Sequence[Node]) -> None:
        """Find the polynomials of nodes, which stand behind their operands."""
        if not self.deep:
            self.kept |= _kept_sums(order)
        self.fired = set()
        poly, reading = self.poly, READINGS.get
        for node in order:
            poly[node] = reading(node.prim.name, opaque)(self, node)
            if self.fired:
                self.laws[node] = self._laws_fired()
                self.fired = set()

    def _laws_fired(self) -> frozenset[str]:
        """The laws that fired: equal sets, and there are few, are one object to save memory."""
        fired = frozenset(self.fired)
        return self.sets.setdefault(fired, fired)

    def laws_below(self, node: Node) -> list[frozenset[str]]:
        """The laws that fired at a gradient and at the gradients it is made of."""
        order = toposort([node])
        first = min(n.scope.order for n in order)
        return [self.laws[n] for n in order if n in self.laws and n.scope.order > first]

    def bounded(self, node: Node, poly: Poly) -> Poly:
        """The polynomial of a node, or an atom where it grew too long."""
        if len(poly) > TERMS[self.deep]:
            return whole_node(self, node)
        factors = FACTORS[self.deep]
        for monomial, coefficient in poly.items():
            if len(monomial) > factors or length(coefficient) > DIGITS:
                return whole_node(self, node)
        return poly

    def sum_of(self, node: Node, poly: Poly) -> Poly:
        """The polynomial of a sum, or an atom where it grew too long or is kept whole."""
        if self.fired or len(poly) > TERMS[self.deep]:  # else it has the terms of its operands
            poly = self.bounded(node, poly)
        if len(poly) > 1 and node in self.kept and self.ring.fills(poly, node):
            key, places = self.ring.canonical((poly,))
            shape = tuple(map(node.type.shape.__getitem__, places))
            return self.itself(node, Atom(("sum", key), "sum", shape, places, node, (poly,)))
        return poly

    def itself(self, node: Node, atom: Atom) -> Poly:
        """The polynomial of a node that is an atom; the first such node stands for all."""
        number_ = self.ring.atom(atom)
        if self.ring.atoms[number_] is atom:
            self.atom_of[node] = number_
        return self.single((number_, atom.home))

    def single(self, found: tuple[int, Places]) -> Poly:
        """The polynomial that is one factor."""
        return {((self.ring.factor(*found), 1),): 1}

    def sum_atom(self, poly: Poly) -> tuple[int, Places]:
        """A sum as one atom, which stands for its content."""
        key, places = self.ring.canonical((poly,))
        key = ("sum", key)
        known = self.ring.find(key)
        if known is None:
            dims = self.ring.sizes(poly)
            shape = tuple(map(dims.__getitem__, places))
            known = self.ring.atom(Atom(key, "sum", shape, places, None, (poly,)))
        return known, places

    def times(self, a: Poly, b: Poly) -> Poly:
        """``a * b``; shallow, a sum is multiplied out only where a mean stands in it.

        A gradient that comes from several blocks of a network stays whole there: multiplied into
        the next block's closed form, it would hide it.
        """
        if len(a) == len(b) == 1:
            found = self._product_of_terms(a, b)
            return self.expanded(found) if self.deep else found
        if not self.deep:
            a, b = self._whole_unless_mean(a), self._whole_unless_mean(b)
        many = len(a) > 1 and len(b) > 1
        if many and len(a) * len(b) > TERMS[self.deep]:
            a, b = (self.single(self.sum_atom(p)) for p in (a, b))
        elif many:
            self.fired.add("distribute")
        if len(a) == len(b) == 1:
            return self.expanded(self._product_of_terms(a, b))
        found = times(a, b)
        given = sum(map(len, a)) * len(b) + sum(map(len, b)) * len(a)
        if sum(map(len, found)) < given:
            self.fired.add("powers of one base")
        return self.expanded(found)

    def _product_of_terms(self, a: Poly, b: Poly) -> Poly:
        """A product of two terms, and its laws; ``x * x`` is a square without any law."""
        ((m, c),) = a.items()
        ((n, d),) = b.items()
        found = product(m, n)
        if len(found) < len(m) + len(n):
            powers = dict(m)
            for f, e in n:
                if f in powers and not powers[f] == e == 1:
                    self.fired.add("powers of one base")
        if c == 1:
            return {found: d}
        if d == 1:
            return {found: c}
        if not is_unit(c) and not is_unit(d):
            self.fired.add("product of numbers")
        return {found: whole(c * d)}

    def _whole_unless_mean(self, poly: Poly) -> Poly:
        """A sum as one factor, unless a mean stands in it; the same one is often multiplied."""
        if len(poly) < 2:
            return poly
        known = self.wholes.get(id(poly))
        if known is None:
            found = poly if self._has_mean(poly) else self.single(self.sum_atom(poly))
            known = self.wholes[id(poly)] = poly, found  # with the sum itself, the id stays its own
        return known[1]

    def _has_mean(self, poly: Poly) -> bool:
        """Whether a mean stands in a sum that is short, or has something in common."""
        if len(poly) > SHORT and not in_common(poly)[0]:
            return False
        return any(map(self.ring.has_mean, poly))

    def expanded(self, poly: Poly) -> Poly:
        """Natural powers of sums written out, where the depth asks for it."""
        if not self.deep:
            return poly
        total: Poly = ZERO
        for monomial, coefficient in poly.items():
            term: Poly = {ONE: coefficient}
            for f, e in monomial:
                atom = self.ring.of(f)
                if atom.kind == "sum" and isinstance(e, int) and 0 < e <= 4:
                    content = self.content(f)
                    for _ in range(e):
                        term = times(term, content)
                    if len(term) > TERMS[True]:
                        return poly
                else:
                    term = times(term, {((f, e),): 1})
            total = plus(total, term)
        return total

    def content(self, factor: int) -> Poly:
        """What a sum or mean factor stands for, in the factor's frame."""
        number_, places = self.ring.factors[factor]
        atom = self.ring.atoms[number_]
        if atom.home == places:
            return atom.content[0]
        return self.ring.moved(atom.content[0], dict(zip(atom.home, places, strict=True)))

    def mean(self, poly: Poly, axes: frozenset[int], rank: int) -> Poly:
        """The mean over ``axes``, linear, invariant factors outside; places stay."""
        if len(poly) > 1:
            self.fired.add("linearity of the mean")
        along = bits(axes)
        total: dict[Monomial, Number] = {}
        for monomial, coefficient in poly.items():
            found, laws = self._mean_of((monomial, along, rank))
            self.fired |= laws
            if len(poly) == 1:
                return scaled(found, coefficient)
            add_to(total, found, coefficient)
        return total

    def _mean_of(self, of: Mean) -> tuple[Poly, frozenset[str]]:
        """The mean of a monomial, and by which laws; what sums in sums hold comes first."""
        known = self.means.get(of)
        if known is not None:
            return known
        waiting = [of]
        while waiting:
            monomial, along, rank = term = waiting.pop()
            if term in self.means:
                continue
            inside = self.varying(monomial, along)
            along &= self.ring.width((inside,))
            content: Poly = self.content(inside[0][0]) if self._is_sum(inside) else ZERO
            if content:
                missing = [t for m in content if (t := (m, along, rank)) not in self.means]
                if missing:
                    waiting += [term, *missing]
                    continue
            before, self.fired = self.fired, set()
            mean = self._averaged(monomial, inside, content, along, rank)
            found = self.means[term] = mean, self._laws_fired()
            self.fired = before
        return found  # the last one is what was asked for

    def _averaged(
        self, monomial: Monomial, inside: Monomial, content: Poly, along: int, rank: int
    ) -> Poly:
        if not inside:
            self.fired.add("mean of an invariant")
            return {monomial: 1}
        outside: Monomial = ()
        if len(inside) < len(monomial):
            outside = tuple([term for term in monomial if term not in inside])
            self.fired.add("invariant factor of a mean")
        if content:
            before, self.fired = self.fired, set(self.fired)
            whole_mean = self.mean(content, _places(along), rank)
            if len(whole_mean) <= 1:
                self.fired.add("mean of a sum")
                return times({outside: 1}, whole_mean)
            self.fired = before  # what fired inside was of no use: the sum stays whole
        through = mean_of_product(self, inside, along, rank)
        if through is not None:
            return times({outside: 1}, through)
        if len(inside) == 1 and inside[0][1] == 1 and inside[0][0] in self.ring.means:
            self.fired.add("mean of means")
            inside, along, rank = self._merged(inside[0][0], along, rank)
        factor = self.ring.factor(*self.mean_atom(inside, along, rank))
        return {product(outside, ((factor, 1),)): 1}

    def varying(self, monomial: Monomial, along: int) -> Monomial:
        """The factors that vary along some axes, given as bits."""
        wide = self.ring.wide
        return tuple([term for term in monomial if wide[term[0]] & along])

    def _is_sum(self, monomial: Monomial) -> bool:
        return len(monomial) == 1 == monomial[0][1] and self.ring.of(monomial[0][0]).kind == "sum"

    def _merged(self, factor: int, along: int, rank: int) -> Mean:
        """The inside of a mean of a mean, and the axes of both."""
        number_, places = self.ring.factors[factor]
        atom = self.ring.atoms[number_]
        low = min([*places, -rank, 0])
        new = {p: low - 1 - i for i, p in enumerate(sorted(atom.reduced))}
        where = new | dict(zip(atom.home, places, strict=True))
        (inner,) = self.ring.moved(atom.content[0], where)
        return inner, along | bits(tuple(new.values())), rank + len(new)

    def mean_atom(self, inside: Monomial, along: int, rank: int) -> tuple[int, Places]:
        """The mean of one monomial that varies along all of some axes, given as bits."""
        content = {inside: 1}
        key, places = self.ring.canonical((content,))
        home, reduced, numbers = _split(places, along)
        sizes = self.ring.sizes(content) if len(inside) > 1 else self.ring.spans[inside[0][0]]
        shape, dims = tuple(map(sizes.__getitem__, home)), tuple(map(sizes.__getitem__, reduced))
        key = ("mean", key, numbers)
        atom = Atom(key, "mean", shape, home, None, (content,), reduced, dims, rank)
        return self.ring.atom(atom), home

    def size(self, dims: Iterable[Dim]) -> Poly:
        """The product of dims: how many elements a reduction reads."""
        dims = tuple(dims)
        found = self.counts.get(dims)
        if found is None:
            found = self.counts[dims] = self._size(dims)
        return found

    def _size(self, dims: tuple[Dim, ...]) -> Poly:
        factors: dict[int, Number] = {}
        coefficient = 1
        for dim in dims:
            if isinstance(dim, int):
                coefficient *= dim
            else:
                f = self.ring.factor(self.ring.atom(Atom(("dim", dim), "dim", ())), ())
                factors[f] = factors.get(f, 0) + 1
        return {tuple(sorted(factors.items())): coefficient} if coefficient else ZERO

    def power(self, poly: Poly, exponent: Number) -> Poly | None:
        """``poly ** exponent`` where it is a polynomial over atoms; None where it is not."""
        if exponent == 0:
            return number(1)
        if exponent == 1:
            return poly
        if not poly:
            return ZERO if exponent > 0 else None
        if len(poly) > 1:
            if self.deep and isinstance(exponent, int) and 0 < exponent <= 4:
                self.fired.add("distribute")
                total = poly
                for _ in range(exponent - 1):
                    total = self.times(total, poly)
                return total
            return powers.root_of_sum(self, poly, exponent)
        ((monomial, coefficient),) = poly.items()
        return powers.power_of_product(self, monomial, coefficient, exponent)


def _kept_sums(order: Sequence[Node]) -> set[Node]:
    """Sums of the forward graph that something multiplies or raises: they stay whole."""
    first = min([n.scope.order for n in order], default=0)
    readers = [node.inputs for node in order if node.prim.name not in {"add", "sub", "neg"}]
    operands: set[Node] = set().union(*readers)
    return {i for i in operands if i.prim.name in {"add", "sub"} and i.scope.order == first}


@lru_cache(1 << 10)
def _places(along: int) -> frozenset[int]:
    return frozenset([-i for i in range(along.bit_length()) if along >> i & 1])


@lru_cache(1 << 10)
def _split(places: Places, along: int) -> tuple[Places, Places, int]:
    """The places that a mean leaves and, sorted, those it reduces, and which in order these are."""
    home = tuple([p for p in places if not along >> -p & 1])
    reduced = [(p, i) for i, p in enumerate(places) if along >> -p & 1]
    return home, tuple(sorted([p for p, _ in reduced])), sum([1 << i for _, i in reduced])
