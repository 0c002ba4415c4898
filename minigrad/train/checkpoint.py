"""Checkpoints: a state in a safetensors file, written whole or not at all, and read with care.

A state is what a compiled step passes on: weights, running statistics, optimiser slots, counters.
The file is an ordinary safetensors file: any tool of that format reads it. Its metadata holds a
digest of the content and whatever else is to be kept, such as the order of the data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from ..backends import State
from ..ir import CheckpointError, Graph, TensorType
from ..ir.files import write_whole

PathLike: TypeAlias = "str | os.PathLike[str]"
DIGEST = "minigrad.sha256"


def save(
    path: PathLike, state: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``state``, arrays by name, to ``path`` in the safetensors format.

    Atomic: the file is written beside its place, flushed to the disk and then renamed, so that
    ``path`` holds the old state or the new one, never half of it. ``metadata`` is text by name.
    Raises CheckpointError when the place cannot be written or a value is no array of numbers.

    >>> import tempfile, minigrad as mg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mg.save(f"{folder}/a.safetensors", {"w": np.ones(2)})
    ...     mg.load(f"{folder}/a.safetensors")
    {'w': array([1., 1.])}
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.array(value, order="C") for name, value in state.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise CheckpointError(f"{path}: {name!r} is {array.dtype}, not an array of numbers")
    kept = dict(metadata or {})
    kept[DIGEST] = _digest(arrays, kept)
    try:
        write_whole(path, to_bytes(arrays, kept))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None


def load(path: PathLike, graph: Graph | None = None, *, extra: bool = False) -> State:
    """The state in ``path``; checked against ``graph`` if one is given.

    With a graph, the file must hold exactly its parameters and states, in their types;
    ``extra=True`` allows more, so that an inference graph takes a training run's checkpoint (what
    it does not need is left out). Raises CheckpointError: the file is missing, cut short, altered,
    or the message lists what is missing, too much, or of another type.
    """
    state, _ = read(path)
    return state if graph is None else matched(state, graph, str(path), extra=extra)


def read(path: PathLike) -> tuple[State, dict[str, str]]:
    """The state and the metadata of a checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a sound safetensors file: {error}") from None
    written = metadata.pop(DIGEST, None)
    if written is not None and written != _digest(state, metadata):
        raise CheckpointError(f"{path}: damaged: it does not hold what was saved")
    return state, metadata


def matched(state: State, graph: Graph, source: str = "the state", *, extra: bool = False) -> State:
    """The part of ``state`` that ``graph`` has leaves for; CheckpointError when they differ."""
    wanted = {leaf.name: leaf.type for leaf in (*graph.parameters, *graph.states)}
    found = {name: TensorType(array.shape, array.dtype) for name, array in state.items()}
    missing = [f"{name} {type_}" for name, type_ in wanted.items() if name not in found]
    unknown = [f"{name} {type_}" for name, type_ in found.items() if name not in wanted]
    differ = [
        f"{name} is {found[name]}, the graph has {type_}"
        for name, type_ in wanted.items()
        if name in found and found[name] != type_
    ]
    problems = [
        f"{title}: {_listed(names)}"
        for title, names in (
            ("missing", missing),
            ("too much", [] if extra else unknown),
            ("of another type", differ),
        )
        if names
    ]
    if problems:
        raise CheckpointError(f"{source} belongs to another graph; {'; '.join(problems)}")
    return {name: state[name] for name in wanted}


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> str:
    total = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
