"""Check the gradient of a model file's loss by every parameter and the input.

    python tools/gradcheck.py models/mlp.py
    python tools/gradcheck.py models/mlp.py --norm after --hidden "(32, 16)" --order 2
    python tools/gradcheck.py models/cnn.py --method central --batch 3
    python tools/gradcheck.py mine.py --set eps=1e-5 --expect-zero linear1/bias

What a gradient check is. A gradient says how fast the loss changes when a number moves. The
engine derives it by rules; a check moves the number and looks. The two must agree, in float64,
for every kind of input, along random directions and at single elements.

Central differences, (f(x+h) - f(x-h)) / 2h, work for any op, but lose digits: a small h cancels,
a large h bends. The complex step, Im f(x + ih) / h, subtracts nothing, so h can be 1e-30 and the
answer is exact to rounding; it needs every op in complex arithmetic (Squire and Trapp 1998).
--method auto takes the complex step where it applies and says so.

What fails. A gradient that differs from the derivative: then the first primitive whose own rule
is wrong is named, with its scope and line. A gradient that is zero in every direction tried: such
a check would pass with a wrong rule too. Some zeros are right, as for a bias before batch norm,
which the norm takes away again; say so with --expect-zero. Elements at a kink (a relu at 0) have
no derivative; they are reported and left out.

The exit status is 0 when the check passed, 1 when it failed, 2 when it could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from _model import ModelError, build_graph, load_model, pair_up, parse_options

import minigrad as mg

MARKS = {"ok": "green", "zero": "green", "empty": "dim"}


def labels(graph: mg.Graph, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Random labels below the number of classes, for every input that holds integers."""
    logits = graph.outputs.get("logits")
    classes = logits.shape[-1] if logits is not None and logits.shape else 2
    high = classes if isinstance(classes, int) else 2
    rng = np.random.default_rng(seed)
    return {
        node.name: rng.integers(0, high, [batch if isinstance(d, str) else d for d in node.shape])
        for node in graph.inputs
        if node.dtype.kind == "i"
    }


def named(graph: mg.Graph, names: Sequence[str]) -> list[mg.Node]:
    """The inputs and parameters called ``names``; ModelError lists what there is."""
    found = {node.name: node for node in (*graph.inputs, *graph.parameters)}
    for name in names:
        if name not in found:
            raise ModelError(f"nothing is called {name!r}; there is {', '.join(found)}")
    return [found[name] for name in names]


def check(args: argparse.Namespace, options: Sequence[str]) -> mg.Report:
    """The report on ``loss`` by every float input and trainable parameter, or by ``--wrt``."""
    graph = build_graph(load_model(args.model), "N", parse_options(options))
    floats = [node for node in graph.inputs if node.dtype.kind == "f"]
    return mg.gradcheck(
        graph.outputs["loss"],
        named(graph, args.wrt) if args.wrt else [*floats, *graph.parameters],
        at=at_batch(graph, args.batch, args.seed),
        method=args.method,
        order=args.order,
        expect_zero=named(graph, args.expect_zero),
        seed=args.seed,
        rtol=args.rtol,
        directions=args.directions,
        jitter=args.jitter,
    )


def at_batch(graph: mg.Graph, batch: int, seed: int) -> dict[str, np.ndarray]:
    """Labels and standard normal numbers for a batch of that size."""
    feed = labels(graph, batch, seed)
    rng = np.random.default_rng([seed, 1])
    for node in graph.inputs:
        if node.dtype.kind == "f" and any(isinstance(d, str) for d in node.shape):
            feed[node.name] = rng.normal(
                size=[batch if isinstance(d, str) else d for d in node.shape]
            )
    return feed


def show(report: mg.Report) -> None:
    """The report as a table where rich is installed, else as text."""
    try:
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError:
        print(report)
        return
    table = Table("order", "by", "verdict", "analytic", "numeric", "error", box=SIMPLE)
    for entry in report.entries:
        index = "" if entry.index is None else escape(str(list(entry.index)).replace(" ", ""))
        style = MARKS.get(entry.verdict, "bold red")
        numbers = f"{entry.analytic:.6g}", f"{entry.numeric:.6g}", f"{entry.error:.1e}"
        table.add_row(
            str(entry.order), entry.name + index, f"[{style}]{entry.verdict}[/]", *numbers
        )
    console = Console()
    console.print(table) if console.is_terminal else Console(width=100).print(table)
    entries = {str(entry) for entry in report.entries}
    print("\n".join(line for line in str(report).splitlines() if line.strip() not in entries))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("model", help="a file with build(batch, **options) -> Graph")
    found.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                       help="an option of build; --KEY VALUE does the same")  # fmt: skip
    found.add_argument("--order", type=int, choices=(1, 2), default=1,
                       help="2 checks the gradient of the gradient as well")  # fmt: skip
    found.add_argument("--method", choices=("auto", "complex", "central"), default="auto")
    found.add_argument("--batch", type=int, default=5, help="how many examples (default 5)")
    found.add_argument("--wrt", action="append", default=[], metavar="NAME",
                       help="check by this input or parameter only; may be repeated")  # fmt: skip
    found.add_argument("--expect-zero", action="append", default=[], metavar="NAME",
                       help="the gradient by NAME is zero, and rightly so")  # fmt: skip
    found.add_argument("--jitter", type=float, default=0.1,
                       help="moves parameters by up to this much, so that a gamma of 1 or a bias "
                       "of 0 hides nothing (default 0.1)")  # fmt: skip
    found.add_argument("--rtol", type=float, help="relative error tolerated beyond rounding")
    found.add_argument("--directions", type=int, default=4, help="random directions an input")
    found.add_argument("--seed", type=int, default=0)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    args, rest = parser().parse_known_args(argv)
    try:
        report = check(args, [*args.set, *pair_up(rest)])
    except (ModelError, mg.GraphError) as error:
        print(f"gradcheck: {error}", file=sys.stderr)
        return 2
    show(report)
    return 0 if report else 1


if __name__ == "__main__":
    sys.exit(main())
