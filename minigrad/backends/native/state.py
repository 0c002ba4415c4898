"""The state that a step returns: arrays that the next step overwrites, handed out as copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...ir import FeedError

Array = np.ndarray[Any, Any]


class LiveState(Mapping[str, Array]):
    """Weights, statistics and slots by name, in the memory where the next step updates them.

    A step uses up the state that it is given and returns the next one, so nothing is copied.
    Reading a name gives a copy that stays; a used-up state says so. ``dict(state)`` is a
    snapshot, which any number of steps can start from; so is what `copy` and `pickle` make of it.
    """

    __slots__ = ("_arrays", "ready_for")

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays: dict[str, Array] | None = arrays
        self.ready_for: object = None  # the executable that has checked it

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays themselves; FeedError when a step has used them up."""
        if self._arrays is None:
            raise FeedError(
                "this state was used up by the step it was passed to; go on with the state that "
                "the step returned, or keep a snapshot first: dict(state)"
            )
        return self._arrays

    def taken(self) -> dict[str, Array]:
        """The arrays, for a step that overwrites them; this state is used up."""
        arrays = self.arrays
        self._arrays = None
        return arrays

    def kept(self, arrays: dict[str, Array]) -> None:
        """What a step that did not return has left: the caller has no other state."""
        self._arrays = arrays

    def __getitem__(self, name: str) -> Array:
        copy = np.array(self.arrays[name])
        copy.flags.writeable = False
        return copy

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __copy__(self) -> dict[str, Array]:
        return dict(self)  # two that share arrays would overwrite each other

    def __deepcopy__(self, memo: object) -> dict[str, Array]:
        return dict(self)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Array]]]:
        return dict, (dict(self),)

    def __repr__(self) -> str:
        if self._arrays is None:
            return "<state, used up by a step>"
        return f"<state of {len(self._arrays)} arrays: {', '.join(self._arrays)}>"
