"""Every claim of the lectures on batch norm as an experiment, and a report of what was seen.

    python tools/lab.py --quick               all experiments in under three minutes on two cores
    python tools/lab.py                       the same with longer runs and more seeds
    python tools/lab.py --only figure1        one experiment; give --only again for more
    python tools/lab.py --list                their names and claims
    python tools/lab.py --out DIR --seeds 10

It writes DIR/index.html, one page that holds everything, and DIR/report.md with DIR/plots/*.svg.
Each experiment states the claim and its source, what was seen, with 95 % intervals over seeds,
and when the claim does not hold. Verdicts are computed from the numbers of the run: where what was
seen contradicts a lecture, the report says so. The same seeds give the same numbers on one machine.

Needs matplotlib and the digits: pip install 'minigrad[data,plots]'.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad.ir.files import write_whole

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import EXPERIMENTS, timed  # the folder beside this file
from lab.report import Entry, write
from lab.result import Result, Settings

QUICK_SEEDS, FULL_SEEDS = 4, 8


def chosen(names: Sequence[str]) -> list[str]:
    """The experiments asked for, in the order of the report; all by default."""
    for name in names:
        if name not in EXPERIMENTS:
            sys.exit(f"lab.py: there is no experiment {name!r}; there is {', '.join(EXPERIMENTS)}")
    return [name for name in EXPERIMENTS if not names or name in names]


def perform(names: Sequence[str], settings: Settings, jobs: int = 1) -> list[Entry]:
    """Run the experiments, ``jobs`` at a time, saying what came out."""
    found: dict[str, tuple[Result, float]] = {}
    jobs = min(jobs, len(names))
    if jobs == 1:
        for name in names:
            found[name] = timed(name, settings)
            announce(name, *found[name])
    else:
        # Each process compiles and draws for itself; the longest begin first.
        waiting = sorted(names, key=lambda name: -EXPERIMENTS[name].weight)
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            futures = {pool.submit(timed, name, settings): name for name in waiting}
            for future in as_completed(futures):
                name = futures[future]
                found[name] = future.result()
                announce(name, *found[name])
    return [(EXPERIMENTS[name], *found[name]) for name in names]


def announce(name: str, result: Result, seconds: float) -> None:
    print(f"{name:16} {seconds:6.1f} s  {result.verdict}", flush=True)


def facts(settings: Settings, seconds: float) -> str:
    """One line on how the report was made."""
    kind = "quick" if settings.quick else "full"
    return (
        f"A {kind} run with {len(settings.seeds)} seeds, {seconds:.0f} s, native backend, minigrad "
        f"{mg.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors."
    )


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("--quick", action="store_true", help="short runs, few seeds: under three minutes")
    add("--only", action="append", default=[], metavar="NAME", help="this experiment; repeatable")
    add("--out", type=Path, default=Path("out/lab"), help="where the report goes (out/lab)")
    add("--seeds", type=int, help=f"repetitions ({FULL_SEEDS}, with --quick {QUICK_SEEDS})")
    add("--jobs", type=int, help="experiments that run side by side (all processors, at most 4)")
    add("--pictures", type=Path, metavar="DIR", help="keep each plot as DIR/lab_NAME.svg too")
    add("--list", action="store_true", help="the experiments and their claims")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.list:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:16} {experiment.claim}")
        return
    missing = [name for name in ("matplotlib", "sklearn", "mlxtend") if find_spec(name) is None]
    if missing:
        sys.exit(f"lab.py: needs {', '.join(missing)}: pip install 'minigrad[data,plots]'")
    count = args.seeds
    if count is None:
        count = QUICK_SEEDS if args.quick else FULL_SEEDS
    if count < 1:
        sys.exit(f"lab.py: --seeds is {count}, there must be at least 1")
    names, settings = chosen(args.only), Settings(tuple(range(count)), args.quick)
    begin = time.perf_counter()
    jobs = args.jobs or min(os.cpu_count() or 1, 4)
    entries = perform(names, settings, max(jobs, 1))
    seconds = time.perf_counter() - begin
    written = write(args.out, entries, facts(settings, seconds))
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for plot in (plot for _, result, _ in entries for plot in result.plots):
            written.append(args.pictures / f"lab_{plot.name}.svg")
            write_whole(written[-1], plot.svg)
    print(f"{len(written)} files in {args.out.resolve()}: open {args.out / 'index.html'}")
    print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
