"""One peer on one case, in a process of its own; `rounds` starts it and asks it over pipes.

Requests and answers are lines of JSON on stdin and stdout. ``prepare`` imports the system, builds
and makes the first call; ``check`` compares with the reference; ``round`` times calls and answers
when no thread of this process is busy any more; ``finish`` tells the peak of memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

ROUND_SECONDS = 0.1  # of timed calls in a round
SLOW_CALL = 0.3  # seconds; a call that takes longer needs no warming up
FEWEST, MOST = 3, 1000  # calls in a round


class Session:
    """The peer, its case, and what was measured so far."""

    def __init__(self, peer: str, case: str, folder: str, setting: Answer, begin: float) -> None:
        self.peer, self.folder, self.setting = peer, Path(folder), setting
        self.case_name, self.begin = case, begin  # seconds since 1970, when this was asked for
        self.seconds = 0.0  # of a call
        self.start_memory = 0
        self.compile_memory: int | None = None

    def prepare(self) -> Answer:
        """Seconds from the start of the process to the first result, in three parts."""
        from cases import named
        from peers import PEERS, Setting

        row = PEERS[self.peer]
        module = row.load()
        imported = time.time() - self.begin
        self.case = named(self.case_name)
        self.feed = _arrays(self.folder / "feed.npz")
        self.start_memory = _memory("VmRSS")
        _reset_peak()
        begin = time.perf_counter()
        self.run = module.prepare(
            self.case, self.feed, Setting(**self.setting, variant=row.variant)
        )
        prepared = time.perf_counter()
        self.run.call()
        first = time.perf_counter()
        self.compile_memory = _memory("VmHWM") - self.start_memory
        return {
            "import": imported,
            "prepare": prepared - begin,
            "first": first - prepared,
        }

    def check(self) -> Answer:
        """The largest error, and which array has it; then how long a call takes."""
        worst = self._worst()
        self.seconds = min(self._times(FEWEST))
        _rest()
        _reset_peak()
        return {"error": worst[0], "worst": worst[1], "seconds": self.seconds}

    def round(self) -> Answer:
        """Median and minimum of some calls, in seconds; a network starts from its weights."""
        self.run.reset()
        if self.seconds < SLOW_CALL:
            self._times(max(2, min(50, int(0.2 * ROUND_SECONDS / self.seconds))))
            self.run.reset()
        calls = int(ROUND_SECONDS / self.seconds)
        calls = 1 if self.seconds > SLOW_CALL else min(MOST, max(FEWEST, calls))
        times = self._times(calls)
        _rest()
        return {"median": statistics.median(times), "min": min(times), "calls": calls}

    def finish(self) -> Answer:
        """MB above what the imports and the inputs took: while compiling, and while running."""
        if _memory("VmHWM") == 0:
            return {"memory": None}
        running = _memory("VmHWM") - self.start_memory
        parts = {"compile": self.compile_memory, "run": running}
        return {"memory": {k: (v or 0) / 1024 for k, v in parts.items()}}

    def _worst(self) -> tuple[float, str]:
        from reference import error

        self.run.reset()
        right: dict[str, dict[str, Any]] = {}
        for key, array in _arrays(self.folder / "expected.npz").items():
            call, _, name = key.partition(":")
            right.setdefault(call, {})[name] = array
        worst = (-1.0, "")
        for call in sorted(right, key=int):
            found = self.run.read(self.run.call())
            for name, array in right[call].items():
                start = self.feed[name] if "/" in name else None
                off = error(self.case, found[name], array, start)
                worst = max(worst, (off if off == off else float("inf"), name))
        return worst

    def _times(self, calls: int) -> list[float]:
        call, clock, found = self.run.call, time.perf_counter, []
        for _ in range(calls):
            begin = clock()
            call()
            found.append(clock() - begin)
        return found


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path) as file:
        return dict(file)


def _rest(longest: float = 2.0) -> None:
    """Wait until the threads of this process sleep: BLAS's spin for a while after a product."""
    deadline = time.perf_counter() + longest
    while time.perf_counter() < deadline:
        busy = time.process_time()
        time.sleep(0.02)
        if time.process_time() - busy < 0.001:
            return


def _memory(field: str) -> int:
    """A field of /proc/self/status in kB; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0


def _reset_peak() -> None:
    """VmHWM starts again from what is held now, on Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def pin(threads: int) -> None:
    """Keep this process on so many cores, each another one: XLA takes all that it sees."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        place = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(place.read_text() if place.exists() else str(cpu), cpu)
    chosen = list(cores.values())[:threads]
    if len(chosen) == threads:
        os.sched_setaffinity(0, chosen)


def main() -> None:
    peer, case, folder, setting, begin = sys.argv[1:]
    session = Session(peer, case, folder, json.loads(setting), float(begin))
    pin(session.setting["threads"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints does not mix with the answers
    for line in sys.stdin:
        try:
            answer = getattr(session, line.strip())()
        except Exception as problem:
            answer = {"failed": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
