"""Polynomials over tensor-valued atoms: the numbers that `normal` computes with.

An *atom* is a value that algebra does not look into: a leaf, ``exp`` of something, a mean, the base
of a root. A *factor* is an atom put at places of a frame: places count from the right, as numpy
broadcasts, so that ``mu`` of shape [C] is the same factor whether it meets [N,C] or [B,N,C]; axes
of size 1 have no place. Several places at once are an int, bit ``-p`` for place p: what varies
along which axes is asked of every factor. A *monomial* is a product of powers of factors, a
*polynomial* a sum of monomials with exact rational coefficients. Broadcasting, reshapes that insert
ones, and transpositions only move places: they cost nothing and hide nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from ..ir import Dim, Node, Shape
from .exact import Number, magnitude, whole
from .signs import sign_of_atom

Places: TypeAlias = tuple[int, ...]
Monomial: TypeAlias = tuple[tuple[int, Number], ...]  # (factor, exponent), by factor
Poly: TypeAlias = Mapping[Monomial, Number]

ONE: Monomial = ()
ZERO: Poly = {}


class Atom(NamedTuple):
    """A value algebra does not look into.

    ``shape`` has no ones. ``node`` is a node that holds the value, with atom axis ``i`` at its
    axis ``axes[i]``; a mean or a sum may have none until it is built. ``content`` is what the
    atom was made of: operand polynomials, in the frame of rank ``rank``, where atom axis ``i`` has
    place ``home[i]``.
    """

    key: Hashable
    kind: str  # leaf, opaque, mean, sum, dim
    shape: tuple[Dim, ...]
    home: Places = ()
    node: Node | None = None
    content: tuple[Poly, ...] = ()
    reduced: Places = ()
    sizes: tuple[Dim, ...] = ()
    rank: int = 0


@dataclass(slots=True)
class Ring:
    """The atoms and factors met so far; equal things get equal numbers."""

    atoms: list[Atom] = field(default_factory=list)
    factors: list[tuple[int, Places]] = field(default_factory=list)
    wide: list[int] = field(default_factory=list)  # the places of the factors, as bits
    spans: list[Mapping[int, Dim]] = field(default_factory=list)  # the dims of the factors
    dims: set[int] = field(default_factory=set)  # the factors that are numbers of elements
    means: set[int] = field(default_factory=set)  # the factors that are means
    signs: dict[int, int] = field(default_factory=dict)  # of the atoms that were asked for
    positive: frozenset[Node] = frozenset()
    _atoms: dict[Hashable, int] = field(default_factory=dict)
    _factors: dict[tuple[int, Places], int] = field(default_factory=dict)

    def find(self, key: Hashable) -> int | None:
        """The number of the atom with this key, if there is one."""
        return self._atoms.get(key)

    def atom(self, atom: Atom) -> int:
        """The number of an atom; the first one with its key stands for all."""
        new = len(self.atoms)
        number = self._atoms.setdefault(atom.key, new)
        if number == new:
            self.atoms.append(atom)
        return number

    def factor(self, atom: int, places: Places) -> int:
        """The number of an atom at places of a frame."""
        new = len(self.factors)
        key = atom, places
        number = self._factors.setdefault(key, new)
        if number == new:
            made = self.atoms[atom]
            width, dims = _extent(places, made.shape)
            self.factors.append(key)
            self.wide.append(width)
            self.spans.append(dims)
            if made.kind == "dim":
                self.dims.add(number)
            elif made.kind == "mean":
                self.means.add(number)
        return number

    def of(self, factor: int) -> Atom:
        """The atom of a factor."""
        return self.atoms[self.factors[factor][0]]

    def sign(self, factor: int) -> int:
        """What is known of the sign of a factor, see `signs`."""
        return sign_of_atom(self, self.factors[factor][0])

    def solid(self, monomial: Monomial) -> Monomial:
        """A monomial without its dims, which cost nothing."""
        dims = self.dims
        for f, _ in monomial:
            if f in dims:
                return tuple([term for term in monomial if term[0] not in dims])
        return monomial

    def has_mean(self, monomial: Monomial) -> bool:
        """Whether a factor is a mean."""
        return not self.means.isdisjoint([f for f, _ in monomial])

    def places(self, monomial: Monomial) -> frozenset[int]:
        """Where in its frame a monomial varies."""
        return frozenset([p for f, _ in monomial for p in self.factors[f][1]])

    def width(self, monomials: Iterable[Monomial]) -> int:
        """Where in their frame monomials vary, as bits."""
        wide, found = self.wide, 0
        for monomial in monomials:
            for f, _ in monomial:
                found |= wide[f]
        return found

    def sizes(self, monomials: Iterable[Monomial]) -> dict[int, Dim]:
        """The dim at every place where monomials vary."""
        sizes: dict[int, Dim] = {}
        spans, last = self.spans, None
        for monomial in monomials:
            for f, _ in monomial:
                span = spans[f]
                if span is not last:  # factors of one place and shape share theirs
                    sizes.update(span)
                    last = span
        return sizes

    def fills(self, poly: Poly, node: Node) -> bool:
        """Whether a polynomial varies along every axis of ``node``: it does not repeat itself."""
        return self.width(poly) == frame(node.type.shape).width

    def moved(self, poly: Poly, move: Mapping[int, int]) -> Poly:
        """A polynomial in another frame: places go where ``move`` says, or stay."""
        if not move:
            return poly
        new: dict[int, int] = {}
        moving = bits(tuple(move))
        for monomial in poly:
            for f, _ in monomial:
                if self.wide[f] & moving and f not in new:
                    atom, places = self.factors[f]
                    new[f] = self.factor(atom, tuple([move.get(p, p) for p in places]))
        if not new:
            return poly
        return {tuple(sorted([(new.get(f, f), e) for f, e in m])): c for m, c in poly.items()}

    def framed(self, poly: Poly) -> Hashable:
        """A key of a polynomial in its frame."""
        return tuple(poly.items()) if len(poly) < 2 else frozenset(poly.items())

    def canonical(self, polys: Iterable[Poly]) -> tuple[Hashable, Places]:
        """A key of polynomials that does not depend on their frame, and the places it numbers."""
        factors = self.factors
        key: list[Any] = []
        placed: list[Any] = []  # three entries a factor, term after term
        for poly in polys:
            terms = []
            for monomial, c in poly.items():
                term = []
                for f, e in monomial:
                    atom, places = factors[f]
                    term.append((atom, e, places))
                if len(term) > 1:
                    term.sort()  # places last: they depend on the frame
                terms.append((term, c))
            if len(terms) > 1:
                terms.sort(key=itemgetter(0))
            key.append(len(terms))
            for term, c in terms:
                key += (len(term), c)
                for factor in term:
                    placed += factor
        numbers, order = _numbered(tuple(placed[2::3]))
        del placed[2::3]  # atoms and powers stay; as many pairs as there are numbers
        return (*key, *placed, numbers), order


class Frame(NamedTuple):
    """What a shape says to a polynomial: the places where it has no one, and the dims there."""

    home: Places
    dims: Shape
    width: int  # the places, as bits
    named: tuple[tuple[str, int], ...]  # the named dims and their axes


@lru_cache(1 << 10)
def frame(shape: Shape) -> Frame:
    """The frame of a shape."""
    home = tuple([a - len(shape) for a, dim in enumerate(shape) if dim != 1])
    named = tuple([(dim, a) for a, dim in enumerate(shape) if isinstance(dim, str)])
    return Frame(home, tuple([shape[p] for p in home]), bits(home), named)


@lru_cache(1 << 10)
def bits(places: Places | frozenset[int]) -> int:
    """A set of places as an int."""
    return sum([1 << -p for p in places])


@lru_cache(1 << 10)
def _extent(places: Places, shape: Shape) -> tuple[int, Mapping[int, Dim]]:
    """Where an atom of a shape varies, as bits, and the dim at each place."""
    return bits(places), dict(zip(places, shape, strict=True))


@lru_cache(1 << 9)
def _numbered(frames: tuple[Places, ...]) -> tuple[tuple[Places, ...], Places]:
    """The places of factors, numbered as they come, and the places in that order."""
    order: dict[int, int] = {}
    new: dict[Places, Places] = {}
    for places in frames:
        if places not in new:
            new[places] = tuple([order.setdefault(p, len(order)) for p in places])
    return tuple([new[places] for places in frames]), tuple(order)


def number(value: Number) -> Poly:
    """A constant polynomial."""
    return {ONE: value} if value else ZERO


def plus(a: Poly, b: Poly, scale: Number = 1) -> Poly:
    """``a + scale * b``."""
    total = dict(a)
    add_to(total, b, scale)
    return total


def add_to(total: dict[Monomial, Number], b: Poly, scale: Number = 1) -> None:
    """Add ``scale * b`` to a polynomial that nobody else has yet."""
    for monomial, coefficient in b.items():
        term = coefficient if scale == 1 else scale * coefficient
        before = total.get(monomial)
        found = term if before is None else before + term
        if found:
            total[monomial] = found if type(found) is int else whole(found)
        else:
            total.pop(monomial, None)


def times(a: Poly, b: Poly) -> Poly:
    """``a * b``, multiplied out."""
    if len(b) == 1:
        ((monomial, coefficient),) = b.items()
        return _times_term(a, monomial, coefficient)
    if len(a) == 1:
        ((monomial, coefficient),) = a.items()
        return _times_term(b, monomial, coefficient)
    total: dict[Monomial, Number] = {}
    for m, c in a.items():
        for n, d in b.items():
            joined = product(m, n)
            found = total.get(joined, 0) + c * d
            if found:
                total[joined] = whole(found)
            else:
                del total[joined]
    return total


def _times_term(a: Poly, monomial: Monomial, coefficient: Number) -> Poly:
    """A product with one term: different terms stay different."""
    if not monomial:
        return scaled(a, coefficient)
    if coefficient == 1:
        return {product(m, monomial): c for m, c in a.items()}
    return {product(m, monomial): whole(c * coefficient) for m, c in a.items()}


def scaled(a: Poly, scale: Number) -> Poly:
    """``scale * a``."""
    if scale == 1:
        return a
    return {m: whole(c * scale) for m, c in a.items()} if scale else ZERO


def product(a: Monomial, b: Monomial) -> Monomial:
    """The product of two monomials: exponents of one factor add up."""
    if not a:
        return b
    if not b or a[-1][0] < b[0][0]:
        return a + b
    if b[-1][0] < a[0][0]:
        return b + a
    powers = dict(a)
    for f, e in b:
        before = powers.get(f)
        if before is None:
            powers[f] = e
        elif total := before + e:
            powers[f] = total if type(total) is int else whole(total)
        else:
            del powers[f]
    return tuple(sorted(powers.items()))


def power(a: Monomial, exponent: Number) -> Monomial:
    """A monomial raised to a power, factor by factor."""
    if exponent == 1:
        return a
    return tuple([(f, whole(e * exponent)) for f, e in a])


def in_common(poly: Poly) -> tuple[Monomial, Number]:
    """The factors and the number that all terms have in common."""
    first, *others = poly
    shared = dict(first)
    for monomial in others:
        if not shared:
            break
        powers = dict(monomial)
        for f, e in [*shared.items()]:
            other = powers.get(f, 0)
            if other == 0 or (other > 0) != (e > 0):
                del shared[f]
            elif magnitude(other) < magnitude(e):
                shared[f] = other
    return tuple(shared.items()), _number_in_common(poly.values())


def _number_in_common(coefficients: Collection[Number]) -> Number:
    """The size that all have, or 1; negative where all of them are."""
    if 1 in coefficients:  # as in most sums
        return 1
    scale = magnitude(next(iter(coefficients)))
    if any(magnitude(c) != scale for c in coefficients):
        scale = 1
    return -scale if max(coefficients) < 0 else scale
