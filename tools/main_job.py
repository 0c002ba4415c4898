"""The whole story on real digits: train, derive the inference graph, classify, check, draw.

    python tools/main_job.py                  about a minute on two cores; pictures in out/
    python tools/main_job.py --out DIR --seed 3

It trains an MLP and a CNN with batch norm on two thirds of scikit-learn's 1,797 digits, each with
the numpy interpreter, and for each of them

  1. prints the accuracy on the held-out third of the training graph (statistics of each batch)
     and of the inference graph (running statistics), which must reach 97 % and 98 %;
  2. classifies held-out digits one at a time, and shows that the answers are the batch's;
  3. checks the gradient of the trained network by finite differences or a complex step;
  4. draws bn1 with its gradients, and the inference graph.

The exit status is 0 when all of it holds, else 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _model import load_model
from train import accuracies, learning_rate, prepared, shaped_for

import minigrad as mg
from minigrad.train.data import Dataset

MODELS = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, and the accuracy that it must reach.

    By adamw under a cosine schedule, each digit a little moved, turned and stretched every time.
    """

    model: str
    target: float
    epochs: int = 30
    batch_size: int = 32
    lr: float = 1e-2


RECIPES = (Recipe("mlp", target=0.97), Recipe("cnn", target=0.98))


def run_recipe(recipe: Recipe, parts: tuple[Dataset, Dataset], seed: int, out: Path) -> list[str]:
    """Train, measure, classify, check and draw one model; what did not hold comes back."""
    plain = load_model(MODELS / f"{recipe.model}.py").build()
    train, test = (shaped_for(plain, part) for part in parts)
    begin = time.perf_counter()
    graph, state = trained(recipe, plain, train, seed)
    seconds = time.perf_counter() - begin
    training, inference = accuracies(graph, state, test)
    print(f"  trained {recipe.epochs} epochs in {seconds:.1f} s")
    print(f"  test accuracy: training graph {training:.2%}, inference graph {inference:.2%}")
    failures = []
    if inference < recipe.target:
        failures.append(f"{recipe.model}: {inference:.2%} is less than {recipe.target:.0%}")
    infer = mg.to_inference(plain, ["logits"])
    failures += classify_one_by_one(infer, state, test)
    failures += check_gradient(recipe.model, state, test)
    draw(recipe.model, plain, infer, state, test, out)
    return failures


def trained(recipe: Recipe, plain: mg.Graph, data: Dataset, seed: int) -> tuple[mg.Graph, Any]:
    """The training graph with its optimiser, and the state after the last epoch."""
    steps = recipe.epochs * -(-len(data) // recipe.batch_size)
    graph = mg.optim.adamw(plain, lr=learning_rate("cosine", recipe.lr, steps))
    run = mg.fit(
        graph,
        data,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=seed,
        augment=mg.data.random_affine,
    )
    return graph, run.state


def classify_one_by_one(infer: mg.Graph, state: Any, test: Dataset) -> list[str]:
    """Every held-out digit alone, against the same digits in one batch."""
    together = mg.predict(infer, state, test.x, batch_size=len(test))
    alone = mg.predict(infer, state, test.x, batch_size=1)
    difference = np.abs(alone - together).max()
    same = int((alone.argmax(axis=1) == together.argmax(axis=1)).sum())
    answers = " ".join(f"{t}->{a}" for t, a in zip(test.t[:10], alone.argmax(axis=1), strict=False))
    print(f"  one at a time: {answers} ...")
    print(
        f"  {same} of {len(test)} answers are those of one batch of {len(test)}; the logits "
        f"differ by {difference:.1e} at most"
    )
    if same < len(test) or difference > 1e-3:
        return [f"answers depend on the batch: {same} of {len(test)}, {difference:.1e}"]
    return []


def check_gradient(model: str, state: Any, test: Dataset, batch: int = 8) -> list[str]:
    """The gradient of the loss by every parameter, at the trained weights, on a few digits."""
    graph = load_model(MODELS / f"{model}.py").build(batch=batch)
    weights = {parameter.name: state[parameter.name] for parameter in graph.parameters}
    wrong = (test.t[:batch] + 1) % test.classes  # the right ones leave hardly a gradient to check
    at = {**weights, "x": test.x[:batch], "t": wrong}
    report = mg.gradcheck(graph.outputs["loss"], graph.parameters, at=at)
    print("  " + str(report).replace("\n", "\n  "))
    return [] if report.passed else [f"{model}: the gradient is wrong, {report.culprit}"]


def draw(
    model: str, plain: mg.Graph, infer: mg.Graph, state: Any, test: Dataset, out: Path
) -> None:
    """bn1 with its gradients, with the values of a batch; and the inference graph."""
    leaves = {leaf.name: state[leaf.name] for leaf in (*plain.parameters, *plain.states)}
    values = {**leaves, "x": test.x[:64], "t": test.t[:64]}
    pictures = {
        out / f"{model}_bn1_gradients.svg": (plain, {"region": "bn1", "gradients": True}),
        out / f"{model}_bn1_values.svg": (plain, {"region": "bn1", "values": values}),
        out / f"{model}_inference.svg": (infer, {}),
    }
    for path, (graph, options) in pictures.items():
        mg.render(graph, path, **options)
        print(f"  picture {path}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="for the pictures (out)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data order (0)")
    args = parser.parse_args(argv)
    begin, failures = time.perf_counter(), []
    args.out.mkdir(parents=True, exist_ok=True)
    parts = prepared("digits", 1 / 3, 0, "range")
    print(f"digits: {len(parts[0])} to train on, {len(parts[1])} held out")
    for recipe in RECIPES:
        print(f"{recipe.model}: models/{recipe.model}.py")
        failures += run_recipe(recipe, parts, args.seed, args.out)
    print(f"pictures in {args.out.resolve()}; {time.perf_counter() - begin:.0f} s in all")
    if failures:
        sys.exit("\n".join(["main_job.py: not everything holds:", *failures]))


if __name__ == "__main__":
    main()
