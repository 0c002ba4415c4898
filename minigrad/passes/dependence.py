"""Which row of the batch a value depends on: a proof by abstract interpretation.

Every node gets one of three facts, from the facts of its operands and nothing else:

* ``Rows(axis)``  the batch lies along that axis, and slice i is a function of input row i alone;
* ``Free``        no batch dim in its shape, and no row reaches it: weights, states, constants;
* ``Mixes``       neither could be proved.

There is one rule for each primitive (leaves, and elementwise ops, share the rule of their kind),
and what no rule covers mixes. So a yes is a proof, and a no names the first node that broke it.
Rows that read how many rows there are, or at which position they stand, count as mixed: one
example must be answered alike alone and in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from ..ir import Dim, Graph, GraphError, Kind, Node, place
from ..ir.graph import require_graph


@dataclass(frozen=True, slots=True)
class Rows:
    """Slice i along ``axis`` is a function of row i of the inputs alone."""

    axis: int


@dataclass(frozen=True, slots=True)
class Free:
    """The same whatever the batch holds, and however many rows it has."""


@dataclass(frozen=True, slots=True)
class Mixes:
    """Not proved to be either; ``why`` is what the op does to the batch."""

    why: str


Fact: TypeAlias = Rows | Free | Mixes
Rule: TypeAlias = Callable[[Node, Sequence[Fact], str], Fact]

FREE = Free()


@dataclass(frozen=True)
class Dependence:
    """What `batch_dependence` found.

    Attributes
    ----------
    independent : each row of every output is proved to depend on its own input row alone.
    dim : the name of the batch dim.
    axes : for each output the axis along which the batch lies; None for an output without rows
        (it depends on no input row) and for one that mixes.
    mixed : for each output that mixes rows, the node where that begins.
    mixing : the first of these nodes, in order of computation; None when independent.
    explanation : one line for each output, with op, types, scope and the user's line.
    """

    independent: bool
    dim: str
    axes: Mapping[str, int | None]
    mixed: Mapping[str, Node]
    mixing: Node | None
    explanation: str

    def __bool__(self) -> bool:
        return self.independent

    def __str__(self) -> str:
        return self.explanation


def batch_dependence(graph: Graph, dim: str | None = None) -> Dependence:
    """Prove that each output row depends on its own input row alone, or name what mixes rows.

    Parameters
    ----------
    graph : any graph; updates are not looked at, only outputs.
    dim : the named dim of the batch; by default the one that leads the inputs.

    The analysis is sound: ``independent`` is a proof. It is not complete: rows that are mixed and
    taken apart again count as mixed. Raises GraphError when no input has the dim, or when several
    dims lead the inputs and ``dim`` does not choose.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> train = mg.Graph([x], {"y": mg.nn.BatchNorm(3, name="bn1")(x)})
    >>> bool(mg.batch_dependence(train)), bool(mg.batch_dependence(mg.to_inference(train)))
    (False, True)
    >>> mg.batch_dependence(train).mixing
    <mean f32[3] in bn1>
    """
    require_graph("batch_dependence", graph)
    batch = _batch_dim(graph, dim)
    facts, origins = _interpret(graph, batch)
    axes: dict[str, int | None] = {}
    mixed: dict[str, Node] = {}
    lines = []
    for name, node in graph.outputs.items():
        fact = facts[node]
        axes[name] = fact.axis if isinstance(fact, Rows) else None
        if isinstance(fact, Mixes):
            mixed[name] = origins[node]
        lines.append(f"{name}: {_sentence(fact, origins.get(node), batch)}")
    position = {node: i for i, node in enumerate(graph.nodes)}
    mixing = min(mixed.values(), key=position.__getitem__, default=None)
    return Dependence(
        mixing is None, batch, MappingProxyType(axes), MappingProxyType(mixed), mixing,
        "\n".join(lines),
    )  # fmt: skip


def facts_of(graph: Graph, dim: str) -> dict[Node, Fact]:
    """The fact of every node."""
    return _interpret(graph, dim)[0]


def _interpret(graph: Graph, dim: str) -> tuple[dict[Node, Fact], dict[Node, Node]]:
    """Facts, and for every node that mixes the node where that began."""
    facts: dict[Node, Fact] = {}
    origins: dict[Node, Node] = {}
    for node in graph.nodes:
        operands = [facts[operand] for operand in node.inputs]
        tainted = [o for o in node.inputs if isinstance(facts[o], Mixes)]
        if tainted and node.prim.name not in _READS_SHAPE_ONLY:
            facts[node], origins[node] = facts[tainted[0]], origins[tainted[0]]
            continue
        facts[node] = _checked(node, _rule(node)(node, operands, dim), dim)
        if isinstance(facts[node], Mixes):
            origins[node] = node
    return facts, origins


def _rule(node: Node) -> Rule:
    return RULES.get(node.prim.name) or KIND_RULES.get(node.prim.kind) or _unknown


def _checked(node: Node, fact: Fact, dim: str) -> Fact:
    """A fact that fits the shape: rows lie along the one axis that has the dim, or there is none.

    This is what makes a slip in a rule harmless, and it refuses the batch against itself, [N,N].
    """
    places = [axis for axis, size in enumerate(node.shape) if size == dim]
    fits = isinstance(fact, Mixes) or places == ([fact.axis] if isinstance(fact, Rows) else [])
    if fits:
        return fact
    twice = len(places) > 1
    return Mixes("sets the batch against itself" if twice else "lays the rows out anew")


def _sentence(fact: Fact, origin: Node | None, dim: str) -> str:
    if isinstance(fact, Rows):
        return f"row i along axis {fact.axis} ({dim}) depends on input row i alone"
    if isinstance(fact, Free):
        return "depends on no input row"
    assert origin is not None
    operands = " with ".join(str(o.type) for o in origin.inputs)
    made = f"{operands} -> {origin.type}" if operands else str(origin.type)
    name = f"{origin.prim.name} {origin.name!r}" if origin.name else origin.prim.name
    return f"{name} {fact.why}: {made}{place(origin.scope, origin.source)}"


def _batch_dim(graph: Graph, dim: str | None) -> str:
    known = dict.fromkeys(d for node in graph.inputs for d in node.shape if isinstance(d, str))
    if dim is not None:
        if dim not in known:
            there = ", ".join(known) or "none; give the batch a name: mg.input('x', ('N', 64))"
            raise GraphError(f"batch_dependence: no input has the dim {dim!r}; there is {there}")
        return dim
    leading = dict.fromkeys(n.shape[0] for n in graph.inputs if n.ndim and n.shape[0] in known)
    found = [str(d) for d in leading or known]
    if len(found) != 1:
        problem = f"could be {', '.join(found)}; say dim=..." if found else "has no name"
        raise GraphError(
            f"batch_dependence: the batch dim {problem} (build the inputs with a named dim, "
            "such as mg.input('x', ('N', 64)))"
        )
    return found[0]


# --- rules: operands are Free or Rows, never Mixes ---------------------------------------------


def _unknown(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    return Mixes("is not known to keep rows apart")


def _leaf(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    if node.prim.name == "input" and dim in node.shape:
        return Rows(node.shape.index(dim))
    return FREE


def _elementwise(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    """Operands are aligned at the right; the batch must lie along one axis of the result."""
    lifted = {
        fact.axis + node.ndim - operand.ndim
        for operand, fact in zip(node.inputs, operands, strict=True)
        if isinstance(fact, Rows)
    }
    return _along(lifted)


def _reduction(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    fact, axes = operands[0], node.attrs["axis"]
    if not isinstance(fact, Rows):
        return FREE
    axes = axes if isinstance(axes, tuple) else (axes,)
    if fact.axis in axes:
        return Mixes(f"reduces over the batch, axis {fact.axis}")
    gone = 0 if node.attrs["keepdims"] else len([a for a in axes if a < fact.axis])
    return Rows(fact.axis - gone)


def _count(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    sizes = [node.inputs[0].shape[axis] for axis in node.attrs["axis"]]
    return Mixes("counts the rows of the batch") if dim in sizes else FREE


def _reshape(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    """The batch axis stays one when as many elements stand before it, and so as many after it."""
    fact = operands[0]
    if not isinstance(fact, Rows):
        return FREE
    before = _volume(node.inputs[0].shape[: fact.axis])
    for axis, size in enumerate(node.shape):
        if size == dim and _volume(node.shape[:axis]) == before:
            return Rows(axis)
    return Mixes(f"reshapes the rows of axis {fact.axis} into others")


def _transpose(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    fact = operands[0]
    return Rows(node.attrs["axes"].index(fact.axis)) if isinstance(fact, Rows) else FREE


def _broadcast_to(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    """Repeated along the batch, what depends on no row is the same in every row."""
    fact, new = operands[0], node.ndim - node.inputs[0].ndim
    if isinstance(fact, Rows):
        return Rows(fact.axis + new)
    return Rows(node.shape.index(dim)) if dim in node.shape else FREE


def _same_axis(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    """Slices, padding and windows: a named dim is kept whole, and every other axis is its own."""
    return operands[0]


def _concatenate(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    rows = {fact.axis for fact in operands if isinstance(fact, Rows)}
    if node.attrs["axis"] in rows:
        return Mixes("joins batches one after the other")
    return _along(rows)


def _matmul(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    """[..., m, p] @ [..., p, q]: rows may lie along m, along q, or along a leading axis of both."""
    lifted = set()
    for position, (operand, fact) in enumerate(zip(node.inputs, operands, strict=True)):
        if not isinstance(fact, Rows):
            continue
        if fact.axis == operand.ndim - (1, 2)[position]:
            return Mixes(f"sums products over the batch, axis {fact.axis}")
        lifted.add(fact.axis + node.ndim - operand.ndim)
    return _along(lifted)


def _take(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    table, indices = operands
    axis = node.attrs["axis"]
    lifted = set()
    if isinstance(table, Rows):
        if table.axis == axis:
            return Mixes(f"looks rows of the batch up by number, axis {axis}")
        lifted.add(table.axis + (node.inputs[1].ndim - 1 if table.axis > axis else 0))
    if isinstance(indices, Rows):
        lifted.add(axis + indices.axis)
    return _along(lifted)


def _scatter_add(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    """The transpose of take: rows of ``x`` outside the index axes stay; indices by row mix."""
    values, indices = operands
    axis, width = node.attrs["axis"], node.inputs[1].ndim
    if isinstance(indices, Rows) or (
        isinstance(values, Rows) and axis <= values.axis < axis + width
    ):
        return Mixes("adds rows of the batch into one another")
    if not isinstance(values, Rows):
        return FREE
    return Rows(values.axis if values.axis < axis else values.axis - width + 1)


def _random_uniform(node: Node, operands: Sequence[Fact], dim: str) -> Fact:
    if isinstance(operands[0], Rows) or dim in node.shape:
        return Mixes("draws by position in the batch")
    return FREE


def _along(axes: set[int]) -> Fact:
    if len(axes) > 1:
        return Mixes("sets the batch against itself")
    return Rows(axes.pop()) if axes else FREE


def _volume(shape: Sequence[Dim]) -> tuple[int, list[str]]:
    ints = math.prod(d for d in shape if isinstance(d, int))
    return ints, sorted(d for d in shape if isinstance(d, str))


_READS_SHAPE_ONLY = frozenset({"count"})

# An elementwise op may be anyone's: its kind says that element i reads element i alone.
KIND_RULES: Mapping[Kind, Rule] = MappingProxyType(
    {Kind.LEAF: _leaf, Kind.ELEMENTWISE: _elementwise}
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "sum": _reduction,
        "mean": _reduction,
        "max": _reduction,
        "argmax": _reduction,
        "count": _count,
        "reshape": _reshape,
        "transpose": _transpose,
        "broadcast_to": _broadcast_to,
        "slice": _same_axis,
        "pad": _same_axis,
        "concatenate": _concatenate,
        "unfold": _same_axis,
        "fold": _same_axis,
        "matmul": _matmul,
        "take": _take,
        "scatter_add": _scatter_add,
        "random_uniform": _random_uniform,
        "mark": _same_axis,
    }
)
