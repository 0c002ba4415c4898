"""Mini-batches in a shuffled order that is a pure function of (seed, epoch, position)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .dataset import Array, DataError, Dataset


@dataclass(frozen=True, slots=True)
class Order:
    """Where in the data a training run is: ``position`` examples of this epoch were served.

    Nothing else is needed to go on: the permutation of an epoch depends on ``seed`` and ``epoch``
    alone.

    >>> Order(seed=0, epoch=2).permutation(4).shape
    (4,)
    """

    seed: int = 0
    epoch: int = 0
    position: int = 0

    def permutation(self, size: int) -> Array:
        """The order of this epoch's examples."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(size)

    def generator(self) -> np.random.Generator:
        """A source of randomness for the batch that comes next (augmentation)."""
        return np.random.default_rng([self.seed, self.epoch, self.position, 1])


def batches(
    data: Dataset, size: int, order: Order | None = None
) -> Iterator[tuple[Dataset, Order]]:
    """The rest of the epoch: each batch with the order that follows it.

    The last batch may be short; none is dropped, and each example comes once an epoch.

    >>> data = Dataset([[0.0], [1.0], [2.0]], [0, 1, 2])
    >>> [(len(batch), after.epoch, after.position) for batch, after in batches(data, 2)]
    [(2, 0, 2), (1, 1, 0)]
    """
    order = order or Order()
    if size < 1:
        raise DataError(f"batches: the batch size is {size}, it must be at least 1")
    if not len(data):
        raise DataError("batches: the data set is empty")
    if not 0 <= order.position < len(data):
        raise DataError(
            f"batches: {order} is outside a data set of {len(data)}; it began with other data"
        )
    rows = order.permutation(len(data))
    for start in range(order.position, len(data), size):
        end = start + size
        after = Order(order.seed, order.epoch, end)
        if end >= len(data):
            after = Order(order.seed, order.epoch + 1)
        yield data.take(rows[start:end]), after
