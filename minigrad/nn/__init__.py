"""Layers: frozen configuration plus ``layer(x) -> Node``, and the formulas they are made of."""

from . import constraints, initializers, regularizers
from .batch_norm import CONVENTIONS, CUMULATIVE, BatchNorm, Convention
from .layer import Layer
from .layers import AvgPool2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Sequential
from .norm_layers import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .norms import batch_norm, debias, group_norm, instance_norm, layer_norm, normalize, rms_norm
from .variants import BatchRenorm, GhostBatchNorm, batch_renorm

__all__ = [
    "CONVENTIONS",
    "CUMULATIVE",
    "AvgPool2d",
    "BatchNorm",
    "BatchRenorm",
    "Conv2d",
    "Convention",
    "Dropout",
    "Flatten",
    "GhostBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "RMSNorm",
    "Sequential",
    "batch_norm",
    "batch_renorm",
    "constraints",
    "debias",
    "group_norm",
    "initializers",
    "instance_norm",
    "layer_norm",
    "normalize",
    "regularizers",
    "rms_norm",
]
