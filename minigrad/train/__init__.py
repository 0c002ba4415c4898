"""Training: optimisers and schedules as graph, data, checkpoints, and a loop that ties them."""

from . import checkpoint, data, optim, schedule
from .checkpoint import load, save
from .gap import Gap, explain_gap
from .loop import Epoch, Run, accuracy, fit, load_run, predict, save_run
from .recalibrate import recalibrate
from .record import Recorder, Recording, load_record, save_record

__all__ = [
    "Epoch",
    "Gap",
    "Recorder",
    "Recording",
    "Run",
    "accuracy",
    "checkpoint",
    "data",
    "explain_gap",
    "fit",
    "load",
    "load_record",
    "load_run",
    "optim",
    "predict",
    "recalibrate",
    "save",
    "save_record",
    "save_run",
    "schedule",
]
