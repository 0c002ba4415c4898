"""Kernels read as what they are: Python text. Counted, run by Python, and their memory watched."""

from __future__ import annotations

import inspect
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import minigrad as mg


def kernel_names(step: mg.Executable) -> list[str]:
    """The kernels of a compiled graph, in the order in which they run."""
    return re.findall(r"^def (\w+)\(", step.source(), re.MULTILINE)  # type: ignore[attr-defined]


class Memory(dict[int, Any]):
    """A flat array that remembers which elements were read and written."""

    def __init__(self, values: Any = ()) -> None:
        super().__init__(enumerate(np.asarray(values).ravel().tolist()))
        self.read: set[int] = set()
        self.written: set[int] = set()

    def __getitem__(self, place: int) -> Any:
        self.read.add(place)
        return super().__getitem__(place)

    def __setitem__(self, place: int, value: Any) -> None:
        self.written.add(place)
        super().__setitem__(place, value)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.array([self.get(k, np.nan) for k in range(math.prod(shape))]).reshape(shape)


class Run:
    """A compiled graph's kernels, run by Python; ``traffic[name]`` counts elements moved.

    An element counts once for each kernel that reads it and once for each that writes it: what a
    kernel reads again, it finds in the cache.
    """

    def __init__(
        self, step: mg.Executable, feed: Mapping[str, Any], *, threads: int, **dims: int
    ) -> None:
        self.memory: defaultdict[str, Memory] = defaultdict(Memory)
        self.memory.update({name: Memory(value) for name, value in feed.items()})
        self.read: defaultdict[str, int] = defaultdict(int)
        self.written: defaultdict[str, int] = defaultdict(int)
        sizes = {f"dim_{name}": size for name, size in dims.items()}
        source = "from __future__ import annotations\n" + step.source()  # type: ignore[attr-defined]
        kernels = dict(WORDS)
        exec(compile(source, "<kernels>", "exec"), kernels)
        for name in kernel_names(step):
            self._run(kernels[name], sizes, threads)

    def _run(self, kernel: Callable[..., None], sizes: Mapping[str, int], threads: int) -> None:
        names = list(inspect.signature(kernel).parameters)[:-2]
        given = [sizes[n] if n in sizes else self.memory[n] for n in names]
        for thread in range(threads):
            kernel(*given, thread, threads)
        for name, memory in zip(names, given, strict=True):
            if isinstance(memory, Memory):
                self.read[name] += len(memory.read)
                self.written[name] += len(memory.written)
                memory.read, memory.written = set(), set()

    def holds(self, array: np.ndarray) -> bool:
        """Whether some kernel wrote this array."""
        return any(
            len(memory) == array.size
            and np.allclose(memory.array(array.shape), array, rtol=1e-4, atol=1e-5)
            for name, memory in self.memory.items()
            if self.written[name]
        )


WORDS: dict[str, Any] = {
    "f32": float, "f64": float, "i32": int, "i64": int, "index": int, "bool": bool,
    "inf": math.inf, "nan": math.nan, "sqrt": math.sqrt, "exp": math.exp, "log": math.log,
    "log1p": math.log1p, "tanh": math.tanh, "erf": math.erf, "pow": math.pow, "abs": abs,
    "sign": lambda x: float(np.sign(x)), "maximum": max, "minimum": min, "lesser": min,
    "clamp": lambda i, last: min(max(i, 0), last),
}  # fmt: skip
