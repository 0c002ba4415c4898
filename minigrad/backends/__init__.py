"""Backends: what runs a graph."""

from .executable import Executable, State, compile
from .interpreter import evaluate, lower

__all__ = ["Executable", "State", "compile", "evaluate", "lower"]
