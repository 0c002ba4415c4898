"""From a graph to tasks: what makes each value in memory, and what it reads.

A task makes one value in memory (see `residence`); its loop axes, and the index of everything that
it reads, are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

from ...ir import Node, is_leaf, toposort
from .access import is_virtual, part
from .matrices import Operand, Product, operand_of, product_of, run_through
from .packed import (
    FOLD,
    ROWS,
    STACK,
    PackedProduct,
    fold_of,
    folded_products,
    windows_of,
)
from .parts import KINDS, REDUCTIONS, Indices, Key, NeedsSplit, strides_of, whole
from .residence import kept_in_memory
from .sizes import ZERO, Axis, Index, Size, divided, product, size_of

STORE, REDUCE, FINAL, PRODUCT, HOST = "store", "reduce", "final", "product", "host"
UNROLLED = 16  # elements of a reduction that is written out


@dataclass(frozen=True)
class Task:
    """One value in memory, the loops that make it, and what they read."""

    node: Node
    kind: str
    axes: Mapping[Axis, Size] = field(default_factory=dict)  # outermost in memory first
    index: Indices = ()  # the element written, or, for a reduction, the element taken in
    reads: tuple[Key, ...] = ()  # values in memory, with the index read
    reduced: frozenset[Axis] = frozenset()
    product: Product | PackedProduct | None = None

    @property
    def sizes(self) -> tuple[Size, ...]:
        return tuple(self.axes.values())

    @cached_property
    def operands(self) -> list[Node]:
        return list(dict.fromkeys(node for node, _ in self.reads))

    @property
    def kept(self) -> Indices:
        """Where the result of a task lies, as the index of its node."""
        if self.kind != REDUCE:
            return self.index
        axis, keepdims = self.node.attrs["axis"], self.node.attrs["keepdims"]
        found = [Index() if a in axis else i for a, i in enumerate(self.index)]
        return tuple(i for a, i in enumerate(found) if keepdims or a not in axis)

    def renamed(self, names: Mapping[Axis, Axis]) -> Task:
        def moved(index: Indices) -> Indices:
            return tuple([i.renamed(names) for i in index])

        return replace(
            self,
            axes={names.get(a, a): size for a, size in self.axes.items()},
            index=moved(self.index),
            reads=tuple([(node, moved(index)) for node, index in self.reads]),
            reduced=frozenset(names.get(a, a) for a in self.reduced),
        )


@dataclass
class Tasks:
    """All tasks of a graph in an order that runs, and the strides of every value in memory."""

    rows: list[Task] = field(default_factory=list)
    homes: dict[Node, tuple[Size, ...]] = field(default_factory=dict)
    folded: dict[Node, Node] = field(default_factory=dict)  # a fold -> the product inside it


def make_tasks(roots: Sequence[Node], wanted: Iterable[Node]) -> Tasks:
    """Tasks for ``roots``; those in ``wanted`` are the caller's, dense and in their own order."""
    order = toposort(roots)
    dense = {*wanted, *[x for node in order if _is_host(node) for x in node.inputs]}
    made = Tasks(folded={f: p for f, p in folded_products(roots).items() if f not in dense})
    kept = kept_in_memory(order, set(wanted))
    skipped = set(made.folded.values())
    for node in order:
        if is_leaf(node):
            if not is_virtual(node):
                made.homes[node] = strides_of(node.type.shape)
        elif node in made.folded and _make_folded(node, made, dense):
            continue
        elif node in kept and node not in skipped:
            _make(node, made, dense)
    return made


def _make_folded(node: Node, made: Tasks, dense: set[Node]) -> bool:
    """A fold that takes its product block by block; False when the product has to be whole."""
    source = made.folded[node]
    x, y = (operand_of(operand, made.homes) for operand in source.inputs)
    found = fold_of(node, source)
    fits = x is not None and y is not None and not x.transposed and not x.columns[0].names
    if found is None or x is None or y is None or not fits or not _is_dense_stack(x, source):
        _make(source, made, dense)
        return False
    windows, order = found
    made.homes[node] = strides_of(node.type.shape, order)
    reads = ((x.base, ()), (y.base, ()))
    packed = PackedProduct(FOLD, windows, Operand(y.base, y.offset, (), y.rows, y.columns), x)
    made.rows.append(Task(node, PRODUCT, reads=reads, product=packed))
    return True


def _is_dense_stack(x: Operand, source: Node) -> bool:
    """Lines of ``x`` that lie as the rows of the product do, and one matrix for all of them."""
    lead = [size_of(d) for d in source.type.shape[:-2]]
    if [e for e, _ in x.batch] != lead or x.rows[1] != x.columns[0]:
        return False
    return x.columns[1].is_one and run_through(x, columns=False) is not None


def _make(node: Node, made: Tasks, dense: set[Node]) -> None:
    if node.prim.name in REDUCTIONS and not is_virtual(node) and node.type.dtype in KINDS:
        task = _reduce(node, made.homes)
        if _is_small(task):
            _make_virtual(node, made, dense)
        else:
            made.rows += [task, _final(node, made.homes)]
    elif _is_blas(node):
        made.rows += _packed(node, made) or [_product(node, made)]
    elif is_virtual(node):
        _make_virtual(node, made, dense)
    else:
        for operand in node.inputs:
            if operand not in made.homes:
                made.rows.append(_traced(operand, STORE, operand.type.shape, made.homes))
                made.homes[operand] = strides_of(operand.type.shape)
        reads = tuple((x, ()) for x in node.inputs)
        made.homes[node] = strides_of(node.type.shape)
        made.rows.append(Task(node, HOST, reads=reads))


def _make_virtual(node: Node, made: Tasks, dense: set[Node]) -> None:
    task = _traced(node, STORE, node.type.shape, made.homes)
    order = None if node in dense else _layout(task, node)
    made.homes[node] = strides_of(node.type.shape, order)
    made.rows.append(task)


def _is_small(task: Task) -> bool:
    """Few elements, and others beside them in memory: windows of a pool, channels innermost."""
    names = list(task.axes)
    if not names or names[-1] in task.reduced:
        return False
    size = product(task.axes[a] for a in task.reduced)
    return not size.names and 1 < size.number <= UNROLLED


def _is_host(node: Node) -> bool:
    """Computed by numpy, which reads its operands in their own order of axes."""
    if is_leaf(node) or is_virtual(node) or _is_blas(node):
        return False
    return node.prim.name not in REDUCTIONS or node.type.dtype not in KINDS


def _is_blas(node: Node) -> bool:
    sizes = [d for x in node.inputs for d in x.type.shape]
    kind = KINDS.get(node.type.dtype)
    if node.prim.name == "stacked_matmul":
        return True
    return node.prim.name == "matmul" and kind in ("f32", "f64") and 0 not in sizes


# --- tasks -----------------------------------------------------------------------------------


def _traced(
    node: Node, kind: str, shape: Sequence[object], homes: Mapping[Node, tuple[Size, ...]]
) -> Task:
    """The task that loops over ``shape``, its axes split where a reshape asks for it."""
    index, axes = whole(shape)
    while True:
        start = [(x, index) for x in node.inputs] if kind == REDUCE else [(node, index)]
        try:
            reads = _reads(start, homes, axes, node if kind == STORE else None)
        except NeedsSplit as split:
            index, axes = _split(index, axes, split)
            continue
        task = Task(node, kind, axes, index, reads)
        return replace(task, axes={a: axes[a] for a in _order(task, homes)})


def _reads(
    start: list[Key],
    homes: Mapping[Node, tuple[Size, ...]],
    axes: Mapping[Axis, Size],
    root: Node | None,
) -> tuple[Key, ...]:
    found: dict[Key, None] = {}
    seen = set(start)
    stack = list(start)
    while stack:
        key = stack.pop()
        step = part(*key, {} if key[0] is root else homes, {}, axes)
        if step.load is not None:
            found[key] = None
        for operand in step.operands:
            if operand not in seen:
                seen.add(operand)
                stack.append(operand)
    return tuple(found)


def _split(
    index: Indices, axes: Mapping[Axis, Size], split: NeedsSplit
) -> tuple[Indices, dict[Axis, Size]]:
    outer, inner = f"{split.axis}o", f"{split.axis}i"
    sizes: dict[Axis, Size] = {}
    for axis, size in axes.items():
        if axis != split.axis:
            sizes[axis] = size
            continue
        rest = size.split(split.inner)
        assert rest is not None
        sizes[outer], sizes[inner] = rest, split.inner
    return tuple([divided(i, split.axis, outer, inner, split.inner) for i in index]), sizes


def _order(task: Task, homes: Mapping[Node, tuple[Size, ...]]) -> list[Axis]:
    """The axes as the largest value read has them in memory, outermost first."""
    best: dict[Axis, Size] = {}
    for node, index in task.reads:
        found: dict[Axis, Size] = {}
        for i, stride in zip(index, homes[node], strict=True):
            for axis in i.reads:
                found[axis] = stride
            for axis, size in i.terms:
                found[axis] = max(found.get(axis, ZERO), size * stride)
        if len(found) > len(best):
            best = found
    if len(best) < 2:
        return list(task.axes)
    axes = list(task.axes)
    strides = sorted((a for a in axes if a in best), key=lambda a: best[a], reverse=True)
    moved = iter(strides)
    return [next(moved) if a in best else a for a in axes]


def _layout(task: Task, node: Node) -> list[int] | None:
    """The order of the dims of a new value: that of the loops, where dims are whole axes."""
    places = {axis: k for k, axis in enumerate(task.axes)}
    first: list[int] = []
    for index in task.index:
        if index.text or any(a not in places for a in index.axes):
            return None
        first.append(min((places[a] for a in index.axes), default=-1))
    spans = sorted((min(p), max(p)) for i in task.index if (p := [places[a] for a in i.axes]))
    if any(b[0] <= a[1] for a, b in pairwise(spans)):
        return None
    return sorted(range(len(first)), key=lambda k: first[k])


def _reduce(node: Node, homes: Mapping[Node, tuple[Size, ...]]) -> Task:
    task = _traced(node, REDUCE, node.inputs[0].type.shape, homes)
    axis = node.attrs["axis"]
    reduced = frozenset(a for d in axis for a in task.index[d].axes)
    return replace(task, reduced=reduced)


def _final(node: Node, homes: dict[Node, tuple[Size, ...]]) -> Task:
    homes[node] = strides_of(node.type.shape)
    index, axes = whole(node.type.shape)
    return Task(node, FINAL, axes, index)


def _packed(node: Node, made: Tasks) -> list[Task]:
    """A product with windows on its left, or none where there are none."""
    stacked = node.prim.name == "stacked_matmul"
    left, right = node.inputs
    found = operand_of(left, made.homes)
    if found is not None and (not stacked or run_through(found, columns=True)):
        return []
    windows = windows_of(left, made.homes, transposed=stacked)
    if windows is None:
        return []
    other = operand_of(right, made.homes)
    if other is None and not stacked:
        made.rows.append(_traced(right, STORE, right.type.shape, made.homes))
        made.homes[right] = strides_of(right.type.shape)
        other = operand_of(right, made.homes)
    if other is None or other.columns[0].names:
        return []
    reads = ((windows.base, ()), (other.base, ()))
    if not stacked:
        if other.batch and any(not e.is_one for e, _ in other.batch):
            return []
        made.homes[node] = strides_of(node.type.shape)
        row = PackedProduct(ROWS, windows, Operand(other.base, other.offset, (), *_sides(other)))
        return [Task(node, PRODUCT, reads=reads, product=row)]
    if other.transposed or run_through(other, columns=False) is None or not _is_packed(other):
        return []
    row = PackedProduct(STACK, windows, ct=other)
    return [Task(node, PRODUCT, reads=reads, product=row), _final(node, made.homes)]


def _sides(operand: Operand) -> tuple[tuple[Size, Size], tuple[Size, Size]]:
    return operand.rows, operand.columns


def _is_packed(operand: Operand) -> bool:
    return operand.rows[1] == operand.columns[0] and operand.columns[1].is_one


def _product(node: Node, made: Tasks) -> Task:
    operands: list[Operand] = []
    stacked = node.prim.name == "stacked_matmul"
    for position, x in enumerate(node.inputs):
        found = operand_of(x, made.homes)
        if found is not None and stacked and run_through(found, columns=position == 0) is None:
            found = None
        if found is None:
            made.rows.append(_traced(x, STORE, x.type.shape, made.homes))
            lead = list(range(x.ndim - 2))
            turned = [*lead, x.ndim - 1, x.ndim - 2]
            made.homes[x] = strides_of(x.type.shape, turned if stacked and not position else None)
            found = operand_of(x, made.homes)
            assert found is not None
        operands.append(found)
    made.homes[node] = strides_of(node.type.shape)
    reads = tuple((operand.base, ()) for operand in operands)
    return Task(node, PRODUCT, reads=reads, product=product_of(node, *operands))
