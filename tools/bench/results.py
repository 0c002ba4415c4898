"""The results file: where, when and with what something was measured, and the numbers.

``{"machine": {...}, "cases": {name: {"group", "when", "commit", "setting", "busy", "peers"}}}``,
where ``busy`` is the share of the processors that others used.
A case is replaced as a whole, so that all numbers of a case come from interleaved rounds of one
run; cases measured on another machine are dropped.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from minigrad.ir.files import write_whole

Results = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "minigrad", "numpy", "numba", "scipy", "torch", "jax", "onnxruntime", "micrograd",
)  # fmt: skip
SAME = ("cpu", "cores", "system")  # what makes two machines the same


def machine() -> dict[str, Any]:
    """This machine and what is installed on it."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def circumstances() -> dict[str, str]:
    """When, and at which commit; a ``+`` says that files differ from it."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    when = datetime.now(UTC).isoformat(timespec="minutes")
    return {"when": when, "commit": commit + changed}


def busy_share(seconds: float = 0.25) -> float:
    """How much of the processors others use just now, from 0 to 1; 0 where nothing tells."""

    def ticks() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # all, idle

    try:
        before = ticks()
        time.sleep(seconds)
        after = ticks()
    except (OSError, ValueError):
        return 0.0
    return 1 - (after[1] - before[1]) / max(after[0] - before[0], 1)


def load(path: Path) -> Results:
    """The results in a file; none when there is no file."""
    if not path.exists():
        return {"machine": {}, "cases": {}}
    found: Results = json.loads(path.read_text(encoding="utf-8"))
    return found


def merged(old: Results, new: Results) -> Results:
    """The cases of ``new`` in the place of the old ones, if the machine is the same."""
    same = all(old["machine"].get(key) == new["machine"].get(key) for key in SAME)
    kept: Mapping[str, Any] = old["cases"] if same else {}
    return {"machine": new["machine"], "cases": {**kept, **new["cases"]}}


def save(path: Path, results: Results) -> None:
    """Write the file in one go: a reader sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(results, indent=1) + "\n")


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
