"""Training: optimisers and schedules as graph, data, checkpoints, and a loop that ties them."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import checkpoint, data, optim, schedule
    from .checkpoint import load, save
    from .gap import Gap, explain_gap
    from .loop import Epoch, Run, accuracy, fit, load_run, predict, save_run
    from .recalibration import recalibrate
    from .record import Recorder, Recording, load_record, save_record

_HOMES = {
    ".checkpoint": ["load", "save"],
    ".gap": ["Gap", "explain_gap"],
    ".loop": ["Epoch", "Run", "accuracy", "fit", "load_run", "predict", "save_run"],
    ".recalibration": ["recalibrate"],
    ".record": ["Recorder", "Recording", "load_record", "save_record"],
}

__getattr__, __dir__ = attach(__name__, _HOMES, modules=["checkpoint", "data", "optim", "schedule"])

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
