"""Affine maps ``scale * x + shift`` and the small arithmetic on them; None stands for 1 and for 0.

Scales and shifts are nodes that no input reaches. They broadcast against the value that they
belong to, and stay as small as they can: a factor for each channel is ``[C]`` or ``[C,1,1]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

from ..ir import HERE, Dim, Node, Shape, ShapeError, broadcast_shapes
from ..primitives import add, broadcast_to, mul, reshape, transpose


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``y = scale * x + shift`` of some value x; None means a scale of 1, a shift of 0."""

    scale: Node | None = None
    shift: Node | None = None

    @property
    def is_identity(self) -> bool:
        return self.scale is None and self.shift is None

    def each(self, change: Callable[[Node], Node]) -> Affine:
        """Scale and shift, each changed alike."""
        return Affine(changed(self.scale, change), changed(self.shift, change))

    def of(self, core: Node) -> Node:
        """The nodes ``scale * core + shift``."""
        scaled = core if self.scale is None else mul(core, self.scale)
        return scaled if self.shift is None else add(scaled, self.shift)

    @property
    def ops(self) -> int:
        return (self.scale is not None) + (self.shift is not None)


IDENTITY = Affine()


def changed(part: Node | None, change: Callable[[Node], Node]) -> Node | None:
    """``change(part)``, and None for None."""
    return None if part is None else change(part)


@contextmanager
def on_behalf(node: Node) -> Iterator[None]:
    """Build nodes in the scope of ``node`` and from its line."""
    before = HERE.scope, HERE.source
    HERE.scope, HERE.source = node.scope, node.source
    try:
        yield
    finally:
        HERE.scope, HERE.source = before


def aligned(part: Node, rank: int) -> Node:
    """``part`` with axes of size 1 in front, up to ``rank``."""
    return shaped(part, (1,) * (rank - part.ndim) + part.shape)


def trimmed(part: Node, least: int = 0) -> Node:
    """``part`` without the axes of size 1 in front, down to a rank of ``least``."""
    shape = part.shape
    while len(shape) > least and shape[0] == 1:
        shape = shape[1:]
    return shaped(part, shape)


def shaped(part: Node, shape: Shape) -> Node:
    """`reshape`, of which two in a row are one."""
    while part.prim.name == "reshape" and part.shape != shape:
        part = part.inputs[0]
    return part if part.shape == shape else reshape(part, shape)


def moved(part: Node, axes: Sequence[int]) -> Node:
    """`transpose`, which only reshapes where no two axes longer than 1 change places."""
    long = [a for a in axes if part.shape[a] != 1]
    if long == sorted(long):
        return shaped(part, tuple(part.shape[a] for a in axes))
    return transpose(part, axes)


def widened(part: Node, shape: Shape, axes: Sequence[int]) -> Node:
    """``part`` repeated along ``axes`` to the sizes that ``shape`` has there."""
    return broadcast_to(part, tuple(shape[i] if i in axes else d for i, d in enumerate(part.shape)))


def constant_along(part: Node, axes: Sequence[int]) -> bool:
    return all(part.shape[axis] == 1 for axis in axes)


def fits_in(part: Node, weight: Node) -> bool:
    """True when ``weight * part`` is no larger than ``weight``."""
    try:
        return broadcast_shapes(part.shape, weight.shape) == weight.shape
    except ShapeError:
        return False


def reshape_groups(
    before: Shape, after: Shape
) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """The axes that a reshape merges or splits together: ``[N,4,6] -> [N,24]`` is N | 4,6 -> 24."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        first_i, first_j = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while (left := _volume(before[first_i:i])) != (right := _volume(after[first_j:j])):
            grow_left = _smaller(left, right)
            if (i if grow_left else j) == len(before if grow_left else after):
                return None
            i, j = i + grow_left, j + (not grow_left)
        groups.append((tuple(range(first_i, i)), tuple(range(first_j, j))))
    return groups


def no_larger(shape: Shape, than: Shape) -> bool:
    """True when a tensor of one shape has, for any sizes of named dims, no more elements."""
    (size, names), (limit, others) = _volume(shape), _volume(than)
    return names == others and size <= limit


def through_reshape(part: Node, before: Shape, after: Shape) -> Node:
    """A factor of a tensor as a factor of its reshape, which must have `reshape_groups`."""
    part = aligned(part, len(before))
    dims: list[Dim] = []
    for left, right in reshape_groups(before, after) or ():
        if constant_along(part, left):
            dims += [1] * len(right)
        else:
            part = widened(part, before, left)
            dims += [after[axis] for axis in right]
    return trimmed(shaped(part, tuple(dims)))


def _volume(dims: Sequence[Dim]) -> tuple[int, list[str]]:
    return prod(d for d in dims if isinstance(d, int)), sorted(d for d in dims if type(d) is str)


def _smaller(left: tuple[int, list[str]], right: tuple[int, list[str]]) -> bool:
    if left[1] != right[1]:
        return len(left[1]) < len(right[1]) or (len(left[1]) == len(right[1]) and left < right)
    return left[0] < right[0]
