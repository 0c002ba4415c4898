"""Pictures of graphs: ``mg.render(graph, "bn1.svg", region="bn1", gradients=True)``.

``mg.explore(graph, "page.html")`` writes an interactive page instead, see `page`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._lazy import attach
from ..ir import FUNCTIONS, Graph, Node

if TYPE_CHECKING:
    from ..passes import Derivation, Difference
    from .output import Drawing
    from .page import Page, explore
    from .picture import Picture
    from .scene import View

__all__ = ["Drawing", "Page", "explore", "render"]

__getattr__, __dir__ = attach(__name__, {".output": ["Drawing"], ".page": ["Page", "explore"]})


def render(
    graph: Graph | Node | Sequence[Node] | Difference | Derivation,
    path: str | os.PathLike[str] | None = None,
    region: str | None = None,
    gradients: bool = False,
    values: Mapping[Any, Any] | None = None,
    *,
    depth: int | None = None,
    expand: Sequence[str] = (),
    limit: int = 150,
    simplify: bool = False,
    zoom: Node | str | None = None,
) -> Drawing:
    """Draw a graph; the result shows itself in a notebook and is written to ``path`` if given.

    Parameters
    ----------
    graph : a graph, a node or several nodes; or what `mg.diff` found: both graphs in one picture,
        what is removed, added and replaced marked; or a derivation of `mg.simplify`,
        `mg.prove_zero` or `mg.prove_equal`: step by step.
    path : a file; ``.svg``, ``.png``, ``.pdf``, ``.dot``, ``.gv``, ``.mmd`` (Mermaid) or
        ``.txt`` says the format.
    region : a scope: draw only its nodes, and as ghosts what goes in and comes out.
    gradients : differentiate the output ``loss`` and draw, beside each op, the nodes that its
        derivative rule made. Without a loss, the region's results get an incoming gradient ``u``.
    values : a feed as for `evaluate`; each box then shows mean, std, min, max and a histogram.
        Cotangents that are not fed are drawn from a standard normal with a fixed seed.
    depth : fold every scope of this depth and deeper into one box; None chooses above ``limit``.
    expand : scopes that stay open in spite of ``depth``.
    simplify : draw the gradient as papers write it, `mg.simplify` applied up to the border of
        what is drawn; each of its terms keeps the badge of the way that it came.
    zoom : a node, or what pictures call it (``"μ"``): draw its scalars, one box an element with
        value and gradient, for ``values`` or for three examples drawn with a fixed seed.
    limit : how many boxes a picture may have before scopes are folded.

    Raises RegionError for an unknown scope, GraphError for an unknown suffix or a path that
    cannot be written, GradientError when no gradient reaches what is drawn, FeedError for a bad
    feed. The same graph gives the same bytes, in every process.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 4))
    >>> drawing = mg.render(x * x)
    >>> drawing.dot.count("n0 -> n1")  # both operands of x * x
    2
    """
    from .dot import dot_text
    from .output import Drawing, format_of
    from .scene import View

    if path is not None:
        format_of(path)
    view = View(region, gradients, values, depth, tuple(expand), limit, simplify)
    picture = _picture(graph, view, zoom)
    drawing = Drawing(dot_text(picture), picture)
    if path is not None:
        drawing.save(path)
    return drawing


def _picture(
    graph: Graph | Node | Sequence[Node] | Difference | Derivation,
    view: View,
    zoom: Node | str | None,
) -> Picture:
    from ..passes import Derivation, Difference

    if isinstance(graph, Difference):
        from .difference import compose_difference

        return compose_difference(graph, view)
    if isinstance(graph, Derivation):
        from .derivation import compose_derivation

        return compose_derivation(graph)
    drawn = graph if isinstance(graph, Graph) else Graph((), graph)  # type: ignore[arg-type]
    if zoom is not None:
        from .zoom import compose_zoom

        return compose_zoom(drawn, zoom, view)
    from .scene import compose

    return compose(drawn, view)


FUNCTIONS["svg"] = lambda graph: render(graph).svg
