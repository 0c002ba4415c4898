"""Products with an operand that is no matrix in memory: the windows of a convolution.

Its rows are copied a block at a time into a tile that stays in the cache, and the tile is
multiplied; so are the rows of a gradient that is folded back, which leave the tile at once. The
matrix of all windows, nine times the image for a 3x3 kernel, is never in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...ir import Node, toposort
from .access import part
from .matrices import Operand
from .names import DIM, Text, slot_of
from .parts import KINDS, NeedsSplit, strides_of, whole
from .sizes import ONE, ZERO, Axis, Index, Size, divided, flat, product, size_of

TILE = 1 << 16  # elements of a tile, about

ROWS, STACK, FOLD = "rows", "stack", "fold"


@dataclass(frozen=True)
class Windows:
    """Where element (row, column) of a matrix that is not one lies: axes of both, outermost first.

    ``blocked`` is the row axis that is cut into blocks of ``block``; what comes before it runs
    outside a block.
    """

    base: Node
    place: Index
    axes: Mapping[Axis, Size]
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    blocked: int
    block: int

    @property
    def outside(self) -> tuple[Axis, ...]:
        return self.rows[: self.blocked]

    @property
    def width(self) -> Size:
        """Columns of a tile."""
        return product(self.axes[a] for a in self.columns)

    @property
    def under(self) -> Size:
        """Rows of a tile for one step of the blocked axis."""
        return product(self.axes[a] for a in self.rows[self.blocked + 1 :])

    @property
    def tile(self) -> Size:
        return Size((), self.block) * self.under * self.width


@dataclass(frozen=True)
class PackedProduct:
    """``rows @ y``, ``rows.T @ y`` summed over everything, or ``fold(x @ y)``."""

    kind: str
    windows: Windows
    y: Operand | None = None  # the matrix that all rows meet
    ct: Operand | None = None  # for a stack or a fold: lines that go with the rows


def windows_of(
    node: Node, homes: Mapping[Node, tuple[Size, ...]], *, transposed: bool = False
) -> Windows | None:
    """``node`` (or its transpose) as windows of a value in memory, or None where it is none."""
    shape = node.type.shape
    index, axes = whole(shape)
    dims: list[list[Axis]] = [sorted(i.axes) for i in index]
    while True:
        try:
            found = _followed(node, index, homes, axes)
            break
        except NeedsSplit as split:
            index, axes, dims = cut(index, axes, dims, split)
    if found is None or found[1].text:
        return None
    base, place = found
    *batch, rows, columns = dims
    if transposed:
        rows, columns = columns, rows
    return _blocked(base, place, axes, [a for d in batch for a in d] + rows, columns)


def cut(
    index: Sequence[Index],
    axes: Mapping[Axis, Size],
    dims: list[list[Axis]],
    split: NeedsSplit,
) -> tuple[tuple[Index, ...], dict[Axis, Size], list[list[Axis]]]:
    """An axis made two, in indices, sizes and dims."""
    outer, inner = f"{split.axis}o", f"{split.axis}i"
    rest = axes[split.axis].split(split.inner)
    assert rest is not None
    sizes: dict[Axis, Size] = {}
    for axis, size in axes.items():
        sizes |= {outer: rest, inner: split.inner} if axis == split.axis else {axis: size}
    dims = [[b for a in d for b in ((outer, inner) if a == split.axis else (a,))] for d in dims]
    return tuple(divided(i, split.axis, outer, inner, split.inner) for i in index), sizes, dims


def _blocked(
    base: Node,
    place: Index,
    axes: Mapping[Axis, Size],
    rows: Sequence[Axis],
    columns: Sequence[Axis],
) -> Windows | None:
    """The row axis to cut: the innermost one that makes a tile long enough.

    It is never the first of several, which is what the threads share.
    """
    width = product(axes[a] for a in columns)
    if width.names or width == ZERO or not rows:
        return None
    size = width.number
    at = len(rows)
    while at > 2 and not (inner := axes[rows[at - 1]]).names and size * inner.number <= TILE:
        at -= 1
        size *= axes[rows[at]].number
    block = max(1, TILE // max(size, 1))
    extent = axes[rows[at - 1]]
    if not extent.names:
        block = min(block, extent.number)
        count = -(-extent.number // block)
        block = -(-extent.number // count)  # blocks of one length, as far as it goes
    return Windows(base, place, axes, tuple(rows), tuple(columns), at - 1, block)


def _followed(
    node: Node,
    index: Sequence[Index],
    homes: Mapping[Node, tuple[Size, ...]],
    axes: Mapping[Axis, Size],
) -> tuple[Node, Index] | None:
    key = (node, tuple(index))
    while True:
        step = part(*key, homes, {}, axes)
        if step.load is not None:
            return key[0], step.load
        if not step.alias:
            return None
        key = step.operands[0]


# --- folds of products -----------------------------------------------------------------------


def folded_products(roots: Sequence[Node]) -> dict[Node, Node]:
    """Folds whose only operand is a view of a product that nobody else needs."""
    order = toposort(roots)
    users: dict[Node, int] = dict.fromkeys(roots, 2)
    for node in order:
        for x in node.inputs:
            users[x] = users.get(x, 0) + 1
    found: dict[Node, Node] = {}
    for node in order:
        at = node.attrs
        if node.prim.name != "fold" or at["window"] == at["stride"]:
            continue
        x = node.inputs[0]
        while x.prim.name in ("reshape", "transpose") and users[x] == 1:
            x = x.inputs[0]
        kind = KINDS.get(x.type.dtype)
        if x.prim.name == "matmul" and users[x] == 1 and kind in ("f32", "f64"):
            found[node] = x
    return found


def fold_of(node: Node, source: Node) -> tuple[Windows, list[int]] | None:
    """The places in ``node`` that rows and columns of ``source`` add to, and the dims' order."""
    x, at = node.inputs[0], node.attrs
    index, axes = whole(x.type.shape)
    dims: list[list[Axis]] = [sorted(i.axes) for i in index]
    homes = {source: strides_of(source.type.shape)}
    while True:
        try:
            found = _followed(x, index, homes, axes)
            break
        except NeedsSplit as split:
            index, axes, dims = cut(index, axes, dims, split)
    if found is None or found[1].text:
        return None
    strides = dict(found[1].terms)
    if set(strides) != set(axes) or len(found[1].terms) != len(axes):
        return None
    inward = sorted(axes, key=lambda a: strides[a], reverse=True)
    columns = [a for a in inward if source_column(strides[a], source)]
    rows = [a for a in inward if a not in columns]
    rank = node.ndim
    inner = list(index[:rank])
    for k, (a, s, d) in enumerate(zip(at["axis"], at["stride"], at["dilation"], strict=True)):
        inner[a] = inner[a].scaled(s).plus(index[rank + k].scaled(d))
    inside = sorted(range(1, rank), key=lambda k: _depth(index[k], inward))
    order = [0, *inside]  # an example lies together: it is cleared as a whole
    place = flat(inner, strides_of(node.type.shape, order))
    windows = _blocked(node, place, axes, rows, columns)
    if windows is None or not windows.outside or index[0].axes != {windows.outside[0]}:
        return None
    return windows, order


def source_column(stride: Size, source: Node) -> bool:
    """True for an axis that runs inside a row of the product."""
    return not stride.names and stride < size_of(source.type.shape[-1])


def _depth(index: Index, inward: Sequence[Axis]) -> int:
    return max((inward.index(a) for a in index.axes), default=-1)


# --- text ------------------------------------------------------------------------------------


def write_packed(node: Node, row: PackedProduct, names: Mapping[str, str]) -> Text:
    """The kernel; ``names`` has base, y, ct, out, tile and part."""
    kind = KINDS[node.type.dtype]
    lines = _PARTS[row.kind](node, row, names, kind)
    sizes = [*row.windows.axes.values(), *[s for _, s in row.windows.place.terms]]
    dims = sorted({n for s in sizes for n in s.names} | _dims(lines))
    reads = {names[k]: {0} for k in ("base", "y", "ct") if k in names}
    written = [names[k] for k in ("out", "part") if k in names]
    pointers = dict.fromkeys([*reads, *written, names["tile"]], kind)
    return Text(lines, pointers, dims, reads, written)


def _dims(lines: Sequence[str]) -> set[str]:
    return {name for line in lines for name in DIM.findall(line)}


def _items(w: Windows, outside: Sequence[Axis]) -> list[str]:
    """The loop over what is shared among threads, and the axes of an item."""
    extents = [w.axes[a] for a in outside]
    total = product(extents)
    lines = [
        f"for item in range(({total}) * thread // threads, ({total}) * (thread + 1) // threads):"
    ]
    rest = "item"
    for axis, extent in reversed(list(zip(outside, extents, strict=True))):
        lines.append(f"    {axis} = {rest} % ({extent})")
        lines.append(f"    {axis}r = {rest} // ({extent})")
        rest = f"{axis}r"
    return lines


def _blocks(w: Windows) -> tuple[list[str], str]:
    """The loop over blocks inside an item; ``b0`` to ``b1`` of the blocked axis."""
    extent = w.axes[w.rows[w.blocked]]
    lines = [
        f"for b0 in range(0, {extent}, {w.block}):",
        f"    b1 = lesser(b0 + {w.block}, {extent})",
    ]
    return lines, f"(b1 - b0) * ({w.under})"


def _moves(w: Windows, statement: str) -> list[str]:
    """Loops over the elements of a tile: ``{place}`` in memory, ``{at}`` in the tile."""
    axes = list(w.rows[w.blocked :]) + list(w.columns)
    strides = strides_of([w.axes[a].number if a != axes[0] else w.block for a in axes])
    tile = dict(zip(axes, strides, strict=True))
    memory = dict(w.place.terms)
    merged: list[Axis] = []
    for a, b in pairwise(axes):
        even = memory.get(a, ZERO) == memory.get(b, ZERO) * w.axes[b]
        if even and a != axes[0]:
            merged.append(a)
    loops: list[str] = []
    depth, size = 0, ONE
    for axis in axes:
        size = size * w.axes[axis]
        if axis in merged:
            continue
        low, high = ("b0", "b1") if axis == axes[0] else ("0", str(size))
        loops.append("    " * depth + f"for {axis} in range({low}, {high}):")
        depth, size = depth + 1, ONE
    kept = [a for a in axes if a not in merged]
    at = [f"({axes[0]} - b0) * {tile[axes[0]]}", *[f"{a} * {tile[a]}" for a in kept[1:]]]
    outer = w.rows[: w.blocked]
    place = [f"{a} * {memory[a]}" for a in (*outer, *kept) if a in memory]
    if w.place.offset:
        place.append(str(w.place.offset))
    text = statement.format(place=" + ".join(place) or "0", at=" + ".join(at))
    return [*loops, "    " * depth + text]


def _line_of(w: Windows, ct: Operand, width: Size) -> str:
    """Where the line that goes with the first row of a block lies, in a dense stack of lines."""
    strides = strides_of([d for a in w.rows for d in [_as_dim(w.axes[a])]])
    axes = [*w.rows[: w.blocked], w.rows[w.blocked]]
    lines = [
        f"{'b0' if a == w.rows[w.blocked] else a} * {s * width}"
        for a, s in zip(axes, strides, strict=False)
    ]
    return " + ".join([*lines, str(ct.offset)] if ct.offset else lines)


def _as_dim(size: Size) -> object:
    if not size.names:
        return size.number
    assert len(size.names) == 1
    assert size.number == 1
    return size.names[0]


def _tile_place(w: Windows) -> str:
    return f"thread * {w.tile}"


def _rows_text(node: Node, row: PackedProduct, names: Mapping[str, str], kind: str) -> list[str]:
    w, y = row.windows, row.y
    assert y is not None
    width = size_of(node.type.shape[-1])
    blocks, count = _blocks(w)
    base, tile = names["base"], names["tile"]
    copies = _moves(w, f"{tile}[{_tile_place(w)} + {{at}}] = {base}[{{place}}]")
    strides = strides_of([_as_dim(w.axes[a]) for a in w.rows])
    out = " + ".join(
        f"{'b0' if a == w.rows[w.blocked] else a} * {s * width}"
        for a, s in zip(w.rows[: w.blocked + 1], strides, strict=False)
    )
    call = (
        f"gemm_{kind}(at({tile}, {_tile_place(w)}), at({names['y']}, {y.offset}), "
        f"at({names['out']}, {out}), {count}, {width}, {w.width}, {w.width}, {y.lead}, {width}, "
        f"False, {y.transposed}, False)"
    )
    return _nested(_items(w, w.outside), blocks, [*copies, call])


def _stack_text(node: Node, row: PackedProduct, names: Mapping[str, str], kind: str) -> list[str]:
    w, ct = row.windows, row.ct
    assert ct is not None
    width = size_of(node.type.shape[-1])
    slot = slot_of(node)
    blocks, count = _blocks(w)
    base, tile, part_ = names["base"], names["tile"], names["part"]
    copies = _moves(w, f"{tile}[{_tile_place(w)} + {{at}}] = {base}[{{place}}]")
    call = (
        f"gemm_{kind}(at({tile}, {_tile_place(w)}), at({names['ct']}, {_line_of(w, ct, width)}), "
        f"at({part_}, thread * {slot}), {w.width}, {width}, {count}, {w.width}, {width}, {width}, "
        f"True, False, True)"
    )
    threads = names["threads"]
    clear = [
        f"for z in range({threads} * thread // threads * {slot}, "
        f"{threads} * (thread + 1) // threads * {slot}):",
        f"    {part_}[z] = 0.0",
    ]
    return [*clear, *_nested(_items(w, w.outside), blocks, [*copies, call])]


def _fold_text(node: Node, row: PackedProduct, names: Mapping[str, str], kind: str) -> list[str]:
    """One example at a time: cleared, then every block of rows multiplied and added."""
    w, ct, y = row.windows, row.ct, row.y
    assert ct is not None
    assert y is not None
    depth = ct.columns[0]
    blocks, count = _blocks(w)
    out, tile = names["out"], names["tile"]
    adds = _moves(w, f"{out}[{{place}}] += {tile}[{_tile_place(w)} + {{at}}]")
    call = (
        f"gemm_{kind}(at({names['ct']}, {_line_of(w, ct, depth)}), at({names['y']}, {y.offset}), "
        f"at({tile}, {_tile_place(w)}), {count}, {w.width}, {depth}, {depth}, {y.lead}, {w.width}, "
        f"False, {y.transposed}, False)"
    )
    example = product(size_of(d) for d in node.type.shape[1:])
    first = w.outside[0]
    items = _items(w, w.outside[:1])
    clear = [
        f"for z in range({first} * {example}, ({first} + 1) * {example}):",
        f"    {out}[z] = 0.0",
    ]
    inner = [f"for {axis} in range({w.axes[axis]}):" for axis in w.outside[1:]]
    body = _indented([*blocks, *_indented([call, *adds], 1)], len(inner))
    loops = ["    " * k + line for k, line in enumerate(inner)]
    return [*items, *_indented([*clear, *loops, *body], 1)]


def _nested(items: list[str], blocks: list[str], body: list[str]) -> list[str]:
    return [*items, *_indented([*blocks, *_indented(body, 1)], 1)]


def _indented(lines: Sequence[str], by: int) -> list[str]:
    return ["    " * by + line for line in lines]


_PARTS = {ROWS: _rows_text, STACK: _stack_text, FOLD: _fold_text}
