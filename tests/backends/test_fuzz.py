"""Random graphs on every backend and the interpreter; and that the fuzzer would notice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backends import Executable, lower
from minigrad.backends.executable import BACKENDS

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

import fuzz

pytestmark = pytest.mark.slow  # CI runs it, and `pytest -m slow`

CASES, QUICK, CHUNK, LARGEST = 300, 60, 20, 20
OTHERS = [name for name in BACKENDS if name != "interpreter"] or ["interpreter"]


@cache
def case(number: int) -> fuzz.Case:
    return fuzz.random_case(0, number, largest=LARGEST)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize(
    "first",
    [
        first if first < QUICK else pytest.param(first, marks=pytest.mark.slow)
        for first in range(0, CASES, CHUNK)
    ],
)
def test_random_graphs_agree_with_the_interpreter(first: int, backend: str) -> None:
    found = {number: fuzz.compare(case(number), backend) for number in range(first, first + CHUNK)}
    failed = [
        f"--largest {LARGEST} --case {number}: {text}"
        for number, (text, _) in found.items()
        if text
    ]
    assert failed == []
    assert sum(unstable for _, unstable in found.values()) <= 2


# --- what the cases are ----------------------------------------------------------------------


def test_the_cases_hold_every_primitive() -> None:
    graphs = [case(number).graph for number in range(CASES)]
    found = {node.prim.name for graph in graphs for node in graph.nodes}
    marked = any(graph.replacements for graph in graphs)
    assert set(mg.PRIMITIVES) - found == ({"mark"} if marked else set())


FEATURES: dict[str, Callable[[mg.Graph], bool]] = {
    "a dim of size 0": lambda g: any(0 in n.shape for n in g.nodes),
    "a named dim twice": lambda g: any(n.shape.count("N") > 1 for n in g.nodes),
    "two named dims": lambda g: {"N", "M"} <= {d for n in g.nodes for d in n.shape},
    "rank 4": lambda g: any(n.ndim == 4 for n in g.nodes),
    "the same output twice": lambda g: len({*g.outputs.values()}) < len(g.outputs),
    "an output that is an input": lambda g: any(n in g.inputs for n in g.outputs.values()),
    "an output that is a state": lambda g: any(n in g.states for n in g.outputs.values()),
    "an output that is a constant": lambda g: any(
        n.prim.name == "constant" for n in g.outputs.values()
    ),
    "an output that is a next state": lambda g: any(
        u.value in g.outputs.values() for u in g.updates
    ),
    "states that change places": lambda g: any(
        u.value is v.state and v.value is u.state for u in g.updates for v in g.updates
    ),
    "a weight that descends": lambda g: any(
        u.state.prim.name == "parameter" and u.value.prim.name == "sub" for u in g.updates
    ),
    "a statistic that is tracked": lambda g: any(u.estimate is not None for u in g.updates),
    "an input that nothing reads": lambda g: any(n not in g.nodes for n in g.inputs),
    "a gradient": lambda g: any(n.scope.order for n in g.nodes),
    "a gradient of a gradient": lambda g: any(n.scope.order > 1 for n in g.nodes),
    "padding between elements": lambda g: any(any(n.attrs.get("interior", ())) for n in g.nodes),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_the_cases_hold(feature: str) -> None:
    assert any(FEATURES[feature](case(number).graph) for number in range(CASES))


def test_the_cases_hold_every_dtype_and_strange_arrays() -> None:
    nodes = [node for number in range(CASES) for node in case(number).graph.nodes]
    known = {"float16", "float32", "float64", "int32", "int64", "bool"}
    assert {node.dtype.name for node in nodes} == known
    fed = [v for number in range(CASES) for feed in case(number).feeds for v in feed.values()]
    arrays = [v for v in fed if isinstance(v, np.ndarray)]
    assert any(isinstance(v, list) for v in fed)
    assert not all(v.flags.c_contiguous for v in arrays)
    assert not all(v.flags.aligned for v in arrays)
    assert not all(v.flags.writeable for v in arrays)
    assert any(0 in v.shape for v in arrays)
    assert any(not np.isfinite(v).all() for v in arrays if v.dtype.kind == "f")


def test_a_case_is_the_same_every_time() -> None:
    for number in range(20):
        first, again = (fuzz.random_case(7, number) for _ in range(2))
        assert first.graph.structural_hash() == again.graph.structural_hash()
        for feed, same in zip(first.feeds, again.feeds, strict=True):
            assert [np.array(v).tobytes() for v in feed.values()] == [
                np.array(v).tobytes() for v in same.values()
            ]


# --- that a wrong backend is found -----------------------------------------------------------


class Mutant(Executable):
    """The interpreter with one wrong kernel, or with a fault in what a call does."""

    def __init__(self, graph: mg.Graph, wrong: str, fault: Callable[..., Any] | None) -> None:
        super().__init__(graph)
        self.fault, self.calls, self.compiled = fault, 0, 1
        roots = [*graph.outputs.values(), *(update.value for update in graph.updates)]
        self._program = lower(roots, evals={wrong: spoiled(wrong)} if wrong else None)

    def __call__(self, state: Any, **inputs: Any) -> Any:  # type: ignore[override]
        found = super().__call__(state, **inputs)
        self.calls += 1
        return self.fault(self, state, inputs, *found) if self.fault else found


def spoiled(name: str) -> Callable[..., Any]:
    """The primitive's eval, but for its last element."""

    def run(xp: Any, *operands: Any, **attrs: Any) -> Any:
        y = np.array(mg.PRIMITIVES[name].eval(xp, *operands, **attrs))
        if y.size:
            last = y.reshape(-1)[-1:]
            last[:] = ~last if y.dtype == bool else last + np.asarray(last * 0.01 + 1e-2, y.dtype)
            last += y.dtype.kind == "i"
            y.reshape(-1)[-1:] = last
        return y

    return run


@pytest.fixture
def mutant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[fuzz.Case], str]]:
    """``mutant(wrong, fault)`` gives what the fuzzer says to that backend about a case."""

    def build(wrong: str = "", fault: Any = None) -> Callable[[fuzz.Case], str]:
        def compile(graph: mg.Graph, backend: str = "interpreter", **options: Any) -> Executable:
            return Mutant(graph, wrong, fault) if backend == "mutant" else Executable(graph)

        monkeypatch.setattr(mg, "compile", compile)
        return lambda found: fuzz.compare(found, "mutant")[0]

    return build


OPS = sorted(name for name, row in mg.PRIMITIVES.items() if row.eval and name != "mark")


@pytest.mark.parametrize("name", OPS)
def test_one_wrong_element_of_an_op_is_found(name: str, mutant: Any) -> None:
    says = mutant(name)
    having = [k for k in range(CASES) if name in {n.prim.name for n in case(k).graph.nodes}]
    having.sort(key=lambda number: len(case(number).graph.nodes))
    assert any(says(case(number)).startswith(("value", "raised")) for number in having)


def value(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    return {k: v + v.dtype.type(1) if v.dtype.kind == "i" else v for k, v in outputs.items()}, after


def dtype(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    return {k: v.astype(np.float64) for k, v in outputs.items()}, after


def shape(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    return {k: v[None] for k, v in outputs.items()}, after


def order(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    return dict(reversed(outputs.items())), after


def lazy(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    return outputs, dict(state)


def random(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    return {k: v + v.dtype.type(exe.calls) for k, v in outputs.items()}, after


def greedy(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    for array in inputs.values():
        if isinstance(array, np.ndarray) and array.flags.writeable and array.dtype != bool:
            array += 1
    return outputs, after


def in_place(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    for name, array in after.items():
        if isinstance(state, dict) and state[name].flags.writeable:
            state[name][...] = array
    return outputs, after


def shared(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    kept: Mapping[str, Any] = exe.__dict__.setdefault("kept", outputs)
    for name, array in outputs.items():
        if kept[name].shape == array.shape and kept[name].flags.writeable:
            kept[name][...] = array
            outputs[name] = kept[name]
    return outputs, after


def slow(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    exe.compiled += 1
    return outputs, after


def broken(exe: Mutant, state: Any, inputs: Any, outputs: Any, after: Any) -> Any:
    raise ZeroDivisionError("as it happens")


FAULTS = {
    value: "value of int", dtype: "type", shape: "type", order: "names", lazy: "value of ",
    random: "same call twice", greedy: "input changed", in_place: "state changed",
    shared: "earlier result changed", slow: "compiled again", broken: "raised ZeroDivisionError",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_a_call_is_found(fault: Callable[..., Any], mutant: Any) -> None:
    says = mutant(fault=fault)
    assert any(says(case(number)).startswith(FAULTS[fault]) for number in range(100))


def test_a_feed_must_be_refused_where_the_interpreter_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Easy(Executable):
        def __call__(self, state: Any, **inputs: Any) -> Any:
            return {}, state

    x = mg.input("x", ("N", 2))
    empty = fuzz.Case(mg.Graph([x], mg.max(x, 0)), ({"x": np.zeros((0, 2))},))
    assert fuzz.compare(empty, "interpreter") == ("", 0)
    monkeypatch.setattr(
        mg,
        "compile",
        lambda graph, backend, **_: (Easy if backend == "easy" else Executable)(graph),
    )
    assert fuzz.compare(empty, "easy")[0].startswith("accepted")


def test_rounding_is_no_mismatch_but_a_lost_digit_is() -> None:
    x = mg.input("x", 1000)
    graph = mg.Graph([x], {"y": (x - mg.mean(x)) / mg.sqrt(mg.var(x) + 1e-3)})
    feed = {"x": np.random.default_rng(0).normal(5, 1, 1000).astype(np.float32)}
    (y,) = mg.evaluate(graph, feed)
    exact = feed["x"].astype(np.float64)
    right = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-3)
    assert fuzz.judge(graph, feed, {}, {"y": y}, {"y": right.astype(np.float32)}) == 0
    assert fuzz.judge(graph, feed, {}, {"y": y}, {"y": y + np.float32(1e-6)}) == 0
    with pytest.raises(fuzz.Mismatch, match="value of float32: y"):
        fuzz.judge(graph, feed, {}, {"y": y}, {"y": y + np.float32(1e-4)})


def test_a_failing_case_is_made_small(mutant: Any) -> None:
    says = mutant("exp")
    failing = next(c for c in map(case, range(CASES)) if says(c) and len(c.graph.nodes) > 12)
    small = fuzz.shrink(failing, says)
    assert [node.prim.name for node in small.graph.nodes if node.inputs] == ["exp"]
    assert len(small.feeds) == 1


def test_the_command_prints_one_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--seed", "0", "--case", "5", "--backend", "interpreter"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("--seed 0 --case 5: the backends agree\ngraph(")


def test_the_command_searches(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--cases", "20", "--jobs", "1", "--backend", "interpreter"]) == 0
    assert "0 failed" in capsys.readouterr().out
