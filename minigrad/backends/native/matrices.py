"""Operands of matrix products: where the matrix lies, without copying it if it can be helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir import Node
from .access import part
from .parts import NeedsSplit, whole
from .sizes import ONE, ZERO, Axis, Index, Size, divided, flat, product, size_of


@dataclass(frozen=True)
class Operand:
    """A stack of matrices in memory: ``base[offset + batch + row * rows + column * columns]``."""

    base: Node
    offset: int
    batch: tuple[tuple[Size, Size], ...]  # extent and stride of each leading dim
    rows: tuple[Size, Size]  # extent and stride
    columns: tuple[Size, Size]

    @property
    def transposed(self) -> bool:
        return not (self.columns[1].is_one or self.columns[0].is_one)

    @property
    def lead(self) -> Size:
        """The distance in memory from one line of the matrix to the next."""
        extent, stride = self.columns if self.transposed else self.rows
        width = self.rows[0] if self.transposed else self.columns[0]
        return width if extent.is_one else stride


@dataclass(frozen=True)
class Product:
    """``c[b] = x[b] @ y[b]`` over a stack of ``batch`` matrices."""

    x: Operand
    y: Operand
    batch: tuple[Size, ...]
    m: Size
    n: Size
    k: Size


def operand_of(node: Node, homes: Mapping[Node, tuple[Size, ...]]) -> Operand | None:
    """How ``node`` can be read in place, or None when it has to be copied first."""
    index, axes = whole(node.type.shape)
    per_dim: list[list[Axis]] = [sorted(i.axes) for i in index]
    while True:
        try:
            found = _followed(node, index, homes, axes)
            break
        except NeedsSplit as split:
            outer, inner = f"{split.axis}o", f"{split.axis}i"
            rest = axes[split.axis].split(split.inner)
            assert rest is not None
            parts = {outer: rest, inner: split.inner}
            axes = {
                a: size
                for axis, whole_ in axes.items()
                for a, size in (parts.items() if axis == split.axis else ((axis, whole_),))
            }
            index = tuple(divided(i, split.axis, outer, inner, split.inner) for i in index)
            per_dim = [
                [a for axis in dim for a in ((outer, inner) if axis == split.axis else (axis,))]
                for dim in per_dim
            ]
    if found is None:
        return None
    base, place = found
    if place.text:
        return None
    strides = dict(place.terms)
    if len(strides) != len(place.terms):
        return None
    dims = [_joined(dim, axes, strides) for dim in per_dim]
    if any(dim is None for dim in dims):
        return None
    *batch, rows, columns = [dim for dim in dims if dim is not None]
    operand = Operand(base, place.offset, tuple(batch), rows, columns)
    return operand if _is_matrix(operand) else None


def _followed(
    node: Node,
    index: Sequence[Index],
    homes: Mapping[Node, tuple[Size, ...]],
    axes: Mapping[Axis, Size],
) -> tuple[Node, Index] | None:
    """The value in memory that ``node`` is a view of, and where its element lies."""
    key = (node, tuple(index))
    while True:
        step = part(*key, homes, {}, axes)
        if step.load is not None:
            return key[0], flat(key[1], homes[key[0]])
        if not step.alias:
            return None
        key = step.operands[0]


def _joined(
    dim: Sequence[Axis], axes: Mapping[Axis, Size], strides: Mapping[Axis, Size]
) -> tuple[Size, Size] | None:
    """Extent and stride of several axes as one, where they lie evenly."""
    if not dim:
        return ONE, ZERO
    inner = dim[-1]
    stride, extent = strides.get(inner, ZERO), axes[inner]
    for axis in reversed(dim[:-1]):
        if strides.get(axis, ZERO) != stride * extent:
            return None
        extent = axes[axis] * extent
    return extent, stride


def _is_matrix(operand: Operand) -> bool:
    """BLAS wants one unit stride, and lines that do not overlap."""
    (m, down), (n, across) = operand.rows, operand.columns
    if m == ZERO or n == ZERO:
        return False
    if n.is_one or across.is_one:
        return m.is_one or _covers(down, n)
    if m.is_one or down.is_one:
        return n.is_one or _covers(across, m)
    return False


def _covers(stride: Size, extent: Size) -> bool:
    rest = stride.split(extent)
    if rest is not None:
        return rest.number >= 1
    return not stride.names and not extent.names and stride.number >= extent.number


def product_of(node: Node, x: Operand, y: Operand) -> Product:
    """The product, its stack folded into the rows where one matrix serves all of ``x``."""
    if node.prim.name == "stacked_matmul":
        return _stacked_product(x, y)
    batch = tuple(size_of(d) for d in node.type.shape[:-2])
    m, n, k = x.rows[0], y.columns[0], x.columns[0]
    if batch and all(extent.is_one or stride == ZERO for extent, stride in y.batch):
        folded = run_through(x, columns=False)
        if folded is not None and product([e for e, _ in x.batch]) == product(batch):
            flat_y = Operand(y.base, y.offset, (), y.rows, y.columns)
            return Product(folded, flat_y, (), folded.rows[0], n, k)
    return Product(x, y, batch, m, n, k)


def _stacked_product(x: Operand, y: Operand) -> Product:
    """``sum(x[b] @ y[b])``: columns of ``x`` and rows of ``y`` run through the whole stack."""
    left, right = run_through(x, columns=True), run_through(y, columns=False)
    assert left is not None
    assert right is not None
    assert left.columns[0] == right.rows[0]
    return Product(left, right, (), x.rows[0], y.columns[0], left.columns[0])


def run_through(x: Operand, columns: bool) -> Operand | None:
    """The stack as one matrix, its rows (or columns) one after the other, where they lie evenly."""
    extent, stride = x.columns if columns else x.rows
    for size, step in reversed(x.batch):
        if size.is_one:
            continue
        if extent.is_one:
            extent, stride = size, step
            continue
        if step != stride * extent:
            return None
        extent = size * extent
    run = (extent, stride)
    long = Operand(x.base, x.offset, (), x.rows if columns else run, run if columns else x.columns)
    return long if _is_matrix(long) else None
