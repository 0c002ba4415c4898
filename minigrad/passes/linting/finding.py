"""What a rule is, what it hits, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...ir import Graph, Node
from ...ir.scope import source_location

if TYPE_CHECKING:
    from .subject import Subject


@dataclass(frozen=True, eq=False)
class Fix:
    """A rewrite that removes a hit, and what must hold of it.

    ``build(eps)`` makes the graph; where an eps comes in, ``build(0.0)`` must compute what
    ``reference`` does (by default the graph as it was), else the graph itself must. ``exempt``
    names the states and parameters whose updates may differ. ``before_grad`` says that a graph
    which holds gradients cannot be rewritten so: they are those of the old formula. The rule must
    not fire there again; ``gone`` is a node whose absence shows it without trying.
    """

    build: Callable[[float], Graph]
    eps: float | None = None
    reference: Graph | None = None
    exempt: frozenset[str] = frozenset()
    before_grad: bool = True
    gone: Node | None = None


@dataclass(frozen=True, eq=False)
class Hit:
    """A place where a rule fires, in words, with a rewrite where there is one."""

    node: Node
    message: str
    fix: Fix | None = None


@dataclass(frozen=True, eq=False)
class Rule:
    """One row of the lint: what it finds, why that matters (with its source), what to do."""

    name: str
    finds: str
    why: str
    suggestion: str
    find: Callable[[Subject], Iterator[Hit]]


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing found in a graph.

    Attributes
    ----------
    rule, message : which rule, and what it saw.
    node : where; its ``scope`` and ``line`` are the user's.
    why, suggestion : of the rule.
    fixed : the graph without the fault, or None where no rewrite is known or it did not pass.
    checked : what was verified of ``fixed``, in words.
    """

    rule: str
    message: str
    node: Node
    why: str
    suggestion: str
    fixed: Graph | None = None
    checked: str = ""

    @property
    def location(self) -> tuple[str, int] | None:
        """The user's file and line."""
        return source_location(self.node.source)

    def __str__(self) -> str:
        where = self.node.line or "?"
        scope = f" (in {self.node.scope})" if self.node.scope.path else ""
        lines = [f"{where}: {self.rule}: {self.message}{scope}", f"    why: {self.why}"]
        lines.append(f"    do:  {self.suggestion}")
        if self.checked:
            lines.append(f"    rewrite: {self.checked}")
        return "\n".join(lines)
