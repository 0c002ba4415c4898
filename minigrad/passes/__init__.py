"""Passes: pure functions from graph to graph."""

from .inference import to_inference
from .retype import retype
from .scalarize import scalarize

__all__ = ["retype", "scalarize", "to_inference"]
