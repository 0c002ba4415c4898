"""What a box says: a formula in the paper's signs, derived from the nodes and the leaves' names.

Nothing here knows a layer. A leaf called ``bn1/gamma`` is written γ, the statistic that stands
for the state ``running_mean`` at inference is written μ, and every other node is written by the
formula of its op over the texts of its operands, or by its letter where that would be long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..ir import Graph, Kind, Node, is_leaf, node_names, value_text
from ..ir.text import attr_text
from ..passes.symbols import SYMBOLS
from ..rewrite.rule import matches, variable

# The sign of a leaf, by the last part of its name without ``running_`` and the like.
SIGNS = {"gamma": "γ", "beta": "β", "mean": "μ", "var": "σ²", "variance": "σ²", "std": "σ"}
PREFIXES = ("running_", "moving_", "batch_")
# What is multiplied by a leaf of this name has a sign of its own in the papers.
SCALED = {"gamma": "x̂"}

_POWERS = {2.0: "{0}²", 3.0: "{0}³", -1.0: "1/{0}", -2.0: "1/{0}²", 0.5: "√{0}"}
# op: (formula, how tightly it binds); 0 is a sum, 1 a product, 2 a sign or power, 3 an atom.
_FORMULAS: dict[str, tuple[str, int]] = {
    "add": ("{0} + {1}", 0),
    "sub": ("{0} − {1}", 0),
    "mul": ("{0} · {1}", 1),
    "div": ("{0} / {1}", 1),
    "matmul": ("{0} @ {1}", 1),
    "neg": ("−{0}", 1),
    "pow": ("{0}^{1}", 2),
    "sqrt": ("√{0}", 2),
    "sum": ("Σ {0}", 1),
    "count": ("count", 3),
    "less": ("{0} < {1}", -1),
    "less_equal": ("{0} ≤ {1}", -1),
    "equal": ("{0} = {1}", -1),
}
TRANSPARENT = ("reshape", "broadcast_to", "cast")  # the same numbers under another type
EPSILON, SMALL = "ε", 0.011  # a number up to this, added to something, is written ε
INLINE, WRITTEN, _LONGEST = 18, 32, 44  # characters


@dataclass
class Captions:
    """The texts of a graph's nodes.

    ``cotangents`` (node -> its gradient) name the gradients, ``given`` are names that come first:
    x and y for what enters and leaves a region.
    """

    graph: Graph
    cotangents: Mapping[Node, Node] = field(default_factory=dict)
    given: Mapping[Node, str] = field(default_factory=dict)
    longest: int = INLINE  # an operand that is longer goes by its letter

    def __post_init__(self) -> None:
        self.signs = {**_signs(self.graph), **self.given}
        taken = set(self.signs.values())  # u₂ where u is dL/dy
        self._letters = {
            node: f"{name}₂" if name in taken and not is_leaf(node) else name
            for node, name in node_names(self.graph).items()
        }
        self._bodies: dict[Node, tuple[str, int]] = {}
        self._texts: dict[Node, tuple[str, int]] = {}
        self.referred: set[Node] = set()
        named = self._differentiated()
        for node in self.graph.nodes:
            self._describe(node)
            if node in named and (ct := named[node]) not in self.signs:
                self.signs[ct] = self._differential(node)

    def name(self, node: Node) -> str:
        """The sign, leaf name or letter that the node goes by."""
        return self.signs.get(node) or clipped(self._letters[node].rsplit("/", 1)[-1], INLINE)

    def text(self, node: Node) -> str:
        """The node as an operand would be written."""
        return self._texts[node][0]

    def caption(self, node: Node) -> str:
        """``μ = mean(x)``; without the name when no other caption uses it."""
        if is_leaf(node):
            return self.name(node)
        body = self._bodies[node][0]
        named = node in self.signs or node in self.referred
        name = self.name(node)
        whole = f"{name} = {body}" if named and name != body else body
        return clipped(whole, max(_LONGEST, 2 * self.longest))

    def formula(self, node: Node) -> str:
        """The node's op over the texts of its operands, without its own name."""
        return clipped(self._bodies[node][0], _LONGEST)

    def _differentiated(self) -> dict[Node, Node]:
        """Forward node -> the gradient named after it.

        Several nodes may share a cotangent (a sum hands it on): a node with a sign of its own
        gives the name, else the one nearest to the loss. A cotangent that is fed has its own.
        """
        owners: dict[Node, Node] = {}
        for node, ct in self.cotangents.items():
            owner = owners.get(ct)
            if owner is None or not (is_leaf(owner) or owner in self.signs):
                owners[ct] = node
        return {node: ct for ct, node in owners.items() if not is_leaf(ct)}

    def _describe(self, node: Node) -> None:
        if is_leaf(node):
            atom = inline(node) or self.name(node)
            self._bodies[node] = self._texts[node] = (atom, 3)
            return
        body = self._bodies[node] = self._body(node)
        if node in self.signs:
            self._texts[node] = (self.signs[node], 3)
        elif len(body[0]) <= self.longest:
            self._texts[node] = body
        else:
            self._texts[node] = (self.name(node), 3)

    def _body(self, node: Node) -> tuple[str, int]:
        name = node.prim.name
        if name in TRANSPARENT:
            return self._operand(node.inputs[0])
        template, binding = _FORMULAS.get(name, ("", 3))
        if name == "pow" and (power := scalar(node.inputs[1])) in _POWERS:
            template = _POWERS[power]
            binding = 1 if template.startswith("1/") else 2
        if not template:
            return f"{name}({', '.join(self._operand(i)[0] for i in node.inputs)})", 3
        texts = []
        for position, operand in enumerate(node.inputs):
            text, tightness = self._operand(operand)
            if epsilon(node) is operand:
                text = EPSILON
            loose = tightness < binding or (
                tightness == binding
                and (position > 0 or binding == 2)
                and name not in ("add", "mul")
            )
            texts.append(f"({text})" if loose else text)
        return template.format(*texts), binding

    def _operand(self, node: Node) -> tuple[str, int]:
        text = self._texts[node]
        if not is_leaf(node) and node not in self.signs and text[0] == self.name(node):
            self.referred.add(node)
        return text

    def _differential(self, node: Node) -> str:
        text, binding = self._texts[node]
        if not is_leaf(node) and node not in self.signs and text == self.name(node):
            self.referred.add(node)
        return f"d{text}" if binding == 3 else f"d({text})"


def header(node: Node) -> tuple[str, str]:
    """The symbol of the op, and its name with its static arguments."""
    name = node.prim.name
    shown = {k: v for k, v in node.attrs.items() if k == "axis" and node.prim.kind is not Kind.LEAF}
    attrs = " ".join(f"{k}={attr_text(v).strip('(,)')}" for k, v in shown.items())
    small = epsilon(node)
    if small is not None:
        attrs = f"{EPSILON} = {inline(small)}"
    symbol = "" if name.startswith(node.prim.symbol) else node.prim.symbol
    return symbol, f"{name} {attrs}".strip()


def epsilon(node: Node) -> Node | None:
    """The operand of an addition that only keeps it away from zero."""
    if node.prim.name != "add":
        return None
    small = [o for o in node.inputs if inline(o) and 0 < float(o.attrs["value"]) < SMALL]
    return small[0] if len(small) == 1 else None


def inline(node: Node) -> str:
    """The number of a scalar constant, else nothing: it is written where it is used."""
    if node.prim.name == "constant" and node.ndim == 0:
        value = float(node.attrs["value"])
        return f"{value:g}" if value == value else value_text(node.attrs["value"])
    return ""


def scalar(node: Node) -> float | None:
    """The value of a scalar constant."""
    return float(node.attrs["value"]) if inline(node) else None


def clipped(text: str, length: int) -> str:
    """At most ``length`` characters of a text, on one line."""
    line = " ".join(text[: length * 8].split()) if text.strip() else text
    return line if len(line) <= length else line[: length - 1] + "…"


def base_name(leaf: Node) -> str:
    """``mean`` for ``bn1/running_mean``."""
    name = leaf.name.rsplit("/", 1)[-1]
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _signs(graph: Graph) -> dict[Node, str]:
    signs: dict[Node, str] = {}
    for leaf in graph.leaves:
        sign = SIGNS.get(base_name(leaf))
        if sign:
            signs[leaf] = f"running {sign}" if leaf.prim.name == "state" else sign
    for update in graph.updates:
        sign = SIGNS.get(base_name(update.state))
        if sign and update.estimate is not None:
            signs.setdefault(update.estimate, sign)
        if sign and update.state.prim.name == "state":
            signs.setdefault(update.value, f"next {sign}")
    for node in graph.nodes:
        if node.prim.name == "mul" and not node.scope.order:
            for scale, scaled in (node.inputs, node.inputs[::-1]):
                leaf = _behind_views(scale)
                if leaf.prim.name == "parameter" and base_name(leaf) in SCALED:
                    signs.setdefault(scaled, SCALED[base_name(leaf)])
    for node, sign in _letters_of_structure(graph):
        signs.setdefault(node, sign)
    return signs


def _letters_of_structure(graph: Graph) -> Iterator[tuple[Node, str]]:
    """μ, σ² and x̂ by what they compute, where no name says so: a mean is μ inside a σ² only."""
    patterns = {
        symbol.text: symbol.pattern(*[variable(v) for v in symbol.pattern.__code__.co_varnames])
        for symbol in SYMBOLS
        if symbol.text in ("v", "xhat")
    }
    for node in graph.nodes:
        if node.scope.order or node.prim.name not in ("mean", "mul"):
            continue
        text, sign = ("v", "σ²") if node.prim.name == "mean" else ("xhat", "x̂")
        if next(matches(patterns[text], node), None) is None:
            continue
        yield node, sign
        if text == "v":
            yield node.inputs[0].inputs[0].inputs[1], "μ"  # mean((x - mean(x)) ** 2)


def _behind_views(node: Node) -> Node:
    while node.prim.name in TRANSPARENT:
        node = node.inputs[0]
    return node
