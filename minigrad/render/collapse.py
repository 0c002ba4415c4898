"""Folding scopes into single boxes, so that a model of any size is one readable page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..ir import Node, Scope, scope_path
from .captions import inline

ELIDED = 32  # boxes that are left of a run too long for any page


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Nodes drawn as one box: a scope, or the elided middle of a long run."""

    nodes: tuple[Node, ...]
    scope: Scope
    elided: bool = False

    @property
    def op_counts(self) -> str:
        """``3 mul, 2 mean, add, …``: the ops inside, the most frequent first."""
        ops = [n.prim.name for n in self.nodes if n.prim.name != "constant"]
        counts = sorted(Counter(ops).items(), key=lambda item: (-item[1], item[0]))
        texts = [f"{count} {op}" if count > 1 else op for op, count in counts[:4]]
        return ", ".join([*texts, "…"] if len(counts) > 4 else texts)

    @property
    def parameters(self) -> int:
        """How many numbers the parameters inside hold."""
        total = 0
        for node in self.nodes:
            if node.prim.name == "parameter":
                size = 1
                for dim in node.shape:
                    size *= int(dim)
                total += size
        return total


def fold(
    nodes: Sequence[Node], depth: int | None, expand: Collection[str], limit: int
) -> Mapping[Node, Group]:
    """The group of every node that is not drawn on its own.

    Scopes of ``depth`` and deeper become one box each, those named in ``expand`` stay open.
    ``depth=None`` folds nothing up to ``limit`` boxes, and else opens as many levels as fit. If
    even the outermost level has too many, the middle of the run is elided.
    """
    shown = [node for node in nodes if not inline(node)]
    opened = _opened(expand)
    deepest = max((len(node.scope.path) for node in shown), default=0)
    if depth is None:
        levels = [deepest + 1, *range(deepest, 0, -1)]
        depth = next(
            (d for d in levels if _count(shown, d, opened) <= limit), 1 if deepest else deepest + 1
        )
    keys = {node: _key(node, max(depth, 1), opened) for node in shown}
    items: dict[object, list[Node]] = {}
    for node in shown:
        items.setdefault(keys[node] or node, []).append(node)
    groups: dict[Node, Group] = {}
    elided = _middle(list(items), limit)
    middle = tuple([node for key in elided for node in items[key]])
    if middle:
        groups.update(dict.fromkeys(middle, Group(middle, Scope(), elided=True)))
    for key, members in items.items():
        if isinstance(key, Scope) and members[0] not in groups:
            groups.update(dict.fromkeys(members, Group(tuple(members), key)))
    return groups


def _opened(expand: Collection[str]) -> set[tuple[str, ...]]:
    """The paths that stay open: those asked for and everything around them."""
    wanted = [expand] if isinstance(expand, str) else expand
    paths = [scope_path(name) for name in wanted]
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def _key(node: Node, depth: int, opened: Collection[tuple[str, ...]]) -> Scope | None:
    path = node.scope.path
    while depth <= len(path) and path[:depth] in opened:
        depth += 1
    return Scope(path[:depth], node.scope.order) if depth <= len(path) else None


def _count(nodes: Sequence[Node], depth: int, opened: Collection[tuple[str, ...]]) -> int:
    keys = [_key(node, depth, opened) for node in nodes]
    return len({key for key in keys if key}) + sum(key is None for key in keys)


def _middle(items: list[object], limit: int) -> list[object]:
    """The items between the first and the last that fit."""
    if len(items) <= limit:
        return []
    ends = max(min(limit, ELIDED) // 2, 1)
    return items[ends:-ends]
