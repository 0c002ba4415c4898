"""Composites: graphs of primitives under the field's names."""

from .activation import clip, gelu, leaky_relu, log_softmax, relu, sigmoid, silu, softmax, softplus
from .dropout import Generator, dropout
from .image import avg_pool2d, conv2d, max_pool2d
from .loss import cross_entropy, mse, one_hot, square, var
from .weighted import weighted_count, weighted_mean, weighted_var

__all__ = [
    "Generator",
    "avg_pool2d",
    "clip",
    "conv2d",
    "cross_entropy",
    "dropout",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "max_pool2d",
    "mse",
    "one_hot",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "square",
    "var",
    "weighted_count",
    "weighted_mean",
    "weighted_var",
]
