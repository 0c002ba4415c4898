"""Data: labelled examples, where they come from, how they are split, scaled and served.

Flow: `load` (or `digits`, `mnist`, `read_idx`, `read_npz`) -> `split` -> `Standardizer.fit` on the
training part -> `batches`, whose `Order` says where in which epoch it is.
"""

from .augment import random_affine
from .batches import Order, batches
from .dataset import DataError, Dataset, split
from .files import read_idx, read_npz, write_idx
from .scaling import Standardizer
from .sources import digits, load, load_parts, mnist

__all__ = [
    "DataError",
    "Dataset",
    "Order",
    "Standardizer",
    "batches",
    "digits",
    "load",
    "load_parts",
    "mnist",
    "random_affine",
    "read_idx",
    "read_npz",
    "split",
    "write_idx",
]
