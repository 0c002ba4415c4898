"""The two plots of the experiment on covariate shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import drawing as draw
from .result import Plot
from .statistics import estimate


def cats_plot(cats: Any, colours: tuple[str, ...]) -> Plot:
    """Accuracy by colour, and on the farthest colour while it is fine-tuned."""
    with draw.panels(2, width=4.6) as (figure, (left, right)):
        ends, curves = [], []
        rows = {name: cats[name]["rows"] for name in ("without BN", "with BN")}
        rows["BN, statistics\nof that ink"] = cats["with BN"]["adapted"]
        for series, (name, values) in enumerate(rows.items()):
            found = [estimate(column) for column in 100 * np.array(values).T]
            at = np.arange(len(colours)) + 0.08 * (series - 1)
            left.errorbar(
                at, [e.mean for e in found], yerr=[np.nan_to_num(e.half) for e in found],
                color=draw.COLOURS[series], marker=draw.MARKERS[series], capsize=3,
                linestyle=draw.DASHES[series], linewidth=1.2,
            )  # fmt: skip
            ends.append((found[-1].mean, name, series))
        for series, name in enumerate(("without BN", "with BN")):
            curve = 100 * np.array(cats[name]["curves"])
            curves.append((draw.band(right, cats["tuning"], curve, series), name, series))
        left.set_xticks(range(len(colours)), colours)
        left.set_xlim(-0.4, len(colours) - 0.5)
        left.set_ylim(0, 103)
        right.set_ylim(0, 103)
        draw.labelled(left, "a  Trained on black ink", "ink of the test digits", "accuracy (%)")
        draw.labelled(right, "b  Fine-tuned on all inks", "training step", "accuracy on white (%)")
        draw.name_lines(left, ends, 0.12)
        draw.name_lines(right, curves, 0.08)
    return Plot(
        "black_cats",
        "a: test accuracy by ink of networks that saw black ink only; also batch norm "
        "with statistics of unlabelled digits in the new ink. b: accuracy on white ink while both "
        "are fine-tuned on digits of all inks. 95 % intervals over seeds.",
        draw.svg(figure),
    )


def landscape_plot(landscape: Any, of: Any, names: tuple[str, ...]) -> Plot:
    """Shift and accuracy of each network, and what lies along the gradient step."""
    with draw.panels(2, 2, width=4.6, height=2.6) as (figure, axes):
        for ax, key, scale, title, unit in (
            (axes[0], "shift", 1, "a  Shift of a late input", "shift in one step / spread"),
            (axes[1], "accuracy", 100, "b  Test accuracy", "accuracy (%)"),
        ):
            for series, name in enumerate(names):
                e = estimate(scale * value for value in of[name][key])
                ax.errorbar(
                    series, e.mean, yerr=np.nan_to_num(e.half), capsize=3,
                    fmt=draw.MARKERS[series], color=draw.COLOURS[series],
                )  # fmt: skip
            ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
            ax.set_xlim(-0.5, len(names) - 0.5)
            draw.labelled(ax, title, "", unit)
        axes[0].set_yscale("log")
        axes[1].set_ylim(top=min(axes[1].get_ylim()[1], 100.5))
        for ax, key, title, unit in (
            (axes[2], "spread", "c  Range of the loss", "range along the step"),
            (axes[3], "turn", "d  Turn of the gradient", "largest |g(w - a g) - g(w)|"),
        ):
            ends = []
            for series, name in enumerate(names):
                curves = np.array([run[key] for run in landscape[name]["runs"]])
                at = landscape[name]["at"]
                ax.plot(
                    at, curves.mean(axis=0), color=draw.COLOURS[series],
                    linestyle=draw.DASHES[series],
                )  # fmt: skip
                ends.append((float(curves.mean(axis=0)[-1]), name, series))
            ax.set_yscale("log")
            draw.labelled(ax, title, "training step", unit)
            draw.name_lines(ax, ends, 0.09)
    return Plot(
        "landscape",
        "a: how far the mean input of a unit of the last hidden layer moves in one step, by its "
        "spread; noisy BN puts the shift back. b: test accuracy. c, d: the range of the loss and "
        "the largest change of the gradient along the gradient step, mean over seeds. 95 % "
        "intervals in a and b.",
        draw.svg(figure),
    )
