"""Graphs of thousands of scalars: a table of instructions and one loop that runs it.

Loops have nothing to do in such a graph, and machine code for every node would take minutes to
compile. The table costs nothing to compile, and a few nanoseconds a node to run. A row names an
operation, three operands and the result; floats (and bools, as 0 and 1) lie in one array, ints in
another, each node at a place of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir import Graph, Node, is_leaf, toposort
from ...passes.cse import share
from .parts import KINDS
from .state import Array

FEWEST = 400  # nodes; smaller graphs are compiled

_MOVES = {
    "load_float": "values[r] = peek_FLOAT(table[p])",
    "load_bool": "values[r] = FLOAT(peek_bool(table[p]))",
    "load_i64": "ints[r] = peek_i64(table[p])",
    "load_i32": "ints[r] = i64(peek_i32(table[p]))",
    "store_float": "poke_FLOAT(table[p], values[r])",
    "store_bool": "poke_bool(table[p], values[r] != 0.0)",
    "store_i64": "poke_i64(table[p], ints[r])",
    "store_i32": "poke_i32(table[p], i32(ints[r]))",
}
_FLOATS = {
    "add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b", "neg": "-a",
    "square": "a * a", "inverse": "1.0 / a", "pow": "pow(a, b)", "sqrt": "sqrt(a)",
    "exp": "exp(a)", "log": "log(a)", "log1p": "log1p(a)", "tanh": "tanh(a)", "erf": "erf(a)",
    "abs": "abs(a)", "sign": "sign(a)", "maximum": "maximum(a, b)", "minimum": "minimum(a, b)",
    "where": "b if a != 0.0 else c", "equal": "1.0 if a == b else 0.0",
    "less": "1.0 if a < b else 0.0", "less_equal": "1.0 if a <= b else 0.0",
    "stop_gradient": "a * 1.0",
}  # fmt: skip
_FROM_INTS = {
    "equal": "1.0 if m == n else 0.0", "less": "1.0 if m < n else 0.0",
    "less_equal": "1.0 if m <= n else 0.0", "cast": "FLOAT(m)",
}  # fmt: skip
_INTS = {
    "add": "m + n", "sub": "m - n", "mul": "m * n", "neg": "-m", "abs": "abs(m)",
    "maximum": "maximum(m, n)", "minimum": "minimum(m, n)", "stop_gradient": "m + 0",
    "where": "n if a != 0.0 else q",
}  # fmt: skip
_NAMES = [
    *_MOVES,
    *[f"float_{name}" for name in _FLOATS],
    *[f"from_{name}" for name in _FROM_INTS],
    *[f"int_{name}" for name in _INTS],
]
_CODES = {name: code for code, name in enumerate(_NAMES)}


def scalar_kind(graph: Graph) -> str | None:
    """The float kind of a graph that is all scalars, when the table knows all its ops."""
    if len(graph.nodes) < FEWEST:
        return None
    kinds = {KINDS[node.type.dtype] for node in graph.nodes} - {"bool", "i32", "i64"}
    if len(kinds) != 1 or not kinds <= {"f32", "f64"}:
        return None
    known = all(not n.ndim and (is_leaf(n) or _operation(n) is not None) for n in graph.nodes)
    return kinds.pop() if known else None


def _operation(node: Node) -> str | None:
    """What the table calls an op, or None where it has no such row."""
    name, first = node.prim.name, node.inputs[0].type.dtype.kind
    result = node.type.dtype.kind
    if name == "cast" and result == "f" and first in "bf":
        name = "stop_gradient"
    if name == "pow" and node.inputs[1].prim.name == "constant":
        exponent = float(node.inputs[1].attrs["value"])
        name = {2.0: "square", -1.0: "inverse"}.get(exponent, name)
    if result == "i":
        found = f"int_{name}"
    elif first == "i":
        found = f"from_{name}"
    elif result == "b" and name not in ("equal", "less", "less_equal", "stop_gradient"):
        return None  # and, or: rare, and not arithmetic
    else:
        found = f"float_{name}"
    return found if found in _CODES else None


class Tape:
    """The instructions of a graph of scalars."""

    def __init__(
        self, outputs: Sequence[Node], updates: Sequence[tuple[Node, Node]], kind: str
    ) -> None:
        self.targets = [*outputs, *[value for _, value in updates]]
        self.results = share(self.targets)
        order = toposort([*self.results, *[state for state, _ in updates]])
        self.places = {node: k for k, node in enumerate(order)}
        self.values = np.zeros(len(order), {"f32": np.float32, "f64": np.float64}[kind])
        self.ints = np.zeros(len(order), np.int64)
        self.leaves = [n for n in order if is_leaf(n) and n.prim.name != "constant"]
        for node in order:
            if node.prim.name == "constant":
                kept = self.ints if node.type.dtype.kind == "i" else self.values
                kept[self.places[node]] = node.attrs["value"]
        self.body = [self._row(n) for n in order if not is_leaf(n)]

    def _row(self, node: Node) -> tuple[int, int, int, int, int]:
        a, b, c = ([self.places[x] for x in node.inputs] * 3)[:3]
        return _CODES[_operation(node) or ""], a, b, c, self.places[node]

    def code(self, loads: Sequence[tuple[int, Node]], stores: Sequence[tuple[int, Node]]) -> Array:
        """The table: leaves read first, results written last, so that states change at once."""
        rows = [self._move("load", place, node) for place, node in loads]
        rows += self.body
        rows += [self._move("store", place, node) for place, node in stores]
        return np.array(rows, np.int32).reshape(-1)

    def _move(self, verb: str, place: int, node: Node) -> tuple[int, int, int, int, int]:
        kind = KINDS[node.type.dtype]
        name = "float" if kind in ("f32", "f64") else kind
        return _CODES[f"{verb}_{name}"], place, 0, 0, self.places[node]


def text_lines(rows: int, kind: str) -> list[str]:
    """The loop over the table."""
    lines = [
        f"for k in range({rows}):",
        "    op = code[k * 5]",
        "    p = index(code[k * 5 + 1])",
        "    r = index(code[k * 5 + 4])",
        "    a = values[lesser(p, LAST)]",
        "    b = values[index(code[k * 5 + 2])]",
        "    c = values[index(code[k * 5 + 3])]",
        "    m = ints[lesser(p, LAST)]",
        "    n = ints[index(code[k * 5 + 2])]",
        "    q = ints[index(code[k * 5 + 3])]",
    ]
    forms = dict(_MOVES)
    forms |= {f"float_{name}": f"values[r] = {form}" for name, form in _FLOATS.items()}
    forms |= {f"from_{name}": f"values[r] = {form}" for name, form in _FROM_INTS.items()}
    forms |= {f"int_{name}": f"ints[r] = {form}" for name, form in _INTS.items()}
    for name, form in forms.items():
        lines += [f"    if op == {_CODES[name]}:", f"        {form}"]
    return [line.replace("FLOAT", kind) for line in lines]
