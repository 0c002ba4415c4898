"""The laboratory of batch norm: one file for each experiment, and what they share."""

from __future__ import annotations

import time

from . import (
    batch_size,
    conditioning,
    covariate_shift,
    figure1,
    identity,
    placement,
    regularisation,
    sequences,
    serving,
)
from .result import Experiment, Result, Settings

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        figure1,
        conditioning,
        covariate_shift,
        regularisation,
        batch_size,
        placement,
        serving,
        sequences,
        identity,
    )
}


def timed(name: str, settings: Settings) -> tuple[Result, float]:
    """One experiment, and the seconds that it took."""
    begin = time.perf_counter()
    result = EXPERIMENTS[name].run(settings)
    return result, time.perf_counter() - begin
