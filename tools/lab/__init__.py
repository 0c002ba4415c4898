"""The laboratory of batch norm: one file for each experiment, and what they share."""

from __future__ import annotations

from . import (
    batch_size,
    conditioning,
    covariate_shift,
    figure1,
    identity,
    placement,
    regularisation,
    sequences,
    test_time,
)
from .result import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        figure1,
        conditioning,
        covariate_shift,
        regularisation,
        batch_size,
        placement,
        test_time,
        sequences,
        identity,
    )
}
