"""Data files: IDX, the format of MNIST, and numpy's npz. A damaged file gives a DataError."""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .dataset import Array, DataError, Dataset

PathLike: TypeAlias = "str | os.PathLike[str]"

# The type codes of IDX; numbers are stored with the highest byte first.
_CODES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: PathLike) -> Array:
    """The array in an IDX file, gzipped or not (http://yann.lecun.com/exdb/mnist, "file formats").

    Layout: two zero bytes, a type code, the rank, each dim as a 32-bit int, then the numbers.
    Raises DataError when the file cannot be read, is cut short, or is something else.
    """
    raw = _bytes(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _CODES:
        raise DataError(f"{path}: not an IDX file; it starts with {raw[:4].hex(' ') or 'nothing'}")
    dtype, rank = np.dtype(_CODES[raw[2]]), raw[3]
    header = 4 + 4 * rank
    if len(raw) < header:
        raise DataError(f"{path}: cut short inside its header of {header} bytes")
    shape = struct.unpack(f">{rank}I", raw[4:header])
    wanted = header + math.prod(shape) * dtype.itemsize
    if len(raw) != wanted:
        raise DataError(
            f"{path}: its header promises {list(shape)} of {dtype.name}, {wanted} bytes; "
            f"there are {len(raw)}"
        )
    return np.frombuffer(raw, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def write_idx(path: PathLike, array: Array) -> None:
    """Write an array as IDX; gzipped when the name ends in ``.gz``."""
    stored = np.asarray(array).dtype.newbyteorder(">")
    codes = {np.dtype(name): code for code, name in _CODES.items()}
    if stored not in codes:
        raise DataError(f"write_idx: IDX has no {array.dtype.name}")
    header = bytes([0, 0, codes[stored], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    raw = header + array.astype(stored).tobytes()
    Path(path).write_bytes(gzip.compress(raw) if str(path).endswith(".gz") else raw)


def read_npz(path: PathLike, x: str | None = None, t: str | None = None) -> Dataset:
    """The examples and labels in an npz file, arrays ``x`` and ``t`` unless named otherwise.

    Without names, the pairs ``x, t``, ``x, y``, ``X, y`` and ``x_train, y_train`` are looked for.
    """
    arrays = npz_arrays(path)
    pairs = [("x", "t"), ("x", "y"), ("X", "y"), ("x_train", "y_train")]
    if x is not None or t is not None:
        pairs = [(x or "x", t or "t")]
    for examples, labels in pairs:
        if examples in arrays and labels in arrays:
            data = Dataset(arrays[examples], arrays[labels].ravel())
            return data.with_x(data.x.reshape(len(data), -1))
    wanted = " or ".join(f"{a!r} with {b!r}" for a, b in pairs)
    raise DataError(f"{path}: no {wanted}; it holds {', '.join(arrays) or 'nothing'}")


def npz_arrays(path: PathLike) -> dict[str, Array]:
    """Every array of an npz file by name; DataError when the file is damaged."""
    raw = io.BytesIO(_bytes(path))  # np.load leaves a damaged file open
    try:
        with np.load(raw, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a sound npz file: {error}") from None


def _bytes(path: PathLike) -> bytes:
    try:
        raw = Path(path).read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
