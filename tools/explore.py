"""Write a model as one interactive HTML file: no server, no network, nothing to install to open it.

    python tools/explore.py models/mlp.py
    python tools/explore.py models/cnn.py --out cnn.html --data mnist
    python tools/train.py models/mlp.py --record out/mlp.npz --checkpoint out/mlp.safetensors
    python tools/explore.py models/mlp.py --state out/mlp.safetensors --record out/mlp.npz
    python tools/explore.py models/mlp.py --screenshot mlp.png --at "open=bn1&focus=bn1"

A model file is Python with a function build(batch="N", **options) -> Graph, whose graph has the
inputs x (and t) and the outputs logits and loss; --set passes options to it.

The page: the forward pass runs down the blue column, the gradient up the orange one, each gradient
op in the row of the op whose rule made it. Click a box for its formula, rule, numbers and source
line; step through both passes with . and , or play them with the space bar; switch between the
training graph, the inference graph and the folded one with 1, 2, 3; close and open scopes; search
with /. All keys are shown by ?. The address names the selected node, so a link to it can be shared.

Values come from one batch: of --data (as tools/train.py reads it), or else 64 real digits where the
model takes them and scikit-learn is installed, or else random numbers; the tool says which.
--state takes the parameters and running statistics of a checkpoint, --record the recording of a
training run, for the slider. --screenshot needs Chromium; --at is what follows # in the address.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _model import ModelError, build_graph, load_model, parse_options
from render_bn import batch_of
from train import fitting_options, prepared, shaped_for

import minigrad as mg

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def explore(args: argparse.Namespace) -> list[str]:
    """Write the page that the command line asks for; what it prints."""
    module, options = load_model(args.model), parse_options(args.set)
    state: Any = mg.load(args.state) if args.state else None
    record = mg.train.load_record(args.record) if args.record else None
    part = prepared(args.data, 1 / 3, 0, "range")[0] if args.data else None
    if part is not None:
        options = fitting_options(module, part, options)
    graph = build_graph(module, args.batch, options, outputs=())
    if part is None:
        feed, told = batch_of(graph)
    else:
        chosen = np.random.default_rng(0).choice(len(part), min(args.examples, len(part)), False)
        batch = shaped_for(graph, part).take(np.sort(chosen))
        feed = {node.name: getattr(batch, node.name) for node in graph.inputs}
        told = f"{len(batch)} examples of {args.data}"
    weights = f"weights of {args.state}" if args.state else "weights as they start"
    out = args.out or Path(f"{args.model.stem}.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    page = mg.explore(
        graph,
        out,
        None if args.no_values else feed,
        state,
        record=record,
        gradients=not args.no_gradients,
        title=args.title or args.model.stem,
        limit=args.limit,
    )
    said = [] if args.no_values else [f"values: {told}; {weights}"]
    if args.screenshot:
        screenshot(out, args.at, args.screenshot, args.size)
        said.append(f"screenshot {args.screenshot}")
    return [*said, f"page {out} ({len(page.html) / 1e6:.1f} MB)"]


def screenshot(page: Path, at: str, target: Path, size: str) -> None:
    """A picture of the page in headless Chromium; ModelError when there is none."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ModelError("--screenshot needs Chromium; on Debian: apt-get install chromium")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--force-color-profile=srgb", f"--user-data-dir={profile}", "--disable-extensions",
            "--virtual-time-budget=3000", f"--window-size={size.replace('x', ',')}",
            f"--screenshot={target.resolve()}", f"{page.resolve().as_uri()}#{at}",
        ]  # fmt: skip
        subprocess.run(command, capture_output=True, timeout=120, check=False)
    if not target.exists():
        raise ModelError(f"{browser} wrote no picture")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("model", type=Path, metavar="MODEL.py", help="a model file, such as models/mlp.py")
    add("--out", type=Path, help="the page (default: MODEL.html)")
    add("--state", type=Path, metavar="CHECKPOINT", help="parameters and running statistics")
    add("--record", type=Path, metavar="FILE", help="a recording by tools/train.py --record")
    add("--data", help="digits, mnist, an .npz file or a directory, as for tools/train.py")
    add("--examples", type=int, default=64, help="how many of --data make the batch (64)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of build()")
    add("--batch", default="N", type=_dim, help="the batch dimension: a name or a number (N)")
    add("--title", help="of the page (default: the model's name)")
    add("--no-values", action="store_true", help="formulas and types alone")
    add("--no-gradients", action="store_true", help="the forward pass alone")
    add("--limit", type=int, default=150, help="boxes from which scopes start closed (150)")
    add("--screenshot", type=Path, metavar="PNG", help="take a picture of the page too")
    add("--at", default="", help="what of the page: open=bn1&node=bn1/gamma&theme=dark&step=9")
    add("--size", default="1440x900", help="of the screenshot (1440x900)")
    return found


def _dim(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def main(argv: Sequence[str] | None = None) -> None:
    try:
        print("\n".join(explore(parser().parse_args(argv))))
    except (ModelError, mg.GraphError, ImportError) as error:
        sys.exit(f"explore.py: {error}")
    except OSError as error:
        sys.exit(f"explore.py: cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
