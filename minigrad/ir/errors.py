"""Errors that teach: every message names the op, the types, the scope and the user's line."""

from __future__ import annotations


class GraphError(Exception):
    """Something is wrong with a graph, a feed or a request about a graph."""


class ShapeError(GraphError, ValueError):
    """Shapes, axes or ranks do not fit the op."""


class DTypeError(GraphError, TypeError):
    """An element type does not fit the op."""


class FeedError(GraphError, ValueError):
    """A fed value is missing, unknown, or has the wrong shape or dtype."""


class GradientError(GraphError, ValueError):
    """A gradient was asked for that does not exist."""


class NonFiniteError(GraphError, ArithmeticError):
    """A value became NaN or infinite while the check was on."""


class RegionError(GraphError, KeyError):
    """A scope was asked for that the graph does not hold."""

    def __str__(self) -> str:
        return str(self.args[0])


class CheckpointError(GraphError, ValueError):
    """A checkpoint file is damaged or belongs to another graph."""
