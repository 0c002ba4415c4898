"""Proofs: that a node is zero, that two nodes are equal, with the derivation; or no answer.

A yes is an equality of normal forms (`rewrite.normal`), and is tried at random points as well; it
is never a guess. None means "not shown", which for a false statement is the only answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..ir import Node, unmarked
from ..primitives import constant
from ..rewrite.formula import LATEX, formula
from ..rewrite.normal import Normal
from ..rewrite.relations import reduced
from .cse import share
from .derivation import (
    TOLERANCE,
    Derivation,
    apart,
    checked,
    is_complex,
    require_leaves,
    require_names,
    require_nodes,
)
from .simplification import definitions, derived
from .symbols import named


def prove_zero(
    node: Node, *, positive: Sequence[Node] = (), names: Mapping[Node, str] | None = None
) -> Derivation | None:
    """A derivation of ``node = 0``, or None where none was found.

    Parameters
    ----------
    node : what should vanish for all values of its leaves: a gradient, a difference.
    positive : leaves that may be taken to be greater than zero (a scale).
    names : what to call nodes in the derivation.

    Real arithmetic is meant; the conditions under which a step holds (a denominator that is not
    zero) are listed in ``derivation.conditions``.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 4))
    >>> print(prove_zero(mg.mean(x - mg.mean(x, 0), 0)))
    M(c) = 0
      with mu = M(x)
      with c = x - mu
      1. M(c) = 0    [linearity of the mean, mean of a sum, mean of an invariant]
    checked at 3 random points: off by ... at most
    >>> prove_zero(mg.mean(x - mg.mean(x, 1, keepdims=True), 0)) is None
    True
    """
    require_nodes("prove_zero", [node])
    return _proved(node, constant(np.zeros((), node.dtype)), positive, names)


def prove_equal(
    a: Node, b: Node, *, positive: Sequence[Node] = (), names: Mapping[Node, str] | None = None
) -> Derivation | None:
    """A derivation of ``a = b``, or None where none was found; see `prove_zero`.

    The two broadcast against each other: a scalar may equal a tensor that is constant.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 4))
    >>> c = x - mg.mean(x, 0)
    >>> bool(prove_equal(mg.mean(c**2, 0), mg.mean(x**2, 0) - mg.mean(x, 0) ** 2))
    True
    """
    require_nodes("prove_equal", [a, b])
    return _proved(a, b, positive, names)


def _proved(
    a: Node, b: Node, positive: Iterable[Node], given: Mapping[Node, str] | None
) -> Derivation | None:
    require_leaves("positive", positive)
    require_names(given := given or {})
    if not a.type.is_float or a.type.dtype != b.type.dtype:
        return None
    if is_complex([a, b]):
        return None
    positive = frozenset(positive)
    a, b, *marked = share(unmarked([a, b, *given]))  # an expression written twice has one name
    given = dict(zip(marked, given.values(), strict=True))
    laws = equal_by(a, b, positive)
    if laws is None or not apart(a, b, positive) <= TOLERANCE:
        return None
    names = named([a, b], given)
    (left, right), steps, meant = derived([a, b], names, positive)
    if left is not right and not _same_number(left, right):
        steps.append(checked(left, right, laws, names, positive, meant))
    claim = f"{formula(a, names.text)} = {formula(b, names.text)}"
    in_latex = f"{formula(a, names.latex, LATEX)} = {formula(b, names.latex, LATEX)}"
    shown = [a, b, left, right]
    return Derivation(claim, tuple(steps), b, in_latex, *definitions(names, shown))


def _same_number(a: Node, b: Node) -> bool:
    """Two constants of one value: nothing is left to say."""
    while a.prim.name == "broadcast_to":
        a = a.inputs[0]
    both = a.prim.name == b.prim.name == "constant"
    return both and bool((a.attrs["value"] == b.attrs["value"].flat[0]).all())


def equal_by(a: Node, b: Node, positive: frozenset[Node] = frozenset()) -> set[str] | None:
    """The laws that make two nodes equal, or None: first shallow, then multiplied out."""
    difference = a - b
    for deep in (False, True):
        normal = Normal(deep=deep)
        normal.ring.positive = positive
        normal.read([difference])
        normal.fired = set()
        if not reduced(normal, normal.poly[difference]):
            return {law for fired in normal.laws.values() for law in fired} | normal.fired
    return None
