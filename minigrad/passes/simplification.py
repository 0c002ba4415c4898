"""Simplify: the same values from less work.

Flow: local rules to a fixpoint (`rewrite.rules`), then the algebraic normal form of every node
(`rewrite.normal`), then the cheapest nodes for it that were found (`rewrite.build`). A node is
replaced only where that lowers the cost; the whole graph's cost never grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal, overload

from ..ir import (
    HERE,
    Graph,
    GraphError,
    Kind,
    Node,
    Update,
    building,
    is_leaf,
    needed,
    reached,
    rewire,
    toposort,
    unmarked,
)
from ..primitives.elementwise import MUL, POW
from ..primitives.leaf import CONSTANT
from ..rewrite.build import Builder, TooDearError
from ..rewrite.cost import Form, cheapest, cost_of
from ..rewrite.driver import normal_forms
from ..rewrite.formula import LATEX, TEXT, Style, formula
from ..rewrite.normal import Normal
from ..rewrite.polynomial import Poly
from ..rewrite.powers import is_one_factor_more, is_square
from ..rewrite.representable import OutOfRangeError
from ..rewrite.rules import RULES
from .cse import share
from .derivation import (
    Derivation,
    Step,
    any_complex,
    checked,
    is_complex,
    require_names,
    require_nodes,
)
from .symbols import Names, named

POWERS = "powers of one base"  # a law
ONLY_POWERS = frozenset({POWERS})
OF_SQUARES = frozenset({POWERS, "product of numbers"})


@overload
def simplify(graph: Graph, *, proof: Literal[False] = False) -> Graph: ...
@overload
def simplify(graph: Node, *, proof: Literal[False] = False) -> Node: ...
@overload
def simplify(graph: Sequence[Node], *, proof: Literal[False] = False) -> list[Node]: ...
@overload
def simplify(
    graph: Graph | Node | Sequence[Node], *, proof: Literal[True],
    names: Mapping[Node, str] | None = None,
) -> Derivation: ...  # fmt: skip
def simplify(
    graph: Graph | Node | Sequence[Node], *, proof: bool = False,
    names: Mapping[Node, str] | None = None,
) -> Any:  # fmt: skip
    """The same values from less work: algebra over sums, products, powers, roots and reductions.

    Parameters
    ----------
    graph : a graph, a node, or several nodes; the same kind comes back.
    proof : give a `Derivation` instead: every step with its laws, each checked in float64 at
        random points; ``derivation.result`` is what would come back otherwise. Of a graph, it
        tells of the outputs, not of the updates.
    names : what a derivation calls nodes; papers' letters and t, t2, ... otherwise.

    Rounding may differ (sums and products are reordered; what reverse mode centres twice, which
    helps float32 at means far above the spread, is centred once), and a value may appear where
    the original is not defined (``x / x`` at 0); the rows in `minigrad.rewrite` say which rule
    does what. The cost (`minigrad.rewrite.cost`) never grows. In a training graph the nodes that
    `to_inference` replaces, and the markers of layers, keep their place, and the forward pass its
    form. The laws are of real numbers: in a complex graph only equal expressions become one.

    >>> import minigrad as mg
    >>> x, u = mg.input("x", ("N", 4)), mg.input("u", ("N", 4))
    >>> (dx,) = mg.grad(mg.softmax(x), x, u)
    >>> print(mg.Graph((), {"dx": simplify([mg.softmax(x), dx])[1]}))
    graph(u: f32[N,4], x: f32[N,4])
      a: f32[N,1] = max[axis=(1,), keepdims=True] x
      b: f32[N,1] = stop_gradient a
      c: f32[N,4] = sub x b
      d: f32[N,4] = exp c
      e: f32[N,1] = sum[axis=(1,), keepdims=True] d
      f: f32[N,4] = div d e
      g: f32[N,4] = mul f u                          # grad
      h: f32[N,1] = sum[axis=(1,), keepdims=True] g  # grad
      i: f32[N,4] = sub u h                          # grad
      j: f32[N,4] = mul i f                          # grad
      return dx=j
    """
    if not isinstance(graph, Graph | Node):
        if not isinstance(graph, Iterable):
            kind = type(graph).__name__
            raise GraphError(
                f"simplify: {graph!r} is a {kind}, not a graph, a node or several nodes"
            )
        graph = list(graph)
        require_nodes("simplify", graph)
    if proof:
        return _derivation(graph, names or {})
    if names is not None:
        raise GraphError("simplify: names are for a derivation: add proof=True")
    if isinstance(graph, Graph):
        return _graph(graph)
    return simplified([graph])[0] if isinstance(graph, Node) else simplified(graph)


def _derivation(graph: Graph | Node | Sequence[Node], given: Mapping[Node, str]) -> Any:
    if isinstance(graph, Graph):
        roots = list(graph.outputs.values())
    else:
        roots = [graph] if isinstance(graph, Node) else list(graph)
    require_names(given)
    if is_complex(roots):
        raise GraphError("simplify: a derivation is of real numbers; retype the graph to float64")
    shared = share(unmarked([*roots, *given]))
    roots, marked = shared[: len(roots)], shared[len(roots) :]
    names = named(roots, dict(zip(marked, given.values(), strict=True)))
    new, steps = derived(roots, names)
    result = simplify(graph)
    text, latex = (_claim(roots, new, table, style)
                   for table, style in ((names.text, TEXT), (names.latex, LATEX)))  # fmt: skip
    return Derivation(text, tuple(steps), result, latex, *definitions(names, [*roots, *new]))


def _claim(
    before: Sequence[Node], after: Sequence[Node], names: Mapping[Node, str], style: Style
) -> str:
    """What became of the roots; those that are as they were are left out."""
    left = [names.get(a) or formula(a, names, style) for a in before]
    right = [formula(b, names, style) for b in after]
    joint = r", \quad " if style is LATEX else "; "
    return joint.join(f"{a} = {b}" for a, b in zip(left, right, strict=True) if a != b)


def derived(
    roots: Sequence[Node], names: Names, positive: Iterable[Node] = ()
) -> tuple[list[Node], list[Step]]:
    """What the roots become, and a step for every node where laws make another form of an op."""
    positive = frozenset(positive)
    plain = Simplification(list(roots), frozenset())
    plain.normal.ring.positive = positive
    results = dict(zip(roots, plain.run(), strict=True))
    first = _first(toposort(roots))
    wanted = frozenset([n for n in names.text if n.scope.order > first])
    run = Simplification(list(roots), frozenset(), told=True, results=results, named=wanted)
    run.normal.ring.positive = positive
    new = run.run()
    for old, text in list(names.text.items()):
        for node in (run.new.get(old, old), results.get(old, old)):
            if not is_leaf(node):
                names.text.setdefault(node, text)
                names.latex.setdefault(node, names.latex[old])
    steps = []
    for number, (before, after, laws) in enumerate(run.told_steps, 1):
        if not is_leaf(after) and after not in names.text and after not in new:
            names.call(after, f"d{number}", f"d_{{{number}}}")
        rule = "common factor" if before is not after else "chain rule"
        step = checked(before, after, laws or {rule}, names, positive)
        steps.append(step)
    return new, steps


def _first(nodes: Sequence[Node]) -> int:
    """The order of the forward nodes."""
    return min(map(attrgetter("scope.order"), nodes), default=0)


def definitions(names: Names, roots: Sequence[Node]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the names of forward nodes stand for, in text and LaTeX, as far as roots need them."""
    order = [n for n in toposort(roots) if n in names.text and not is_leaf(n)]
    forward = _first(order)
    order = [n for n in order if n.scope.order == forward]
    first = {names.text[n]: n for n in reversed(order)}
    chosen = [n for n in order if first[names.text[n]] is n]
    text = [f"{names.text[n]} = {formula(n, names.text)}" for n in chosen]
    latex = [f"{names.latex[n]} = {formula(n, names.latex, LATEX)}" for n in chosen]
    return tuple(text), tuple(latex)


def _graph(graph: Graph) -> Graph:
    pairs = [n for pair in graph.replacements.items() for n in pair]
    moved = [n for u in graph.updates for n in (u.value, u.estimate) if n is not None]
    roots = [*graph.outputs.values(), *moved, *pairs]
    pinned = {*graph.replacements, *[u.estimate for u in graph.updates if u.estimate is not None]}
    new = dict(zip(roots, simplified(roots, pinned), strict=True))
    updates = tuple(
        Update(u.state, new[u.value], None if u.estimate is None else new[u.estimate])
        for u in graph.updates
    )
    outputs = {name: new[node] for name, node in graph.outputs.items()}
    replacements = {new[a]: new[b] for a, b in graph.replacements.items()}
    return Graph(graph.inputs, outputs, updates, replacements)


def simplified(roots: Sequence[Node], pinned: Iterable[Node] = ()) -> list[Node]:
    """The roots, simplified; with ``pinned`` nodes or markers the forward pass keeps its form.

    At inference something else stands in the place of such a node, and of no node that is equal
    to it in training: no expression may be shared with it, or be written by means of it.
    """
    with building():
        return _simplified(list(roots), frozenset(pinned))


def _simplified(roots: list[Node], pinned: frozenset[Node]) -> list[Node]:
    """`simplified`, apart: its tables are gone before `building` lets collections walk them."""
    given = Form(roots, toposort(roots))
    markers = [node for node in given.order if node.prim.kind is Kind.MARKER]
    pinned = pinned.union(markers, [marker.inputs[0] for marker in markers])
    if any_complex(given.order):
        return roots if pinned else share(roots)
    local = given if pinned else _locally(given)
    found = Simplification(local.roots, pinned).run(local.order)
    return cheapest(Form(found, [*reached(found)]), local, given).roots


def _locally(given: Form) -> Form:
    """The form after the local rules, every expression once."""
    new, order = normal_forms(given.order, RULES)
    if not new:
        return given
    roots = [new.get(root, root) for root in given.roots]
    return Form(roots, needed(roots, order))


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
        first = _first(order)
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
            chosen = self._cheaper(kept, node, forward, sum(map(cost_of, unpaid)))
            if chosen is not kept:
                unpaid = self._new_below(chosen)
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

    def _cheaper(self, kept: Node, node: Node, forward: bool, budget: float) -> Node:
        """The cheapest form of a node that was found; ``kept`` costs the budget."""
        if node in self.normal.atom_of and self._atom_is_opaque(node):
            return kept
        poly = self.normal.poly[node]
        if node in self.normal.atom_of:  # a sum that is kept whole
            poly = self._content(node)
        chosen = self._better(kept, node, poly, budget, forward)
        if chosen is kept and forward and POWERS in self.normal.laws.get(node, ()):
            self.builder.usable = self.builder.paid  # x**5 is not made of x**3 and x**2
            chosen = self._better(kept, node, poly, budget, forward)
            self.builder.usable = None
        return chosen

    def _better(self, kept: Node, node: Node, poly: Poly, budget: float, forward: bool) -> Node:
        """The form that is built of a polynomial if it is cheaper, or else ``kept``."""
        HERE.scope, HERE.source = node.scope, node.source
        try:
            built = self.builder.within(budget, poly, node.type)
        except OutOfRangeError:
            return kept
        except TooDearError:
            return self.results.get(node, kept)
        if built is kept:
            return kept
        if node in self.results:
            return self.results[node]  # what the derivation is of
        ahead = budget - sum(map(cost_of, self._new_below(built)))
        return built if ahead > 0 or (ahead == 0 and not forward) else kept

    def _atom_is_opaque(self, node: Node) -> bool:
        return self.normal.ring.atoms[self.normal.atom_of[node]].kind != "sum"

    def _content(self, node: Node) -> Any:
        ((monomial, _),) = self.normal.poly[node].items()
        return self.normal.content(monomial[0][0])

    def _pay(self, nodes: Sequence[Node]) -> None:
        """From now on these are computed anyway."""
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
