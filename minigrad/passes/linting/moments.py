"""Rules on variances and roots: one pass, no eps, eps outside, n - 1 of one element."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...ir import HERE, Graph, Node, enter, rebuild, toposort
from ...primitives import cast, count, mean, reshape
from ..norms_probe import Trial
from .finding import Fix, Hit
from .numbers import TOLERANCE, Array, difference, values
from .spelling import REDUCTIONS, beneath_views, moment, number, root, squared
from .subject import Subject

# --- one-pass variance -----------------------------------------------------------------------


def one_pass_variance(subject: Subject) -> Iterator[Hit]:
    """``E[x^2] - E[x]^2``, and ``sum x^2 - n E[x]^2``, in every spelling."""
    for node in subject.order:
        found = _one_pass(subject, node)
        if found is None:
            continue
        x, axes, scale = found

        def build(_: float, node: Node = node, found: _OnePass = found) -> Graph:
            return subject.graph.substitute({node: _two_pass(node, *found)})

        unit = "n times the variance" if scale == "n" else "the variance"
        yield Hit(
            node,
            f"{unit} of {x.type} over axes {axes} is a difference of two large numbers",
            Fix(build, before_grad=False),
        )


_OnePass = tuple[Node, tuple[int, ...], str]


def _one_pass(subject: Subject, node: Node) -> _OnePass | None:
    """x, the axes, and whether the node is the variance or n times it; certified by numbers."""
    if node.prim.name not in ("sub", "add"):
        return None
    for first, second in (node.inputs, node.inputs[::-1]):
        average = _square_of_mean(subject, second)
        if average is None:
            continue
        x, axes = beneath_views(average.inputs[0]), average.attrs["axis"]
        if x.ndim != average.inputs[0].ndim or _sum_of_squares(subject, first, x, axes) is None:
            continue
        for scale in ("1", "n"):
            if all(_is_variance(subject, node, x, axes, scale, trial) for trial in subject.points):
                return x, axes, scale
    return None


def _square_of_mean(subject: Subject, node: Node) -> Node | None:
    """The reduction in ``m**2``, ``m * m``, ``-m**2``, ``n * m**2`` or ``sum(x) * mean(x)``."""
    for inner in _factors(subject, node):
        base = squared(inner)
        if base is not None:
            inner = base
        elif not (inner.prim.name == "mul" and base is None):
            continue
        else:
            inner = inner.inputs[0]
        for factor in _factors(subject, inner):
            if factor.prim.name in REDUCTIONS:
                return factor
    return None


def _sum_of_squares(subject: Subject, node: Node, x: Node, axes: tuple[int, ...]) -> Node | None:
    for factor in _factors(subject, node):
        if factor.prim.name in REDUCTIONS and factor.attrs["axis"] == axes:
            base = squared(factor.inputs[0])
            if base is not None and subject.same(beneath_views(base), x):
                return factor
    return None


def _factors(subject: Subject, node: Node) -> Iterator[Node]:
    """A node, and what is left of it beneath views, signs and factors that depend on shapes."""
    inner = beneath_views(node)
    for _ in range(8):
        yield inner
        name, operands = inner.prim.name, inner.inputs
        if name == "neg" or (name == "div" and operands[1] in subject.fixed):
            inner = beneath_views(operands[0])
        elif name == "mul" and any(o in subject.fixed for o in operands):
            inner = beneath_views(operands[1] if operands[0] in subject.fixed else operands[0])
        else:
            return


def _is_variance(
    subject: Subject, node: Node, x: Node, axes: tuple[int, ...], scale: str, trial: Trial
) -> bool:
    found, data = values([node, x], trial)
    wanted: Array = data.var(axis=axes) if scale == "1" else data.var(axis=axes) * _size(data, axes)
    if found.size != wanted.size:
        return False
    return difference(wanted, found.reshape(wanted.shape)) < TOLERANCE


def _size(data: Array, axes: tuple[int, ...]) -> int:
    return int(np.prod([data.shape[axis] for axis in axes], dtype=int))


def _two_pass(node: Node, x: Node, axes: tuple[int, ...], scale: str) -> Node:
    """The mean squared distance from the mean, in the place and type of ``node``."""
    before = HERE.source
    try:
        with enter(node.scope):
            HERE.source = node.source
            v = mean((x - mean(x, axes, keepdims=True)) ** 2, axes)
            v = v * count(x, axes) if scale == "n" else v
            v = v if v.type.dtype == node.type.dtype else cast(v, node.type.dtype)
            return v if v.shape == node.shape else reshape(v, node.shape)
    finally:
        HERE.source = before


# --- roots -----------------------------------------------------------------------------------


def root_without_eps(subject: Subject) -> Iterator[Hit]:
    """A root of a second moment that is divided by, or that the loss is differentiated through."""
    variances = {norm.variance for norm in subject.norms if norm.eps.place == "none"}
    for node in subject.order:
        found = root(node)
        if found is None or node not in subject.forward:
            continue
        q, _ = found
        if moment(q, subject.fixed) is None and not _is_one_of(q, variances):
            continue
        use = _unguarded_use(subject, node)
        if use is None:
            continue

        def build(eps: float, node: Node = node) -> Graph:
            return subject.graph.substitute({node: _with_eps(node, eps)})

        yield Hit(node, f"nothing keeps {q.type} from 0 under this root, and {use}",
                  Fix(build, eps=1e-5))  # fmt: skip


def eps_outside_root(subject: Subject) -> Iterator[Hit]:
    """A norm that divides by ``sqrt(v) + eps``."""
    done: set[Node] = set()
    for norm in subject.norms:
        if norm.eps.place != "outside":
            continue
        for node in norm.forward:
            inside = _root_plus(node)
            if inside is None or node in done:
                continue
            done.add(node)
            under, eps = inside

            def build(e: float, node: Node = node, under: Node = under) -> Graph:
                return subject.graph.substitute({node: _with_eps(under, e)})

            bare = subject.graph.substitute({node: under})
            yield Hit(
                node,
                f"the {norm.kind} norm divides by sqrt(v) + {eps:g}, where every framework has "
                f"sqrt(v + eps)",
                Fix(build, eps=eps, reference=bare),
            )


def _root_plus(node: Node) -> tuple[Node, float] | None:
    """The root and the number of ``sqrt(v) + number``."""
    if node.prim.name != "add":
        return None
    for under, added in (node.inputs, node.inputs[::-1]):
        eps, inner = number(added), beneath_views(under)
        if eps is not None and eps > 0 and root(inner) is not None and under.type == node.type:
            return under, eps
    return None


def _with_eps(node: Node, eps: float) -> Node:
    """A root, in any view, of its operand plus ``eps``."""
    inner = beneath_views(node)
    q = inner.inputs[0]
    before = HERE.source
    try:
        with enter(node.scope):
            HERE.source = node.source
            new = rebuild(inner, (q + eps, *inner.inputs[1:]))
            new = new if new.type.dtype == node.type.dtype else cast(new, node.type.dtype)
            return new if new.shape == node.shape else reshape(new, node.shape)
    finally:
        HERE.source = before


def _is_one_of(q: Node, variances: set[Node | None]) -> bool:
    inner = beneath_views(q)
    return q in variances or inner in variances


def _unguarded_use(subject: Subject, node: Node) -> str | None:
    """Why a root at 0 does harm: it is divided by, or the loss's gradient goes through it."""
    power = root(node)
    if power is not None and power[1] < 0:
        return "1/0 is infinite"
    waiting, seen, guarded = [node], {node}, bool(subject.users.get(node))
    while waiting:
        inner = waiting.pop()
        for user in subject.users.get(inner, ()):
            name = user.prim.name
            if name == "div" and user.inputs[1] is inner:
                return "it is divided by"
            if name == "pow" and user.inputs[0] is inner and (number(user.inputs[1]) or 0) < 0:
                return "it is divided by"
            other = [o for o in user.inputs if o is not inner]
            if name in ("add", "maximum") and any((number(o) or 0) > 0 for o in other):
                continue
            guarded = False
            scaled = name == "mul" and other and other[0] in subject.fixed
            if (scaled or name in ("reshape", "cast", "broadcast_to")) and user not in seen:
                seen.add(user)
                waiting.append(user)
    loss = subject.loss
    trained = loss is not None and node in subject.fed and node in set(toposort([loss]))
    return "its gradient at 0 is infinite" if trained and not guarded else None


# --- n - 1 -----------------------------------------------------------------------------------


def unbiased_of_one(subject: Subject) -> Iterator[Hit]:
    """A division by ``n - 1`` where n is 1, or may be: a named dim without a lower bound."""
    every = {node for node in subject.order if node.prim.name == "count"}
    for node in subject.order:
        divisor = _divisor(node)
        if divisor is None or divisor not in subject.fixed:
            continue
        body = toposort([divisor], stop=every)
        counts = [n for n in every if n is divisor or any(n in user.inputs for user in body)]
        if any(n.attrs.get("at_least", 0) > 1 for n in counts):
            continue
        given = {n: np.asarray(_smallest(n)) for n in counts}
        if np.any(values([divisor], subject.points[0], given)[0] != 0):
            continue
        sizes = [n.inputs[0].shape[axis] for n in counts for axis in n.attrs["axis"]]
        if not counts and not _counted(node, divisor, subject):
            continue
        if not counts:
            yield Hit(node, "n - 1 is 0: the unbiased variance of one element does not exist")
            continue

        def build(_: float, counts: list[Node] = counts) -> Graph:
            bounded = {n: rebuild(n, n.inputs, {**n.attrs, "at_least": 2}) for n in counts}
            return subject.graph.substitute(bounded)

        names = ", ".join(sorted({size for size in sizes if isinstance(size, str)}))
        yield Hit(
            node,
            f"n - 1 is 0 when {names} is 1, and nothing says so: the result is NaN or infinite",
            Fix(build, before_grad=False),
        )


def _divisor(node: Node) -> Node | None:
    if node.prim.name == "div":
        return node.inputs[1]
    if node.prim.name == "pow" and (number(node.inputs[1]) or 0) < 0:
        return node.inputs[0]
    return None


def _smallest(node: Node) -> float:
    """What a count is where every named dim is 1."""
    shape = node.inputs[0].shape
    sizes = [dim for axis in node.attrs["axis"] if isinstance(dim := shape[axis], int)]
    return float(np.prod(sizes, dtype=int))


def _counted(node: Node, divisor: Node, subject: Subject) -> bool:
    """Whether a divisor that is 0 is an ``n - 1``, and no other 0 that the user divides by."""
    if beneath_views(divisor).prim.name in ("sub", "add"):
        return True
    return node.prim.name == "div" and moment(node.inputs[0], subject.fixed) is not None
