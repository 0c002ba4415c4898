"""Lint: what is right for the engine and wrong for the user, found in a graph.

Flow: `Subject` (a graph, what stands in it, points to compute it at) -> the rows of `RULES`, each
of which yields hits -> for every hit a rewrite, checked in float64 -> `Finding`.
"""

from .finding import Finding, Hit, Rule
from .rows import RULES
from .run import lint

__all__ = ["RULES", "Finding", "Hit", "Rule", "lint"]
