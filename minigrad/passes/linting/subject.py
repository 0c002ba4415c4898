"""A graph under lint: what rules ask of it, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...ir import Graph, Node, consumers, depending_on, toposort
from ..cse import share
from ..norms import Norm, find_norms
from ..norms_probe import Trial
from .numbers import points
from .spelling import fixed_nodes


@dataclass(frozen=True, eq=False)
class Subject:
    """A graph with its nodes in order, their users, its normalisers and points to compute it at."""

    graph: Graph

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """Every node, batch statistics that only updates need among them."""
        estimates = [u.estimate for u in self.graph.updates if u.estimate is not None]
        return tuple(toposort([*self.graph.roots, *estimates]))

    @cached_property
    def forward(self) -> frozenset[Node]:
        """What the outputs need, and the batch statistics."""
        estimates = [u.estimate for u in self.graph.updates if u.estimate is not None]
        return frozenset(toposort([*self.graph.outputs.values(), *estimates]))

    @cached_property
    def users(self) -> dict[Node, list[Node]]:
        return consumers(self.order)

    @cached_property
    def classes(self) -> dict[Node, Node]:
        """Nodes that compute the same from the same are of one class."""
        return dict(zip(self.order, share(self.order), strict=True))

    @cached_property
    def fixed(self) -> set[Node]:
        """What depends on shapes alone."""
        return fixed_nodes(self.order)

    @cached_property
    def fed(self) -> set[Node]:
        """What a float input or a parameter reaches."""
        leaves = (*self.graph.inputs, *self.graph.parameters)
        return depending_on(self.order, [n for n in leaves if n.type.is_float])

    @cached_property
    def norms(self) -> list[Norm]:
        """Those of the forward part; what an optimiser does to their gradients is no norm."""
        return find_norms(Graph((), dict(self.graph.outputs)))

    @cached_property
    def points(self) -> list[Trial]:
        return points(self.graph)

    @cached_property
    def has_gradients(self) -> bool:
        return any(node.scope.order for node in self.order)

    @cached_property
    def loss(self) -> Node | None:
        """The output called loss, or the only scalar one."""
        outputs = self.graph.outputs
        if "loss" in outputs:
            return outputs["loss"]
        scalars = [n for n in outputs.values() if n.type.is_float and n.shape == ()]
        return scalars[0] if len(scalars) == 1 else None

    def same(self, a: Node, b: Node) -> bool:
        """Whether two nodes compute the same from the same."""
        return self.classes[a] is self.classes[b]
