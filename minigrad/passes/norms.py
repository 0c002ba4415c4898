"""Find normalisers by structure, in any graph, whoever wrote it and whatever its scopes say.

The search begins at every root: what stands under it, and where do all paths to it meet? From
there on numbers decide: the tensor at the meeting point is fed at random, in float64, and what the
graph computes is compared with the definition of a normaliser. Only what agrees is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ..ir import Graph, Node, place, toposort
from ..ir.graph import require_graph
from .cse import share
from .norms_backward import Backward, backward_region
from .norms_flow import REDUCTIONS, Flow, reached, roots, unviewed, volume
from .norms_kind import Kind, batch_axis, kind_of, sharing, varying
from .norms_match import Match, matches
from .norms_probe import ScaleError, Trial, trials
from .norms_running import RunningMatch, running_matches
from .norms_scale import scaled_trials
from .norms_terms import Term


@dataclass(frozen=True)
class Epsilon:
    """The number that keeps the root from zero: added inside the root, outside of it, or both."""

    inside: float
    outside: float = 0.0

    @property
    def place(self) -> Literal["inside", "outside", "both", "none"]:
        if self.inside and self.outside:
            return "both"
        return "inside" if self.inside else "outside" if self.outside else "none"

    @property
    def value(self) -> float:
        """The number, where there is one; the one inside where there are two."""
        return self.inside or self.outside

    def __str__(self) -> str:
        rows = (("inside", self.inside), ("outside", self.outside))
        return " and ".join(f"{v:g} {k}" for k, v in rows if v) or "none"


@dataclass(frozen=True, eq=False)
class Norm:
    """A normaliser, certified: ``y = gamma * (x - mean) / sqrt(variance + eps) + beta``.

    Attributes
    ----------
    kind : what it is called; `minigrad.passes.norms_kind` says how that is told.
    x, y : the tensor and its normalised form, of the same layout.
    axes : the axes of x over which the statistics are taken; for groups, the split axis too.
    groups : how many groups the split axis of a group norm has.
    eps : its value, and whether it stands inside the root.
    gamma, beta : the weights, or the expressions of weights, that scale and shift; None for 1
        and 0. A factor such as the -1 of ``(mu - x) / s`` is part of gamma, rebuilt.
    scale, shift : gamma and beta as they stand beside x, reshaped; None where there are none.
    mean, variance : the nodes that hold the statistics; None where the graph has no such node
        (a variance that is never free of its eps, a mean that is only known times gamma).
    statistics : "computed" from x, or "running": read from states.
    correction : 1 where the variance divides by n - 1, else 0.
    forward : the nodes from x to y, y among them and x not.
    backward : the nodes of the gradient, from the cotangent of y to those of x, gamma and beta;
        empty where the graph holds no gradient.
    cotangent : the gradient that enters ``backward``, or None.
    """

    kind: Kind
    x: Node
    y: Node
    axes: tuple[int, ...]
    groups: int | None
    eps: Epsilon
    gamma: Node | None
    beta: Node | None
    scale: Node | None
    shift: Node | None
    mean: Node | None
    variance: Node | None
    statistics: Literal["computed", "running"]
    correction: int
    forward: tuple[Node, ...]
    backward: tuple[Node, ...] = ()
    cotangent: Node | None = None

    def __repr__(self) -> str:
        by = f" of {self.statistics} statistics" if self.statistics == "running" else ""
        parts = [f"{self.kind} norm{by}: {self.x.type} over axes {self.axes}", f"eps {self.eps}"]
        parts += [f"groups {self.groups}"] * (self.groups is not None)
        for role, node in (("gamma", self.gamma), ("beta", self.beta)):
            if node is not None:
                parts.append(f"{role} {node.name or node.prim.name}")
        return f"<{', '.join(parts)}{place(self.y.scope, self.y.source)}>"


_Hit: TypeAlias = "tuple[Match | RunningMatch, Backward]"


def find_norms(graph: Graph) -> list[Norm]:
    """Every normaliser of a graph, in order of computation.

    Found are batch, layer, instance, group and RMS norms however they are spelled: ``pow(-0.5)``,
    division by a root, ``E[x^2] - E[x]^2``, ``x/s - mu/s``, ``x*scale + shift``, sums over n, any
    reshapes and reorderings; of batch statistics or of running ones; with their gradients. Scopes
    and names are not read.

    A hit is *certified*: x is fed at random in float64, at several points and sizes of the named
    dims (and of large ones, where no number in the formula stands for their size), weights random
    too, and y agrees with the definition to 1e-9. What is close to a normaliser and none (a wrong
    axis, a mean of another tensor, a missing factor) is not reported; what is one with a
    difference is reported with it: ``eps.place == "outside"``, ``correction``.

    Not found: statistics of a masked or weighted tensor, and statistics without a reduction
    (a standardisation by constants).

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> c = x - mg.mean(x, 0)
    >>> y = c / mg.sqrt(mg.mean(c * c, 0) + 1e-5)
    >>> norm, = mg.find_norms(mg.Graph([x], {"y": y}))
    >>> norm.kind, norm.axes, norm.eps.value, norm.eps.place, norm.x is x, norm.y is y
    ('batch', (0,), 1e-05, 'inside', True, True)
    """
    require_graph("find_norms", graph)
    old = toposort([*graph.nodes, *_estimates(graph)])
    first: dict[Node, Node] = {}  # shared node -> the node of this graph it stands for
    every: dict[Node, list[Node]] = {}
    for before, after in zip(old, share(old), strict=True):
        first.setdefault(after, before)
        every.setdefault(after, []).append(before)
    order = toposort(first)
    flow = Flow.of(order, [node for node in order if _is_data(node)])
    named = sorted({d for node in order for d in node.shape if isinstance(d, str)})
    leading = [str(n.shape[0]) for n in graph.inputs if n.ndim and isinstance(n.shape[0], str)]
    origin = _Origin(first, every, flow.fixed)
    norms = [
        _computed(match, back, origin, leading)
        if isinstance(match, Match)
        else _running(match, origin)
        for match, back in _search(flow, trials(named))
    ]
    at = {node: i for i, node in enumerate(old)}
    return sorted(norms, key=lambda norm: at[norm.y])


def _search(flow: Flow, points: Sequence[Trial]) -> list[_Hit]:
    """One hit for each y: two roots may lead to one. Large tensors are tried at small sizes."""
    found: dict[Node, _Hit] = {}
    for root, under in roots(flow.order):
        hits: list[_Hit] | None = None
        scaled = scaled_trials(flow, root, points)
        if scaled:
            with suppress(ScaleError):
                hits = list(_hits(flow, root, under, scaled))
        if not hits or any(_lacks_gradient(flow, match, back) for match, back in hits):
            hits = list(_hits(flow, root, under, points))
        for match, back in hits:
            found.setdefault(match.affine.y, (match, back))
    return list(found.values())


def _hits(flow: Flow, root: Node, under: Node, points: Sequence[Trial]) -> Iterator[_Hit]:
    if root in flow.active:
        found: Iterable[Match | RunningMatch] = matches(flow, root, under, points)
    else:
        found = _of_weights(flow, root, under, points)
    for match in found:
        back = backward_region(flow, match) if isinstance(match, Match) else Backward()
        yield match, back


def _lacks_gradient(flow: Flow, match: Match | RunningMatch, back: Backward) -> bool:
    """Whether a gradient may be there that was not found at small sizes: with n written out."""
    if back.reaches_x or not isinstance(match, Match) or match.sample.trials[0].real is None:
        return False
    known, size = set(match.forward), volume(match.x.shape)
    return any(
        use not in known and volume(use.shape) == size
        for node in known - {match.affine.y}
        for use in flow.uses[node]
    )


def _of_weights(
    flow: Flow, root: Node, under: Node, points: Sequence[Trial]
) -> Iterator[Match | RunningMatch]:
    """Running statistics, or a weight that is itself normalised (weight standardisation)."""
    needed = flow.needed([under])
    if any(node.prim.name in REDUCTIONS for node in needed):
        weights = [n for n in needed if n.prim.name == "parameter" and n.type.is_float and n.ndim]
        local = replace(flow, active=reached(flow.order, weights))
        yield from matches(local, root, under, points)
    else:
        yield from running_matches(flow, root, under, points)


@dataclass(frozen=True)
class _Origin:
    """The nodes of the user's graph behind those of the shared one."""

    first: Mapping[Node, Node]
    every: Mapping[Node, Sequence[Node]]
    fixed: Iterable[Node]

    def node(self, shared: Node | None) -> Any:
        return None if shared is None else self.first[shared]

    def nodes(self, shared: Iterable[Node]) -> tuple[Node, ...]:
        return tuple([node for new in shared for node in self.every[new]])

    def weight(self, term: Term, like: Node, bare: float) -> tuple[Node | None, Node | None]:
        """A term as its weight, and as it stands beside x; None for the number ``bare``."""
        if term.is_number and term.factor == bare:
            return None, None
        beside = term.build(self.first.__getitem__, like)
        plain = term.factor == 1 and len(term.operands) == 1
        return (unviewed(beside) if plain else beside), beside

    def written(self, eps: float) -> float:
        """eps as the graph writes it: 0.001 for a float32 constant, not 0.0010000000474974513."""
        for node in self.fixed:
            if node.prim.name == "constant" and node.type.is_float:
                value = node.attrs["value"]
                if value.size == 1 and abs(float(value.flat[0]) - eps) <= 1e-6 * eps:
                    return float(str(value.flat[0]))
        return float(f"{eps:.6g}")


def _computed(match: Match, back: Backward, origin: _Origin, leading: Sequence[str]) -> Norm:
    shared = sharing(match)
    batch = batch_axis(match.whole.shape, leading)
    shape = match.whole.shape
    kind = kind_of(match.statistic.centred, False, shape, shared, varying(match), batch)
    groups = shared.groups if kind == "group" and shared.blocked else None
    y = origin.node(match.affine.y)
    gamma, scale = origin.weight(match.affine.scale, y, 1.0)
    beta, shift = origin.weight(match.affine.shift, y, 0.0)
    return Norm(
        kind=kind, x=origin.node(match.whole), y=y,
        axes=tuple(sorted((*shared.reduced, *shared.blocked))),
        groups=1 if kind == "group" and groups is None else groups,
        eps=Epsilon(origin.written(match.statistic.eps), origin.written(match.outside)),
        gamma=gamma, beta=beta, scale=scale, shift=shift,
        mean=origin.node(match.mean), variance=origin.node(match.variance),
        statistics="computed", correction=match.statistic.correction,
        forward=origin.nodes(match.forward), backward=origin.nodes(back.nodes),
        cotangent=origin.node(back.cotangent),
    )  # fmt: skip


def _running(match: RunningMatch, origin: _Origin) -> Norm:
    y = origin.node(match.affine.y)
    gamma, scale = origin.weight(match.affine.scale, y, 1.0)
    beta, shift = origin.weight(match.affine.shift, y, 0.0)
    axes = tuple([axis for axis in range(match.whole.ndim) if axis not in match.kept])
    return Norm(
        kind="batch", x=origin.node(match.whole), y=y, axes=axes, groups=None,
        eps=Epsilon(origin.written(match.eps), origin.written(match.outside)),
        gamma=gamma, beta=beta, scale=scale, shift=shift,
        mean=origin.node(match.mean), variance=origin.node(match.variance),
        statistics="running", correction=0, forward=origin.nodes(match.forward),
    )  # fmt: skip


def _is_data(node: Node) -> bool:
    """What is no weight: inputs, random numbers, and integers, which may select or mask."""
    name = node.prim.name
    if name in ("parameter", "state"):
        return not node.type.is_float
    return name in ("input", "random_uniform")


def _estimates(graph: Graph) -> list[Node]:
    """What states stand for, and what stands for other nodes, lies outside of the outputs."""
    return [u.estimate for u in graph.updates if u.estimate is not None]
