"""Passes: pure functions from graph to graph."""

from .certificate import InferenceCertificate, certify_inference
from .conventions import Converted, convert, debias
from .dependence import Dependence, batch_dependence
from .derivation import Derivation, Step
from .diff_graphs import Difference, Pair, Reader, Replacement, diff
from .fold_affine import Folding, fold, fold_report
from .inference import to_inference
from .linting import Finding, lint
from .norms import Epsilon, Norm, find_norms
from .proof import prove_equal, prove_zero
from .retype import retype
from .scalarize import scalarize
from .simplification import simplify
from .statistics import track_statistics

__all__ = [
    "Converted",
    "Dependence",
    "Derivation",
    "Difference",
    "Epsilon",
    "Finding",
    "Folding",
    "InferenceCertificate",
    "Norm",
    "Pair",
    "Reader",
    "Replacement",
    "Step",
    "batch_dependence",
    "certify_inference",
    "convert",
    "debias",
    "diff",
    "find_norms",
    "fold",
    "fold_report",
    "lint",
    "prove_equal",
    "prove_zero",
    "retype",
    "scalarize",
    "simplify",
    "to_inference",
    "track_statistics",
]
