"""Time minigrad beside its peers: batch norm and other norms, training steps, inference, start-up.

    python tools/bench/run.py                     everything; writes tools/bench/results.json
    python tools/bench/run.py --quick             under two minutes: fewer shapes, rounds and peers
    python tools/bench/run.py --only bn --peers torch,numba --rounds 15
    python tools/bench/run.py --table             put the results into the README; measures nothing
    python tools/bench/run.py --plot ratios.svg   draw them; measures nothing

Every peer runs each case in a process of its own, on two cores and two threads, in float32, and is
compared with a float64 reference in numpy before it is timed. Rounds of the peers take turns while
the others sleep. A table shows the median of the rounds' medians, the fastest call, the spread
(quartile distance of the rounds over their median), the ratio to minigrad's time (the median of
the rounds' ratios: more than 1 means that minigrad is faster), the largest relative error, and
the megabytes that the process had grown by at its peak, above its imports and inputs: while it
built and compiled, and while it was timed (libraries and machine code that were loaded by then
are in both).

A peer that is not installed is listed as such. The exit status is 1 when a peer fails or is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import report
import results
from cases import CASES, FIRST_STEPS, Case
from peers import PEERS, Setting
from rich.console import Console
from rounds import measure, measure_starts

from minigrad.backends.executable import BACKENDS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
README = HERE.parents[1] / "README.md"
ROUNDS, QUICK_ROUNDS, START_ROUNDS = 9, 3, 3
QUICK_PEERS = ("minigrad", "torch", "onnxruntime", "numpy", "numba", "micrograd")


def chosen_cases(only: str | None, quick: bool) -> list[Case]:
    """The cases of a group, or those with a part of the name; ValueError for none.

    >>> [case.name for case in chosen_cases("cnn", quick=False)]
    ['cnn (64,1,28,28) sgd', 'start cnn (64,1,28,28) sgd']
    """
    every = [*CASES, *FIRST_STEPS]
    found = [case for case in every if case.quick or not quick]
    if only:
        groups = {case.group for case in every}
        found = [c for c in found if c.group == only or (only not in groups and only in c.name)]
    if not found:
        names = "\n  ".join(case.name for case in every)
        raise ValueError(f"no case {only!r}{' with --quick' if quick else ''}; there is\n  {names}")
    return found


def chosen_peers(case: Case, names: Iterable[str] | None, quick: bool, full: bool) -> list[str]:
    """The peers of a case that are asked for; minigrad always, because ratios are to it."""
    if names is not None:
        return [peer for peer in case.peers if peer in ("minigrad", *names)]
    allowed = QUICK_PEERS if quick else tuple(PEERS)
    return [peer for peer in case.peers if peer in allowed and (full or not PEERS[peer].slow)]


def run_case(
    case: Case, peers: Sequence[str], setting: Setting, rounds: int
) -> dict[str, dict[str, Any]]:
    """The results of a case by name: one, or two for a start (cold and warm)."""
    told = {**results.circumstances(), "setting": {"backend": setting.backend, "threads": 2}}
    before = results.busy_share()
    if case.group == "start":
        rounds = min(rounds, START_ROUNDS)
        found = {
            f"{case.name}, {temperature}": entries
            for temperature, entries in measure_starts(case, peers, setting, rounds).items()
        }
    else:
        found = {case.name: measure(case, peers, setting, rounds)}
    told["busy"] = max(before, results.busy_share())
    return {name: {"group": case.group, **told, "peers": e} for name, e in found.items()}


def measure_all(args: argparse.Namespace, console: Console) -> results.Results:
    """Measure what is asked for, and print each case when it is done."""
    setting = Setting(backend=args.backend)
    found: results.Results = {"machine": results.machine(), "cases": {}}
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    for case in chosen_cases(args.only, args.quick):
        peers = chosen_peers(case, args.peers, args.quick, args.full)
        done = run_case(case, peers, setting, rounds)
        found["cases"].update(done)
        for name, entry in done.items():
            console.print(report.case_table(name, entry["peers"]))
            report.print_failures(console, name, entry["peers"])
            if entry["busy"] > report.BUSY:
                console.print(f"others used {entry['busy']:.0%} of the processors: measure again")
        if args.json:  # after every case: what is done stays when the rest is interrupted
            results.save(args.json, results.merged(results.load(args.json), found))
    return found


def failures(found: results.Results) -> list[str]:
    """Which peers failed on which cases."""
    return [
        f"{name}: {peer}"
        for name, case in found["cases"].items()
        for peer, entry in case["peers"].items()
        if "failed" in entry
    ]


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--quick", action="store_true", help="fewer shapes, rounds and peers")
    speed.add_argument("--full", action="store_true", help="torch.compile too, which takes minutes")
    parser.add_argument("--only", metavar="CASE", help="a group (bn, mlp, ...) or part of a name")
    parser.add_argument("--peers", metavar="A,B", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, help=f"({ROUNDS}; {QUICK_ROUNDS} with --quick)")
    parser.add_argument("--backend", choices=BACKENDS, help="of minigrad (native if it is there)")
    where = f"of results ({RESULTS.name} beside this file; with --quick none is written)"
    parser.add_argument("--json", type=Path, metavar="FILE", help=where)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results file")
    table = "write the results file into the README, between its markers"
    parser.add_argument("--table", nargs="?", type=Path, const=README, metavar="FILE", help=table)
    args = parser.parse_args(argv)
    args.backend = args.backend or ("native" if "native" in BACKENDS else "interpreter")
    if args.peers is not None:
        args.peers = args.peers.split(",")
        unknown = [peer for peer in args.peers if peer not in PEERS]
        if unknown:
            parser.error(f"no peer {', '.join(unknown)}; there is {', '.join(PEERS)}")
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds must be at least 1")
    args.show = args.plot is not None or args.table is not None
    if args.json is None and (args.show or not args.quick):
        args.json = RESULTS
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parsed(argv)
    console = Console(width=None if sys.stdout.isatty() else 110)  # of a file, not 80
    try:
        if args.show:
            show(args, console)
            return
        found = measure_all(args, console)
    except ValueError as problem:
        print(f"run.py: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    report.print_ratios(console, found)
    failed = failures(found)
    if failed:
        sys.exit("run.py: failed or wrong:\n  " + "\n  ".join(failed))


def show(args: argparse.Namespace, console: Console) -> None:
    """Print the results file, and write it into the README or a picture."""
    found = results.load(args.json)
    if not found["cases"]:
        raise ValueError(f"there are no results in {args.json}; measure first")
    report.print_ratios(console, found)
    if args.table:
        report.write_readme(args.table, found)
        console.print(f"table written to {args.table}")
    if args.plot:
        try:
            report.plot(args.plot, found)
        except ImportError:
            raise ValueError("a plot needs matplotlib: pip install 'minigrad[plots]'") from None
        console.print(f"picture {args.plot}")


if __name__ == "__main__":
    main()
