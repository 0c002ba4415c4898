"""The loop: batches in, a trained state and its history out; stops and goes on bit for bit.

Everything that training depends on is in a `Run`: the state, the order of the data and the tally
of the unfinished epoch. `fit` takes one, `save_run` and `load_run` keep one in a checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from ..backends import Executable, State, compile
from ..ir import CheckpointError, Graph, GraphError, NonFiniteError
from ..passes import to_inference
from . import checkpoint as files
from .checkpoint import PathLike
from .data import Dataset, Order, batches

Array: TypeAlias = np.ndarray[Any, Any]
Augment: TypeAlias = Callable[[np.random.Generator, Array], Array]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the data gave; losses and accuracies are means over its examples.

    Accuracies are None for a graph without ``logits``, what was measured on the test part for a
    run without one.
    """

    epoch: int
    loss: float
    accuracy: float | None
    test_accuracy: float | None
    milliseconds: float  # a step, on average
    test_loss: float | None = None

    def __str__(self) -> str:
        parts = [f"epoch {self.epoch:3d}", f"loss {self.loss:.4f}"]
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:7.2%}")
        if self.test_accuracy is not None:
            parts.append(f"test {self.test_accuracy:7.2%}")
        elif self.test_loss is not None:
            parts.append(f"test loss {self.test_loss:.4f}")
        return "  ".join([*parts, f"{self.milliseconds:.2f} ms/step"])


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over the part of an epoch that is done."""

    loss: float = 0.0
    right: int = 0
    examples: int = 0
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """A training run at one moment."""

    state: State
    order: Order = field(default_factory=Order)
    tally: Tally = field(default_factory=Tally)
    history: tuple[Epoch, ...] = ()


def fit(
    graph: Graph,
    data: Dataset,
    *,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
    test: Dataset | None = None,
    augment: Augment | None = None,
    resume: Run | None = None,
    checkpoint: PathLike | None = None,
    every: int | None = None,
    before_step: Callable[[State, Dataset], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: bool | None = None,
    check_finite: bool = False,
    backend: str = "native",
) -> Run:
    """Train a model until ``epochs`` passes over ``data`` are done, resumed ones included.

    Parameters
    ----------
    graph : a training graph with an optimiser's updates, the inputs ``x`` and ``t`` and the outputs
        ``loss`` and ``logits``; or, without labels (an autoencoder), ``x`` and ``loss`` alone.
    seed : of the weights, the order of the data and the augmentation.
    test : measured after every epoch by the inference graph.
    augment : ``(generator, x) -> x``, applied to every batch.
    resume : goes on from there, bit for bit as if it had never stopped; its seed counts.
    checkpoint, every : a file to save the run to, every so many steps and after every epoch.
    before_step : called with the state and the batch of every step; a `Recorder`, say.
    on_epoch : called with each finished `Epoch`.
    progress : a progress bar; by default only on a terminal.
    check_finite : stop at the first node that is not finite, and name it (slow).

    Raises NonFiniteError when the loss is not finite, GraphError when nothing would be learned.
    """
    _check(graph)
    step = compile(graph, backend)
    run = resume or Run(step.init_state(seed), Order(seed))
    watched = None if test is None else compile(to_inference(graph, _measured(graph)), backend)
    with _progress(len(data), epochs, "logits" in graph.outputs, progress) as show:
        while run.order.epoch < epochs:
            for batch, after in batches(data, batch_size, run.order):
                x = batch.x if augment is None else augment(run.order.generator(), batch.x)
                batch = batch.with_x(x)
                if before_step is not None:
                    before_step(run.state, batch)
                run = _advance(step, run, batch, after, check_finite)
                due = every and run.tally.steps % every == 0 and after.position
                if checkpoint is not None and due:
                    save_run(checkpoint, run)
                show(run)
            run = _close_epoch(step, run, watched, test)
            if checkpoint is not None:
                save_run(checkpoint, run)
            if on_epoch is not None:
                on_epoch(run.history[-1])
    return run


def predict(graph: Graph, state: State, x: Array, *, batch_size: int = 256) -> Array:
    """The output ``logits`` for every row of ``x``, as this graph sees it.

    A training graph normalises with the statistics of each batch, an inference graph with the
    running ones, so that only there the batch size makes no difference.
    """
    return _run_batches(compile(_logits_only(graph)), state, x, batch_size)


def accuracy(graph: Graph, state: State, data: Dataset, *, batch_size: int = 256) -> float:
    """The share of examples whose largest logit is the label's."""
    return _accuracy(compile(_logits_only(graph)), state, data, batch_size)


def save_run(path: PathLike, run: Run) -> None:
    """Keep a run in a checkpoint: the state as tensors, the rest as JSON in the metadata."""
    rest = {
        "order": asdict(run.order),
        "tally": asdict(run.tally),
        "history": [asdict(epoch) for epoch in run.history],
    }
    files.save(path, run.state, {"minigrad.run": json.dumps(rest)})


def load_run(path: PathLike, graph: Graph) -> Run:
    """The run in a checkpoint, of this training graph; CheckpointError when it is another's."""
    state, metadata = files.read(path)
    try:
        rest = json.loads(metadata["minigrad.run"])
        order, tally = Order(**rest["order"]), Tally(**rest["tally"])
        history = tuple(Epoch(**epoch) for epoch in rest["history"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path}: holds no training run to go on with, only a state; see mg.load"
        ) from None
    return Run(files.matched(state, graph, str(path)), order, tally, history)


# --- steps -----------------------------------------------------------------------------------


def _check(graph: Graph) -> None:
    names = [node.name for node in graph.inputs]
    wanted = {"x", "t"} if "logits" in graph.outputs else {"x"}
    if "loss" not in graph.outputs or set(names) != wanted:
        raise GraphError(
            f"fit: needs inputs x and t, outputs logits and loss (or, without labels, x and loss); "
            f"this graph has inputs {', '.join(names)} and outputs {', '.join(graph.outputs)}"
        )
    moved = {update.state for update in graph.updates}
    if not any(parameter in moved for parameter in graph.parameters):
        raise GraphError(
            "fit: no parameter has an update, nothing would be learned; add an optimiser: "
            "optim.adam(graph)"
        )


def _advance(step: Executable, run: Run, batch: Dataset, after: Order, check: bool) -> Run:
    begin = time.perf_counter()
    outputs, state = step(run.state, check_finite=check, **_feed(step, batch))
    seconds = time.perf_counter() - begin
    loss = float(outputs["loss"])
    if not math.isfinite(loss):
        raise NonFiniteError(
            f"fit: the loss is {loss} at step {run.tally.steps} of epoch {run.order.epoch}; a "
            "smaller lr or clip_norm may help, check_finite=True names the first such node"
        )
    done = run.tally
    tally = Tally(
        done.loss + loss * len(batch),
        done.right + (_right(outputs["logits"], batch.t) if "logits" in outputs else 0),
        done.examples + len(batch),
        done.steps + 1,
        done.seconds + seconds,
    )
    return replace(run, state=state, order=after, tally=tally)


def _close_epoch(
    step: Executable, run: Run, watched: Executable | None, test: Dataset | None
) -> Run:
    done = run.tally
    loss, accuracy = None, None
    if watched is not None and test is not None:
        loss, accuracy = _on_test(watched, run.state, test, 256)
    finished = Epoch(
        run.order.epoch,
        done.loss / done.examples,
        done.right / done.examples if "logits" in step.graph.outputs else None,
        accuracy,
        1e3 * done.seconds / done.steps,
        loss,
    )
    return replace(run, tally=Tally(), history=(*run.history, finished))


def _measured(graph: Graph) -> list[str]:
    return [name for name in ("loss", "logits") if name in graph.outputs]


def _feed(model: Executable, batch: Dataset) -> dict[str, Array]:
    """What the graph has inputs for."""
    values = {"x": batch.x, "t": batch.t}
    return {node.name: values[node.name] for node in model.graph.inputs}


def _on_test(
    model: Executable, state: State, data: Dataset, batch_size: int
) -> tuple[float, float | None]:
    """The mean loss, and the accuracy if there are logits."""
    loss, right = 0.0, 0
    for start in range(0, len(data), batch_size):
        batch = data.take(slice(start, start + batch_size))
        outputs, _ = model(state, check_finite=False, **_feed(model, batch))
        loss += float(outputs["loss"]) * len(batch)
        if "logits" in outputs:
            right += _right(outputs["logits"], batch.t)
    counted = "logits" in model.graph.outputs
    return loss / len(data), right / len(data) if counted else None


def _logits_only(graph: Graph) -> Graph:
    if "logits" not in graph.outputs:
        raise GraphError(f"needs an output called 'logits'; there is {', '.join(graph.outputs)}")
    return Graph((), {"logits": graph.outputs["logits"]})


def _run_batches(model: Executable, state: State, x: Array, batch_size: int) -> Array:
    parts = [x[start : start + batch_size] for start in range(0, len(x), batch_size)]
    return np.concatenate([model(state, x=part)[0]["logits"] for part in parts])


def _accuracy(model: Executable, state: State, data: Dataset, batch_size: int) -> float:
    return _right(_run_batches(model, state, data.x, batch_size), data.t) / len(data)


def _right(logits: Array, t: Array) -> int:
    return int((logits.argmax(axis=-1) == t).sum())


@contextmanager
def _progress(
    examples: int, epochs: int, counted: bool, wanted: bool | None
) -> Iterator[Callable[[Run], None]]:
    """A bar over all epochs that shows loss, accuracy if counted, and the time of a step."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, force_terminal=wanted)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task("training", total=epochs * examples)

        def show(run: Run) -> None:
            done = run.tally
            text = (
                f"epoch {len(run.history) + 1}/{epochs}  loss {done.loss / done.examples:.4f}  "
                + (f"accuracy {done.right / done.examples:.1%}  " if counted else "")
                + f"{1e3 * done.seconds / done.steps:.2f} ms/step"
            )
            served = len(run.history) * examples + done.examples
            bar.update(task, completed=served, description=text)

        yield show
