"""Train a model file on labelled images, and measure it as it will be used.

    python tools/train.py models/mlp.py
    python tools/train.py models/mlp.py --set norm=after --set hidden=(256,128) --epochs 30
    python tools/train.py models/cnn.py --data mnist --augment --optimiser nesterov --lr 0.1
    python tools/train.py models/mlp.py --checkpoint out/mlp.safetensors --every 50
    python tools/train.py models/mlp.py --checkpoint out/mlp.safetensors --resume --epochs 40
    python tools/train.py models/mlp.py --record out/mlp.npz --checkpoint out/mlp.safetensors

A model file is Python with a function build(batch="N", **options) -> Graph, whose graph has the
inputs x and t and the outputs logits and loss; --set passes options to it. The number of inputs,
the side of the images and the number of classes come from the data where build asks for them.
Without labels, such as models/autoencoder.py, it has the input x and the output loss alone.

One training step (forward, gradient, optimiser, running statistics) is one graph. Two accuracies
are printed at the end: that of the training graph, which normalises with the statistics of each
test batch, and that of the inference graph, which reads the running statistics and so gives an
example the same answer whatever else is in its batch. The second is the honest one.

A checkpoint holds weights, running statistics, optimiser slots, counters and the order of the
data; --resume goes on from it bit for bit as if the run had never stopped. Give it the same
options again, but for --epochs.

--record keeps, every --record-every steps, what each batch norm saw beside what it remembers, the
norm of every gradient and percentiles of what every layer gives; tools/explore.py puts a slider
over it, and minigrad.train.record says what is in the file.
"""

from __future__ import annotations

import argparse
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from _model import ModelError, build_graph, load_model, parse_options

import minigrad as mg
from minigrad.train.data import Dataset, Standardizer

SCHEDULES = ("constant", "step", "cosine")


def prepared(source: str, share: float, seed: int, scale: str) -> tuple[Dataset, Dataset]:
    """The training and the test part, scaled by what was measured on the training part alone."""
    train, test = mg.data.load_parts(source, share, seed)
    scaler: Callable[[Any], Any]
    if scale == "standard":
        scaler = Standardizer.fit(train.x)
    else:
        largest = np.abs(train.x).max() if scale == "range" else 1.0
        scaler = lambda x: x / np.float32(largest)  # noqa: E731
    return train.with_x(scaler(train.x)), test.with_x(scaler(test.x))


def fitting_options(
    module: ModuleType, data: Dataset, options: Mapping[str, Any]
) -> dict[str, Any]:
    """``options``, and what else ``build`` asks for that the data knows."""
    size = math.prod(data.x.shape[1:])
    known = {"inputs": size, "side": math.isqrt(size), "classes": data.classes}
    asked = inspect.signature(module.build).parameters
    return {**{name: known[name] for name in known if name in asked}, **options}


def shaped_for(graph: mg.Graph, data: Dataset) -> Dataset:
    """The examples in the shape of the graph's input ``x``: rows of numbers, or images."""
    (x,) = [node for node in graph.inputs if node.name == "x"]
    if math.prod(x.shape[1:]) != math.prod(data.x.shape[1:]):
        raise ModelError(f"the model takes {x.type}, an example is {list(data.x.shape[1:])}")
    return data.with_x(data.x.reshape(len(data), *x.shape[1:]))


def learning_rate(kind: str, lr: float, steps: int) -> Any:
    """A schedule over ``steps`` steps: constant, a tenth twice (step), or a cosine wave."""
    if kind == "constant":
        return lr
    if kind == "step":
        return mg.schedule.step_decay(lr, every=max(steps // 3, 1))
    return mg.schedule.cosine(lr, steps=steps, warmup=steps // 20)


def optimised(graph: mg.Graph, args: argparse.Namespace, steps: int) -> mg.Graph:
    """The graph with the updates of the optimiser that the command line asks for."""
    optimiser, options = mg.optim.OPTIMISERS[args.optimiser], parse_options(args.opt)
    known = [
        name for name in inspect.signature(optimiser).parameters if name not in ("graph", "lr")
    ]
    for name in options:
        if name not in known:
            raise ModelError(
                f"{args.optimiser} takes no option {name!r}; it takes {', '.join(known)}"
            )
    return optimiser(graph, lr=learning_rate(args.schedule, args.lr, steps), **options)


def accuracies(graph: mg.Graph, state: Any, test: Dataset) -> tuple[float, float]:
    """Of the training graph, in batches of 256, and of the inference graph.

    The batches are mixed: statistics of one class alone would mislead the training graph.
    """
    mixed = test.take(mg.data.Order().permutation(len(test)))
    return mg.accuracy(graph, state, mixed), mg.accuracy(mg.to_inference(graph), state, test)


def train(args: argparse.Namespace) -> None:
    module, options = load_model(args.model), parse_options(args.set)
    train_part, test_part = prepared(args.data, args.test, args.split_seed, args.scale)
    graph = build_graph(
        module, options=fitting_options(module, train_part, options), outputs=("loss",)
    )
    train_part, test_part = shaped_for(graph, train_part), shaped_for(graph, test_part)
    total = args.schedule_epochs or args.epochs
    steps = total * math.ceil(len(train_part) / args.batch_size)
    graph = optimised(graph, args, steps)
    weights = sum(math.prod(p.shape) for p in graph.parameters)
    print(f"{args.model}: {weights} weights; {len(train_part)} examples, {len(test_part)} held out")
    recorder = mg.train.Recorder(graph, args.record_every) if args.record else None
    run = mg.fit(
        graph,
        train_part,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        test=test_part,
        augment=mg.data.random_affine if args.augment else None,
        resume=mg.load_run(args.checkpoint, graph) if args.resume else None,
        checkpoint=args.checkpoint,
        every=args.every,
        before_step=recorder,
        on_epoch=print,
        check_finite=args.check_finite,
    )
    if recorder is not None:
        mg.train.save_record(args.record, recorder.recording)
        print(f"recording {args.record}: {len(recorder.steps)} steps")
    if "logits" in graph.outputs:
        training, inference = accuracies(graph, run.state, test_part)
        print(f"test accuracy of the training graph  {training:.2%}")
        print(f"test accuracy of the inference graph {inference:.2%}")
    elif run.history:
        print(f"test loss of the inference graph {run.history[-1].test_loss:.5f}")
    if args.checkpoint:
        print(f"checkpoint {args.checkpoint}")


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("model", help="a model file, such as models/mlp.py")
    add(
        "--data",
        default="digits",
        help="digits (1,797 of 8x8, default), mnist (5,000 of 28x28), an .npz file with x and t, "
        "or a directory with MNIST's IDX files",
    )
    add("--test", type=float, default=1 / 3, help="share held out, each class alike (1/3)")
    add("--split-seed", type=int, default=0, help="of the held-out part (0)")
    add(
        "--scale",
        choices=("range", "standard", "none"),
        default="range",
        help="divide by the largest value (default), or each feature to mean 0 and variance 1",
    )
    add("--epochs", type=int, default=20, help="passes over the data, resumed ones included (20)")
    add("--batch-size", type=int, default=32, help="examples a step; the last may be short (32)")
    add("--optimiser", choices=mg.optim.OPTIMISERS, default="adamw", help="adamw by default")
    add("--lr", type=float, default=3e-3, help="learning rate at its largest (0.003)")
    add(
        "--opt",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="weight_decay, clip_norm, ...",
    )
    add("--schedule", choices=SCHEDULES, default="cosine", help="of the learning rate (cosine)")
    add("--schedule-epochs", type=int, help="length of the schedule, if not --epochs (to resume)")
    add("--augment", action="store_true", help="move, turn and stretch the images a little")
    add("--seed", type=int, default=0, help="of the weights and the order of the data (0)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of build")
    add("--checkpoint", type=Path, help="keep the run in this safetensors file")
    add("--every", type=int, metavar="STEPS", help="save that often too, not only after an epoch")
    add("--resume", action="store_true", help="go on from --checkpoint")
    add("--record", type=Path, metavar="FILE", help="record the run: .npz, or .jsonl as text")
    add("--record-every", type=int, default=10, metavar="STEPS", help="one step in so many (10)")
    add("--check-finite", action="store_true", help="name the first node that is not finite (slow)")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    if args.resume and not args.checkpoint:
        sys.exit("train.py: --resume goes on from a checkpoint; give --checkpoint too")
    try:
        for kept in (args.checkpoint, args.record):
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
        train(args)
    except (mg.GraphError, ModelError, ImportError, OSError) as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
