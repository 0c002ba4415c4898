"""Who is measured: one module a system, each with ``prepare(case, feed, setting) -> Run``.

A module is imported only in its own process; the table says what must be installed for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setting:
    """What is the same for all cases of a run."""

    threads: int = 2
    backend: str = "interpreter"  # of minigrad
    cache: str = ""  # a folder for compiled kernels; empty: each system's own habit
    variant: str = ""  # of the peer


@dataclass(frozen=True)
class Run:
    """One case, prepared by one peer."""

    call: Callable[[], Any]  # the only thing that is timed
    read: Callable[[Any], Mapping[str, Any]]  # what a call gave, as arrays by name
    reset: Callable[[], None] = lambda: None  # back to the initial weights


@dataclass(frozen=True)
class Peer:
    """A row of the table: the module here, what it needs, and which way of using it is meant."""

    module: str
    needs: tuple[str, ...] = ()
    variant: str = ""
    slow: bool = False  # only measured with --full

    @property
    def installed(self) -> bool:
        """Whether everything it needs can be found; nothing is imported."""
        return all(find_spec(name) is not None for name in self.needs)

    def load(self) -> ModuleType:
        """Import the module, and with it the system."""
        return importlib.import_module(f"peers.{self.module}")


PEERS: dict[str, Peer] = {
    "minigrad": Peer("with_minigrad"),
    "minigrad-scalars": Peer("with_minigrad", variant="scalars"),
    "torch": Peer("with_torch", ("torch",)),
    "torch-channels-last": Peer("with_torch", ("torch",), "channels-last"),
    "torch-compile": Peer("with_torch", ("torch",), "compile", slow=True),
    "jax": Peer("with_jax", ("jax",)),
    "onnxruntime": Peer("with_onnxruntime", ("onnx", "onnxruntime")),
    "numpy": Peer("with_numpy"),
    "numba": Peer("with_numba", ("numba",)),
    "micrograd": Peer("with_micrograd", ("micrograd",)),
}


def weights_of(feed: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Weights and running statistics: what has a slash in its name."""
    return {name: array for name, array in feed.items() if "/" in name}
