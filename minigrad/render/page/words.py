"""What every node is called on the page: formulas in the letters of its own scope.

In the scope of a layer the value that enters is x, the one that leaves is y, and the gradient
that arrives is u = dL/dy, as in the papers; the same value has another name next door, where it
enters another formula. Letters elsewhere are those of the graph's text form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir import Node, consumers, is_leaf, node_names
from ..captions import Captions, inline
from ..gradients import Differentiated


@dataclass(frozen=True)
class Words:
    """Names and formulas of nodes, and what each scope calls what it reads from outside."""

    names: dict[Node, str]
    formulas: dict[Node, str]
    operands: dict[Node, list[str]]
    boundary: dict[tuple[str, ...], dict[Node, str]]


@dataclass
class _Local(Captions):
    """The captions of one scope; what lies outside is an atom."""

    nodes: Sequence[Node] = ()
    letters: Mapping[Node, str] = field(default_factory=dict)
    known: Mapping[Node, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._letters = dict(self.letters)
        self.signs = {**self.known, **self.given}
        self._bodies: dict[Node, tuple[str, int]] = {}
        self._texts: dict[Node, tuple[str, int]] = {}
        self.referred: set[Node] = set()
        own = set(self.nodes)
        outside = dict.fromkeys(o for n in self.nodes for o in n.inputs if o not in own)
        for node in outside:
            text = (inline(node) or self.name(node), 3)
            self._bodies[node] = self._texts[node] = text
        named = self._differentiated()
        for node in self.nodes:
            self._describe(node)
            if node in named and (ct := named[node]) not in self.signs:
                self.signs[ct] = self._differential(node)
        for node in outside:
            if node in named and named[node] not in self.signs:
                self.signs[named[node]] = f"d{self.name(node)}"


def words_of(found: Differentiated, outputs: Mapping[str, Node]) -> Words:
    """The words of a whole graph, scope by scope."""
    graph = found.graph
    base = Captions(graph, found.cotangents)
    letters = node_names(graph)
    known = {node: sign for node, sign in base.signs.items() if not node.scope.order}
    uses = consumers(graph.nodes)
    regions: dict[tuple[str, ...], list[Node]] = {}
    for node in dict.fromkeys([*graph.inputs, *graph.nodes]):
        regions.setdefault(node.scope.path, []).append(node)
    words = Words({}, {}, {}, {})
    named = {node: name for name, node in reversed(list(outputs.items()))}
    for path, nodes in regions.items():
        given = _boundary(found, nodes, uses, set(outputs.values())) if path else {}
        if not path:
            given = {n: name for n, name in named.items() if not is_leaf(n)}
        own = set(nodes)
        near = {n: ct for n, ct in found.cotangents.items() if n in own or n in given}
        local = _Local(
            graph,
            near,
            given,
            nodes=nodes,
            letters=letters,
            known=known,
        )
        words.boundary[path] = {n: name for n, name in given.items() if n not in own}
        for node in nodes:
            words.names[node] = local.name(node)
            words.formulas[node] = local.caption(node)
            words.operands[node] = [local.text(operand) for operand in node.inputs]
    return words


def _boundary(
    found: Differentiated,
    nodes: Sequence[Node],
    uses: Mapping[Node, Sequence[Node]],
    outputs: set[Node],
) -> dict[Node, str]:
    """x, y and u of a scope, where there is one of each and no leaf of that name."""
    own, leaves = set(nodes), {n.name.rsplit("/", 1)[-1] for n in nodes if is_leaf(n)}
    forward = [n for n in nodes if not n.scope.order and not is_leaf(n)]
    read = dict.fromkeys(o for n in forward for o in n.inputs)
    entering = [n for n in read if n not in own and not n.scope.order and not inline(n)]
    entering = [n for n in entering if n.prim.name in ("input", "constant") or not is_leaf(n)]
    given = {n: f"x{_low(i)}" for i, n in enumerate(entering, start=1)}
    if len(entering) == 1:
        given = {entering[0]: "x"} if "x" not in leaves else {}
    moved = {update.value for update in found.graph.updates}
    leaving = [
        n for n in forward
        if n.type.is_float and n not in moved and (n in outputs or any(
            r not in own and not r.scope.order for r in uses.get(n, ())
        ))
    ]  # fmt: skip
    if len(leaving) == 1 and "y" not in leaves and len(forward) > 1:
        given[leaving[0]] = "y"
    if len(leaving) == 1 and "u" not in leaves:
        ct = found.cotangents.get(leaving[0])
        if ct is not None and ct not in own:
            given[ct] = "u"
    return given


def _low(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
