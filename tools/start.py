"""From a bare machine to a result: one command sets up `.venv` and runs the main job or the tests.

    python3 tools/start.py demo     train, check and draw a batch-norm network on real digits
    python3 tools/start.py test     run the test suite
    python3 tools/start.py lab      run the laboratory of batch norm, and write its report

Needs Python >= 3.11 with venv and a package index; nothing else is installed by hand. The
environment is made once, in `.venv` of the checkout (or `--venv DIR`), and made up to date when
`pyproject.toml` changes. What follows `--` goes to the command: `... test -- -k batch_norm`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {
    "demo": ("data", [str(ROOT / "tools" / "main_job.py")]),
    "lab": ("data,plots", [str(ROOT / "tools" / "lab.py"), "--quick"]),
    "test": ("test", ["-m", "pytest", "-q", "-m", "not slow"]),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to install")
    parser.add_argument("rest", nargs="*", help="arguments for the command, after --")
    chosen = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  (this file runs on any Python, to say so)
        parser.error(f"needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    extra, command = COMMANDS[chosen.command]
    python = environment(chosen.venv, extra)
    return subprocess.call([str(python), *command, *chosen.rest], cwd=ROOT)


def environment(place: Path, extra: str) -> Path:
    """The Python of an environment that holds this checkout with ``extra``."""
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = place / f"minigrad-{extra}.stamp"
    if python.exists() and stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"setting up {place} with minigrad[{extra}] (once; a minute or two)", flush=True)
    if not python.exists():
        venv.create(place, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable"]
    subprocess.run([str(python), *install, f".[{extra}]"], cwd=ROOT, check=True)
    stamp.write_text(digest)
    return python


if __name__ == "__main__":
    sys.exit(main())
