"""One run of `simplify`: what every node of a graph becomes.

Flow: the polynomials of all nodes (`rewrite.normal`); then, operands first, for every node that is
asked for and that some law has changed, the form that is built of its polynomial
(`rewrite.build`). It takes the node's place where it is cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from ..ir import HERE, Node, building, is_leaf, rewire, toposort
from ..primitives.elementwise import MUL, POW
from ..primitives.leaf import CONSTANT
from ..rewrite.build import Builder
from ..rewrite.cost import TooDearError, total
from ..rewrite.normal import Normal
from ..rewrite.polynomial import Poly
from ..rewrite.powers import is_one_factor_more, is_square
from ..rewrite.representable import OutOfRangeError

POWERS = "powers of one base"  # a law
ONLY_POWERS = frozenset({POWERS})
OF_SQUARES = frozenset({POWERS, "product of numbers"})


class Choice(NamedTuple):
    """A form of a value, and what it needs that nothing chosen so far computes."""

    node: Node
    unpaid: list[Node]


@dataclass(slots=True)
class Simplification:
    """One run over a graph: what every old node became."""

    roots: list[Node]
    pinned: frozenset[Node]
    normal: Normal = field(default_factory=Normal)
    builder: Builder = field(init=False)
    new: dict[Node, Node] = field(default_factory=dict)  # of nodes that are not what they were
    open: set[Node] = field(default_factory=set)  # by some law they have another form; undecided
    told: bool = False  # decide every node that a law changes, and keep the steps
    results: dict[Node, Node] = field(default_factory=dict)
    named: frozenset[Node] = frozenset()  # gradients to be told of in any case
    untold: dict[Node, frozenset[str]] = field(default_factory=dict)
    told_steps: list[tuple[Node, Node, frozenset[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.builder = Builder(self.normal)

    def run(self, order: Sequence[Node] | None = None) -> list[Node]:
        """What the roots became; ``order`` is the one of all nodes, where it is known."""
        order = toposort(self.roots) if order is None else order
        self.normal.read_in_order(order)
        fixed = bool(self.pinned)  # what is equal in training may not be at inference
        wanted = self._wanted()
        first = first_order(order)
        with building():
            for node in order:
                forward = node.scope.order == first
                self._replace(node, node in wanted, forward, forward and fixed)
        return [self.new.get(root, root) for root in self.roots]

    def _wanted(self) -> set[Node]:
        """Nodes that will be asked for: roots, atoms, and the operands of atoms."""
        atoms = self.normal.atom_of
        return {*self.roots, *self.pinned, *atoms}.union(*[node.inputs for node in atoms])

    def _replace(self, node: Node, wanted: bool, forward: bool, fixed: bool) -> None:
        new, normal = self.new, self.normal
        operands = node.inputs
        kept = node
        if not new.keys().isdisjoint(operands):
            kept = rewire(node, tuple(map(new.get, operands, operands)))  # of the same types
        if (operands or node.prim is CONSTANT) and node not in self.pinned:
            kept = self.builder.pooled(kept)
        chosen = kept
        changed = not self.open.isdisjoint(operands) or (
            node in normal.laws and not self._is_short(node)
        )
        tell = self.told and (node in normal.laws or node in self.roots) and not forward
        wanted = wanted or tell
        if changed and not wanted:
            self.open.add(node)
        changed = changed or tell
        unpaid = self._new_below(kept) if wanted else []
        if wanted and changed and not fixed and self._may_change(node):
            chosen, unpaid = self._cheaper(Choice(kept, unpaid), node, forward)
        if self.told and operands:
            self._tell(node, kept, chosen)
        if chosen is not node:
            new[node] = chosen
        if unpaid:
            self._pay(unpaid)
        number = normal.atom_of.get(node)
        if number is not None:
            self.builder.values[number] = chosen
        if (forward or wanted) and node.type.is_float:
            self.builder.remember(normal.poly[node], chosen)

    def _may_change(self, node: Node) -> bool:
        return node.type.is_float and node not in self.pinned and not is_leaf(node)

    def _is_short(self, node: Node) -> bool:
        """``x**3 * x``, where ``x**3`` is a product itself, or a square: no form is cheaper."""
        laws = self.normal.laws[node]
        if node.prim is not MUL or not laws <= OF_SQUARES:
            return False
        x, y = node.inputs
        a, b = self.normal.poly[x], self.normal.poly[y]
        if is_square(a, b) or laws != ONLY_POWERS:
            return is_square(a, b)
        one_more = y.prim is not POW and is_one_factor_more(a, b)
        return one_more or (x.prim is not POW and is_one_factor_more(b, a))

    def _tell(self, node: Node, kept: Node, chosen: Node) -> None:
        """Keep a step; laws of operands that no step was made of belong to it too."""
        laws = self.normal.laws.get(node, frozenset())
        if node in self.results:  # written out down to the forward pass: by all laws on the way
            laws = laws.union(*self.normal.laws_below(node))
        laws = laws.union(*[self.untold.get(i, frozenset()) for i in node.inputs])
        if chosen is kept and node in self.named:
            self.told_steps.append((kept, kept, frozenset()))
        elif chosen is kept:
            self.untold[node] = laws
        else:
            self.told_steps.append((kept, chosen, laws))

    def _cheaper(self, kept: Choice, node: Node, forward: bool) -> Choice:
        """The cheapest form of a node that was found."""
        if node in self.normal.atom_of and self._atom_is_opaque(node):
            return kept
        poly = self.normal.poly[node]
        if node in self.normal.atom_of:  # a sum that is kept whole
            poly = self._content(node)
        chosen = self._better(kept, node, poly, forward)
        if chosen is kept and forward and POWERS in self.normal.laws.get(node, ()):
            self.builder.usable = self.builder.paid  # x**5 is not made of x**3 and x**2
            chosen = self._better(kept, node, poly, forward)
            self.builder.usable = None
        return chosen

    def _better(self, kept: Choice, node: Node, poly: Poly, forward: bool) -> Choice:
        """The form that is built of a polynomial if it is cheaper, or else ``kept``."""
        HERE.scope, HERE.source = node.scope, node.source
        budget = total(kept.unpaid)
        try:
            built = self.builder.within(budget, poly, node.type)
        except OutOfRangeError:
            return kept
        except TooDearError:
            return self._choice(self.results[node]) if node in self.results else kept
        if built is kept.node:
            return kept
        if node in self.results:
            return self._choice(self.results[node])  # what the derivation is of
        found = self._choice(built)
        ahead = budget - total(found.unpaid)
        return found if ahead > 0 or (ahead == 0 and not forward) else kept

    def _choice(self, node: Node) -> Choice:
        return Choice(node, self._new_below(node))

    def _atom_is_opaque(self, node: Node) -> bool:
        return self.normal.ring.atoms[self.normal.atom_of[node]].kind != "sum"

    def _content(self, node: Node) -> Any:
        ((monomial, _),) = self.normal.poly[node].items()
        return self.normal.content(monomial[0][0])

    def _pay(self, nodes: Sequence[Node]) -> None:
        """From now on these are computed anyway: all that the roots need will be among them."""
        builder = self.builder
        builder.paid.update(nodes)
        for node in nodes:
            if node in builder.made:
                builder.remember(builder.made[node], node)

    def _new_below(self, root: Node) -> list[Node]:
        """What ``root`` needs that nothing chosen so far computes."""
        paid = self.builder.paid
        if root in paid:
            return []
        found = {root: None}  # a set in the order of discovery
        stack = [root]
        while stack:
            for operand in stack.pop().inputs:
                if operand not in paid and operand not in found:
                    found[operand] = None
                    stack.append(operand)
        return list(found)


def first_order(nodes: Sequence[Node]) -> int:
    """The order of differentiation of the forward nodes."""
    return min(map(attrgetter("scope.order"), nodes), default=0)
