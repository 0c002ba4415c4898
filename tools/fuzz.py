"""Compare a backend with the interpreter on random graphs, which `tests/graphs.py` grows.

    python tools/fuzz.py --cases 20000 --seed 0 --jobs 2
    python tools/fuzz.py --seed 0 --case 1234        # one case again, made small and printed

Each graph runs two steps, the second with other sizes and the state that the first returned. Bools
and integers must be equal. A float may differ by what rounding explains: a few units in the last
place, or 8 times what the interpreter's result moves by when every op is off by up to two units,
or 8 times its distance from float64 where that is small; where it is large, or the interpreter
overflows, the backend is to be as near to float64, or nearer.
What such disturbances turn over (a comparison) is *unstable*:
counted, not compared. Nothing fed and nothing returned before may change, equal calls give equal
bits, and a feed that the interpreter refuses is refused.
"""

from __future__ import annotations

import argparse
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from rich.progress import MofNCompleteColumn, Progress

import minigrad as mg
from minigrad.backends import Executable, lower
from minigrad.backends.feed import by_node, checked
from minigrad.ir import Node, is_leaf, substitute

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from graphs import Builder, random_graph  # the generator lives with the tests

Array: TypeAlias = np.ndarray[Any, Any]
Arrays: TypeAlias = dict[str, Array]
Feed: TypeAlias = Mapping[str, Any]

OPTIONS = (
    ("cases", 1000, "how many"), ("seed", 0, "whose cases"), ("jobs", 2, "processes"),
    ("backend", "native", ""), ("largest", 40, "nodes, about"), ("timeout", 300.0, "seconds"),
)  # fmt: skip
SLACK = 8  # how many times the interpreter's own error is forgiven
ROUNDED = ("add", "sub", "mul", "div", "pow", "sqrt", "exp", "log", "log1p", "tanh", "erf", "cast",
           "sum", "mean", "matmul", "fold", "scatter_add")  # fmt: skip
UNSIGNED = ("maximum", "minimum", "max", "sum", "mean", "matmul", "fold", "scatter_add")


class Mismatch(AssertionError):  # noqa: N818  # a finding, not an error
    """The backends disagree; the text before the colon says on what."""


@dataclass(frozen=True)
class Case:
    """A graph, a feed for each step, and how many threads run it."""

    graph: mg.Graph
    feeds: tuple[Feed, ...]
    threads: int = 1


def random_case(seed: int, number: int, *, largest: int = 40) -> Case:
    """Case ``number`` of ``seed``; the same in every process."""
    rng = random.Random(f"{seed}/{number}")
    b = Builder(rng)
    graph = random_graph(b, largest)
    first = random_feed(b, graph, again=False)
    b.dims = {d: rng.choice([n for n in (0, 1, 2, 3, 7, 19) if n != b.dims[d]]) for d in b.dims}
    return Case(graph, (first, random_feed(b, graph, again=True)), 1 + number % 2)


def random_feed(b: Builder, graph: mg.Graph, *, again: bool) -> Feed:
    """The numbers that the graph was grown with, or new ones; in all sorts of arrays."""
    feed = {}
    for node in graph.inputs:
        value, shape = b.values[node], b.sized(node.shape)
        if again and node.name in b.indices:
            high = max(b.sized((b.indices[node.name],))[0], 1)  # from the end, too
            value = np.reshape(b.rng.choices(range(-high, high), k=int(np.prod(shape))), shape)
        elif again:
            value = b.numbers(shape, node.dtype)
        if b.special and node.dtype.kind != "b":
            value = at_borders(b.rng, value)
        feed[node.name] = disguised(b.rng, np.asarray(value, node.dtype))
    return feed


def at_borders(rng: random.Random, x: Array) -> Array:
    """``x`` with a third of its numbers at the borders of its dtype."""
    if x.dtype.kind == "i":
        edge = np.iinfo(x.dtype).max
        borders = [0, -1, 1, edge, -edge - 1, edge // 3]
    else:
        info = np.finfo(x.dtype)
        borders = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, info.min, info.max**0.5 / 2,
                   info.tiny, -info.tiny / 4, info.smallest_subnormal * 5]  # fmt: skip
    drawn = np.array(rng.choices(borders, k=x.size), x.dtype).reshape(x.shape)
    chosen = np.array(rng.choices((True, False, False), k=x.size), bool).reshape(x.shape)
    return np.where(chosen, drawn, x)


def disguised(rng: random.Random, x: Array) -> Any:
    """The same numbers in another layout or type that a feed accepts."""
    ways: list[Callable[[], Any]] = [
        lambda: x, lambda: x, lambda: x.astype(x.dtype.newbyteorder()),
        lambda: np.frombuffer(b"?" + x.tobytes(), x.dtype, x.size, 1).reshape(x.shape),  # frozen
        lambda: x.astype(f"{x.dtype.kind}8") if x.dtype.kind in "if" else x,
        lambda: x.tolist() if x.size else x,
    ]  # fmt: skip
    if x.ndim:
        ways += [
            lambda: np.asfortranarray(x), lambda: x[..., ::-1].copy()[..., ::-1],
            lambda: x[::-1].copy()[::-1], lambda: np.repeat(x, 2, axis=-1)[..., ::2],
            lambda: np.swapaxes(np.swapaxes(x, 0, -1).copy(), 0, -1),
            lambda: np.broadcast_to(x[:1], x.shape) if len(x) else x,
        ]  # fmt: skip
    return rng.choice(ways)()


def compare(case: Case, backend: str = "native") -> tuple[str, int]:
    """What differs from the interpreter ("" for nothing), and how many values were unstable."""
    with warnings.catch_warnings(), np.errstate(all="ignore"), np.printoptions(threshold=8):
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy on the mean of nothing
        try:
            made = mg.compile(case.graph, backend, threads=case.threads, cache=False)
            return "", _compare(case, made)
        except Mismatch as found:
            return str(found), 0
        except Exception as error:
            return f"raised {type(error).__name__}: {error}", 0


def _compare(case: Case, made: Executable) -> int:
    oracle, unstable, live, compiled = mg.compile(case.graph, "interpreter"), 0, None, 0
    _identical("initial state", oracle.init_state(0), start := made.init_state(0))
    start = {name: np.asfortranarray(a) if a.ndim else a for name, a in start.items()}
    kept: list[tuple[Arrays, Arrays]] = []
    for feed in case.feeds:
        fed, before = _copied(feed), _copied(start)
        try:
            expected = _named(*oracle(start, **feed))
        except mg.GraphError:
            try:
                made(start, **feed)
            except mg.GraphError:
                break
            raise Mismatch("accepted: a feed that the interpreter refuses") from None
        found = _named(*made(start, **feed))
        _identical("input changed", fed, _copied(feed))
        _identical("state changed", before, _copied(start))
        kept.append((_copied(found), found))
        compiled = compiled or getattr(made, "compiled", 0)
        outputs, state = made(_copied(start) if live is None else live, **feed)
        _identical("same call twice", kept[-1][0], _named(outputs, state))
        unstable += judge(case.graph, feed, start, expected, found)
        live, start = state, {name: np.array(array) for name, array in state.items()}
        if getattr(made, "compiled", 0) != compiled:
            raise Mismatch("compiled again: another call built a kernel")
    for copy, result in kept:
        _identical("earlier result changed", copy, result)
    return unstable


def _named(outputs: Mapping[str, Array], state: Mapping[str, Array]) -> Arrays:
    return {**outputs, **{f"state {name}": array for name, array in state.items()}}


def _roots(graph: mg.Graph) -> dict[str, Node]:
    return {**graph.outputs, **{f"state {u.state.name}": u.value for u in graph.updates}}


def _copied(arrays: Mapping[str, Any]) -> Arrays:
    return {name: np.array(value) for name, value in arrays.items()}


def _identical(kind: str, wanted: Arrays, found: Arrays) -> None:
    if list(wanted) != list(found):
        raise Mismatch(f"{kind}: {list(found)} instead of {list(wanted)}")
    for name, array in wanted.items():
        if array.tobytes() != found[name].tobytes():
            raise Mismatch(f"{kind}: {name} is {found[name]} instead of {array}")


def judge(graph: mg.Graph, feed: Feed, start: Arrays, expected: Arrays, found: Arrays) -> int:
    """Mismatch unless rounding explains every difference; else the number of unstable values."""
    roots, unstable = _roots(graph), 0
    if list(found) != list(expected):
        raise Mismatch(f"names: {list(found)} instead of {list(expected)}")
    for name, wanted in expected.items():
        got = found[name]
        if (got.shape, got.dtype) != (wanted.shape, kind := wanted.dtype):
            raise Mismatch(f"type: {name} is {got.dtype}{got.shape}, not {kind}{wanted.shape}")
        good, noise = _close(got, wanted, 4 * _unit(wanted, kind)), np.zeros(wanted.shape)
        if not good.all() and name in roots:
            noise, turned = disturbance(graph, roots[name], feed, start)
            good |= turned | _close(got, wanted, SLACK * noise)
            unstable += bool(turned.any())
            right = _right(graph, name, feed, start)
            error, unit = np.abs(0.0 + wanted - right), 4 * _unit(right, kind)
            good |= _close(got, right, SLACK * error + unit) & (error < 16 * unit)
            good |= _close(got, right, error) & np.isfinite(wanted)  # no farther off than numpy
            with np.errstate(over="ignore"):  # multiply-and-add does not overflow halfway
                good |= _close(got, right.astype(kind), unit) & ~np.isfinite(wanted)
        if not good.all():
            at = tuple(map(int, np.argwhere(~good)[0]))
            raise Mismatch(
                f"value of {kind}: {name}{list(at)} is {got[at]}, not {wanted[at]}; "
                f"rounding explains {SLACK * noise[at]:.2g}; {(~good).sum()} of {good.size} wrong"
            )
    return unstable


def _unit(x: Array, dtype: Any) -> Any:
    """One unit in the last place of numbers as large as ``x``."""
    info = np.finfo(dtype if dtype.kind == "f" else np.float32)
    size = np.where(np.isfinite(x), np.abs(x.astype(np.float64)), 0)
    return size * float(info.eps) + float(info.smallest_subnormal)


def _close(a: Array, b: Array, slack: Any) -> Any:
    if a.dtype.kind != "f":
        return np.asarray(a == b)
    near = np.abs(a.astype(np.float64) - b) <= slack
    return (a == b) | (np.isnan(a) & np.isnan(b)) | (near & np.isfinite(a) & np.isfinite(b))


def disturbance(graph: mg.Graph, node: Node, feed: Feed, start: Arrays) -> tuple[Any, Any]:
    """How far the value moves when every op is a little wrong, and which elements turn over."""
    values, dims = _leaves(graph, feed, start)
    (base,), rng = lower([node]).run(values, dims), np.random.default_rng(0)
    noise, turned = np.zeros(base.shape), np.zeros(base.shape, bool)
    evals = {name: _shaken(mg.PRIMITIVES[name], rng) for name in {*ROUNDED, *UNSIGNED}}
    for _ in range(16):
        (moved,) = lower([node], evals=evals).run(values, dims)
        same = _close(moved, base, np.inf)
        turned |= ~same
        if base.dtype.kind == "f":
            far = np.abs(moved.astype(np.float64) - base)
            noise = np.maximum(noise, np.where(same & np.isfinite(base), far, 0))
    return noise, turned


def _shaken(prim: mg.Primitive, rng: np.random.Generator) -> Callable[..., Any]:
    def shake(x: Any, units: float = 2) -> Any:
        x = np.asarray(x)
        if x.dtype.kind != "f":
            return x
        if prim.name in UNSIGNED:  # which zero comes out is not defined
            x = np.where(x == 0, x * rng.choice(np.array((-1, 1), x.dtype), x.shape), x)
        eps = float(np.finfo(x.dtype).eps) * (prim.name in ROUNDED)
        return np.asarray(x * (1 + eps * rng.uniform(-units, units, x.shape)), x.dtype)

    def run(xp: Any, x: Any, *rest: Any, **attrs: Any) -> Any:
        y = prim.eval(xp, x, *rest, **attrs)
        if prim.kind is not mg.Kind.ELEMENTWISE:  # a sum of many is rounded many times
            many = np.sqrt(np.size(x) / max(np.size(y), 1))
            y = prim.eval(xp, shake(x, 2 + many / 4), *rest, **attrs)
        return shake(y)

    return run


def _right(graph: mg.Graph, name: str, feed: Feed, start: Arrays) -> Array:
    """The value by the float64 graph."""
    wide, (values, _) = mg.retype(graph, "float64"), _leaves(graph, feed, start)
    exact = {node.name: values[node] for node in graph.inputs}
    return lower([_roots(wide)[name]]).run(*_leaves(wide, exact, start))[0]


def _leaves(graph: mg.Graph, feed: Feed, start: Arrays) -> tuple[dict[Node, Any], Any]:
    """The leaves' arrays, and the sizes of named dims."""
    dims: dict[str, int] = {}
    values = {n: checked(n, v, dims) for n, v in by_node(feed, graph.inputs).items()}
    states = [n for n in graph.leaves if n.prim.name in ("parameter", "state")]
    return {**values, **{n: checked(n, start[n.name], dims) for n in states}}, dims


def shrink(case: Case, fails: Callable[[Case], str], tries: int = 400) -> Case:
    """A smaller case that fails in the same way: fewer steps, outputs, updates and nodes."""

    def kind(text: str) -> str:  # wrong values may be wrong in another way each time
        return text.split(":")[0] if text[:6] in ("", "raised") else "wrong"

    wanted, candidates = kind(fails(case)), _smaller(case)
    while tries and (smaller := next(candidates, None)) is not None:
        tries -= 1
        if kind(fails(smaller)) == wanted:
            case, candidates = smaller, _smaller(smaller)
    return case


def _smaller(case: Case) -> Iterator[Case]:
    graph = case.graph
    outputs, updates = dict(graph.outputs), graph.updates
    if len(case.feeds) > 1:
        yield from [replace(case, feeds=(feed,)) for feed in case.feeds]
    if len(needed := mg.Graph((), outputs, updates).inputs) < len(graph.inputs):
        names = {node.name for node in needed}
        feeds = [{k: v for k, v in feed.items() if k in names} for feed in case.feeds]
        yield replace(case, graph=mg.Graph(needed, outputs, updates), feeds=tuple(feeds))
    fewer = [(outputs, ())] if updates else []
    fewer += [({k: outputs[k]}, updates) for k in outputs if len(outputs) > 1]
    fewer += [(outputs, tuple(u for u in updates if u is not out)) for out in updates]
    fewer += [({k: n for k, n in outputs.items() if k != out}, updates) for out in outputs]
    fewer += [({**outputs, k: x}, updates) for k, n in outputs.items() for x in n.inputs]
    yield from [replace(case, graph=mg.Graph(graph.inputs, *some)) for some in fewer if some[0]]
    for node in graph.nodes[::-1]:
        with suppress(mg.GraphError):  # the interpreter refuses the feed
            if not is_leaf(node) and node not in graph.roots:
                yield _cut(case, node)


def _cut(case: Case, node: Node) -> Case:
    """A new input in the place of a node, fed with the node's value."""
    graph = case.graph
    new = mg.input(f"cut{len(graph.nodes)}", node.shape, node.dtype)
    start = mg.compile(graph, "interpreter").init_state(0)
    values = [lower([node]).run(*_leaves(graph, feed, start))[0] for feed in case.feeds]
    feeds = [{**feed, new.name: v} for feed, v in zip(case.feeds, values, strict=True)]
    moved = dict(zip(_roots(graph), substitute(_roots(graph).values(), {node: new}), strict=True))
    outputs = {name: moved[name] for name in graph.outputs}
    updates = tuple([mg.Update(u.state, moved[f"state {u.state.name}"]) for u in graph.updates])
    return replace(case, graph=mg.Graph((*graph.inputs, new), outputs, updates), feeds=tuple(feeds))


def described(case: Case) -> str:
    """The graph, and what is fed to it."""
    lines = [str(case.graph), f"threads: {case.threads}"]
    for name, value in [item for feed in case.feeds for item in feed.items()]:
        with np.printoptions(threshold=8, edgeitems=2):
            lines.append(f"{name}, {type(value).__name__} {np.shape(value)}: {np.asarray(value)}")
    return "\n".join(lines)


def work(numbers: Sequence[int], args: argparse.Namespace) -> tuple[dict[int, str], int]:
    """What failed among some cases, and how many values were unstable."""
    cases = (random_case(args.seed, number, largest=args.largest) for number in numbers)
    found = [compare(case, args.backend) for case in cases]
    failed = {n: text for n, (text, _) in zip(numbers, found, strict=True) if text}
    return failed, sum(n for _, n in found)


def search(args: argparse.Namespace) -> list[int]:
    """Run all cases on several processes; the numbers of those that failed."""
    chunks = [range(k, min(k + 10, args.cases)) for k in range(0, args.cases, 10)][::-1]
    running: dict[Future[Any], range] = {}
    failed, unstable = [], 0
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        pool = ProcessPoolExecutor(args.jobs, get_context("spawn"))
        bar = progress.add_task("", total=args.cases)
        while (chunks or running) and (args.keep_going or not failed):
            while chunks and len(running) < args.jobs:
                numbers = chunks.pop()
                running[pool.submit(work, numbers, args)] = numbers
            done, _ = wait(running, timeout=args.timeout, return_when=FIRST_COMPLETED)
            if not done or any(isinstance(f.exception(), BrokenProcessPool) for f in done):
                for child in active_children():
                    child.kill()
                sys.exit(f"a process died or hangs in one of {[*map(list, running.values())]}")
            for future in done:
                numbers, (found, more) = running.pop(future), future.result()
                failed, unstable = [*failed, *found], unstable + more
                for number, text in found.items():
                    progress.console.print(f"--case {number}: {text}", markup=False, soft_wrap=True)
                progress.update(bar, description=f"{len(failed)} failed, {unstable} unstable")
                progress.advance(bar, len(numbers))
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.description = __doc__
    for flag, default, text in OPTIONS:
        parser.add_argument(f"--{flag}", default=default, type=type(default), help=text)
    parser.add_argument("--case", type=int, help="run this case only")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    args = parser.parse_args(argv)
    if not (failed := search(args) if args.case is None else [args.case]):
        return 0
    case = random_case(args.seed, failed[0], largest=args.largest)
    if compare(case, args.backend)[0]:
        case = shrink(case, lambda smaller: compare(smaller, args.backend)[0])
    found = compare(case, args.backend)[0]
    print(f"--seed {args.seed} --case {failed[0]}: {found or 'the backends agree'}")
    print(described(case))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
