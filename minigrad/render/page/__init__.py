"""The interactive page: ``mg.explore(graph, "page.html", feed={"x": x, "t": t})``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ...backends.feed import by_node, missing
from ...ir import FeedError, Graph, Node
from .document import Page, document
from .model import view_data
from .rules import RULES
from .views import View, links, views_of

__all__ = ["Page", "explore"]

LIMIT = 150  # boxes from which scopes start closed


class Recording(Protocol):
    """What the page asks of a recording; `minigrad.train.Recording` is one."""

    def as_data(self) -> dict[str, Any]:
        """The recording as JSON."""


def explore(
    graph: Graph | Node | Sequence[Node],
    path: str | os.PathLike[str] | None = None,
    feed: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    *,
    record: Recording | None = None,
    gradients: bool = True,
    title: str = "minigrad",
    limit: int = LIMIT,
) -> Page:
    """A graph as one interactive HTML file; it shows itself in a notebook.

    Parameters
    ----------
    graph : a graph, a node or several nodes; a graph with an output ``loss`` is differentiated.
    path : the file to write, if any.
    feed : arrays by name of input; every node then shows its value. Without it the page shows
        formulas and types alone.
    state : parameters and running statistics by name, as `minigrad.load` gives them; without it
        they are as they start.
    record : a recording of a training run, for the slider over its steps.
    gradients : differentiate the loss (or, without one, every output) and show it.
    title : of the page.
    limit : a graph with more boxes than this starts with its scopes closed.

    Raises FeedError for a bad feed, GraphError when the file cannot be written. The same graph
    gives the same bytes, in every process.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 4))
    >>> page = mg.explore(mg.nn.BatchNorm(4, name="bn1")(x), feed={"x": [[0.0] * 4, [1.0] * 4]})
    >>> page.html.startswith("<!doctype html>")
    True
    """
    drawn = graph if isinstance(graph, Graph) else Graph((), graph)  # type: ignore[arg-type]
    if feed is not None:
        feed = _by_name(drawn, feed)
    views = views_of(drawn, gradients, state)
    listed = [_view(view, feed, state or {}) for view in views]
    twins = links(views, {view.key: _index(view) for view in views})
    for data in listed[1:]:
        data["twins"] = twins[data["key"]]
    content = {
        "title": title,
        "limit": limit,
        "views": listed,
        "rules": {name: [r.forward, list(r.backward), r.note] for name, r in RULES.items()},
        "record": None if record is None else record.as_data(),
    }
    page = Page(document(content, title))
    if path is not None:
        page.save(path)
    return page


def _by_name(graph: Graph, feed: Mapping[Any, Any]) -> dict[str, Any]:
    """A feed by name of leaf; FeedError for anything else."""
    found = by_node(feed, [*graph.inputs, *graph.leaves])
    for node in found:
        if not node.name:
            raise FeedError(f"explore: feed a leaf by its name, not {node!r}")
    for leaf in graph.inputs:
        if leaf not in found:
            raise missing(leaf)
    return {node.name: value for node, value in found.items()}


def _view(view: View, feed: Mapping[str, Any] | None, state: Mapping[str, Any]) -> dict[str, Any]:
    given = None if feed is None else dict(feed) if view.own else {**state, **feed}
    data = view_data(view.found, view.outputs, given)
    data.update(key=view.key, label=view.label, told=view.told)
    order = _index(view)
    for node, note in view.notes.items():
        if node in order:
            data["nodes"][order[node]].update(note=note, marked=node in view.marked)
    return data


def _index(view: View) -> dict[Node, int]:
    graph = view.found.graph
    return {n: i for i, n in enumerate(dict.fromkeys([*graph.inputs, *graph.nodes]))}
