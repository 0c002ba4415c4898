"""Look through a model file for what computes and is still wrong.

    python tools/lint.py models/mlp.py
    python tools/lint.py mine.py --set norm=after --optimiser adamw --with decay_all=True
    python tools/lint.py mine.py --rule bias-before-norm --diff
    python tools/lint.py --rules

What lint is. A graph can be well typed, differentiate, train, and still be a mistake: a variance
whose digits cancel, a bias that the next norm takes away, a test loss that is the same for every
input. A rule finds one such mistake by the structure of the graph and by numbers, whatever the
layers are called; it says where in your file, why it matters and who says so, and what to do.

What a rewrite is. Where a rule knows the right graph, it builds it and computes both in float64
at random points. Only when all outputs and updates agree (for a rewrite that adds an eps: with an
eps of 0) and the rule is silent on the new graph is the rewrite offered; --diff prints it.

Weight decay on gamma and beta is a matter of the training step: --optimiser adds one, with options
by --with. Everything else is best asked of the model alone: a graph that holds gradients is
searched too, but rewrites that would leave the gradient of the old formula behind are not made.

The exit status is 0 when nothing is found, 1 when something is, 2 when lint could not run.
"""

from __future__ import annotations

import argparse
import linecache
import os
import sys
from collections.abc import Sequence

from _model import ModelError, build_graph, load_model, pair_up, parse_options

import minigrad as mg
from minigrad.passes.linting import RULES
from minigrad.train.optim import OPTIMISERS


def linted(args: argparse.Namespace, options: Sequence[str]) -> tuple[mg.Graph, list[mg.Finding]]:
    """The graph as asked for, and what is found in it."""
    graph = build_graph(load_model(args.model), args.batch, parse_options(options), outputs=())
    if args.optimiser:
        try:
            graph = OPTIMISERS[args.optimiser](graph, **{"lr": 0.01, **parse_options(args.with_)})
        except TypeError as error:
            raise ModelError(f"{args.optimiser}: {error}") from None
    if args.inference:
        graph = mg.to_inference(graph)
    return graph, mg.lint(graph, args.rule or None, fixes=not args.no_rewrites)


def show(finding: mg.Finding, graph: mg.Graph, diff: bool) -> None:
    """Where, what, the user's own line, why, what to do, and what is known of the rewrite."""
    where = place_of(finding)
    print(f"{where}: {finding.rule}: {finding.message}{scope_of(finding)}")
    if finding.location is not None:
        line = linecache.getline(*finding.location).strip()
        if line:
            print(f"    | {line}")
    print(f"    why: {finding.why}")
    print(f"    do:  {finding.suggestion}")
    if finding.checked:
        print(f"    rewrite: {finding.checked}")
    if diff and finding.fixed is not None:
        text = str(mg.diff(graph, finding.fixed))
        print("\n".join(f"      {line}" for line in text.splitlines()))


def place_of(finding: mg.Finding) -> str:
    """``models/mlp.py:41``, relative to where the tool was called if that is shorter."""
    if finding.location is None:
        return "?"
    file, line = finding.location
    return f"{min(file, os.path.relpath(file), key=len)}:{line}"


def scope_of(finding: mg.Finding) -> str:
    return f" (in {finding.node.scope})" if finding.node.scope.path else ""


def show_rules() -> None:
    for rule in RULES:
        print(f"{rule.name}: {rule.finds}\n    why: {rule.why}\n    do:  {rule.suggestion}")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("model", nargs="?", help="a file with build(batch, **options) -> Graph")
    found.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                       help="an option of build; --KEY VALUE does the same")  # fmt: skip
    found.add_argument("--batch", default="N", type=lambda text: int(text) if text.isdigit()
                       else text, help="the batch size; a name, by default N, is any")  # fmt: skip
    found.add_argument("--optimiser", choices=sorted(OPTIMISERS),
                       help="add an optimiser before looking")  # fmt: skip
    found.add_argument("--with", action="append", default=[], metavar="KEY=VALUE", dest="with_",
                       help="an option of the optimiser, such as weight_decay=0.1")  # fmt: skip
    found.add_argument("--inference", action="store_true", help="look at the inference graph")
    found.add_argument("--rule", action="append", default=[], metavar="NAME",
                       help="apply this rule only; may be repeated")  # fmt: skip
    found.add_argument("--rules", action="store_true", help="print all rules, and stop")
    found.add_argument("--diff", action="store_true", help="print each rewrite, as a diff")
    found.add_argument("--no-rewrites", action="store_true", help="find only, which is faster")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    args, rest = parser().parse_known_args(argv)
    if args.rules:
        show_rules()
        return 0
    try:
        if args.model is None:
            raise ModelError("name a model file, such as models/mlp.py")
        graph, findings = linted(args, [*args.set, *pair_up(rest)])
    except (ModelError, mg.GraphError) as error:
        print(f"lint: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        show(finding, graph, args.diff)
    offered = sum(finding.fixed is not None for finding in findings)
    if not findings:
        print(f"nothing found in {len(graph.nodes)} nodes by {len(args.rule or RULES)} rules")
        return 0
    print(f"{len(findings)} found, {offered} with a verified rewrite")
    return 1


if __name__ == "__main__":
    sys.exit(main())
