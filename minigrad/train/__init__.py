"""Training: optimisers and schedules as graph, data, checkpoints, and a loop that ties them."""

from . import optim, schedule

__all__ = ["optim", "schedule"]
