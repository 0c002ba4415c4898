"""Products that some node holds already, and where they save work in another product."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from itertools import chain

from ..ir import Node
from .exact import Number, whole
from .polynomial import Monomial, Ring
from .remainder import Remainder

USES = 8  # known products in one product: x ** 1000 is not made of a thousand
CANDIDATES = 6  # known products that stand under a factor; keeps the work linear


@dataclass(slots=True)
class Known:
    """A product that some node holds; ``solid`` is what it holds besides dims."""

    monomial: Monomial
    solid: Monomial
    number: int  # by when it was met
    _sides: frozenset[int] = frozenset()

    def sides(self) -> frozenset[int]:
        """The factors and on which side of the line each is; most products are never asked."""
        if not self._sides:
            self._sides = _sides(self.solid)
        return self._sides


@dataclass(slots=True)
class Products:
    """What nodes hold, as ``monomial: (node, coefficient)``.

    A product is found in others by one of its factors: the newest under which there is room, as
    the newest are in the fewest products. Where there is no room at all it is not found.
    """

    ring: Ring
    nodes: dict[Monomial, tuple[Node, Number]] = field(default_factory=dict)
    by_factor: dict[int, list[Known]] = field(default_factory=dict)

    def remember(self, monomial: Monomial, coefficient: Number, node: Node) -> None:
        """From now on ``node`` holds a monomial times a number."""
        solid = self.ring.solid(monomial)
        held = node, coefficient
        if solid and self.nodes.setdefault(monomial, held) is held:
            for f, _ in reversed(solid):
                listed = self.by_factor.setdefault(f, [])
                if len(listed) < CANDIDATES:
                    listed.append(Known(monomial, solid, len(self.nodes)))
                    break

    def plain(self, monomial: Monomial) -> Node | None:
        """The node that holds exactly this monomial."""
        node, coefficient = self.nodes.get(monomial, (None, 1))
        return node if coefficient == 1 else None

    def use(self, left: Remainder, only: Container[Node] | None = None) -> None:
        """Take what saves most out of a product, or its inverse, as long as something does.

        Of those that save as much, the first: by factor, then as they were met.
        """
        if not left.monomial or len(left.monomial) == 1 == left.monomial[0][1]:
            return
        candidates = self._fitting(left.monomial, only)
        if not candidates:
            return
        powers = dict(left.monomial)
        for _ in range(USES):
            most, best = 0.0, None
            still = []
            for candidate in candidates:
                known, sign = candidate
                if len(known.solid) > most:  # else it cannot save more
                    gain = _gain(known.solid, sign, powers)
                    if gain is None:
                        continue  # what does not fit now will not fit later
                    if gain > most:
                        most, best = gain, candidate
                still.append(candidate)
            if best is None:
                break
            candidates = still
            known, sign = best
            node, coefficient = self.nodes[known.monomial]
            left.use(node, coefficient, sign)
            for f, e in known.monomial:
                rest = powers.get(f, 0) - e * sign
                if rest:
                    powers[f] = whole(rest)
                else:
                    del powers[f]
            if len(powers) == 1 and 1 in powers.values():
                break
        left.monomial = tuple(sorted(powers.items()))

    def _fitting(self, monomial: Monomial, only: Container[Node] | None) -> list[tuple[Known, int]]:
        """The known products of some of its factors and no others; -1 for the inverse of one."""
        here = _sides(monomial)
        across: frozenset[int] | None = None
        found: list[tuple[Known, int]] = []
        for f, _ in monomial:
            for known in self.by_factor.get(f, ()):
                sides = known.sides()
                if sides <= here:
                    found.append((known, 1))
                    continue
                if across is None:
                    across = frozenset([side ^ 1 for side in here])
                if sides <= across:
                    found.append((known, -1))
        if only is None:
            return found
        return [(known, sign) for known, sign in found if self.nodes[known.monomial][0] in only]

    def completed(
        self, inside: Monomial, outside: Monomial, reduced: frozenset[int]
    ) -> tuple[Monomial, Number] | None:
        """What a known product has outside of a mean that holds its other part, and its number.

        Of several products, the one with most inside; of these, the one that was known first.
        """
        powers, free = dict(inside), dict(outside)
        present = _sides(inside) | _sides(outside)
        lists = [self.by_factor.get(f, ()) for f in {**powers, **free}]
        found: dict[tuple[int, int], tuple[Monomial, Number]] = {}
        for known in chain.from_iterable(lists):
            if not known.sides() <= present:
                continue
            rest = tuple([(g, e) for g, e in known.monomial if powers.get(g, 0) != e])
            solid = self.ring.solid(rest)
            within = len(known.solid) - len(solid)
            fits = within and all(_is_part(e, free.get(g, 0)) for g, e in solid)
            if solid and fits and reduced.isdisjoint(self.ring.places(rest)):
                found[within, -known.number] = rest, self.nodes[known.monomial][1]
        return found[max(found)] if found else None


def _sides(monomial: Monomial) -> frozenset[int]:
    """The factors of a product and on which side of the line each is: ``2 f + 1`` is above it."""
    return frozenset([2 * f + (e > 0) for f, e in monomial])


def _gain(solid: Monomial, sign: int, powers: dict[int, Number]) -> float | None:
    """How many powers a known product saves, or its inverse (-1); None where it does not fit."""
    saved = 0.0 if sign == 1 else -0.5
    for f, e in solid:
        have = powers.get(f)
        if have is None:
            return None
        need = e if sign == 1 else -e
        if have == need:
            saved += 1.0
        elif _goes_into(need, have):
            saved += 0.25
        else:
            return None
    return saved


def _is_part(power: Number, whole_power: Number) -> bool:
    """Whether a power lies between none and another."""
    return 0 < power <= whole_power or whole_power <= power < 0


def _goes_into(need: Number, have: Number) -> bool:
    """Whether a power leaves something of another, and not more than `USES` of it can take."""
    if need < 0:
        need, have = -need, -have
    return not have < need and not have > USES * need
