"""A recording of a training run: what batch norm, gradients and activations did, step by step.

Flow: a `Recorder` watches `fit` through ``before_step``; every so many steps it runs a probe graph
on the state and the batch of that very step; `save_record` writes an .npz, `load_record` reads it
(or the same as lines of JSON), and the page and the laboratory draw it.

The format, ``minigrad.record/1``; T recorded steps, C channels:

    format                          the text minigrad.record/1
    step            int64[T]        how many steps were done before
    loss            float64[T]
    norm/L/batch_mean, norm/L/batch_var        float64[T,C]   of the batch of this step
    norm/L/running_mean, norm/L/running_var    float64[T,C]   after this step
    gradient/P      float64[T]      L2 norm of dloss/dP, for every parameter P
    activation/S    float64[T,5]    percentiles 1, 15, 50, 85, 99 of what scope S gives
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np

from ..autodiff import grad
from ..backends import compile
from ..ir import CheckpointError, Graph, GraphError, Node, consumers, is_leaf, toposort
from ..ir.files import write_whole
from ..primitives import reshape, sqrt, sum
from .checkpoint import PathLike
from .data import Dataset

FORMAT = "minigrad.record/1"
PERCENTILES = (1, 15, 50, 85, 99)  # 15, 50 and 85 are those of Ioffe and Szegedy's Figure 1
STATISTICS = ("batch_mean", "batch_var", "running_mean", "running_var")
MOST_STEPS, MOST_CHANNELS = 400, 16  # of what a page carries along

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Recording:
    """A recorded run; ``norms`` is layer -> statistic -> [T,C], the others name -> [T] or [T,5].

    >>> one = Recording(np.array([0]), np.array([2.5]), {}, {"w": np.array([0.1])}, {})
    >>> one.as_data()["gradients"]
    {'w': [0.1]}
    """

    step: Array
    loss: Array
    norms: Mapping[str, Mapping[str, Array]]
    gradients: Mapping[str, Array]
    activations: Mapping[str, Array]

    def as_data(self) -> dict[str, Any]:
        """JSON for the page: at most 400 steps and 16 channels, evenly taken; NaN is null."""
        steps = _spread(len(self.step), MOST_STEPS)

        def told(values: Array) -> Any:
            return _plain(np.asarray(values)[steps])

        norms = {}
        for layer, found in self.norms.items():
            channels = _spread(found["batch_mean"].shape[1], MOST_CHANNELS)
            norms[layer] = {
                "channels": [int(c) for c in channels],
                **{name: told(found[name][:, channels]) for name in STATISTICS},
            }
        return {
            "step": [int(self.step[i]) for i in steps],
            "loss": told(self.loss),
            "norms": norms,
            "gradients": {name: told(row) for name, row in self.gradients.items()},
            "activations": {name: told(rows) for name, rows in self.activations.items()},
            "percentiles": list(PERCENTILES),
        }


@dataclass
class Recorder:
    """Watches a training run: ``fit(graph, data, before_step=Recorder(graph, every=10))``.

    Parameters
    ----------
    graph : the training graph that `fit` trains, with outputs ``loss`` and ``logits``.
    every : record one step in so many, the first among them.

    A recorded step costs one more forward and backward pass. Nothing that is trained changes by a
    bit. Raises GraphError when the graph has no ``loss``.
    """

    graph: Graph
    every: int = 10
    steps: list[int] = field(default_factory=list)
    rows: dict[str, list[Array]] = field(default_factory=dict)
    _seen: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise GraphError(f"Recorder: every={self.every} steps; it is at least 1")
        self._probe = compile(_probe_graph(self.graph))

    def __call__(self, state: Mapping[str, Any], batch: Dataset) -> None:
        """Look at the step that is about to be made from ``state`` with ``batch``."""
        if self._seen % self.every == 0:
            names = [node.name for node in self.graph.inputs]
            fed = {name: getattr(batch, name) for name in names}
            outputs, _ = self._probe(dict(state), **fed)
            self.steps.append(self._seen)
            for name, value in outputs.items():
                self.rows.setdefault(name, []).append(_recorded(name, value))
        self._seen += 1

    @property
    def recording(self) -> Recording:
        """What was recorded so far."""
        arrays = {name: np.stack(rows) for name, rows in self.rows.items()}
        arrays.setdefault("loss", np.zeros(0))
        return _recording({"step": np.asarray(self.steps, np.int64), **arrays})


def save_record(path: PathLike, recording: Recording) -> None:
    """Write a recording as ``.npz``, or as lines of JSON, a line a step, where it ends in .jsonl.

    The file is written whole or not at all. Raises CheckpointError for another suffix, or when
    the place cannot be written.
    """
    target, arrays = Path(path), _arrays(recording)
    if target.suffix == ".jsonl":
        lines = [json.dumps({"format": FORMAT})]
        for i in range(len(recording.step)):
            lines.append(json.dumps({name: _plain(rows[i], 17) for name, rows in arrays.items()}))
        content = ("\n".join(lines) + "\n").encode()
    elif target.suffix == ".npz":
        memory = io.BytesIO()
        # By keyword they could clash with an argument's name, and a name may hold a slash.
        np.savez_compressed(memory, allow_pickle=False, **{"format": np.array(FORMAT), **arrays})
        content = memory.getvalue()
    else:
        raise CheckpointError(f"{path}: a recording is an .npz or a .jsonl file")
    try:
        write_whole(target, content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from None


def load_record(path: PathLike) -> Recording:
    """The recording in an ``.npz`` or ``.jsonl`` file; CheckpointError when it holds none."""
    source = Path(path)
    try:
        if source.suffix == ".jsonl":
            first, *lines = source.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            arrays: dict[str, Any] = {
                name: np.asarray([row[name] for row in rows], float) for name in rows[0]
            }
            found = json.loads(first)["format"]
        else:
            with np.load(io.BytesIO(source.read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            found = str(arrays.pop("format"))
        if found != FORMAT:
            raise ValueError(f"its format is {found!r}")
        arrays["step"] = arrays["step"].astype(np.int64)
        return _checked(_recording(arrays))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such recording") from None
    except (KeyError, IndexError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise CheckpointError(f"{path}: holds no recording ({FORMAT}): {error}") from None


# --- the probe ---------------------------------------------------------------------------------


def _probe_graph(graph: Graph) -> Graph:
    """Outputs named as in the file; one scalar, vector or activation each."""
    loss = graph.outputs.get("loss")
    if loss is None:
        raise GraphError(f"Recorder: no output 'loss'; there is {', '.join(graph.outputs)}")
    outputs = {"loss": loss}
    for update in graph.updates:
        layer, _, name = update.state.name.rpartition("/")
        statistic = {"running_mean": "mean", "running_var": "var"}.get(name)
        if statistic is None or update.estimate is None:
            continue
        for kind, node in (("batch", update.estimate), ("running", update.value)):
            size = math.prod(int(dim) for dim in node.shape)
            outputs[f"norm/{layer}/{kind}_{statistic}"] = reshape(node, (size,))
    forward = toposort([loss])
    trained = [n for n in forward if n.prim.name == "parameter" and n.type.is_float]
    for parameter, gradient in zip(trained, grad(loss, trained) if trained else [], strict=True):
        outputs[f"gradient/{parameter.name}"] = sqrt(sum(gradient * gradient))
    for scope, node in _given(forward, graph.outputs.values()).items():
        outputs[f"activation/{scope}"] = node
    return Graph((), outputs)


def _given(forward: Sequence[Node], outputs: Any) -> dict[str, Node]:
    """Scope -> the last float tensor inside that something outside reads."""
    uses, named = consumers(forward), set(outputs)
    found = {}
    for node in forward:
        if is_leaf(node) or not node.scope.path or node.scope.order or not node.ndim:
            continue
        read = any(reader.scope != node.scope for reader in uses[node])
        if node.type.is_float and (read or node in named):
            found["/".join(node.scope.path)] = node
    return found


def _recorded(name: str, value: Any) -> Array:
    array = np.asarray(value, np.float64)
    if not name.startswith("activation/"):
        return array.copy()
    finite = array[np.isfinite(array)]
    return np.percentile(finite, PERCENTILES) if finite.size else np.full(5, np.nan)


# --- the format --------------------------------------------------------------------------------


def _arrays(recording: Recording) -> dict[str, Array]:
    found = {"step": recording.step, "loss": recording.loss}
    for layer, statistics in recording.norms.items():
        found.update({f"norm/{layer}/{name}": rows for name, rows in statistics.items()})
    found.update({f"gradient/{name}": rows for name, rows in recording.gradients.items()})
    found.update({f"activation/{name}": rows for name, rows in recording.activations.items()})
    return found


def _recording(arrays: Mapping[str, Array]) -> Recording:
    norms: dict[str, dict[str, Array]] = {}
    for name, rows in arrays.items():
        if name.startswith("norm/"):
            layer, _, statistic = name.removeprefix("norm/").rpartition("/")
            norms.setdefault(layer, {})[statistic] = rows

    def group(prefix: str) -> dict[str, Array]:
        return {n.removeprefix(prefix): r for n, r in arrays.items() if n.startswith(prefix)}

    complete = {layer: found for layer, found in norms.items() if set(found) == set(STATISTICS)}
    return Recording(
        arrays["step"], arrays["loss"], complete, group("gradient/"), group("activation/")
    )


def _checked(recording: Recording) -> Recording:
    count = len(recording.step)
    if not count:
        raise ValueError("no step was recorded")
    for name, rows in _arrays(recording).items():
        if len(rows) != count:
            raise ValueError(f"{name} has {len(rows)} rows for {count} steps")
    return recording


def _spread(count: int, most: int) -> Array:
    """At most so many indices of ``count``, the first and the last among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(int))


def _plain(values: Array, digits: int = 6) -> Any:
    """Nested lists of numbers with so many digits; None for what is not finite."""
    if np.ndim(values):
        return [_plain(row, digits) for row in values]
    number = float(values)
    if number.is_integer() and abs(number) < 2**53:
        return int(number)
    return float(f"{number:.{digits}g}") if np.isfinite(number) else None
