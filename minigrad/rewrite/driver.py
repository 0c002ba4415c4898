"""The driver: rules to a fixpoint, bottom up, each tried only where its root op stands.

Every node is brought to a form where no rule applies before its consumers are looked at; what a
rule builds is brought to that form too. Equal expressions become one node on the way. The number of
firings is bounded, so that rules that undo each other end as well; the log says which rule fired
where.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from ..ir import HERE, Kind, Node, Primitive, building, node_key, rewire, toposort
from ..primitives.leaf import CONSTANT
from .cost import cost
from .rule import CONSTANTS, Rule, uniform

FIRINGS = 8  # a node, on average: more means that rules undo each other

_prim = attrgetter("prim")


@dataclass(frozen=True)
class Firing:
    """One step of the driver: ``rule`` made ``after`` of ``before``."""

    rule: Rule
    before: Node
    after: Node

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.before!r} -> {self.after!r}"


def rewrite(
    roots: Sequence[Node], rules: Iterable[Rule], log: list[Firing] | None = None
) -> list[Node]:
    """The roots after every rule has fired wherever it can, every expression once.

    New nodes stand in the scope and come from the line of the node that they replace. ``log``
    collects the firings in order. Linear in the number of nodes for a fixed table of rules.

    >>> import minigrad as mg
    >>> from minigrad.rewrite import EXACT, Rule
    >>> x = mg.input("x", 3)
    >>> log = []
    >>> rule = Rule("double negation", EXACT, lambda x: -(-x), lambda x: x)
    >>> (y,) = rewrite([-(-(-(-x)))], [rule], log)
    >>> y is x, len(log)
    (True, 2)
    """
    forms, _ = normal_forms(toposort(roots), rules, log)
    return [forms.get(root, root) for root in roots]


def normal_forms(
    order: Sequence[Node], rules: Iterable[Rule], log: list[Firing] | None = None
) -> tuple[dict[Node, Node], list[Node]]:
    """What became of the nodes of a topological order that are not what they were.

    And the normal forms in topological order; where rules fired, some that nothing needs any more
    are among them.
    """
    log = [] if log is None else log
    run = _Run(tuple(rules), log, len(log) + FIRINGS * len(order) + 100)
    moved: dict[Node, Node] = {}
    changed = moved.keys()
    with building():
        for node in order:
            here = node if changed.isdisjoint(node.inputs) else _on(node, moved)
            rules = run.fitting(here)
            here = run.to_normal(here, rules) if rules else run.once(here)
            if here is not node:
                moved[node] = here
    return moved, list(run.finished)


class _Fitting(NamedTuple):
    """The rules for an op of the results of some ops."""

    rules: Sequence[Rule]
    of_twins: Sequence[Rule]  # where two operands are the same
    numbers: frozenset[float]  # that some of them look for among the operands
    places: Sequence[int]  # of operands that may be a number
    others: Sequence[Rule]  # those of ``rules`` that look for none


@dataclass
class _Run:
    rules: Sequence[Rule]
    log: list[Firing]
    most: int  # firings that the log may hold

    def __post_init__(self) -> None:
        self.finished: dict[Node, None] = {}  # a set: no rule applies to these, nor below them
        self.equal: dict[Hashable, Node] = {}  # of these, the ones that are made of others
        self.heads: dict[str, list[Rule]] = {}
        for rule in self.rules:
            self.heads.setdefault(rule.pattern.prim.name, []).append(rule)
        self.index: dict[str, dict[tuple[Primitive, ...], _Fitting]]  # by root and operands
        self.index = {op: {} for op in self.heads}

    def once(self, node: Node) -> Node:
        """The first of all equal nodes in normal form; ``node`` is in it."""
        if node.inputs or node.prim is CONSTANT or node.prim.kind is not Kind.LEAF:
            node = self.equal.setdefault(node_key(node, node.inputs), node)
        self.finished[node] = None
        return node

    def to_normal(self, node: Node, rules: Sequence[Rule]) -> Node:
        """``node``, whose operands are in normal form, brought to normal form itself."""
        while True:
            fired = self._fire(node, rules)
            if fired is None:
                return self.once(node)
            if fired in self.finished:
                return fired
            made: dict[Node, Node] = {}
            for inner in self._new_below(fired):
                made[inner] = self._settled(inner, made)
            node = _on(fired, made)
            rules = self.fitting(node)

    def _new_below(self, root: Node) -> list[Node]:
        """What a rule made under its result, operands first."""
        found: list[Node] = []
        stack = list(root.inputs)
        while stack:
            node = stack.pop()
            if node not in self.finished:
                found.append(node)
                stack.extend(node.inputs)
        return list(dict.fromkeys(found[::-1]))

    def _settled(self, node: Node, made: dict[Node, Node]) -> Node:
        """A node that a rule made below its result; one rule deep, what is below it as it is."""
        node = _on(node, made)
        for _ in range(FIRINGS):
            fired = self._fire(node, self.fitting(node))
            if fired is None:
                break
            node = fired
        below: dict[Node, Node] = {}
        for inner in self._new_below(node):
            below[inner] = self.once(_on(inner, below))
        return self.once(_on(node, below))

    def _fire(self, node: Node, rules: Sequence[Rule]) -> Node | None:
        if not rules or len(self.log) >= self.most:
            return None
        HERE.scope, HERE.source = node.scope, node.source
        for rule in rules:
            after = rule.apply(node)
            if after is None or after is node:
                continue
            if rule.cheaper and cost([after]) >= cost([node]):
                continue
            self.log.append(Firing(rule, node, after))
            return after
        return None

    def fitting(self, node: Node) -> Sequence[Rule]:
        """The rules that can apply to such an op of such operands."""
        index = self.index.get(node.prim.name)
        if index is None:
            return ()
        operands = node.inputs
        ops = tuple(map(_prim, operands))
        found = index.get(ops)
        if found is None:
            found = index[ops] = self._of_ops(node)
        rules, of_twins, asked, places, others = found
        if len(of_twins) > len(rules) and len({*operands}) < len(operands):
            rules, others = of_twins, [rule for rule in of_twins if rule.number is None]
        if not asked:
            return rules
        numbers = {uniform(operands[i]) for i in places}
        if asked.isdisjoint(numbers):
            return others
        return [rule for rule in rules if rule.number is None or rule.number in numbers]

    def _of_ops(self, node: Node) -> _Fitting:
        ops = [operand.prim.name for operand in node.inputs]
        of_twins = [rule for rule in self.heads[node.prim.name] if rule.fits(ops, twins=True)]
        rules = [rule for rule in of_twins if rule.fits(ops, twins=False)]
        numbers = frozenset([rule.number for rule in of_twins if rule.number is not None])
        places = [i for i, op in enumerate(ops) if op in CONSTANTS]
        others = [rule for rule in rules if rule.number is None]
        return _Fitting(rules, of_twins, numbers, places, others)


def _on(node: Node, mapped: dict[Node, Node]) -> Node:
    operands = node.inputs
    inputs = tuple(map(mapped.get, operands, operands))
    return node if inputs == operands else rewire(node, inputs)  # rules keep the type
