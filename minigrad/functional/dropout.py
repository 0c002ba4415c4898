"""Dropout, from an explicit generator whose counter is state."""

from __future__ import annotations

import zlib

from ..ir import HERE, GraphError, Node, place
from ..ir.scope import caller
from ..primitives import Operand, advance, at_inference, cast, floating, random_uniform, state


class Generator:
    """A stream of random numbers for a graph: a seed and a counter that is a `state`.

    Each `uniform` is a stream of its own, and every draw in a training step advances the counter,
    so a step is a pure function, a resumed run draws the same, and so does every backend.
    """

    def __init__(self, seed: int = 0, name: str = "rng") -> None:
        self.seed = seed
        self.counter = state(f"{name}/counter", 0)
        self._draws = 0

    def uniform(self, shape: object, dtype: str = "float32") -> Node:
        """Numbers in [0, 1), new in every step."""
        # The key: which generator (so that layers of one seed differ), and which of its draws.
        stream = zlib.crc32(f"{self.seed}/{self.counter.name}".encode()) + (self._draws << 32)
        self._draws += 1
        drawn = random_uniform(self.counter, shape, seed=stream, dtype=dtype)
        return advance(drawn, self.counter, self.counter + 1)


def dropout(x: Operand, rate: float, generator: Generator) -> Node:
    """``x`` with each element set to 0 with probability ``rate``, the others scaled up.

    Inverted dropout (Srivastava et al. 2014): the expectation is ``x``, so the inference graph
    uses ``x`` itself. GraphError unless ``0 <= rate < 1``.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> g = mg.Graph([x], {"y": mg.dropout(x, 0.5, mg.Generator(seed=1))})
    >>> mg.to_inference(g).outputs["y"] is x
    True
    """
    if not 0 <= rate < 1:
        raise GraphError(f"dropout: rate {rate} is not in [0, 1){place(HERE.scope, caller())}")
    node = floating(x)
    if rate == 0:
        return node
    keep = generator.uniform(node.type.shape) >= rate
    return at_inference(node * (cast(keep, node.type.dtype) / (1 - rate)), node)
