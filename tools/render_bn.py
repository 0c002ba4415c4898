"""Draw one layer of any model: what it does forward, backward and at inference.

    python tools/render_bn.py models/mlp.py --region bn1
    python tools/render_bn.py models/mlp.py --region bn1 --gradients --values --out bn1.svg
    python tools/render_bn.py models/mlp.py --region bn1 --inference --out bn1_inference.png
    python tools/render_bn.py models/mlp.py --region bn1 --simplify    # dx as papers write it
    python tools/render_bn.py models/mlp.py --region bn1 --diff        # training against inference
    python tools/render_bn.py models/mlp.py --set hidden=[2,2] --region bn1 --zoom μ
    python tools/render_bn.py models/mlp.py --region bn1 --out bn1.mmd     # Mermaid; .txt is text
    python tools/render_bn.py models/mlp.py --out model.pdf        # the whole model
    python tools/render_bn.py models/mlp.py --list                 # the regions there are

A model file is Python with a function build(batch="N", **options) -> Graph, whose graph has the
inputs x (and t) and the outputs logits and loss; --set passes options to it. A region is a scope
of the graph: a layer such as bn1, a block around several, or stage1/bn1 inside one.

How to read the picture. Time runs downwards on the blue side: each box is one primitive, with its
formula; the type of a value stands on its arrow. With --gradients the orange column flows back
up: in each row stand the derivative rules of the blue op beside them. Thick blue arrows are the
uses of a value that is used more than once, thick orange ones the terms that they send back, and
a use and its term have the same badge: that is why dx of a batch norm has three terms, one past
the statistics, one through the variance, one through the mean. --simplify draws the gradient as
papers write it; the badges stay. Dashed arrows lead to the next step: what the running statistics
will be. With --inference the running statistics stand where the batch statistics stood, and no
arrow crosses the batch any more; --diff shows both in one picture, what is gone dashed.

--values runs a batch through and writes mean, standard deviation, range and a histogram into each
box; red with a double outline is not finite, the first such value says so, and the lines of
gradients are as wide as these are large. The batch is 64 real digits where the model takes them
and scikit-learn is installed, else random numbers; the tool says which. --zoom opens one op into
scalars with their values and gradients, for three examples.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _model import ModelError, build_graph, load_model, parse_options

import minigrad as mg

BATCH = 64


def batch_of(graph: mg.Graph) -> tuple[dict[str, Any], str]:
    """A value for every input of the graph, and in words where they come from."""
    random = np.random.default_rng(0)
    names = {node.name: node for node in graph.inputs}
    size = {d: BATCH for node in graph.inputs for d in node.shape if isinstance(d, str)}
    feed: dict[str, Any] = {}
    digits = _digits(names["x"], random) if "x" in names else None
    if digits is not None:
        feed.update({k: v for k, v in digits.items() if k in names})
    for name, node in names.items():
        if name in feed:
            continue
        shape = tuple(size.get(d, d) if isinstance(d, str) else d for d in node.shape)
        if node.type.is_float:
            feed[name] = random.standard_normal(shape).astype(node.dtype)
        else:
            feed[name] = random.integers(0, _classes(graph), shape).astype(node.dtype)
    told = "random numbers" if digits is None else f"{BATCH} of scikit-learn's digits"
    return feed, told


def _digits(x: mg.Node, random: np.random.Generator) -> dict[str, Any] | None:
    """Standardised digits in the shape of ``x``, and labels ``t``; None when they do not fit."""
    shape = tuple(BATCH if isinstance(d, str) else d for d in x.shape)
    if not x.type.is_float or not shape or np.prod(shape[1:]) != 64:
        return None
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return None
    images, labels = load_digits(return_X_y=True)
    rows = random.choice(len(images), shape[0])
    scaled = (images - images.mean(0)) / np.where(images.std(0) > 0, images.std(0), 1)
    return {"x": scaled[rows].reshape(shape).astype(x.dtype), "t": labels[rows]}


def _classes(graph: mg.Graph) -> int:
    logits = graph.outputs.get("logits")
    last = logits.shape[-1] if logits is not None and logits.shape else 2
    return last if isinstance(last, int) else 2


def draw(args: argparse.Namespace) -> str:
    """Draw what the command line asks for; the last line that it prints."""
    graph = build_graph(
        load_model(args.model), args.batch, parse_options(args.set), outputs=("logits",)
    )
    if args.inference:
        graph = mg.to_inference(graph, ["logits"])
    if args.list:
        return "\n".join(graph.scopes)
    values = None
    if args.values:
        values, told = batch_of(graph)
        print(f"values: {told}; weights and running statistics as they start")
    suffix = "_diff" if args.diff else "_inference" if args.inference else ""
    out = args.out or Path(f"{(args.region or args.model.stem).replace('/', '_')}{suffix}.svg")
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.diff:
        training = build_graph(load_model(args.model), args.batch, parse_options(args.set))
        graph = mg.diff(training, mg.to_inference(training, ["logits"]))
    mg.render(
        graph,
        out,
        region=args.region,
        gradients=args.gradients or args.simplify,
        simplify=args.simplify,
        zoom=args.zoom,
        values=values,
        depth=args.depth,
        expand=args.expand,
    )
    return f"picture {out}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("model", type=Path, metavar="MODEL.py", help="a model file, such as models/mlp.py")
    add("--region", help="the scope to draw, such as bn1; the whole model by default")
    add("--gradients", action="store_true", help="draw the backward pass beside the forward one")
    add("--simplify", action="store_true", help="draw the gradient simplified, as papers write it")
    add("--inference", action="store_true", help="draw the inference graph: running statistics")
    add("--diff", action="store_true", help="draw training and inference in one picture: the diff")
    add(
        "--zoom",
        metavar="NAME",
        help="open the op that the picture calls NAME, such as μ, in scalars",
    )
    add("--values", action="store_true", help="run a batch and write statistics into the boxes")
    add("--out", type=Path, help=".svg, .png, .pdf, .dot, .mmd or .txt (default: REGION.svg)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of build()")
    add("--batch", default="N", type=_dim, help="the batch dimension: a name or a number (N)")
    add("--depth", type=int, help="fold the scopes of this depth into single boxes")
    add("--expand", action="append", default=[], metavar="SCOPE", help="keep this scope open")
    add("--list", action="store_true", help="print the regions of the model and stop")
    return found


def _dim(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def main(argv: Sequence[str] | None = None) -> None:
    try:
        print(draw(parser().parse_args(argv)))
    except (ModelError, mg.GraphError) as error:
        sys.exit(f"render_bn.py: {error}")
    except OSError as error:
        sys.exit(f"render_bn.py: cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
