"""Passes: pure functions from graph to graph."""

from .certificate import InferenceCertificate, certify_inference
from .conventions import Converted, convert, debias
from .dependence import Dependence, batch_dependence
from .diff import Difference, Pair, Reader, Replacement, diff
from .fold import Folding, fold, fold_report
from .inference import to_inference
from .lint import Finding, lint
from .norms import Epsilon, Norm, find_norms
from .retype import retype
from .scalarize import scalarize
from .statistics import track_statistics

__all__ = [
    "Converted",
    "Dependence",
    "Difference",
    "Epsilon",
    "Finding",
    "Folding",
    "InferenceCertificate",
    "Norm",
    "Pair",
    "Reader",
    "Replacement",
    "batch_dependence",
    "certify_inference",
    "convert",
    "debias",
    "diff",
    "find_norms",
    "fold",
    "fold_report",
    "lint",
    "retype",
    "scalarize",
    "to_inference",
    "track_statistics",
]
