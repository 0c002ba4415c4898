"""The graph: inputs, named outputs and updates over immutable nodes; a view, not a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .errors import GraphError, RegionError
from .markers import Update, collect, with_penalties
from .node import Kind, Node
from .order import depending_on, is_leaf, substitute, toposort
from .scope import HERE, caller, place, scope_path

if TYPE_CHECKING:
    import networkx as nx

LOSS = "loss"

# What notebooks call; `minigrad.render` fills it, so that `ir` imports nothing above it.
FUNCTIONS: dict[str, Callable[[Graph], str]] = {}


@dataclass(frozen=True)
class Graph:
    """A computation: what goes in, what comes out under which name, and how state moves.

    Parameters
    ----------
    inputs : the input leaves; an empty sequence means those that the outputs need, as found.
    outputs : a node, a sequence of nodes (named ``out0``, ``out1``, ...) or names to nodes.
    updates : `Update` rows of your own; those marked by `track` are added by themselves.
    replacements : what stands in a node's place at inference; collected from `at_inference`.

    Markers are collected and removed; regularisers are added to the output called ``loss``.

    Raises GraphError when there is no output, an input is missing from ``inputs``, two leaves
    share a name, or one state has two updates.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 2))
    >>> print(mg.Graph([x], {"y": mg.exp(x) * 2}))
    graph(x: f32[N,2])
      a: f32[N,2] = exp x
      b: f32[N,2] = mul a 2
      return y=b
    """

    inputs: tuple[Node, ...]
    outputs: Mapping[str, Node]
    updates: tuple[Update, ...] = ()
    replacements: Mapping[Node, Node] = None  # type: ignore[assignment]  # filled below

    def __post_init__(self) -> None:
        outputs = _named(self.outputs)
        given = dict(self.replacements or {})
        roots = [*outputs.values(), *_update_nodes(self.updates), *given, *given.values()]
        found = collect(roots)
        outputs = {name: found.mapped[node] for name, node in outputs.items()}
        if LOSS in outputs:
            outputs[LOSS] = with_penalties(outputs[LOSS], list(found.penalties))
        updates = list(found.updates.values())
        for update in self.updates:
            estimate = None if update.estimate is None else found.mapped[update.estimate]
            updates.append(Update(update.state, found.mapped[update.value], estimate))
        replacements = {found.mapped[n]: found.mapped[r] for n, r in given.items()}
        _set(self, "outputs", outputs)
        _set(self, "updates", tuple(updates))
        _set(self, "replacements", {**replacements, **found.replacements})
        _set(self, "inputs", _checked_inputs(tuple(self.inputs), self.leaves))
        _check_states(self.updates)

    @cached_property
    def roots(self) -> tuple[Node, ...]:
        """The outputs, then every updated state and its next value."""
        pairs = [n for u in self.updates for n in (u.state, u.value)]
        return (*self.outputs.values(), *pairs)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node in topological order."""
        return tuple(toposort(self.roots))

    @cached_property
    def leaves(self) -> tuple[Node, ...]:
        """Inputs, parameters, states and constants in use."""
        return tuple([node for node in self.nodes if is_leaf(node)])

    @cached_property
    def parameters(self) -> tuple[Node, ...]:
        return tuple([n for n in self.leaves if n.prim.name == "parameter"])

    @cached_property
    def states(self) -> tuple[Node, ...]:
        return tuple([n for n in self.leaves if n.prim.name == "state"])

    @cached_property
    def scopes(self) -> tuple[str, ...]:
        """The scope paths in use, as the inputs reach them: ``bn1``, ``stage1/bn1``, ..."""
        reached = depending_on(self.nodes, self.inputs)
        flow = sorted(self.nodes, key=lambda n: n not in reached)  # gamma may come before x
        paths = dict.fromkeys(
            "/".join(node.scope.path[:depth])
            for node in flow
            for depth in range(1, len(node.scope.path) + 1)
        )
        return tuple(paths)

    def region(self, name: str) -> tuple[Node, ...]:
        """The nodes of scope ``name``, gradients included; RegionError lists the scopes there are.

        A full path (``stage1/bn1``) or any unambiguous tail of one (``bn1``) names a scope.
        """
        wanted = scope_path(name)
        paths = [scope_path(known) for known in self.scopes]
        tails = [p for p in paths if p[-len(wanted) :] == wanted]
        found = [wanted] if wanted in paths else tails
        if len(found) != 1:
            problem = f"{name!r} could be {_listed(tails)}" if found else f"no scope {name!r}"
            raise RegionError(f"{problem}; this graph has {_listed(paths) or 'no scopes'}")
        return tuple([node for node in self.nodes if node.scope.inside(found[0])])

    def substitute(self, replacement: Mapping[Node, Node]) -> Graph:
        """The graph with some nodes replaced by others of the same type, in outputs and updates."""
        roots = [*self.outputs.values(), *_update_nodes(self.updates)]
        new = iter(substitute(roots, replacement))
        outputs = {name: next(new) for name in self.outputs}
        updates = tuple(
            Update(next(new), next(new), None if u.estimate is None else next(new))
            for u in self.updates
        )
        pairs = [n for pair in self.replacements.items() for n in pair]
        swapped = iter(substitute(pairs, replacement))
        replacements = dict(zip(swapped, swapped, strict=True))
        inputs = tuple(replacement.get(node, node) for node in self.inputs)
        return Graph(inputs, outputs, updates, replacements)

    def with_updates(self, updates: Sequence[Update]) -> Graph:
        """The graph with more updates (an optimiser's)."""
        return replace(self, updates=(*self.updates, *updates))

    def verify(self) -> None:
        """Re-derive the type of every node from its operands; GraphError names the first wrong."""
        for node in self.nodes:
            try:
                derived = node.prim.infer(*[i.type for i in node.inputs], **node.attrs)
            except GraphError as error:
                found = f"{node.prim.name}: {error}{place(node.scope, node.source)}"
                raise type(error)(found) from None
            if derived != node.type:
                raise GraphError(
                    f"{node.prim.name}: the type is {node.type}, its operands give {derived}"
                    f"{place(node.scope, node.source)}"
                )
            if node.prim.kind is Kind.MARKER:
                raise GraphError(f"a marker is left in the graph: {node!r}")

    def to_networkx(self) -> nx.MultiDiGraph[Node]:
        """A MultiDiGraph over the nodes; the edge key is the operand's position.

        Node attributes: ``name`` (as in the text form), ``op``, ``type``, ``scope``. The key
        keeps both edges of ``x * x``.
        """
        import networkx as nx

        from .text import node_names

        names = node_names(self)
        view: nx.MultiDiGraph[Node] = nx.MultiDiGraph()
        for node in self.nodes:
            view.add_node(
                node, name=names[node], op=node.prim.name, type=str(node.type), scope=node.scope
            )
            for position, operand in enumerate(node.inputs):
                view.add_edge(operand, node, key=position)
        return view

    def structural_hash(self) -> str:
        """A digest of the computation that ignores scopes and the order of construction."""
        from .text import structural_hash

        return structural_hash(self)

    def __str__(self) -> str:
        from .text import graph_text

        return graph_text(self)

    def __repr__(self) -> str:
        names = ", ".join(self.outputs)
        return f"<Graph of {len(self.nodes)} nodes, {len(self.updates)} updates -> {names}>"

    def _repr_svg_(self) -> str:
        return FUNCTIONS["svg"](self)


def _set(graph: Graph, name: str, value: Any) -> None:
    object.__setattr__(graph, name, value)


def _update_nodes(updates: Iterable[Update]) -> list[Node]:
    return [n for u in updates for n in (u.state, u.value, u.estimate) if n is not None]


def _named(outputs: Any) -> dict[str, Node]:
    if isinstance(outputs, Node):
        outputs = {"out": outputs}
    elif not isinstance(outputs, Mapping):
        outputs = {f"out{i}": node for i, node in enumerate(outputs)}
    if not outputs:
        raise GraphError(f"Graph: no outputs; name at least one node to compute{_here()}")
    for name, node in outputs.items():
        if not isinstance(node, Node):
            raise GraphError(
                f"Graph: output {name!r} is a {type(node).__name__}, not a Node{_here()}"
            )
    return dict(outputs)


def _checked_inputs(inputs: tuple[Node, ...], leaves: Sequence[Node]) -> tuple[Node, ...]:
    for node in inputs:
        if not isinstance(node, Node) or node.prim.name != "input":
            raise GraphError(f"Graph: {node!r} is not an input; make one with mg.input{_here()}")
    needed = [node for node in leaves if node.prim.name == "input"]
    if not inputs:
        inputs = tuple(needed)
    declared = set(inputs)
    for node in needed:
        if node not in declared:
            raise GraphError(
                f"Graph: the outputs need input {node.name!r}, which is not among the inputs"
                f"{place(node.scope, node.source)}"
            )
    names: dict[str, Node] = {}
    for node in (*inputs, *leaves):
        if node.name and names.setdefault(node.name, node) is not node:
            raise GraphError(
                f"Graph: two leaves are called {node.name!r}, from {names[node.name].line} and "
                f"{node.line}; give each layer a name of its own, or build it under mg.scope"
            )
    return inputs


def require_graph(asked: str, found: object) -> None:
    """GraphError unless a function was given a graph, not its nodes."""
    if not isinstance(found, Graph):
        hint = "; mg.Graph(inputs, outputs) makes one of nodes" if isinstance(found, Node) else ""
        raise GraphError(
            f"{asked}: needs a Graph, not {type(found).__name__} {found!r}{hint}{_here()}"
        )


def _check_states(updates: Sequence[Update]) -> None:
    seen: set[Node] = set()
    for update in updates:
        if update.state in seen:
            raise GraphError(
                f"Graph: {update.state.name!r} has two updates; join them in one{_here()}"
            )
        seen.add(update.state)


def _here() -> str:
    return place(HERE.scope, caller())


def _listed(paths: Iterable[tuple[str, ...]]) -> str:
    return ", ".join("/".join(path) for path in paths)
