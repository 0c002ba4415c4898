"""Measure a case: a process a peer, checked first, then timed in turns.

In every round each peer has its turn, alone: the others sleep, and the order moves on by one from
round to round. So a slow minute of the machine is a slow minute for all, and the ratio of two
peers is taken within rounds.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cases
import numpy as np
import reference
from cases import Case
from peers import PEERS, Setting

HERE = Path(__file__).resolve().parent
LIMIT = 600.0  # seconds that one answer may take
THREAD_VARIABLES = ("OMP", "OPENBLAS", "MKL", "NUMBA")

Entry = dict[str, Any]


class WorkerError(Exception):
    """A peer raised, died or took too long."""


@dataclass
class Worker:
    """The process of one peer on one case; see worker.py."""

    peer: str
    process: subprocess.Popen[str]
    log: Path

    @classmethod
    def start(cls, peer: str, case: str, folder: Path, setting: Setting) -> Worker:
        """Start the process; it waits for a request."""
        told = json.dumps({k: v for k, v in asdict(setting).items() if k != "variant"})
        log = folder / f"{peer}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py"), peer, case, str(folder), told,
                 str(time.time())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=_environment(setting),
            )  # fmt: skip
        return cls(peer, process, log)

    def send(self, request: str) -> None:
        """Ask, without waiting for the answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it has died; `answer` says so
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()

    def answer(self) -> Entry:
        """Wait for the answer; WorkerError when it is bad or does not come."""
        assert self.process.stdout is not None
        watch = threading.Timer(LIMIT, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        watch.cancel()
        if not line:
            told = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            status = self.process.wait()
            raise WorkerError(f"the process ended with status {status}: {' '.join(told)}")
        answer: Entry = json.loads(line)
        if "failed" in answer:
            raise WorkerError(answer["failed"])
        return answer

    def ask(self, request: str) -> Entry:
        """Ask, and wait for the answer."""
        self.send(request)
        return self.answer()

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # it died with a request unread
                pipe.close()


def _environment(setting: Setting) -> dict[str, str]:
    threads = {f"{name}_NUM_THREADS": str(setting.threads) for name in THREAD_VARIABLES}
    more = {"JAX_PLATFORMS": "cpu"}
    if setting.cache:
        more["NUMBA_CACHE_DIR"] = setting.cache
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **threads, **more}  # a checkout compiles its modules once, as an installed peer


def measure(case: Case, peers: Iterable[str], setting: Setting, rounds: int) -> dict[str, Entry]:
    """What each peer took: an entry of numbers, or why there is none."""
    found: dict[str, Entry] = {}
    present = []
    for peer in peers:
        if PEERS[peer].installed:
            present.append(peer)
        else:
            found[peer] = {"missing": "not installed"}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = write_arrays(case, Path(name))
        workers = []
        for peer in present:
            worker = Worker.start(peer, case.name, folder, setting)
            stack.callback(worker.stop)
            workers.append(worker)
            worker.send("prepare")
        workers = _each(workers, found, _prepared)
        limit = reference.tolerance(case)
        workers = _each(workers, found, lambda worker: _checked(worker, limit))
        turns: dict[str, list[Entry]] = {worker.peer: [] for worker in workers}
        for turn in range(rounds):
            first = turn % max(len(workers), 1)
            for worker in workers[first:] + workers[:first]:
                if "failed" not in found[worker.peer]:
                    _each([worker], found, lambda w: _timed(w, turns[w.peer]))
        _each([w for w in workers if "failed" not in found[w.peer]], found,
              lambda worker: {**summary(turns[worker.peer]), **worker.ask("finish")})  # fmt: skip
    return {peer: found[peer] for peer in peers}


def write_arrays(case: Case, folder: Path) -> Path:
    """Put what every peer is given, and what it must give, into a folder."""
    feed = cases.feed(case)
    right = reference.expected(case, feed)
    np.savez(folder / "feed.npz", **feed)  # type: ignore[arg-type]  # names are free
    named = {f"{call}:{name}": v for call, entry in enumerate(right) for name, v in entry.items()}
    np.savez(folder / "expected.npz", **named)  # type: ignore[arg-type]
    return folder


def summary(turns: list[Entry]) -> Entry:
    """Seconds a call: the median of the rounds' medians, the fastest call, the spread.

    The spread is the distance of the rounds' quartiles as a part of the median.
    """
    medians = [turn["median"] for turn in turns]
    low, high = np.percentile(medians, [25, 75])
    return {
        "median": median(medians),
        "min": min(turn["min"] for turn in turns),
        "spread": float(high - low) / median(medians),
        "rounds": medians,
        "calls": turns[0]["calls"],
    }


def _each(
    workers: list[Worker], found: dict[str, Entry], ask: Callable[[Worker], Entry]
) -> list[Worker]:
    """Add what each worker answers to its entry; those that did not fail come back."""
    left = []
    for worker in workers:
        try:
            found.setdefault(worker.peer, {}).update(ask(worker))
            left.append(worker)
        except WorkerError as problem:
            found[worker.peer] = {"failed": str(problem)}
            worker.stop()
    return left


def _prepared(worker: Worker) -> Entry:
    worker.answer()  # these seconds mean nothing: all peers prepare at the same time
    return {}


def _checked(worker: Worker, tolerance: float) -> Entry:
    answer = worker.ask("check")
    if answer["error"] > tolerance:
        raise WorkerError(f"wrong: {answer['worst']} is off by {answer['error']:.1e}")
    return {"error": answer["error"]}


def _timed(worker: Worker, turns: list[Entry]) -> Entry:
    turns.append(worker.ask("round"))
    return {}


# --- from nothing to the first step ----------------------------------------------------------


def measure_starts(
    case: Case, peers: Iterable[str], setting: Setting, rounds: int
) -> dict[str, dict[str, Entry]]:
    """Seconds from process start to the first result: ``cold``, and ``warm`` with kernels cached.

    Each peer has a new cache folder a round; the second process finds what the first one left.
    """
    found: dict[str, dict[str, Entry]] = {"cold": {}, "warm": {}}
    turns: dict[str, dict[str, list[Entry]]] = {"cold": {}, "warm": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = write_arrays(case, Path(name))
        for turn in range(rounds):
            for peer in peers:
                if not PEERS[peer].installed:
                    for kind in found.values():
                        kind[peer] = {"missing": "not installed"}
                    continue
                cache = folder / f"{peer}{turn}"
                cache.mkdir()
                cached = Setting(setting.threads, setting.backend, str(cache))
                for temperature in ("cold", "warm"):
                    try:
                        parts = _first_step(peer, case, folder, cached)
                    except WorkerError as problem:
                        found[temperature][peer] = {"failed": str(problem)}
                    else:
                        turns[temperature].setdefault(peer, []).append(parts)
    for temperature, entries in turns.items():
        for peer, parts in entries.items():
            found[temperature].setdefault(peer, _started(parts))
    return found


def _first_step(peer: str, case: Case, folder: Path, setting: Setting) -> Entry:
    worker = Worker.start(peer, case.name, folder, setting)
    try:
        return worker.ask("prepare")
    finally:
        worker.stop()


def _started(parts: list[Entry]) -> Entry:
    totals = [{"median": sum(p.values()), "min": sum(p.values()), "calls": 1} for p in parts]
    middle = {key: median(p[key] for p in parts) for key in parts[0]}
    return {**summary(totals), "start": middle}
