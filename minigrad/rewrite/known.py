"""Products that some node holds already, and where they save work in another product."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from ..ir import Node
from .exact import Number, magnitude, whole
from .polynomial import Monomial, Ring
from .remainder import Remainder

USES = 8  # known products in one product: x ** 1000 is not made of a thousand
CANDIDATES = 6  # known products that are tried for a factor; keeps the work linear


@dataclass(slots=True, eq=False)
class Known:
    """A product that some node holds; ``solid`` is what it holds besides dims."""

    monomial: Monomial
    solid: Monomial
    factors: frozenset[int]  # of ``solid``


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
            known = Known(monomial, solid, frozenset([f for f, _ in solid]))
            for f in known.factors:
                candidates = self.by_factor.setdefault(f, [])
                if len(candidates) < CANDIDATES:
                    candidates.append(known)

    def plain(self, monomial: Monomial) -> Node | None:
        """The node that holds exactly this monomial."""
        node, coefficient = self.nodes.get(monomial, (None, 1))
        return node if coefficient == 1 else None

    def use(self, left: Remainder, only: Container[Node] | None = None) -> None:
        """Take what saves most out of a product, or its inverse, as long as something does."""
        powers = dict(left.monomial)
        candidates = self._within(powers, powers)
        if only is not None:
            candidates = [c for c in candidates if self.nodes[c.monomial][0] in only]
        for _ in range(USES):
            if len(powers) == 1 and 1 in powers.values():
                break
            fitting = [(c, *found) for c in candidates if (found := _gain(c.solid, powers))]
            if not fitting:
                break
            best, gain, sign = max(fitting, key=itemgetter(1))
            if gain <= 0:
                break
            candidates = [c for c, _, _ in fitting]  # what does not fit now will not fit later
            node, coefficient = self.nodes[best.monomial]
            left.use(node, coefficient, sign)
            for f, e in best.monomial:
                rest = powers.get(f, 0) - e * sign
                if rest:
                    powers[f] = whole(rest)
                else:
                    del powers[f]
        left.monomial = tuple(sorted(powers.items()))

    def _within(self, some: Iterable[int], every: Iterable[int]) -> list[Known]:
        """The known products of some of these factors, and of none that is not in ``every``."""
        present = frozenset(every)
        by_factor = self.by_factor
        return list(
            dict.fromkeys(
                [c for f in some if f in by_factor for c in by_factor[f] if c.factors <= present]
            )
        )

    def completed(
        self, inside: Monomial, outside: Monomial, reduced: frozenset[int]
    ) -> tuple[Monomial, Number] | None:
        """What a known product has outside of a mean that holds its other part, and its number."""
        powers, free = dict(inside), dict(outside)
        for known in self._within(powers, powers | free):
            candidate = known.monomial
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
    first, e = solid[0]
    sign = 1 if (powers.get(first, 0) > 0) == (e > 0) else -1
    saved = 0.0 if sign == 1 else -0.5
    for f, e in solid:
        have, need = powers.get(f, 0), e if sign == 1 else -e
        if have == need:
            saved += 1.0
        elif _goes_into(need, have):
            saved += 0.25
        else:
            return None
    return saved, sign


def _goes_into(need: Number, have: Number) -> bool:
    """Whether a power leaves something of another, and not more than `USES` of it can take."""
    if need < 0:
        need, have = -need, -have
    return not have < need and not have > USES * need
