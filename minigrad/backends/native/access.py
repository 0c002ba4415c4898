"""What a value at one position needs: one step from a node and an index to its operands'.

Elementwise ops pass an index on, views turn it into another, and a value that lies in memory is
a load. Nothing is said here about loops: `tasks` asks what a value reads, `nest` writes the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...ir import Kind, Node
from .parts import KINDS, REDUCTIONS, Indices, Part, broadcast, literal, strides_of
from .sizes import Axis, Index, Size, flat
from .views import VIEWS


def reduces_nothing(node: Node) -> bool:
    """A reduction over no axes, or over axes of one element: a view of its operand."""
    return all(node.inputs[0].type.shape[a] == 1 for a in node.attrs["axis"])


def is_virtual(node: Node) -> bool:
    """True where a value needs no memory: it can be computed at any position by itself."""
    prim = node.prim
    if prim.kind is Kind.ELEMENTWISE:
        return prim.kernel is not None and node.type.dtype in KINDS
    if prim.name == "constant":
        return node.ndim == 0
    if prim.name in REDUCTIONS:
        return reduces_nothing(node)
    return prim.name in VIEWS or prim.name == "random_uniform"


def part(
    node: Node,
    index: Indices,
    homes: Mapping[Node, tuple[Size, ...]],
    names: Mapping[Node, str],
    axes: Mapping[Axis, Size],
    show: Callable[[Index], str] = str,
) -> Part:
    """One step down: a load where ``homes`` has strides for the node, else its operands."""
    if node in homes:
        where = flat(index, homes[node])
        name = names.get(node, "?")
        return Part((), lambda _: f"{name}[{show(where)}]", load=where)
    if node.prim.kind is Kind.ELEMENTWISE:
        return _elementwise(node, index)
    if node.prim.name == "constant":
        text = literal(node.attrs["value"])
        return Part((), lambda _: text)
    if node.prim.name == "random_uniform":
        return _random_uniform(node, index, show)
    return VIEWS[node.prim.name](node, index, axes)


# --- elementwise -----------------------------------------------------------------------------


def _elementwise(node: Node, index: Indices) -> Part:
    operands = tuple([(x, broadcast(index, x)) for x in node.inputs])
    constants = [_number(x) for x in node.inputs]
    if node.prim.name == "stop_gradient":
        return Part(operands, lambda texts: texts[0], alias=True)
    if node.prim.name == "cast":
        kind = KINDS[node.type.dtype]
        return Part(operands, lambda texts: f"{kind}({texts[0]})")
    if node.prim.name == "pow" and constants[1] is not None and constants[1] in _POWERS:
        form = _POWERS[constants[1]]
        return Part(operands[:1], lambda texts: form.format(texts[0]))
    form = node.prim.kernel or ""
    return Part(operands, lambda texts: form.format(*texts))


_POWERS = {
    2.0: "{0} * {0}", -1.0: "1.0 / {0}", 0.5: "sqrt({0})",
    -0.5: "(0.0 if {0} == -inf else 1.0 / sqrt({0} + 0.0))",
    3.0: "{0} * {0} * {0}", 1.0: "{0} * 1.0", -2.0: "(1.0 / {0}) * (1.0 / {0})",
    4.0: "({0} * {0}) * ({0} * {0})",
}  # fmt: skip


def _number(node: Node) -> float | None:
    if node.prim.name == "constant" and node.ndim == 0:
        return float(node.attrs["value"])
    return None


def _random_uniform(node: Node, index: Indices, show: Callable[[Index], str]) -> Part:
    seed, kind = node.attrs["seed"], KINDS[node.type.dtype]
    keys = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    digits = 11 if kind == "f16" else 24
    element = flat(index, strides_of(node.type.shape))

    def build(texts: Sequence[str]) -> str:
        drawn = f"threefry(u32({show(element)}), u32({texts[0]}), {keys[0]}, {keys[1]})"
        return f"{kind}(i32({drawn} >> {32 - digits})) * {2.0**-digits!r}"

    return Part(((node.inputs[0], ()),), build)
