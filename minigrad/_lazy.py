"""Names that a package loads when they are first asked for (PEP 562): importing it stays quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any


def attach(
    package: str, names: Mapping[str, Iterable[str]], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__`` for names by the module that they come from.

    ``modules`` are submodules that are attributes themselves. No other name may be that of a
    submodule: importing that one would hide it.
    """
    home = {name: module for module, found in names.items() for name in found}

    def load(name: str) -> Any:
        if name in modules:
            return import_module(f".{name}", package)
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    def listing() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home, *modules})

    return load, listing
