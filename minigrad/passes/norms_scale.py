"""Trials of a large tensor at small sizes: 56 x 56 pixels tell no more than 7 x 7 do.

What `find_norms` walks through is made of sums, means, counts and elementwise ops, so a formula
that is a normaliser at one size is one at every size, unless a number stands for a size in it. A
number that is the n of a sum, or 1/n, is therefore read as such and scaled too: that formula, too,
is the graph's at the real sizes. What fails here is tried again at these. The other way round, no
number can pass for a size by accident: all sizes of the first trial are odd, those of the second
even, so that no product of some of them is the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

import numpy as np

from ..ir import Dim, Node, Shape
from .norms_flow import REACH, Flow
from .norms_probe import Trial

KEPT = 8  # a dim up to this size stays as it is: the groups of a group norm, colours, a kernel
_BEFORE = 60  # nodes before a root that count as near, however many read them
SMALL = 1 << 12  # elements of a tensor that is not worth the trouble


def scaled_trials(flow: Flow, root: Node, trials: Sequence[Trial]) -> list[Trial]:
    """Trials with small sizes for the dims around ``root``; none where all tensors are small."""
    near = {**dict.fromkeys(flow.around(root, REACH)), **dict.fromkeys(flow.before(root, _BEFORE))}
    if max(math.prod(trials[0].shape(node.shape)) for node in near) <= SMALL:
        return []
    dims = dict.fromkeys(d for node in near for d in node.shape)
    parts = merged_dims(near)
    found = [_sizes(dims, parts, first) for first in (3, 4)]
    return [
        Trial({**real.dims, **sizes}, real.seed, real=real.lean, numbers=_numbers(near, sizes))
        for real, sizes in zip(trials, found, strict=True)
        if sizes is not None
    ]


def _sizes(dims: Iterable[Dim], parts: Mapping[int, Shape], first: int) -> dict[Dim, int] | None:
    """A size for each dim, no two the same; None where that cannot be."""
    known = set(dims)
    ints = sorted({d for d in known if isinstance(d, int) and d > 1})
    sizes: dict[Dim, int] = {1: 1, **{d: d for d in ints if d <= KEPT}}
    free = count(first, 2)
    every: list[Dim] = [*sorted({d for d in known if isinstance(d, str)}), *ints]
    for dim in every:
        if dim in sizes:
            continue
        if isinstance(dim, int) and dim in parts:  # smaller ones: they have their sizes
            sizes[dim] = math.prod(sizes[part] for part in parts[dim])
        else:
            taken = set(sizes.values())
            sizes[dim] = next(size for size in free if size not in taken)
    return sizes if len(set(sizes.values())) == len(sizes) else None


def _numbers(nodes: Iterable[Node], sizes: Mapping[Dim, int]) -> dict[float, float]:
    """What n and 1/n become, for every sum over dims of known size."""
    found: dict[float, float] = {}
    for node in nodes:
        if node.prim.name in ("mean", "sum"):
            dims = [node.inputs[0].shape[axis] for axis in node.attrs["axis"]]
            if not any(isinstance(d, str) for d in dims):
                n, small = (
                    float(math.prod(map(int, dims))),
                    math.prod(sizes.get(d, int(d)) for d in dims),
                )
                for precise in (float, np.float32):
                    found |= {float(precise(n)): float(small), float(precise(1 / n)): 1 / small}
    return {n: small for n, small in found.items() if n != 1}


def merged_dims(nodes: Iterable[Node]) -> dict[int, Shape]:
    """Dims that a reshape makes of several others, or several of: 3136 is 56 times 56."""
    found: dict[int, Shape] = {}
    for node in nodes:
        if node.prim.name == "reshape":
            for a, b in _segments(node.inputs[0].shape, node.shape):
                for one, several in ((a, b), (b, a)):
                    if len(one) == 1 and len(several) > 1 and isinstance(one[0], int):
                        found.setdefault(one[0], several)
    return found


def _segments(a: Shape, b: Shape) -> Iterator[tuple[Shape, Shape]]:
    """The shortest runs of two shapes, from the left, that hold as many elements."""
    left, right = [d for d in a if d != 1], [d for d in b if d != 1]
    while left and right:
        run, other = [left.pop(0)], [right.pop(0)]
        while _volume(run) != _volume(other):
            short, rest = (run, left) if _volume(run) < _volume(other) else (other, right)
            if not rest:
                return
            short.append(rest.pop(0))
        yield tuple(run), tuple(other)


def _volume(dims: Sequence[Dim]) -> tuple[list[str], int]:
    named = sorted(d for d in dims if isinstance(d, str))
    return named, math.prod(d for d in dims if isinstance(d, int))
