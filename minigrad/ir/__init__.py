"""The intermediate representation: types, scopes, nodes, graphs and their text. numpy only."""

from .errors import (
    CheckpointError,
    DTypeError,
    FeedError,
    GradientError,
    GraphError,
    NonFiniteError,
    RegionError,
    ShapeError,
)
from .graph import Graph
from .markers import Update
from .node import FUNCTIONS, NO_ATTRS, Kind, Node, Primitive, rebuild
from .order import consumers, depending_on, is_leaf, map_nodes, substitute, toposort
from .scope import HERE, Scope, current_scope, enter, place, qualified, scope, scope_path
from .text import attr_text, expression, graph_text, node_names, structural_hash, value_text
from .types import (
    Dim,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    bind_dims,
    broadcast_shapes,
    float_like,
    normalize_axes,
    promote,
)

__all__ = [
    "FUNCTIONS",
    "HERE",
    "NO_ATTRS",
    "CheckpointError",
    "DTypeError",
    "Dim",
    "FeedError",
    "GradientError",
    "Graph",
    "GraphError",
    "Kind",
    "Node",
    "NonFiniteError",
    "Primitive",
    "RegionError",
    "Scope",
    "Shape",
    "ShapeError",
    "TensorType",
    "Update",
    "as_dtype",
    "as_shape",
    "attr_text",
    "bind_dims",
    "broadcast_shapes",
    "consumers",
    "current_scope",
    "depending_on",
    "enter",
    "expression",
    "float_like",
    "graph_text",
    "is_leaf",
    "map_nodes",
    "node_names",
    "normalize_axes",
    "place",
    "promote",
    "qualified",
    "rebuild",
    "scope",
    "scope_path",
    "structural_hash",
    "substitute",
    "toposort",
    "value_text",
]
