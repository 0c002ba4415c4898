"""Simplify: the same values from less work.

Flow: local rules to a fixpoint (`rewrite.rules`), then the algebraic normal form of every node
(`rewrite.normal`), then the cheapest nodes for it that were found (`replacement`). A node is
replaced only where that lowers the cost; the whole graph's cost never grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, overload

from ..ir import (
    Graph,
    GraphError,
    Kind,
    Node,
    Update,
    building,
    is_leaf,
    needed,
    reached,
    toposort,
    unmarked,
)
from ..rewrite.cost import Form, cheapest
from ..rewrite.driver import Firing, normal_forms
from ..rewrite.exact import Number
from ..rewrite.formula import LATEX, TEXT, Style, formula
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
from .replacement import Simplification, first_order
from .symbols import Names, named


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
    new, steps, _ = derived(roots, names)
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
) -> tuple[list[Node], list[Step], dict[Node, Number]]:
    """What the roots become, and a step for every node where laws make another form of an op.

    And the numbers that constants are meant to be: 2/3 is not a float.
    """
    positive = frozenset(positive)
    meant: dict[Node, Number] = {}
    plain = Simplification(list(roots), frozenset())
    plain.normal.ring.positive, plain.builder.rounded = positive, meant
    results = dict(zip(roots, plain.run(), strict=True))
    first = first_order(toposort(roots))
    wanted = frozenset([n for n in names.text if n.scope.order > first])
    run = Simplification(list(roots), frozenset(), told=True, results=results, named=wanted)
    run.normal.ring.positive, run.builder.rounded = positive, meant
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
        step = checked(before, after, laws or {rule}, names, positive, meant)
        steps.append(step)
    return new, steps, meant


def definitions(names: Names, roots: Sequence[Node]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the names of forward nodes stand for, in text and LaTeX, as far as roots need them."""
    order = [n for n in toposort(roots) if n in names.text and not is_leaf(n)]
    forward = first_order(order)
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
    order = toposort(roots)
    marker_kind = Kind.MARKER  # a member of an enum takes long to find
    markers = [node for node in order if node.prim.kind is marker_kind]
    pinned = pinned.union(markers, [marker.inputs[0] for marker in markers])
    if any_complex(order):
        return roots if pinned else share(roots)
    given = Form(roots, order)
    if not pinned:
        roots, order = _locally(roots, order)
    local = [] if order is given.nodes else [Form(roots, order)]
    run = Simplification(roots, pinned)
    roots = run.run(order)
    found = Form(roots, run.builder.paid)
    best = cheapest(found, *local, given)
    if best is not found:  # unless what was computed in vain has made the difference
        best = cheapest(Form(roots, reached(roots)), best)
    return best.roots


def _locally(roots: list[Node], order: list[Node]) -> tuple[list[Node], list[Node]]:
    """The roots after the local rules, every expression once, and what they need, in order."""
    log: list[Firing] = []
    new, finished = normal_forms(order, RULES, log)
    if not new:
        return roots, order
    roots = [new.get(root, root) for root in roots]
    return roots, needed(roots, finished) if log else finished
