"""The text form of a graph, stable names for its nodes, and a hash of its structure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .node import Node
from .order import is_leaf, toposort
from .types import SHORT_NAMES

if TYPE_CHECKING:
    from .graph import Graph

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def node_names(graph: Graph) -> dict[Node, str]:
    """A short unique name for every node: a leaf's own, a scalar constant's value, else a, b, ...

    Names depend on the structure alone, so the same model prints the same in every process.
    """
    names = {node: node.name for node in graph.leaves if node.name}
    taken = set(names.values())
    count = 0
    for node in graph.nodes:
        if node in names:
            continue
        if _is_inline(node):
            names[node] = value_text(node.attrs["value"])
            continue
        while (name := _letters(count)) in taken:
            count += 1
        names[node] = name
        count += 1
    return names


def graph_text(graph: Graph) -> str:
    """One line a node: ``name: type = op[attrs] operands  # scope``, as in `print(graph)`."""
    names = node_names(graph)
    leaves = [f"{n.name}: {n.type}" for n in graph.inputs]
    lines = [f"graph({', '.join(leaves)})"]
    for node in graph.leaves:
        if node.prim.name != "input" and not _is_inline(node):
            lines.append(f"  {node.prim.name} {names[node]}: {node.type}")
    body = [node for node in graph.nodes if not is_leaf(node)]
    texts = [f"  {names[node]}: {node.type} = {expression(node, names)}" for node in body]
    scoped = [str(node.scope) for node in body]
    width = min(72, max((len(t) for t, s in zip(texts, scoped, strict=True) if s), default=0))
    for text, where in zip(texts, scoped, strict=True):
        lines.append(f"{text:<{width}}  # {where}" if where else text)
    for update in graph.updates:
        lines.append(f"  update {names[update.state]} <- {names[update.value]}")
    lines.append("  return " + ", ".join(f"{k}={names[n]}" for k, n in graph.outputs.items()))
    return "\n".join(lines)


def expression(node: Node, names: Mapping[Node, str]) -> str:
    """``mean[axis=(0,)] x``: the op, its static arguments, its operands by name."""
    attrs = ", ".join(f"{k}={attr_text(v)}" for k, v in node.attrs.items() if v is not False)
    return " ".join([node.prim.name + (f"[{attrs}]" if attrs else ""), *_named(node.inputs, names)])


def attr_text(value: Any) -> str:
    """A static argument in short: dtypes by name, arrays by type."""
    if isinstance(value, np.dtype):
        return SHORT_NAMES.get(value, value.name)
    if isinstance(value, np.ndarray):
        return value_text(value)
    if isinstance(value, tuple):
        inside = ",".join(map(attr_text, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return getattr(value, "__name__", None) or repr(value)


def value_text(value: Any) -> str:
    """A scalar as a number that reads back exactly, an array as its type."""
    array = np.asarray(value)
    if array.ndim:
        return f"{SHORT_NAMES.get(array.dtype, array.dtype.name)}{list(array.shape)}"
    number = array[()]
    small = array.dtype.kind == "f" and abs(float(number)) < 1e6
    return str(int(number)) if small and number == int(number) else str(number)


def structural_hash(graph: Graph) -> str:
    """A digest of what the graph computes: ops, static arguments, types, leaf names, constants.

    Independent of scopes, of the order of construction and of the process. Two graphs that
    differ only in how often an equal subexpression is written have the same hash.
    """
    digests: dict[Node, bytes] = {}
    for node in toposort(graph.roots):
        digest = hashlib.blake2b(digest_size=16)
        parts = [node.prim.name, repr(node.type)]
        hidden = ("init",) if is_leaf(node) else ()
        parts += [f"{k}={_exact(v)}" for k, v in sorted(node.attrs.items()) if k not in hidden]
        digest.update("\0".join(parts).encode())
        for operand in node.inputs:
            digest.update(digests[operand])
        digests[node] = digest.digest()
    total = hashlib.blake2b(digest_size=16)
    for name, node in sorted(graph.outputs.items()):
        total.update(name.encode() + b"\0" + digests[node])
    for line in sorted(digests[u.state] + digests[u.value] for u in graph.updates):
        total.update(line)
    return total.hexdigest()


def _exact(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape}{value.tobytes().hex()}"
    return attr_text(value)


def _is_inline(node: Node) -> bool:
    return node.prim.name == "constant" and node.ndim == 0


def _named(nodes: Iterable[Node], names: Mapping[Node, str]) -> list[str]:
    return [names[node] for node in nodes]


def _letters(number: int) -> str:
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = _LETTERS[digit] + text
    return text
