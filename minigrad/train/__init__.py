"""Training: optimisers and schedules as graph, data, checkpoints, and a loop that ties them."""

from . import checkpoint, data, optim, schedule
from .checkpoint import load, save
from .loop import Epoch, Run, accuracy, fit, load_run, predict, save_run
from .recalibrate import recalibrate

__all__ = [
    "Epoch",
    "Run",
    "accuracy",
    "checkpoint",
    "data",
    "fit",
    "load",
    "load_run",
    "optim",
    "predict",
    "recalibrate",
    "save",
    "save_run",
    "schedule",
]
