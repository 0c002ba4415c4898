"""The driver: rules to a fixpoint, bottom up, each tried only where its root op stands.

Every node is brought to a form where no rule applies before its consumers are looked at; what a
rule builds is brought to that form too. The number of firings is bounded, so that rules that undo
each other end as well; the log says which rule fired where.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from ..ir import HERE, Node, building, rebuild, toposort
from .cost import cost
from .rule import Look, Rule, uniform

CONSTANTS = ("constant", "broadcast_to")  # ops of which a constant may be the result
FIRINGS = 8  # a node, on average: more means that rules undo each other


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
    """The roots after every rule has fired wherever it can.

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
    log = [] if log is None else log
    run = _Run(tuple(rules), log, len(log))
    with building():
        order = toposort(roots)
        run.bound = FIRINGS * len(order) + 100
        for node in order:
            run.normal[node] = run.to_normal(_on(node, run.normal))
    return [run.normal[root] for root in roots]


@dataclass
class _Run:
    rules: Sequence[Rule]
    log: list[Firing]
    start: int
    bound: int = 0

    def __post_init__(self) -> None:
        self.normal: dict[Node, Node] = {}
        self.finished: set[Node] = set()  # no rule applies to these, nor below them
        self.index: dict[Hashable, list[Rule]] = {}  # by how root and operands look
        self.numbers = {rule.number for rule in self.rules}

    def to_normal(self, node: Node) -> Node:
        """``node``, whose operands are in normal form, brought to normal form itself."""
        while True:
            fired = self._fire(node)
            if fired is None:
                self.finished.add(node)
                return node
            if fired in self.finished:
                return fired
            made: dict[Node, Node] = {}
            for inner in self._new_below(fired):
                made[inner] = self._settled(inner, made)
            node = _on(fired, made)

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
        """A node that a rule made below its result; one rule deep, the rest at the next round."""
        node = _on(node, made)
        for _ in range(FIRINGS):
            fired = self._fire(node)
            if fired is None:
                break
            node = fired
        self.finished.add(node)
        return node

    def _fire(self, node: Node) -> Node | None:
        if len(self.log) - self.start >= self.bound:
            return None
        rules = self._fitting(node)
        if rules:
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

    def _fitting(self, node: Node) -> list[Rule]:
        """The rules that can apply to such an op of such operands."""
        operands = node.inputs
        looks = [
            name if (name := i.prim.name) not in CONSTANTS else self._look(i) for i in operands
        ]
        look = (node.prim.name, tuple(looks), len(operands) > 1 and len(set(operands)) < len(looks))
        found = self.index.get(look)
        if found is None:
            found = self.index[look] = [rule for rule in self.rules if rule.fits(*look)]
        return found

    def _look(self, operand: Node) -> Look:
        """An operand's op, and its number if it is one that some rule asks for."""
        value = uniform(operand)
        return operand.prim.name, value if value in self.numbers else None


def _on(node: Node, mapped: dict[Node, Node]) -> Node:
    inputs = tuple([mapped.get(i, i) for i in node.inputs])
    return node if inputs == node.inputs else rebuild(node, inputs)
