"""Derivations: what was shown, step by step, each step checked at random points.

A step says that one expression equals another, by which laws, and how far both are apart in
float64 at points drawn at random. `simplify(..., proof=True)`, `prove_zero` and `prove_equal`
return one; it prints as text, as LaTeX and as Markdown.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from ..ir import FUNCTIONS, Graph, GraphError, Node, is_leaf, place, toposort
from ..rewrite.formula import LATEX, TEXT, Style, formula
from ..rewrite.laws import LAWS
from ..rewrite.rules import RULES
from .points import NOTHING, Meant, distance, random_point
from .symbols import Names

TOLERANCE = 1e-9  # of float64, relative to the largest element; roots lose half of the digits
POINTS = 3


@dataclass(frozen=True)
class Step:
    """``before = after`` by ``laws``.

    ``error`` is the largest relative distance of the two in float64 at the points tried.
    """

    before: Node
    after: Node
    laws: tuple[str, ...]
    error: float
    names: Mapping[Node, str] = field(default_factory=dict, repr=False)
    latex_names: Mapping[Node, str] = field(default_factory=dict, repr=False)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Where the step holds: the conditions of its DOMAIN laws."""
        stated = {row.name: row.condition for row in RULES if row.condition}
        stated |= {name: law.condition for name, law in LAWS.items() if law.condition}
        return tuple([stated[law] for law in self.laws if law in stated])

    @property
    def text(self) -> str:
        """``name = before = after   [laws]``."""
        return f"{self._sides(TEXT, self.names)}    [{', '.join(self.laws)}]"

    @property
    def latex(self) -> str:
        """The equation, without delimiters."""
        return self._sides(LATEX, self.latex_names)

    def _sides(self, style: Style, names: Mapping[Node, str]) -> str:
        known = {n: t for n, t in names.items() if n is not self.after and n is not self.before}
        sides = [formula(self.before, known, style), formula(self.after, known, style)]
        own = [] if is_leaf(self.after) else [names.get(self.after, "")]
        return " = ".join(dict.fromkeys([*filter(None, own), *sides]))

    def graph(self) -> Graph:
        """Both sides in one graph, to be drawn."""
        return Graph((), {"before": self.before, "after": self.after})

    def _repr_svg_(self) -> str:
        return FUNCTIONS["svg"](self.graph())


@dataclass(frozen=True)
class Derivation:
    """A claim and the steps that show it; ``result`` is what the claim's left side became."""

    claim: str
    steps: tuple[Step, ...]
    result: Any
    latex_claim: str = ""
    definitions: tuple[str, ...] = ()
    latex_definitions: tuple[str, ...] = ()
    points: int = POINTS

    @property
    def conditions(self) -> tuple[str, ...]:
        """Every condition that some step needs."""
        return tuple(dict.fromkeys([c for step in self.steps for c in step.conditions]))

    @property
    def laws(self) -> tuple[str, ...]:
        """Every law that some step uses."""
        return tuple(dict.fromkeys([law for step in self.steps for law in step.laws]))

    @property
    def error(self) -> float:
        """The largest error of a step."""
        return max([step.error for step in self.steps], default=0.0)

    def __str__(self) -> str:
        lines = [self.claim, *[f"  with {d}" for d in self.definitions]]
        lines += [f"{i:3}. {s.text}" for i, s in enumerate(self.steps, 1)]
        lines += [f"where {condition}" for condition in self.conditions]
        lines.append(f"checked at {self.points} random points: off by {self.error:.1e} at most")
        return "\n".join(lines)

    def latex(self) -> str:
        """An ``align*`` environment, one line a step."""
        rows = [rf"  {_aligned(s.latex)} && \text{{{', '.join(s.laws)}}} \\" for s in self.steps]
        return "\n".join([r"\begin{align*}", *rows, r"\end{align*}"])

    def markdown(self) -> str:
        """Lecture notes: the claim, then every step with its laws and its check."""
        lines = [f"$$ {_math(self.latex_claim)} $$", ""]
        if self.latex_definitions:
            lines += [f"With ${_math(', '.join(self.latex_definitions))}$:", ""]
        for number, step in enumerate(self.steps, 1):
            laws = "; ".join(f"*{law}*: ${LAWS[law].latex}$" if law in LAWS else f"*{law}*"
                             for law in step.laws)  # fmt: skip
            lines += [f"{number}. $$ {_math(step.latex)} $$", f"   by {laws or 'definition'} "
                      f"({_exactness(step.error)})", ""]  # fmt: skip
        lines += [f"Where {_markdown(condition)}." for condition in self.conditions]
        return "\n".join(lines)

    def __bool__(self) -> bool:
        return True


def checked(
    before: Node, after: Node, laws: Iterable[str], names: Names,
    positive: Iterable[Node] = (), meant: Meant = NOTHING,
) -> Step:  # fmt: skip
    """The step, its error measured; ``meant`` is of `random_point`.

    AssertionError when the two sides differ: a wrong law; GraphError where they cannot be tried.
    """
    error = apart(before, after, positive, meant)
    laws = tuple(sorted(laws))
    if np.isnan(error):
        raise GraphError(
            f"a derivation cannot be checked: no random point lies where {formula(before)} is"
            f" defined{place(before.scope, before.source)}; keep roots and logarithms away from"
            " negative numbers"
        )
    if not error <= TOLERANCE:
        raise AssertionError(
            f"a derivation went wrong by {error:.1e}: {formula(before)} is not {formula(after)}"
            f" (laws: {', '.join(laws)}){place(before.scope, before.source)}"
        )
    return Step(before, after, laws, error, dict(names.text), dict(names.latex))


def apart(
    before: Node, after: Node, positive: Iterable[Node] = (), meant: Meant = NOTHING
) -> float:
    """How far two nodes are apart at random points; points outside the domain are passed over.

    NaN when none of twenty lay inside of it. Where none of the first ten does, as with roots of
    many elements, the rest have positive leaves only.
    """
    worst, found = 0.0, 0
    leaves = [node for node in toposort([before, after]) if is_leaf(node)]
    for seed in range(20):
        positive = leaves if seed == 10 and not found else positive
        point = random_point([before, after], seed, positive, meant)
        a, b = point.values([before, after])
        error = distance(a, b)
        if np.isnan(error):
            continue
        worst, found = max(worst, error), found + 1
        if found == POINTS:
            break
    return worst if found else np.nan


def is_complex(roots: Iterable[Node]) -> bool:
    """Some value is complex; the laws are of real numbers: ``sqrt(x**2) = abs(x)``."""
    return any_complex(toposort(roots))


def any_complex(nodes: Iterable[Node]) -> bool:
    """Some of the nodes themselves is complex."""
    return "c" in map(attrgetter("type.dtype.kind"), nodes)


def require_nodes(function: str, nodes: Iterable[Any]) -> None:
    """GraphError unless all are nodes."""
    for node in nodes:
        if not isinstance(node, Node):
            raise GraphError(f"{function}: {node!r} is a {type(node).__name__}, not a node")


def require_leaves(argument: str, nodes: Any) -> None:
    """GraphError unless all are leaves of a graph."""
    if isinstance(nodes, Node):
        raise GraphError(f"{argument}: give several nodes, not one: [{nodes!r}]")
    require_nodes(argument, nodes)
    for node in nodes:
        if not is_leaf(node):
            raise GraphError(
                f"{argument}: {node!r} is no leaf{place(node.scope, node.source)}; say it of the"
                " inputs and parameters that it is made of"
            )


def require_names(names: Any) -> None:
    """GraphError unless nodes are mapped to texts."""
    if not isinstance(names, Mapping):
        raise GraphError(f"names: a {type(names).__name__}, not a mapping of nodes to names")
    require_nodes("names", names)
    for text in names.values():
        if not isinstance(text, str):
            raise GraphError(f"names: {text!r} is a {type(text).__name__}, not a name")


def _aligned(equation: str) -> str:
    return equation.replace(" = ", " &= ", 1)


def _exactness(error: float) -> str:
    """How well a step was met, in words that do not depend on a machine's last digit."""
    return "checked to 1e-12" if error <= 1e-12 else f"checked to {error:.0e}"


def _math(text: str) -> str:
    """LaTeX inside of Markdown: names of the user must not end it, nor be HTML."""
    return text.replace("$", r"\$").replace("<", r"\lt ").replace(">", r"\gt ")


def _markdown(text: str) -> str:
    escaped = html.escape(text, quote=False)
    return "".join("\\" + c if c in "*_`[]#|$\\" else c for c in escaped)
