"""Passes: pure functions from graph to graph."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .certificate import InferenceCertificate, certify_inference
    from .conventions import Converted, convert, debias
    from .dependence import Dependence, batch_dependence
    from .derivation import Derivation, Step
    from .diff_graphs import Difference, Pair, Reader, Replacement, diff
    from .fold_affine import Folding, fold, fold_report
    from .inference import to_inference
    from .linting import Finding, lint
    from .norms import Epsilon, Norm, find_norms
    from .precision import retype
    from .proof import prove_equal, prove_zero
    from .scalars import scalarize
    from .simplification import simplify
    from .statistics import track_statistics

_HOMES = {
    ".certificate": ["InferenceCertificate", "certify_inference"],
    ".conventions": ["Converted", "convert", "debias"],
    ".dependence": ["Dependence", "batch_dependence"],
    ".derivation": ["Derivation", "Step"],
    ".diff_graphs": ["Difference", "Pair", "Reader", "Replacement", "diff"],
    ".fold_affine": ["Folding", "fold", "fold_report"],
    ".inference": ["to_inference"],
    ".linting": ["Finding", "lint"],
    ".norms": ["Epsilon", "Norm", "find_norms"],
    ".proof": ["prove_equal", "prove_zero"],
    ".precision": ["retype"],
    ".scalars": ["scalarize"],
    ".simplification": ["simplify"],
    ".statistics": ["track_statistics"],
}

__getattr__, __dir__ = attach(__name__, _HOMES)

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
