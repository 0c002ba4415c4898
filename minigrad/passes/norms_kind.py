"""What a normaliser is called: from who shares a statistic, and from where gamma and beta vary.

Names are given in this order; the batch axis is the one with the named dim that leads the graph's
inputs, or axis 0 where x has no such dim:

1. no mean is taken off                                              -> rms
2. the statistics are running ones                                   -> batch
3. the batch axis is reduced: [N,C] over 0, [N,C,H,W] over 0,2,3,
   [N,H,W,C] over 0,1,2                                              -> batch
   (but where gamma or beta vary along the batch axis, x is one example
   without a batch, and the rules below apply)
4. an axis is reduced in blocks: [N,C,H,W] seen as [N,G,C/G,H,W]     -> group
5. gamma or beta vary along a reduced axis: [B,T,D] over 2 with [D],
   [N,C,H,W] over 1 with [C,1,1]                                     -> layer
   (along one reduced axis of several, [N,C,H,W] over 1,2,3 with
   [C,1,1]: group norm with one group)                               -> group
6. gamma or beta vary along a kept axis: [N,C,H,W] over 2,3 with
   [C,1,1], [N,H,W,C] over 1,2 with [C]                              -> instance
7. nothing tells: all but the batch reduced, or the last axis alone  -> layer
   anything else                                                     -> instance

So [N,C,L] over 2 without gamma and beta is called layer: it is the very function that layer norm
of [B,T,D] over 2 is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from ..ir import Shape
from .norms_match import Match
from .norms_probe import Array, Trial
from .norms_terms import gathered

Kind: TypeAlias = Literal["batch", "layer", "instance", "group", "rms"]


@dataclass(frozen=True)
class Sharing:
    """Along which axes of x a statistic is shared, as a whole or in blocks."""

    reduced: tuple[int, ...]
    blocked: tuple[int, ...]
    groups: int | None


def sharing(match: Match) -> Sharing:
    """Along which axes of x a statistic is shared; groups are counted at the graph's own sizes."""
    trial = match.sample.trials[0]
    found = _sharing(match, trial)
    return _sharing(match, trial.real) if found.blocked and trial.real else found


def _sharing(match: Match, trial: Trial) -> Sharing:
    """Label every element of x with its statistic, and see along which axes the label stays."""
    shape = trial.shape(match.whole.shape)
    inner = trial.shape(match.x.shape)
    kept = [1 if axis in match.statistic.axes else size for axis, size in enumerate(inner)]
    labels = np.broadcast_to(np.arange(np.prod(kept)).reshape(kept), inner)
    labels = gathered(labels, match.outer, trial, shape)
    named = match.statistic.axes if not match.outer else ()  # says it of axes of size 1 too
    reduced, blocked, groups = [], [], None
    for axis in range(len(shape)):
        several = len(np.unique(np.moveaxis(labels, axis, 0).reshape(shape[axis], -1)[:, 0]))
        if axis in named or (shape[axis] > 1 and several == 1):
            reduced.append(axis)
        elif several < shape[axis]:
            blocked.append(axis)
            groups = several
    return Sharing(tuple(reduced), tuple(blocked), groups)


def varying(match: Match) -> set[int]:
    """The axes of x along which gamma or beta vary."""
    trial = match.sample.trials[0]
    shape = trial.shape(match.whole.shape)
    found = set()
    terms = (match.affine.scale, match.affine.scales), (match.affine.shift, match.affine.shifts)
    for term, arrays in terms:
        if not term.is_number:
            found |= _varies(gathered(arrays[0], match.outer, trial, shape))
    return found


def kind_of(
    centred: bool, running: bool, shape: Shape, shared: Sharing, varies: set[int], batch: int
) -> Kind:
    """The name, by the table above."""
    reduced = set(shared.reduced)
    if not centred:
        return "rms"
    if running or (batch in reduced and batch not in varies):
        return "batch"
    if shared.blocked:
        return "group"
    inside = varies & reduced
    if inside:
        several = {axis for axis in reduced if shape[axis] != 1} - {batch}
        one_of_several = len(several) > 1 and len(inside) == 1 and not varies - inside
        return "group" if one_of_several and 1 in inside else "layer"
    if varies:
        return "instance"
    others = {axis for axis in range(len(shape)) if axis != batch}
    return "layer" if reduced == others or reduced == {len(shape) - 1} else "instance"


def batch_axis(shape: Shape, leading: Sequence[str]) -> int:
    """The axis of the batch: that of a dim that leads the inputs, else the first."""
    return next((axis for axis, dim in enumerate(shape) if dim in leading), 0)


def _varies(array: Array) -> set[int]:
    return {
        axis
        for axis in range(array.ndim)
        if not np.allclose(array, np.take(array, [0], axis), rtol=1e-9, atol=0)
    }
