"""A small tensor graph unrolled into scalar nodes: micrograd's picture, and an oracle.

Views move elements of an object array of nodes, so numpy does them; every other op is unrolled
into scalar ops. Nothing here is shared with the tensor kernels it checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from ..ir import HERE, Graph, GraphError, Kind, Node, Update, place
from ..ir.graph import require_graph
from ..primitives import add, constant, equal, maximum, where
from ..primitives.leaf import INPUT, PARAMETER, STATE
from ..primitives.window import UNFOLD

Cells: TypeAlias = np.ndarray[Any, Any]  # object dtype, a scalar node in each cell

_LEAVES = {"input": INPUT, "parameter": PARAMETER, "state": STATE}


def scalarize(graph: Graph) -> Graph:
    """The graph on scalars: leaf ``x`` of shape (3, 2) becomes ``x[0,0]`` to ``x[2,1]``.

    Outputs and updates are named alike; scopes and lines are kept. Every dim must be an int.
    Raises GraphError for a named dim, or an op that has no scalar form (random numbers).

    >>> import minigrad as mg
    >>> x = mg.input("x", 2)
    >>> print(scalarize(mg.Graph([x], {"y": mg.sum(x * x)})))
    graph(x[0]: f32[], x[1]: f32[])
      a: f32[] = mul x[0] x[0]
      b: f32[] = mul x[1] x[1]
      c: f32[] = add a b
      return y=c
    """
    require_graph("scalarize", graph)
    cells: dict[Node, Cells] = {}
    before = HERE.scope, HERE.source
    try:
        for node in dict.fromkeys([*graph.inputs, *graph.nodes]):
            if not node.type.is_static:
                raise GraphError(
                    f"scalarize: {node!r} has a named dim; build the graph with a batch of ints"
                    f"{place(node.scope, node.source)}"
                )
            HERE.scope, HERE.source = node.scope, node.source
            cells[node] = _unroll(node, [cells[operand] for operand in node.inputs])
    finally:
        HERE.scope, HERE.source = before
    outputs = {
        f"{name}{_index(i)}": cell
        for name, node in graph.outputs.items()
        for i, cell in np.ndenumerate(cells[node])
    }
    updates = [
        Update(state, value)
        for update in graph.updates
        for state, value in zip(cells[update.state].flat, cells[update.value].flat, strict=True)
    ]
    inputs = tuple(cell for node in graph.inputs for cell in cells[node].flat)
    return Graph(inputs, outputs, tuple(updates))


def scalar_feed(feed: Mapping[str, Any]) -> dict[str, Any]:
    """A feed for the scalar graph from one for the tensor graph."""
    return {
        f"{name}{_index(i)}": number
        for name, value in feed.items()
        for i, number in np.ndenumerate(np.asarray(value))
    }


def _unroll(node: Node, operands: list[Cells]) -> Cells:
    prim, attrs = node.prim, node.attrs
    if prim.kind is Kind.LEAF:
        return _leaf_cells(node)
    if prim.kind is Kind.ELEMENTWISE:
        return _each(lambda *scalars: prim(*scalars, **attrs), *operands)
    if prim.name in _UNROLLED:
        return _UNROLLED[prim.name](node, operands)
    if prim.kind is Kind.VIEW and prim.name != "pad" and prim.eval is not None:
        return _as_cells(prim.eval(np, *operands, **attrs))
    raise GraphError(f"scalarize: {prim.name} has no scalar form{place(node.scope, node.source)}")


def _leaf_cells(node: Node) -> Cells:
    cells = _empty(node)
    for i in np.ndindex(*cells.shape):
        if node.prim.name == "constant":
            cells[i] = constant(node.attrs["value"][i])
            continue
        attrs = {**node.attrs, "name": f"{node.name}{_index(i)}", "shape": ()}
        if isinstance(attrs.get("init"), np.ndarray):
            attrs["init"] = np.asarray(attrs["init"][i])
        elif "init" in attrs:
            raise GraphError(
                f"scalarize: {node.name} starts from an initialiser, not from numbers"
                f"{place(node.scope, node.source)}"
            )
        cells[i] = _LEAVES[node.prim.name](**attrs)
    return cells


def _each(build: Callable[..., Node], *operands: Cells) -> Cells:
    broadcast = np.broadcast_arrays(*operands)
    cells: Cells = np.empty(broadcast[0].shape, dtype=object)
    for i in np.ndindex(*cells.shape):
        cells[i] = build(*[operand[i] for operand in broadcast])
    return cells


def _rows(cells: Cells, axis: tuple[int, ...]) -> Cells:
    """The reduced axes moved to the end and flattened."""
    kept = [a for a in range(cells.ndim) if a not in axis]
    moved = np.transpose(cells, (*kept, *axis))
    return moved.reshape(*[cells.shape[a] for a in kept], -1)


def _reduction(
    fold: Callable[[list[Node]], Node], empty: float = 0.0
) -> Callable[[Node, list[Cells]], Cells]:
    def unroll(node: Node, operands: list[Cells]) -> Cells:
        rows = _rows(operands[0], node.attrs["axis"])
        cells: Cells = np.empty(rows.shape[:-1], dtype=object)
        for i in np.ndindex(*cells.shape):
            scalars = list(rows[i])
            cells[i] = fold(scalars) if scalars else _number(empty, node)
        return cells.reshape(_static_shape(node))

    return unroll


def _number(value: float, node: Node) -> Node:
    return constant(np.asarray(value, node.type.dtype))


def _total(scalars: list[Node]) -> Node:
    return reduce(add, scalars)


def _matmul(node: Node, operands: list[Cells]) -> Cells:
    x, y = operands
    products = _each(lambda a, b: a * b, x[..., :, :, None], y[..., None, :, :])
    cells = _empty(node)
    for i in np.ndindex(*cells.shape):
        cells[i] = _total(list(products[(*i[:-1], slice(None), i[-1])]))
    return cells


def _pad(node: Node, operands: list[Cells]) -> Cells:
    cells = _empty(node)
    for i in np.ndindex(*cells.shape):
        cells[i] = _number(node.attrs["value"], node)
    steps = [
        slice(low, low + dim + (dim - 1) * gap, gap + 1)
        for dim, (low, _), gap in zip(
            operands[0].shape, node.attrs["pad_width"], node.attrs["interior"], strict=True
        )
    ]
    cells[tuple(steps)] = operands[0]
    return cells


def _fold(node: Node, operands: list[Cells]) -> Cells:
    cells = _empty(node)
    for i in np.ndindex(*cells.shape):
        cells[i] = _number(0, node)
    windows = {k: v for k, v in node.attrs.items() if k != "size"}
    positions = np.arange(cells.size).reshape(cells.shape)
    assert UNFOLD.eval is not None
    targets = UNFOLD.eval(np, positions, **windows)
    flat = cells.reshape(-1)
    for i in np.ndindex(*targets.shape):
        flat[targets[i]] = flat[targets[i]] + operands[0][i]
    return flat.reshape(cells.shape)


def _argmax(scalars: list[Node]) -> Node:
    best, at = scalars[0], constant(0)
    for position, scalar in enumerate(scalars[1:], start=1):
        larger = scalar > best
        best, at = where(larger, scalar, best), where(larger, position, at)
    return at


def _take(node: Node, operands: list[Cells]) -> Cells:
    x, indices = np.moveaxis(operands[0], node.attrs["axis"], 0), operands[1]
    cells: Cells = np.empty((*indices.shape, *x.shape[1:]), dtype=object)
    for i in np.ndindex(*indices.shape):
        for j in np.ndindex(*x.shape[1:]):
            chosen = x[(0, *j)]
            for position in range(1, len(x)):
                chosen = where(equal(indices[i], position), x[(position, *j)], chosen)
            cells[(*i, *j)] = chosen
    lead = list(range(indices.ndim))
    return np.moveaxis(cells, lead, [node.attrs["axis"] + a for a in lead])


def _scatter_add(node: Node, operands: list[Cells]) -> Cells:
    """Every source adds to every target, times one where its index says so."""
    axis, indices = node.attrs["axis"], operands[1]
    lead = [axis + a for a in range(indices.ndim)]
    x = np.moveaxis(operands[0], lead, list(range(indices.ndim)))
    cells = np.moveaxis(_empty(node), axis, 0)
    for j in np.ndindex(*cells.shape):
        chosen = [
            where(equal(indices[i], j[0]), x[(*i, *j[1:])], 0) for i in np.ndindex(*indices.shape)
        ]
        cells[j] = _total(chosen) if chosen else _number(0, node)
    return np.moveaxis(cells, 0, axis)


def _count(node: Node, operands: list[Cells]) -> Cells:
    size = np.prod([operands[0].shape[a] for a in node.attrs["axis"]])
    return _as_cells(constant(np.asarray(size, node.type.dtype)))


def _as_cells(value: Any) -> Cells:
    if isinstance(value, Node):
        cells: Cells = np.empty((), dtype=object)
        cells[()] = value
        return cells
    return np.asarray(value, object)


def _static_shape(node: Node) -> tuple[int, ...]:
    return tuple(int(dim) for dim in node.type.shape)


def _empty(node: Node) -> Cells:
    return np.empty(_static_shape(node), dtype=object)


def _index(i: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, i))}]" if i else ""


_UNROLLED: dict[str, Callable[[Node, list[Cells]], Cells]] = {
    "sum": _reduction(_total),
    "mean": _reduction(lambda scalars: _total(scalars) / len(scalars), empty=np.nan),
    "max": _reduction(lambda scalars: reduce(maximum, scalars)),
    "argmax": lambda node, operands: _reduction(_argmax)(_with_axis_tuple(node), operands),
    "count": _count,
    "matmul": _matmul,
    "pad": _pad,
    "fold": _fold,
    "take": _take,
    "scatter_add": _scatter_add,
}


def _with_axis_tuple(node: Node) -> Node:
    from dataclasses import replace

    return replace(node, attrs={**node.attrs, "axis": (node.attrs["axis"],)})
