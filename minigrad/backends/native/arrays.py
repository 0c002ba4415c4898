"""The caller's arrays: whether one can be read in place, where it lies, and memory for results."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir import Node
from .state import Array

_POINTER = object.__basicsize__  # an array's first field is the address of its elements


def _measured() -> Callable[[Array], int]:
    """The quick way to an address, where it is the right one."""
    read = ctypes.c_size_t.from_address

    def quick(array: Array) -> int:
        return read(id(array) + _POINTER).value

    def sure(array: Array) -> int:
        found: int = array.__array_interface__["data"][0]
        return found

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

    __slots__ = ("_spare", "name", "node", "position", "shape")

    def __init__(self, name: str, node: Node, position: int, shape: tuple[int, ...]) -> None:
        self.name, self.node, self.position, self.shape = name, node, position, shape
        self._spare: list[tuple[Array, int]] = []

    def fresh(self) -> tuple[Array, int]:
        """An array that nobody else holds, and its address."""
        for pair in self._spare:
            if sys.getrefcount(pair[0]) == _UNUSED:
                return pair
        array = np.empty(self.shape, self.node.type.dtype)
        if len(self._spare) > 1:
            self._spare.pop(0)
        self._spare.append((array, address_of(array)))
        return self._spare[-1]


def _unused() -> int:
    """The references to an array that only a list of pairs holds."""
    for pair in [(np.empty(1), 0)]:
        return sys.getrefcount(pair[0])
    raise AssertionError


_UNUSED = _unused()
