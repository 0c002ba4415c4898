"""Rewriting: rules as rows, one driver, an algebraic normal form, and the way back to nodes."""

from .build import Builder
from .cost import cost, cost_of
from .driver import Firing, rewrite
from .normal import Normal
from .rule import DOMAIN, EXACT, REASSOCIATING, Rule, Strength
from .rules import RULES

__all__ = [
    "DOMAIN",
    "EXACT",
    "REASSOCIATING",
    "RULES",
    "Builder",
    "Firing",
    "Normal",
    "Rule",
    "Strength",
    "cost",
    "cost_of",
    "rewrite",
]
