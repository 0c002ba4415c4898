"""Checking what a caller feeds: names, shapes, dtypes, and the sizes of named dims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..ir import FeedError, Node, TensorType, bind_dims, place

Array: TypeAlias = np.ndarray[Any, Any]

_CATEGORY = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def checked(node: Node, value: Any, dims: dict[str, int]) -> Array:
    """``value`` as an array of the leaf's type; FeedError when it does not fit.

    Casts inside a category (float64 to float32) and upwards (int to float), never downwards.
    """
    if isinstance(value, Node):
        raise FeedError(f"{_title(node)} was fed the node {value!r}; evaluate it first{_at(node)}")
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    wanted = node.type
    if array.dtype.kind not in _CATEGORY:
        raise FeedError(f"{_title(node)} needs {wanted}, was fed {type(value).__name__}{_at(node)}")
    if array.dtype != wanted.dtype:
        if _CATEGORY[array.dtype.kind] > _CATEGORY[wanted.dtype.kind]:
            raise FeedError(
                f"{_title(node)} needs {wanted}, was fed {array.dtype.name}; cast it yourself if "
                f"losing digits is meant{_at(node)}"
            )
        array = array.astype(wanted.dtype)
    known = dict(dims)
    if not bind_dims(wanted.shape, array.shape, dims):
        told = _told(wanted, known)
        raise FeedError(
            f"{_title(node)} needs {wanted}{told}, was fed {list(array.shape)}{_at(node)}"
        )
    return array


def by_node(feed: Mapping[Any, Any] | None, leaves: Iterable[Node]) -> dict[Node, Any]:
    """A feed whose keys are nodes, from one whose keys are nodes or names of leaves."""
    names = {leaf.name: leaf for leaf in leaves if leaf.name}
    found: dict[Node, Any] = {}
    for key, value in (feed or {}).items():
        if isinstance(key, Node):
            found[key] = value
        elif key in names:
            found[names[key]] = value
        else:
            raise FeedError(
                f"feed: nothing is called {key!r}; there is {', '.join(names) or 'none'}"
            )
    return found


def check_state(state: Any) -> None:
    """FeedError for a state that is no mapping, such as the pair that a step returns."""
    if isinstance(state, Mapping):
        return
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], Mapping):
        raise FeedError(
            "the state is a pair, as a step returns it: outputs, state = step(state, ...) unpacks"
        )
    raise FeedError(
        f"the state is {type(state).__name__}, not a mapping of names to arrays; see init_state()"
    )


def missing(leaf: Node) -> FeedError:
    """The error for an input that was not fed."""
    return FeedError(f"{_title(leaf)} needs {leaf.type}, was not fed{_at(leaf)}")


def _told(wanted: TensorType, dims: dict[str, int]) -> str:
    known = [f"{d}={dims[d]}" for d in wanted.shape if isinstance(d, str) and d in dims]
    return f" with {', '.join(known)}" if known else ""


def _title(node: Node) -> str:
    return f"{node.prim.name} {node.name!r}" if node.name else repr(node)


def _at(node: Node) -> str:
    return place(node.scope, node.source)
