"""Why a model answers differently in training and at inference, cause by cause, to the last digit.

Between the training graph on a batch and the inference graph on the same batch lies a sequence of
graphs that differ in one thing each; the differences between neighbours are the terms, so they
add up to the whole. The order is fixed, because terms of a nonlinear model depend on it::

    0  the training graph on the batch
    1  what is different at inference and no statistic: dropout, renormalisation   -> REPLACED
    2  batch statistics become those expected of a batch: their mean over the data -> NOISE
    3  these become what the running statistics track: v * n / (n - 1)             -> BESSEL
    4  these become the running statistics of the state                            -> LAG
    5  the eps of the inference graph                                              -> EPS
    6  the inference graph itself, which may be folded, or another one             -> REST
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ..backends import State, evaluate
from ..ir import Graph, GraphError, Node, is_leaf, toposort
from ..passes import retype, to_inference
from ..primitives import constant
from .recalibration import Feeds, Probe, feeds_of
from .tracked import Tracked, frozen_graph, tracked_states

Array: TypeAlias = np.ndarray[Any, Any]

REPLACED = "replaced at inference"
NOISE = "batch noise"
BESSEL = "Bessel factor"
LAG = "EMA lag"
EPS = "eps"
REST = "other differences"
CAUSES = (REPLACED, NOISE, BESSEL, LAG, EPS, REST)


@dataclass(frozen=True, eq=False)
class Gap:
    """The train/inference difference of every output, and of every running statistic, by cause.

    ``terms[output][cause]`` are arrays that sum to ``whole[output]``, inference minus training;
    ``statistics[state]`` holds the values ``batch``, ``expected``, ``tracked``, ``running``, whose
    differences are the batch noise, the Bessel factor and the EMA lag of that statistic.
    """

    whole: Mapping[str, Array]
    terms: Mapping[str, Mapping[str, Array]]
    statistics: Mapping[str, Mapping[str, Array]]
    notes: tuple[str, ...] = ()

    def share(self, output: str, cause: str) -> float:
        """The part of the whole that a cause makes: ``<term, whole> / <whole, whole>``.

        The shares of an output sum to 1; one is negative where a cause works against the rest.
        """
        whole = self.whole[output]
        norm = float((whole * whole).sum())
        return float((self.terms[output][cause] * whole).sum()) / norm if norm else 0.0

    def __str__(self) -> str:
        lines = []
        for output, whole in self.whole.items():
            lines.append(f"{output}: inference - training{'rms':>17}{'largest':>12}{'share':>9}")
            rows = [*self.terms[output].items(), ("whole", whole)]
            for cause, term in rows:
                share = 1.0 if cause == "whole" else self.share(output, cause)
                lines.append(f"  {cause:<{len(output) + 22}}{_sizes(term)}{share:9.1%}")
        width = max((len(name) for name in self.statistics), default=0)
        if self.statistics:
            parts = "".join(f"{cause:>15}" for cause in (NOISE, BESSEL, LAG, "whole"))
            lines.append(f"{'statistics (rms)':<{width + 2}}{parts}")
        for name, values in self.statistics.items():
            steps = [*differences(values).values(), values["running"] - values["batch"]]
            lines.append(f"  {name:<{width}}" + "".join(f"{_rms(step):15.3g}" for step in steps))
        return "\n".join([*lines, *self.notes])


def explain_gap(
    train: Graph,
    infer: Graph | None,
    batch: Mapping[str, Any],
    state: State,
    population: Feeds,
    *,
    outputs: Sequence[str] | None = None,
    batch_size: int = 256,
) -> Gap:
    """Split the train/inference difference on a batch into its causes; see the module's table.

    Parameters
    ----------
    train : the training graph.
    infer : the inference graph that answers; ``to_inference(train)`` for None.
    batch : the feed on which the two are compared.
    population : a `Dataset`, cut into batches of ``batch_size``, or feeds of the sizes that
        training uses: what a batch statistic is expected to be is its mean over these batches,
        each counted once, as the EMA counts them, with dropout off and the weights as they are.
    outputs : names; by default all float outputs that both graphs have.

    The lag is what is left between that expectation and the state: weights that moved, the start
    of the EMA, the luck of the last batches. Everything is computed in float64, where the terms
    sum to the whole up to rounding. Raises GraphError when the training graph tracks nothing,
    without data, and for an unknown output.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 1))
    >>> g = mg.Graph([x], {"y": mg.nn.BatchNorm(1, name="bn", convention="pytorch")(x)})
    >>> start = mg.compile(g).init_state()
    >>> batch = {"x": [[1.0], [3.0]]}
    >>> gap = mg.explain_gap(g, None, batch, start, [batch, {"x": [[2.0], [6.0]]}])
    >>> [round(gap.share("y", cause), 3) for cause in gap.terms["y"]]
    [-0.316, 0.093, 1.224, 0.0]
    """
    wide, answer = retype(train, "float64"), to_inference(train) if infer is None else infer
    answer = retype(answer, "float64")
    names = _common(wide, answer, outputs)
    found = tracked_states(wide)
    if not found:
        raise GraphError(
            "explain_gap: the training graph tracks no running statistics; give the graph that "
            "is trained, not the inference graph"
        )
    known = {**state, **batch}
    feeds = [{**state, **feed} for feed in feeds_of(population, batch_size)()]
    expected, tracked = _population(wide, found, feeds)
    trained = Graph((), {name: wide.outputs[name] for name in names})
    quiet = frozen_graph(wide, dict(trained.outputs), [n for t in found for n in t.own])
    inference = to_inference(wide, names)
    level, same = _with_eps_of(inference, answer, names)
    # A state without uses normalises in training too (a frozen layer): there is no gap in it.
    aimed = {t.state.name: tracked[t.state] for t in found if t.uses}
    stages = {
        "train": _run(trained, known),
        REPLACED: _run(quiet, known),
        NOISE: _run(_expecting(wide, quiet, found, expected), {**known, **aimed}),
        BESSEL: _run(inference, {**known, **aimed}),
        LAG: _run(inference, known),
        EPS: _run(level, known),
        REST: _run(Graph((), {name: answer.outputs[name] for name in names}), known),
    }
    return Gap(
        {name: stages[REST][name] - stages["train"][name] for name in names},
        {name: _terms(stages, name) for name in names},
        _statistics(wide, found, known, expected, tracked),
        () if same else ("the inference graph has another structure: its eps is not told apart",),
    )


def differences(values: Mapping[str, Array]) -> dict[str, Array]:
    """The terms of one statistic, which sum to running minus batch."""
    return {
        NOISE: values["expected"] - values["batch"],
        BESSEL: values["tracked"] - values["expected"],
        LAG: values["running"] - values["tracked"],
    }


# --- stages ----------------------------------------------------------------------------------


def _terms(stages: Mapping[str, Mapping[str, Array]], name: str) -> dict[str, Array]:
    """Neighbouring stages subtracted; a cause that has no part in the model is left out."""
    values = [stage[name] for stage in stages.values()]
    steps = [after - before for before, after in pairwise(values)]
    optional = (REPLACED, REST)
    return {
        cause: step
        for cause, step in zip(CAUSES, steps, strict=True)
        if cause not in optional or step.any()
    }


def _population(
    graph: Graph, found: Sequence[Tracked], feeds: Sequence[Mapping[str, Any]]
) -> tuple[dict[Node, Array], dict[Node, Array]]:
    """By use, the mean of the batch statistics; by state, the mean of what its update aims at."""
    if not feeds:
        raise GraphError("explain_gap: the population holds no batch; give the training data")
    uses = {use: t for t in found for use in t.uses if _is_like_state(use, t)}
    every = [n for t in found for n in t.own]
    probes = [Probe.of(graph, tracked, every) for tracked in found]
    numbered = {str(i): use for i, use in enumerate(uses)}
    runs = [_run(frozen_graph(graph, numbered, every), feed) for feed in feeds if numbered]
    expected = {use: np.mean([run[str(i)] for run in runs], axis=0) for i, use in enumerate(uses)}
    tracked = {}
    for probe in probes:
        state, seen = probe.tracked.state, Graph((), probe.nodes)
        rows = [probe.observed(_run(seen, feed), 1.0) for feed in feeds]
        weights = np.array([weight > 0 for weight, _ in rows], np.float64)
        total = weights.sum(axis=0)
        aim = sum(w * np.where(w, aim, 0) for w, (_, aim) in zip(weights, rows, strict=True))
        start = np.asarray(feeds[0][state.name], np.float64)  # where it stays that never moves
        tracked[state] = np.where(total, aim / np.where(total, total, 1), start)
    return expected, tracked


def _expecting(
    wide: Graph, quiet: Graph, found: Sequence[Tracked], expected: Mapping[Node, Array]
) -> Graph:
    """The training graph with the expected statistics in the place of the batch's.

    A tensor that stands for a whole normalised batch (ghosts) has no expectation: what replaces
    it at inference is used, with the tracked statistics as its states.
    """
    others = [use for t in found for use in t.uses if use not in expected]
    keep = [n for t in found for n in t.own if n not in others and n not in expected]
    instead = {use: constant(value) for use, value in expected.items()}
    return frozen_graph(wide, {n: wide.outputs[n] for n in quiet.outputs}, keep, instead)


def _statistics(
    graph: Graph,
    found: Sequence[Tracked],
    known: Mapping[str, Any],
    expected: Mapping[Node, Array],
    tracked: Mapping[Node, Array],
) -> dict[str, dict[str, Array]]:
    rows = {t.state.name: t for t in found if len(t.uses) == 1 and t.uses[0] in expected}
    if not rows:
        return {}
    outputs = {name: t.uses[0] for name, t in rows.items()}
    quiet = frozen_graph(graph, outputs, [n for t in found for n in t.own])
    batch = _run(quiet, known)
    return {
        name: {
            "batch": batch[name].reshape(t.shape),
            "expected": expected[t.uses[0]].reshape(t.shape),
            "tracked": tracked[t.state].reshape(t.shape),
            "running": np.asarray(known[name], np.float64),
        }
        for name, t in rows.items()
    }


def _with_eps_of(inference: Graph, answer: Graph, names: Sequence[str]) -> tuple[Graph, bool]:
    """``inference`` with the eps of ``answer``, and whether the two are alike but for that.

    Alike is: the same ops on the same operands, where constants added to what depends on a state
    may differ. Of graphs that are not alike nothing is known, and nothing is changed.
    """
    pairs = [(inference.outputs[name], answer.outputs[name]) for name in names]
    seen: set[tuple[Node, Node]] = set()
    changed: dict[Node, Node] = {}
    while pairs:
        a, b = pairs.pop()
        if (a, b) in seen:
            continue
        seen.add((a, b))
        if a.prim is not b.prim or len(a.inputs) != len(b.inputs) or a.type != b.type:
            return inference, False
        if is_leaf(a):
            if a.prim.name == "constant" and not _same_value(a, b):
                return inference, False
            if a.name != b.name:
                return inference, False
            continue
        if a.attrs != b.attrs:
            return inference, False
        for one, other in zip(a.inputs, b.inputs, strict=True):
            if _is_eps(a, one) and other.prim.name == "constant":
                if not _same_value(one, other):
                    changed[one] = other
            else:
                pairs.append((one, other))
    return inference.substitute(changed), True


def _is_eps(consumer: Node, node: Node) -> bool:
    """Whether a constant is added to what only states lead to: a running variance."""
    if consumer.prim.name != "add" or node.prim.name != "constant":
        return False
    other = consumer.inputs[1] if consumer.inputs[0] is node else consumer.inputs[0]
    kinds = {leaf.prim.name for leaf in toposort([other]) if is_leaf(leaf)}
    return "state" in kinds and kinds <= {"state", "constant"}


def _same_value(a: Node, b: Node) -> bool:
    one, other = a.attrs["value"], b.attrs["value"]
    return one.shape == other.shape and bool((one == other).all())


def _is_like_state(use: Node, tracked: Tracked) -> bool:
    """Whether a use holds one number for each of the state's."""
    return use.type.is_static and _size(use.shape) == _size(tracked.shape)


def _size(shape: Iterable[Any]) -> int:
    return int(np.prod([int(dim) for dim in shape], dtype=int))


def _run(graph: Graph, known: Mapping[str, Any]) -> dict[str, Array]:
    leaves = {node.name for node in (*graph.inputs, *graph.leaves) if node.name}
    feed = {name: value for name, value in known.items() if name in leaves}
    return dict(zip(graph.outputs, evaluate(graph, feed), strict=True))


def _common(train: Graph, infer: Graph, outputs: Sequence[str] | None) -> list[str]:
    both = [n for n, node in train.outputs.items() if n in infer.outputs and node.type.is_float]
    for name in outputs or ():
        if name not in both:
            raise GraphError(
                f"explain_gap: no float output {name!r} in both graphs; there is "
                f"{', '.join(both) or 'none'}"
            )
    if not both:
        raise GraphError(
            f"explain_gap: the graphs have no float output in common: {', '.join(train.outputs)} "
            f"and {', '.join(infer.outputs)}"
        )
    return list(outputs or both)


def _sizes(term: Array) -> str:
    return f"{_rms(term):12.3g}{float(np.abs(term).max(initial=0)):12.3g}"


def _rms(term: Array) -> float:
    return float(np.sqrt(np.mean(term**2))) if term.size else 0.0
