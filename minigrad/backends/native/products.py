"""The text of a matrix product: each thread multiplies its share of the rows, or of the columns."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import Node
from .matrices import Operand, Product
from .names import Names, Text
from .parts import KINDS, strides_of
from .sizes import ONE, ZERO, Size, product
from .tasks import Task

FEW = 4  # rows that are multiplied without BLAS


def write_product(task: Task, homes: Mapping[Node, tuple[Size, ...]], names: Names) -> Text:
    """``c = x @ y``, or a stack of them."""
    row = task.product
    assert isinstance(row, Product)
    node = task.node
    kind = KINDS[node.type.dtype]
    x, y, c = names.of[row.x.base], names.of[row.y.base], names.of[node]
    pointers = dict.fromkeys((x, y, c), kind)
    if row.batch:
        lines = _stack(row, (x, y, c), kind, strides_of(node.type.shape))
    else:
        lines = _single(row, (x, y, c), kind)
    sizes = [row.m, row.n, row.k, *row.batch]
    for operand in (row.x, row.y):
        sizes += [s for pair in (*operand.batch, operand.rows, operand.columns) for s in pair]
    dims = sorted({name for size in sizes for name in size.names})
    reads: dict[str, set[int]] = {x: {0}, y: {0}}
    return Text(lines, pointers, dims, reads, [c])


def _call(
    row: Product,
    names: tuple[str, str, str],
    kind: str,
    places: tuple[str, str, str],
    m: str,
    n: str,
) -> str:
    x, y, c = (f"at({name}, {place})" for name, place in zip(names, places, strict=True))
    leads = f"{_lead(row.x)}, {_lead(row.y)}, {_at_least_one(row.n)}"
    flags = f"{row.x.transposed}, {row.y.transposed}, False"
    return f"gemm_{kind}({x}, {y}, {c}, {m}, {n}, {row.k}, {leads}, {flags})"


def _single(row: Product, names: tuple[str, str, str], kind: str) -> list[str]:
    """A share of the longer side, so that the shorter is what every thread packs for itself."""
    x, y = row.x.offset, row.y.offset
    down = (f"{x} + low * {_step(row.x.rows)}", f"{y}", f"low * {row.n}")
    across = (f"{x}", f"{y} + low * {_step(row.y.columns)}", "low")
    if _is_plain(row) and not row.m.names and row.m.number <= FEW:
        return _few_rows(row, names)
    by_rows = [*_share(row.m), _call(row, names, kind, down, "high - low", str(row.n))]
    by_columns = [*_share(row.n), _call(row, names, kind, across, str(row.m), "high - low")]
    if not row.m.names and not row.n.names:
        return by_rows if row.m.number >= row.n.number else by_columns
    lines = [
        f"if {row.m} >= {row.n}:",
        *[f"    {line}" for line in by_rows],
        "else:",
        *[f"    {line}" for line in by_columns],
    ]
    if not _is_plain(row) or not row.m.names:
        return lines
    return [
        f"if {row.m} <= {FEW}:",
        *[f"    {line}" for line in _few_rows(row, names)],
        "else:",
        *[f"    {line}" for line in lines],
    ]


def _is_plain(row: Product) -> bool:
    return not row.x.transposed and not row.y.transposed and not row.k.names


def _few_rows(row: Product, names: tuple[str, str, str]) -> list[str]:
    """One example at test time: the matrix is read once, four lines at a time.

    BLAS would copy it into tiles first, which costs more than the product.
    """
    x, y, c = names
    lead, whole = _lead(row.y), row.k.number // 4 * 4
    place = f"{y}[{row.y.offset} + (k + {{0}}) * {lead} + j]"
    terms = [f"x{q} * {place.format(q)}" for q in range(4)]
    left = f"{x}[{row.x.offset} + i * {_step(row.x.rows)} + k + {{0}}]"
    return [
        *_share(row.n),
        f"for i in range({row.m}):",
        "    for j in range(low, high):",
        f"        {c}[i * {row.n} + j] = 0.0",
        f"    for k in range(0, {whole}, 4):",
        *[f"        x{q} = {left.format(q)}" for q in range(4)],
        "        for j in range(low, high):",
        f"            {c}[i * {row.n} + j] += (({terms[0]} + {terms[1]}) + "
        f"({terms[2]} + {terms[3]}))",
        f"    for k in range({whole}, {row.k}):",
        f"        x0 = {left.format(0)}",
        "        for j in range(low, high):",
        f"            {c}[i * {row.n} + j] += {terms[0]}",
    ]


def _share(size: Size) -> list[str]:
    """From ``low`` to ``high``, in eights."""
    return [
        f"low = ({size}) * thread // threads // 8 * 8",
        f"high = ({size}) * (thread + 1) // threads // 8 * 8",
        f"high = {size} if thread + 1 == threads else high",
    ]


def _stack(
    row: Product, names: tuple[str, str, str], kind: str, strides: tuple[Size, ...]
) -> list[str]:
    total = product(row.batch)
    lines = [f"for b in range(({total}) * thread // threads, ({total}) * (thread + 1) // threads):"]
    rest = "b"
    digits: list[str] = []
    for k, size in reversed(list(enumerate(row.batch))):
        lines.append(f"    b{k} = {rest} % ({size})")
        lines.append(f"    r{k} = {rest} // ({size})")
        rest = f"r{k}"
        digits.insert(0, f"b{k}")
    places = (
        _place(row.x, digits),
        _place(row.y, digits),
        " + ".join(f"{d} * {s}" for d, s in zip(digits, strides, strict=False)),
    )
    return [*lines, "    " + _call(row, names, kind, places, str(row.m), str(row.n))]


def _place(operand: Operand, digits: list[str]) -> str:
    tail = digits[len(digits) - len(operand.batch) :]
    parts = [
        f"{digit} * {stride}"
        for digit, (extent, stride) in zip(tail, operand.batch, strict=True)
        if not extent.is_one and stride != ZERO
    ]
    return " + ".join([*parts, str(operand.offset)])


def _step(dim: tuple[Size, Size]) -> Size:
    return ONE if dim[0].is_one else dim[1]


def _lead(operand: Operand) -> str:
    return _at_least_one(operand.lead)


def _at_least_one(size: Size) -> str:
    return "1" if size == ZERO else str(size)
