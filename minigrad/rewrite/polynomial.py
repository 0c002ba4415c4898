"""Polynomials over tensor-valued atoms: the numbers that `normal` computes with.

An *atom* is a value that algebra does not look into: a leaf, ``exp`` of something, a mean, the base
of a root. A *factor* is an atom put at places of a frame: places count from the right, as numpy
broadcasts, so that ``mu`` of shape [C] is the same factor whether it meets [N,C] or [B,N,C]; axes
of size 1 have no place. A *monomial* is a product of powers of factors, a *polynomial* a sum of
monomials with exact rational coefficients. Broadcasting, reshapes that insert ones, and
transpositions only move places: they cost nothing and hide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ..ir import Dim, Node
from .exact import Number, whole
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
    signs: list[int] = field(default_factory=list)  # of the atoms, see `signs`
    dims: set[int] = field(default_factory=set)  # the factors that are numbers of elements
    positive: frozenset[Node] = frozenset()
    _atoms: dict[Hashable, int] = field(default_factory=dict)
    _factors: dict[tuple[int, Places], int] = field(default_factory=dict)

    def find(self, key: Hashable) -> int | None:
        """The number of the atom with this key, if there is one."""
        return self._atoms.get(key)

    def atom(self, atom: Atom) -> int:
        """The number of an atom; the first one with its key stands for all."""
        number = self._atoms.get(atom.key)
        if number is None:
            number = self._atoms[atom.key] = len(self.atoms)
            self.atoms.append(atom)
            self.signs.append(sign_of_atom(self, atom))
        return number

    def factor(self, atom: int, places: Places) -> int:
        """The number of an atom at places of a frame."""
        number = self._factors.get((atom, places))
        if number is None:
            number = self._factors[atom, places] = len(self.factors)
            self.factors.append((atom, places))
            if self.atoms[atom].kind == "dim":
                self.dims.add(number)
        return number

    def of(self, factor: int) -> Atom:
        """The atom of a factor."""
        return self.atoms[self.factors[factor][0]]

    def solid(self, monomial: Monomial) -> Monomial:
        """A monomial without its dims, which cost nothing."""
        return tuple([term for term in monomial if term[0] not in self.dims])

    def places(self, monomial: Monomial) -> frozenset[int]:
        """Where in its frame a monomial varies."""
        return frozenset([p for f, _ in monomial for p in self.factors[f][1]])

    def sizes(self, monomials: Iterable[Monomial]) -> dict[int, Dim]:
        """The dim at every place where monomials vary."""
        return {
            place: dim
            for monomial in monomials
            for f, _ in monomial
            for place, dim in zip(self.factors[f][1], self.of(f).shape, strict=True)
        }

    def fills(self, poly: Poly, node: Node) -> bool:
        """Whether a polynomial varies along every axis of ``node``: it does not repeat itself."""
        shape, factors = node.type.shape, self.factors
        wide = {a for a, dim in enumerate(shape, -len(shape)) if dim != 1}
        return wide == {place for m in poly for f, _ in m for place in factors[f][1]}

    def moved(self, poly: Poly, move: Callable[[int], int]) -> Poly:
        """A polynomial in another frame."""
        new: dict[int, int] = {}
        for monomial in poly:
            for f, _ in monomial:
                if f not in new:
                    atom, places = self.factors[f]
                    new[f] = self.factor(atom, tuple([move(p) for p in places]))
        if all(a == b for a, b in new.items()):
            return poly
        return {tuple(sorted([(new[f], e) for f, e in m])): c for m, c in poly.items()}

    def framed(self, poly: Poly) -> Hashable:
        """A key of a polynomial in its frame."""
        return frozenset([(tuple((*self.factors[f], e) for f, e in m), c) for m, c in poly.items()])

    def canonical(self, polys: tuple[Poly, ...], also: Iterable[int] = ()) -> tuple[Any, Places]:
        """A key of polynomials that does not depend on their frame, and the places it numbers."""
        order: dict[int, int] = {}
        keys = []
        for poly in polys:
            monomials = [
                (sorted([(*self.factors[f], e) for f, e in m]), c) for m, c in poly.items()
            ]
            monomials.sort(key=lambda term: [(a, e, p) for a, p, e in term[0]])
            for factors, _ in monomials:
                for _, places, _ in factors:
                    for p in places:
                        order.setdefault(p, len(order))
            keys.append(
                tuple(
                    (tuple((a, tuple(order[p] for p in ps), e) for a, ps, e in factors), c)
                    for factors, c in monomials
                )
            )
        return (tuple(keys), tuple(order.get(p, -1) for p in also)), tuple(order)


def number(value: Number) -> Poly:
    """A constant polynomial."""
    return {ONE: value} if value else ZERO


def plus(a: Poly, b: Poly, scale: Number = 1) -> Poly:
    """``a + scale * b``."""
    total = dict(a)
    for monomial, coefficient in b.items():
        found = total.get(monomial, 0) + scale * coefficient
        if found:
            total[monomial] = found if type(found) is int else whole(found)
        else:
            total.pop(monomial, None)
    return total


def times(a: Poly, b: Poly) -> Poly:
    """``a * b``, multiplied out."""
    if len(a) == 1 and ONE in a:
        return scaled(b, a[ONE])
    if len(b) == 1 and ONE in b:
        return scaled(a, b[ONE])
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


def scaled(a: Poly, scale: Number) -> Poly:
    """``scale * a``."""
    if scale == 1:
        return a
    return {m: whole(c * scale) for m, c in a.items()} if scale else ZERO


def product(a: Monomial, b: Monomial) -> Monomial:
    """The product of two monomials: exponents of one factor add up."""
    if not a:
        return b
    if not b:
        return a
    powers = dict(a)
    for f, e in b:
        total = powers.get(f, 0) + e
        if total:
            powers[f] = total if type(total) is int else whole(total)
        else:
            del powers[f]
    return tuple(sorted(powers.items()))


def power(a: Monomial, exponent: Number) -> Monomial:
    """A monomial raised to a power, factor by factor."""
    if exponent == 1:
        return a
    return tuple([(f, whole(e * exponent)) for f, e in a])
