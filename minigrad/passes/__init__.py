"""Passes: pure functions from graph to graph."""

from .conventions import Converted, convert, debias
from .inference import to_inference
from .retype import retype
from .scalarize import scalarize

__all__ = [
    "Converted",
    "convert",
    "debias",
    "retype",
    "scalarize",
    "to_inference",
]
