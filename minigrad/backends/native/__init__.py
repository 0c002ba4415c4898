"""The native backend: a graph's clusters as loop nests in Python text, compiled by LLVM."""

from .executable import NativeExecutable
from .program import supported
from .state import LiveState

__all__ = ["LiveState", "NativeExecutable", "supported"]
