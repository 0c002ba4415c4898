"""Sizes with named dims, and where an element lies: the small algebra behind every loop.

A `Size` is a number times named dims, ``512*N``. An `Index` says which position of a dim a loop
reads: a sum of loop axes times sizes, or, where a reshape does not fall on whole axes, an
expression kept as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from ...ir import Dim

Axis: TypeAlias = str


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """``number`` times the product of ``names``; ordered by names first, as strides are."""

    names: tuple[str, ...] = ()
    number: int = 1

    def __mul__(self, other: Size) -> Size:
        return Size(tuple(sorted((*self.names, *other.names))), self.number * other.number)

    def __str__(self) -> str:
        if not self.names or self.number == 0:
            return str(self.number)
        names = [f"dim_{name}" for name in self.names]
        return " * ".join([*names, str(self.number)] if self.number != 1 else names)

    def value(self, dims: Mapping[str, int]) -> int:
        """The number that this is for given dims."""
        found = self.number
        for name in self.names:
            found *= dims[name]
        return found

    @property
    def is_one(self) -> bool:
        return self == ONE

    def split(self, inner: Size) -> Size | None:
        """``self / inner`` where that is a size."""
        names = list(self.names)
        for name in inner.names:
            if name not in names:
                return None
            names.remove(name)
        if inner.number == 0 or self.number % inner.number:
            return None
        return Size(tuple(names), self.number // inner.number)


ZERO, ONE = Size((), 0), Size((), 1)


def size_of(dim: Dim) -> Size:
    """A dim as a size."""
    return Size((dim,)) if isinstance(dim, str) else Size((), dim)


def product(sizes: Iterable[Size]) -> Size:
    """The product, 1 for none."""
    return reduce(Size.__mul__, sizes, ONE)


@dataclass(frozen=True, slots=True)
class Index:
    """A position along a dim: ``sum(axis * size) + offset``, or ``text`` over ``reads`` axes."""

    terms: tuple[tuple[Axis, Size], ...] = ()
    offset: int = 0
    text: str = ""  # added to the terms; parenthesised
    reads: frozenset[Axis] = frozenset()  # the axes that `text` mentions

    @property
    def axes(self) -> frozenset[Axis]:
        return frozenset(axis for axis, _ in self.terms) | self.reads

    def scaled(self, by: int) -> Index:
        if by == 1:
            return self
        terms = tuple((axis, size * Size((), by)) for axis, size in self.terms)
        text = f"{self.text} * {by}" if self.text else ""
        return Index(terms, self.offset * by, text, self.reads)

    def plus(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.offset + other, self.text, self.reads)
        text = " + ".join(part for part in (self.text, other.text) if part)
        return Index(
            _merged((*self.terms, *other.terms)),
            self.offset + other.offset,
            f"({text})" if self.text and other.text else text,
            self.reads | other.reads,
        )

    def renamed(self, names: Mapping[Axis, Axis]) -> Index:
        text = self.text
        if text:
            for old in sorted(self.reads, key=len, reverse=True):
                text = text.replace(f"@{old}@", f"@{names.get(old, old)}@")
        terms = tuple(sorted((names.get(axis, axis), size) for axis, size in self.terms))
        reads = frozenset(names.get(axis, axis) for axis in self.reads)
        return Index(terms, self.offset, text, reads)

    def __str__(self) -> str:
        parts = [a if s.is_one else f"{a} * {s}" for a, s in self.terms]
        if self.text:
            parts.append(self.text.replace("@", ""))
        if self.offset or not parts:
            parts.append(str(self.offset))
        return " + ".join(parts)


NOWHERE = Index()


def along(axis: Axis) -> Index:
    """The index that is one axis."""
    return Index(((axis, ONE),))


def flat(indices: Iterable[Index], strides: Iterable[Size]) -> Index:
    """Where an element lies in memory."""
    total = NOWHERE
    for index, stride in zip(indices, strides, strict=True):
        terms = tuple((axis, size * stride) for axis, size in index.terms)
        if index.text or (index.offset and stride.names):
            inside = index.text or "0"
            text = (
                f"({inside} + {index.offset}) * {stride}"
                if index.offset
                else f"{inside} * {stride}"
            )
            part = Index(terms, 0, text, index.reads)
        else:
            part = Index(terms, index.offset * stride.number)
        total = total.plus(part)
    return total


def quotient(index: Index, by: Size, axes: Mapping[Axis, Size]) -> tuple[Index, Index] | None:
    """``(index // by, index % by)`` where the terms fall on whole multiples, else None."""
    if index.text or by.number == 0:
        return None
    high: list[tuple[Axis, Size]] = []
    low: list[tuple[Axis, Size]] = []
    reach = 0  # the largest value of the low part
    for axis, size in index.terms:
        whole = size.split(by)
        if whole is not None:
            high.append((axis, whole))
            continue
        extent = axes[axis]
        if extent.names or size.names:
            if size.is_one and extent == by:  # a named dim that is all of the low part
                low.append((axis, size))
                reach = -1 if len(low) > 1 else reach
                continue
            return None
        low.append((axis, size))
        reach += (extent.number - 1) * size.number
    named = any(axes[a].names for a, _ in low)
    offset = index.offset
    if named:
        if len(low) > 1 or offset:
            return None
        return Index(tuple(high)), Index(tuple(low))
    if by.names:
        return (Index(tuple(high)), Index(tuple(low), offset)) if not low and not offset else None
    if offset < 0 or offset % by.number + reach >= by.number:
        return None
    return (
        Index(tuple(high), offset // by.number),
        Index(tuple(low), offset % by.number),
    )


def divided(index: Index, axis: Axis, outer: Axis, inner: Axis, size: Size) -> Index:
    """``index`` with ``axis`` written as ``outer * size + inner``."""
    terms: list[tuple[Axis, Size]] = []
    for name, factor in index.terms:
        terms += [(outer, factor * size), (inner, factor)] if name == axis else [(name, factor)]
    text, reads = index.text, index.reads
    if axis in reads:
        text = text.replace(f"@{axis}@", f"(@{outer}@ * ({size}) + @{inner}@)")
        reads = reads - {axis} | {outer, inner}
    return Index(tuple(sorted(terms)), index.offset, text, reads)


def _merged(terms: Iterable[tuple[Axis, Size]]) -> tuple[tuple[Axis, Size], ...]:
    found: dict[tuple[Axis, tuple[str, ...]], int] = {}
    for axis, size in terms:
        key = axis, size.names
        found[key] = found.get(key, 0) + size.number
    return tuple(sorted((a, Size(names, n)) for (a, names), n in found.items() if n))
