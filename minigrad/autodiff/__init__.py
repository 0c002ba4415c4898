"""Differentiation: reverse mode, and forward mode as its transpose."""

from .forward import jvp
from .reverse import grad, unbroadcast, value_and_grad, vjp

__all__ = ["grad", "jvp", "unbroadcast", "value_and_grad", "vjp"]
