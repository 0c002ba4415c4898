"""Where a node comes from: its scope, and the user's line that made it.

Both are read when a node is built and never change what it means. `grad` re-enters the scope and
the line of the forward node, so the gradient of ``bn1`` is a filter on nodes.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import TypeAlias

from .errors import GraphError

Source: TypeAlias = tuple[CodeType, int]  # a code object and an instruction; the line on demand

# Frames that are not the user's: this package, and the __init__ that a dataclass generates.
_OURS = (os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep, "<string>")


@dataclass(frozen=True, slots=True)
class Scope:
    """A path of names and the order of differentiation (0 forward, 1 gradient, ...).

    >>> str(Scope(("stage1", "bn1"))), str(Scope(("bn1",), order=1))
    ('stage1/bn1', 'grad(bn1)')
    """

    path: tuple[str, ...] = ()
    order: int = 0

    def __str__(self) -> str:
        name = "/".join(self.path)
        for _ in range(self.order):
            name = f"grad({name})" if name else "grad"
        return name

    def inside(self, region: tuple[str, ...]) -> bool:
        """True when this scope is ``region`` or within it, whatever the order."""
        return self.path[: len(region)] == region


class _Here(threading.local):
    scope: Scope = Scope()
    source: Source | None = None  # set while a pass builds nodes on behalf of another


HERE = _Here()


def scope(name: str) -> AbstractContextManager[Scope]:
    """Put the nodes built inside under ``name``; nests, and ``"a/b"`` enters two at once.

    >>> with scope("stage1"), scope("bn1") as here:
    ...     print(here)
    stage1/bn1
    """
    return _inside(scope_path(name))


@contextmanager
def _inside(path: tuple[str, ...]) -> Iterator[Scope]:
    with enter(Scope(HERE.scope.path + path, HERE.scope.order)) as entered:
        yield entered


@contextmanager
def enter(target: Scope) -> Iterator[Scope]:
    """Build nodes in exactly this scope, whatever the current one is."""
    before = HERE.scope
    HERE.scope = target
    try:
        yield target
    finally:
        HERE.scope = before


@contextmanager
def building() -> Iterator[None]:
    """Restore scope and line at the end; and let no collection walk the graph while it only grows.

    Nodes hold no cycles, so there is nothing to collect; on 80,000 nodes collections took half of
    the time.
    """
    before = HERE.scope, HERE.source
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        HERE.scope, HERE.source = before
        if collecting:
            gc.enable()


def current_scope() -> Scope:
    """The scope that the next node gets."""
    return HERE.scope


def qualified(name: str) -> str:
    """``name`` behind the current scope's path: ``bn1/gamma``."""
    return "/".join((*HERE.scope.path, name))


def scope_path(name: str) -> tuple[str, ...]:
    """The parts of ``"a/b"``; GraphError when one is empty or not a string."""
    parts = tuple(name.split("/")) if isinstance(name, str) else ("",)
    if not all(parts):
        raise GraphError(
            f"scope name {name!r} must be text without empty parts, such as 'bn1'"
            f"{place(HERE.scope, caller())}"
        )
    return parts


def caller() -> Source | None:
    """The innermost frame outside minigrad, kept as code and instruction (cheap to take)."""
    if HERE.source is not None:
        return HERE.source
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith(_OURS):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    found = frame.f_code, frame.f_lasti
    return _SOURCES.setdefault((id(found[0]), found[1]), found)


# One tuple for each line that builds nodes: a loop's nodes share it, and there is less to collect.
_SOURCES: dict[tuple[int, int], Source] = {}


def source_location(source: Source | None) -> tuple[str, int] | None:
    """File and line of a source, or None."""
    if source is None:
        return None
    code, instruction = source
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return code.co_filename, line
    return code.co_filename, code.co_firstlineno


def source_text(source: Source | None) -> str:
    """``model.py:41``, or an empty text when unknown."""
    location = source_location(source)
    return f"{os.path.basename(location[0])}:{location[1]}" if location else ""


def place(scope_: Scope | None = None, source: Source | None = None) -> str:
    """`` (in stage1/bn1, model.py:41)`` for the end of an error message."""
    parts = [f"in {scope_}"] if scope_ is not None and scope_.path else []
    if source is not None:
        parts.append(source_text(source))
    return f" ({', '.join(parts)})" if parts else ""
