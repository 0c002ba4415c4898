"""Gradient checks: is the derivative of this graph right, and if not, whose fault is it?"""

from .check import gradcheck
from .report import Culprit, Entry, Kink, Report

__all__ = ["Culprit", "Entry", "Kink", "Report", "gradcheck"]
