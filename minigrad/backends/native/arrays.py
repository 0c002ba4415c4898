"""The caller's arrays: whether one can be read in place, where it lies, and memory for results."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...ir import Node
from .state import Array

_POINTER = object.__basicsize__  # an array's first field is the address of its elements
_NDARRAY = np.ndarray


def _measured() -> Callable[[Array], int]:
    """The quick way to an address, where it is the right one."""

    def sure(array: Array) -> int:
        found: int = array.__array_interface__["data"][0]
        return found

    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_size_t) != 8:
        return sure
    memory = (ctypes.c_size_t * (1 << 58)).from_address(0)  # all words, by their number

    def quick(array: Array) -> int:
        return memory[(id(array) + _POINTER) >> 3]

    samples: list[Array] = [np.zeros(3), np.zeros((2, 3), np.int32)[1:], np.zeros(())]
    return quick if all(quick(a) == sure(a) for a in samples) else sure


address_of = _measured()


def dense(array: Array) -> Array:
    """The array with its elements in C order and aligned; a copy only where it has to be."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.array(array, order="C")


class Input:
    """An input leaf: its place in the table, and a quick check of what is fed."""

    __slots__ = ("_dtype", "_named", "_shape", "name", "node", "position")

    def __init__(self, node: Node, position: int) -> None:
        self.node, self.position, self.name = node, position, node.name
        self._dtype, self._shape = node.type.dtype, node.type.shape
        self._named = not node.type.is_static

    def fits(self, array: Array, dims: dict[str, int]) -> bool:
        """True when the array can be read as it is; binds the named dims then."""
        if array.dtype is not self._dtype:
            return False
        flags = array.flags
        if not (flags.c_contiguous and flags.aligned):
            return False
        shape: tuple[Any, ...] = array.shape
        if not self._named:
            return shape == self._shape
        if len(shape) != len(self._shape):
            return False
        for size, dim in zip(shape, self._shape, strict=True):
            if (dims.get(dim, size) if isinstance(dim, str) else dim) != size:
                return False
        for size, dim in zip(shape, self._shape, strict=True):
            if isinstance(dim, str):
                dims[dim] = size
        return True


class Result:
    """An output for one size of the named dims: memory that is used again once it is free."""

    __slots__ = ("_shape", "name", "node", "position", "spare")

    def __init__(self, name: str, node: Node, position: int, shape: tuple[int, ...]) -> None:
        self.name, self.node, self.position, self._shape = name, node, position, shape
        self.spare: list[tuple[Array, int]] = []  # what was handed out last, and its address

    def fresh(self) -> tuple[Array, int]:
        """New memory, as an array and its address; kept for when the caller lets go of it."""
        array = np.empty(self._shape, self.node.type.dtype)
        if len(self.spare) > 1:
            self.spare.pop(0)
        self.spare.append((array, address_of(array)))
        return self.spare[-1]


class Transfer:
    """Where a step's arrays lie, put into its table: what a call does before it runs.

    It is written for speed, since small graphs spend more time here than in their kernels: inputs
    of the same shapes as before need no more than a look.
    """

    __slots__ = ("_inputs", "_leaves", "_results", "_words")

    def __init__(
        self,
        words: memoryview,
        inputs: Sequence[Input],
        leaves: Sequence[tuple[Node, int | None]],
        results: Sequence[Result],
        dims: Mapping[str, int],
    ) -> None:
        self._words = words
        self._inputs = [(i.name, i.position, *_sized(i.node, dims)) for i in inputs]
        self._leaves = [(leaf.name, place, *_sized(leaf, dims)) for leaf, place in leaves]
        self._results = [(result.name, result.position, result.spare, result) for result in results]

    def inputs(self, given: Mapping[str, Any]) -> bool:
        """Whether all inputs can be read as they are and have the sizes of this table."""
        return len(given) == len(self._inputs) and self._all(self._inputs, given)

    def leaves(self, state: Mapping[str, Any]) -> bool:
        """The same of a state; it may have more in it."""
        return self._all(self._leaves, state)

    def _all(self, rows: Sequence[Any], given: Mapping[str, Any]) -> bool:
        words = self._words
        for name, position, dtype, shape in rows:
            array = given.get(name)
            if type(array) is not _NDARRAY or array.dtype is not dtype or array.shape != shape:
                return False
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned):
                return False
            if position is not None:
                words[position] = address_of(array)
        return True

    def outputs(self) -> dict[str, Array]:
        """An array for every output that nobody else holds."""
        found, words = {}, self._words
        for name, position, spare, result in self._results:
            for pair in spare:
                if sys.getrefcount(pair[0]) == _UNUSED:
                    break
            else:
                pair = result.fresh()
            found[name], words[position] = pair
        return found


def _sized(node: Node, dims: Mapping[str, int]) -> tuple[Any, tuple[int, ...]]:
    shape = [dims[d] if isinstance(d, str) else d for d in node.type.shape]
    return node.type.dtype, tuple(shape)


def _unused() -> int:
    """The references to an array that only a list of pairs holds."""
    for pair in [(np.empty(1), 0)]:
        return sys.getrefcount(pair[0])
    raise AssertionError


_UNUSED = _unused()
