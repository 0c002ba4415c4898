"""Products that some node holds already, and where they save work in another product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeAlias

from ..ir import Node
from .exact import Number, magnitude, whole
from .polynomial import Monomial, Ring
from .remainder import Remainder

Known: TypeAlias = tuple[Monomial, Monomial]  # a product, and the same without its dims

USES = 8  # known products in one product: x ** 1000 is not made of a thousand
CANDIDATES = 6  # known products that are tried for a factor; keeps the work linear


@dataclass(slots=True)
class Products:
    """What nodes hold, as ``monomial: (node, coefficient)``, found by each of its factors."""

    ring: Ring
    nodes: dict[Monomial, tuple[Node, Number]] = field(default_factory=dict)
    by_factor: dict[int, list[Known]] = field(default_factory=dict)

    def remember(self, monomial: Monomial, coefficient: Number, node: Node) -> None:
        """From now on ``node`` holds a monomial times a number."""
        solid = self.ring.solid(monomial)
        if solid and monomial not in self.nodes:
            self.nodes[monomial] = (node, coefficient)
            for f, _ in solid:
                candidates = self.by_factor.setdefault(f, [])
                if len(candidates) < CANDIDATES:
                    candidates.append((monomial, solid))

    def plain(self, monomial: Monomial) -> Node | None:
        """The node that holds exactly this monomial."""
        node, coefficient = self.nodes.get(monomial, (None, 1))
        return node if coefficient == 1 else None

    def use(self, left: Remainder) -> None:
        """Take what saves most out of a product, or its inverse, as long as something does."""
        powers = dict(left.monomial)
        candidates: Sequence[Known] = [c for f in powers for c in self.by_factor.get(f, ())]
        for _ in range(USES):
            if len(powers) == 1 and 1 in powers.values():
                break
            fitting = [(c, *found) for c in candidates if (found := _gain(c[1], powers))]
            if not fitting:
                break
            (best, _), gain, sign = max(fitting, key=itemgetter(1))
            if gain <= 0:
                break
            candidates = [c for c, _, _ in fitting]  # what does not fit now will not fit later
            node, coefficient = self.nodes[best]
            left.use(node, coefficient, sign)
            for f, e in best:
                rest = powers.get(f, 0) - e * sign
                if rest:
                    powers[f] = whole(rest)
                else:
                    del powers[f]
        left.monomial = tuple(sorted(powers.items()))

    def completed(
        self, inside: Monomial, outside: Monomial, reduced: frozenset[int]
    ) -> tuple[Monomial, Number] | None:
        """What a known product has outside of a mean that holds its other part, and its number."""
        powers, free = dict(inside), dict(outside)
        for f, _ in self.ring.solid(inside):
            for candidate, _ in self.by_factor.get(f, ()):
                part = [(g, e) for g, e in candidate if powers.get(g, 0) == e]
                rest = tuple([term for term in candidate if term not in part])
                solid = self.ring.solid(rest)
                fits = all(
                    free.get(g, 0) * e > 0 and magnitude(free[g]) >= magnitude(e) for g, e in solid
                )
                if part and solid and fits and reduced.isdisjoint(self.ring.places(rest)):
                    return rest, self.nodes[candidate][1]
        return None


def _gain(solid: Monomial, powers: dict[int, Number]) -> tuple[float, int] | None:
    """How many powers a known product saves, or its inverse (-1); None where neither fits."""
    for f, _ in solid:
        if f not in powers:
            return None
    first, e = solid[0]
    sign = 1 if (powers[first] > 0) == (e > 0) else -1
    saved = 0.0 if sign == 1 else -0.5
    for f, e in solid:
        have, need = powers[f], e if sign == 1 else -e
        if have == need:
            saved += 1.0
        elif (have > 0) == (need > 0) and magnitude(have) >= magnitude(need):
            saved += 0.25
        else:
            return None
    return saved, sign
