"""Names for the nodes of a derivation: the paper's letters where a node is what the paper names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ..ir import Node, consumers, is_leaf, toposort
from ..primitives import add, mean, mul, pow, sqrt, sub
from ..rewrite.formula import latex_name
from ..rewrite.rule import matches, variable


@dataclass(frozen=True)
class Symbol:
    """A letter, in text and in LaTeX, and the pattern of what it stands for."""

    text: str
    latex: str
    pattern: Callable[..., Node]


SYMBOLS = (
    Symbol("xhat", r"\hat{x}", lambda x, e: mul(_centred(x), pow(sqrt(add(_variance(x), e)), -1))),
    Symbol("r", "r", lambda x, e: pow(sqrt(add(_variance(x), e)), -1)),
    Symbol("s", "s", lambda x, e: sqrt(add(_variance(x), e))),
    Symbol("w", "w", lambda x, e: add(_variance(x), e)),
    Symbol("v", r"\sigma^2", lambda x: _variance(x)),
    Symbol("c", "c", lambda x: _centred(x)),
    Symbol("mu", r"\mu", lambda x: mean(x)),
)  # fmt: skip


def _centred(x: Node) -> Node:
    return sub(x, mean(x))


def _variance(x: Node) -> Node:
    return mean(pow(_centred(x), 2))


@dataclass(frozen=True)
class Names:
    """What nodes are called, in text and in LaTeX."""

    text: dict[Node, str]
    latex: dict[Node, str]
    taken: set[str] = field(default_factory=set)  # also by leaves, which go by their own names
    last: dict[str, int] = field(default_factory=dict)

    def call(self, node: Node, text: str, latex: str | None = None) -> None:
        """Name a node; a name that is taken gets a number."""
        if node in self.text:
            return
        number = self.last.get(text, 0) + 1
        while _numbered(text, number) in self.taken:
            number += 1
        self.last[text] = number
        self.text[node] = _numbered(text, number)
        self.taken.add(self.text[node])
        latex = text if latex is None else latex
        self.latex[node] = latex if number == 1 else f"{{{latex}}}_{{{number}}}"


def in_latex(name: str) -> str:
    r"""A name in LaTeX: a paper's letter, a Greek one, and ``∂`` for a cotangent's bar.

    >>> in_latex("∂xhat"), in_latex("gamma"), in_latex("running_mean")
    ('\\bar{\\hat{x}}', '\\gamma', '\\mathrm{running mean}')
    """
    if name.startswith("∂"):
        return rf"\bar{{{in_latex(name[1:])}}}"
    known = {symbol.text: symbol.latex for symbol in SYMBOLS}
    return known.get(name) or latex_name(name)


def _call_leaves(names: Names, leaves: list[Node]) -> None:
    """Leaves keep their names; LaTeX, which leaves the scope out, says it where two would agree."""
    names.taken.update(names.text.values(), [leaf.name for leaf in leaves])
    uses = Counter([latex_name(leaf.name) for leaf in leaves])
    for leaf in leaves:
        latex = latex_name(leaf.name)
        scope = latex_name(leaf.name.rpartition("/")[0].replace("/", " "))
        if uses[latex] > 1 and "/" in leaf.name:
            names.latex.setdefault(leaf, f"{latex}_{{{scope}}}")


def _numbered(text: str, number: int) -> str:
    return text if number == 1 else f"{text}{number}"


def named(roots: Iterable[Node], given: Mapping[Node, str] | None = None) -> Names:
    """Names for the forward nodes that are used twice or that papers have a letter for.

    ``given`` names come first; `in_latex` says what they are in LaTeX.
    """
    names = Names({}, {})
    for node, text in (given or {}).items():
        names.text[node] = text
        names.latex[node] = in_latex(text)
    order = toposort(roots)
    _call_leaves(names, [n for n in order if is_leaf(n) and n.prim.name != "constant"])
    first = min((n.scope.order for n in order), default=0)
    uses = consumers(order)
    patterns = [
        (s, s.pattern(*[variable(v) for v in s.pattern.__code__.co_varnames])) for s in SYMBOLS
    ]
    for node in order:
        if is_leaf(node) or node.scope.order != first or not uses[node]:
            continue
        for symbol, pattern in patterns:
            if pattern.prim is node.prim and next(matches(pattern, node), None) is not None:
                names.call(node, symbol.text, symbol.latex)
                break
        else:
            if len(uses[node]) > 1:
                names.call(node, "t", "t")
    return names
