"""What is timed: one row a case, and the arrays that every peer is given.

A case has a *kind*, which says what is computed and what `reference` and each peer look up, and
*options*, which say on which shapes. Arrays are float32; labels are int64. Names with a slash are
weights and running statistics, in the layout of minigrad: ``linear1/weight`` is [in, out].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

Feed = dict[str, np.ndarray[Any, Any]]

STEPS = ("mlp", "cnn", "moons")  # kinds whose calls move a state
DECAY, EPS, RMS_EPS = 0.9, 1e-5, 1e-6
GROUPS = 8  # of group norm
PENALTY = 1e-4  # of micrograd's demo


@dataclass(frozen=True)
class Case:
    """One line of the results: a kind on given shapes, and who is measured."""

    group: str
    kind: str
    title: str
    options: Mapping[str, Any]
    peers: tuple[str, ...] = field(default=("minigrad",))
    quick: bool = False

    @property
    def name(self) -> str:
        """``bn (64,256)``."""
        return f"{self.group} {self.title}"

    @property
    def steps(self) -> int:
        """How many calls are checked: a training step must be right when it follows another."""
        return 3 if self.kind in STEPS else 1


def _norm(group: str, kind: str, shape: tuple[int, ...], peers: str, **more: Any) -> Case:
    quick = more.pop("quick", False)
    title = f"({','.join(map(str, shape))})" + (" channel-last" if more.get("last") else "")
    if group == "norms":
        title = f"{kind} {title}"
    options = {"shape": shape, **more}
    return Case(group, kind, title, options, ("minigrad", *peers.split()), quick)


def _mlp(batch: int, optimiser: str, quick: bool = False) -> Case:
    options = {"inputs": 784, "hidden": (512, 512), "activation": "relu"}
    options.update(batch=batch, optimiser=optimiser)
    title = f"784-512-512-10 batch {batch} {optimiser}"
    peers = ("minigrad", "torch", "torch-compile", "numpy", "jax")
    return Case("mlp", "mlp", title, options, peers, quick)


_BN = "torch torch-compile jax numpy numba"
_NORM = "torch torch-compile jax"
_SIGMOID = {
    "inputs": 784, "hidden": (100, 100, 100), "activation": "sigmoid", "batch": 60,
    "optimiser": "sgd",
}  # fmt: skip
_INFERENCE = ("minigrad", "torch", "onnxruntime", "numpy")
_CNN = {"batch": 64, "side": 28, "channels": (32, 64), "optimiser": "sgd"}
_CNN_PEERS = ("minigrad", "torch", "torch-channels-last", "torch-compile", "jax")
_MOONS = ("minigrad", "minigrad-scalars", "micrograd", "numpy")

CASES: tuple[Case, ...] = (
    _norm("bn", "bn", (64, 256), _BN, quick=True),
    _norm("bn", "bn", (1024, 1024), _BN, quick=True),
    _norm("bn", "bn", (8192, 512), _BN),
    _norm("bn", "bn", (32, 64, 28, 28), _BN, quick=True),
    _norm("bn", "bn", (64, 128, 14, 14), _BN),
    _norm("bn", "bn", (32, 28, 28, 64), _BN, last=True),
    _norm("norms", "ln", (32, 128, 768), _NORM),
    _norm("norms", "ln", (1024, 1024), _NORM, quick=True),
    _norm("norms", "gn", (64, 64, 14, 14), _NORM),
    _norm("norms", "in", (64, 64, 14, 14), _NORM),
    _norm("norms", "rms", (32, 128, 768), _NORM),
    _norm("norms", "rms", (1024, 1024), _NORM),
    _norm("norms", "softmax", (32, 128, 768), _NORM),
    _norm("norms", "softmax", (1024, 1024), _NORM, quick=True),
    _mlp(128, "sgd"),
    _mlp(128, "adam", quick=True),
    _mlp(32, "sgd"),
    _mlp(32, "adam"),
    Case("mlp", "mlp", "784-100-100-100-10 sigmoid batch 60 sgd", _SIGMOID, _mlp(1, "sgd").peers),
    Case("cnn", "cnn", "(64,1,28,28) sgd", _CNN, _CNN_PEERS, quick=True),
    Case("inference", "linear", "linear+bn 1", {"batch": 1, "units": 512}, _INFERENCE),
    Case("inference", "linear", "linear+bn 128", {"batch": 128, "units": 512}, _INFERENCE, True),
    Case("inference", "linear", "linear+bn 1024", {"batch": 1024, "units": 512}, _INFERENCE),
    Case("inference", "bn_inference", "bn (32,64,28,28)", {"shape": (32, 64, 28, 28)}, _INFERENCE),
    Case("inference", "bn_inference", "bn (64,128,14,14)", {"shape": (64, 128, 14, 14)},
         _INFERENCE),
    Case("scalar", "moons", "micrograd demo epoch", {"points": 100}, _MOONS, quick=True),
)  # fmt: skip


def _start(name: str, peers: str, quick: bool = False) -> Case:
    case = next(case for case in CASES if case.name == name)
    return Case("start", case.kind, name, case.options, ("minigrad", *peers.split()), quick)


FIRST_STEPS: tuple[Case, ...] = (
    _start("bn (64,256)", "torch jax numba", quick=True),
    _start("mlp 784-512-512-10 batch 128 adam", "torch jax"),
    _start("cnn (64,1,28,28) sgd", "torch jax"),
)


def rate(case: Case) -> float:
    """The learning rate: one at which the loss falls for a few steps on one batch."""
    if case.options["optimiser"] == "adam":
        return 1e-3
    return 0.1 if case.kind == "mlp" else 0.005


def named(name: str) -> Case:
    """The case of this name."""
    return next(case for case in (*CASES, *FIRST_STEPS) if case.name == name)


# --- layouts ---------------------------------------------------------------------------------


def channel(case: Case) -> int:
    """The axis that gamma lies along."""
    ndim = len(case.options["shape"])
    inner = ndim == 2 or case.options.get("last") or case.kind in ("ln", "rms", "softmax")
    return ndim - 1 if inner else 1


def axes(case: Case) -> tuple[int, ...]:
    """The axes that the statistics of a norm reduce over (group norm: of the pixels alone)."""
    ndim = len(case.options["shape"])
    if case.kind in ("bn", "bn_inference"):
        return tuple(axis for axis in range(ndim) if axis != channel(case))
    return (ndim - 1,) if case.kind in ("ln", "rms", "softmax") else tuple(range(2, ndim))


def beside(case: Case) -> tuple[int, ...]:
    """The shape in which gamma stands beside x: (C,) or (C,1,1)."""
    shape, axis = case.options["shape"], channel(case)
    return (shape[axis], *[1] * (len(shape) - axis - 1))


# --- arrays ----------------------------------------------------------------------------------


def feed(case: Case, seed: int = 0) -> Feed:
    """Inputs and initial weights; the same seed gives the same numbers."""
    arrays = _FEEDS[case.kind](np.random.default_rng(seed), **case.options)
    return {
        name: array if array.dtype == np.int64 else array.astype(np.float32)
        for name, array in arrays.items()
    }


def _norm_feed(rng: np.random.Generator, shape: tuple[int, ...], last: bool = False) -> Feed:
    channels = shape[-1] if last or len(shape) < 4 else shape[1]
    return {
        "x": rng.normal(0.5, 2.0, shape),
        "dy": rng.normal(size=shape),
        "gamma": rng.uniform(0.5, 1.5, channels),
        "beta": rng.normal(size=channels),
    }


def _rms_feed(rng: np.random.Generator, shape: tuple[int, ...]) -> Feed:
    arrays = _norm_feed(rng, shape)
    del arrays["beta"]
    return arrays


def _softmax_feed(rng: np.random.Generator, shape: tuple[int, ...]) -> Feed:
    return {"x": rng.normal(size=shape), "dy": rng.normal(size=shape)}


def _mlp_feed(
    rng: np.random.Generator,
    inputs: int,
    hidden: tuple[int, ...],
    batch: int,
    activation: str,
    optimiser: str,
) -> Feed:
    arrays = {"x": rng.normal(size=(batch, inputs)), "t": rng.integers(0, 10, batch)}
    for layer, (n, m) in enumerate(pairwise((inputs, *hidden)), start=1):
        arrays[f"linear{layer}/weight"] = rng.normal(0, math.sqrt(2 / n), (n, m))
        arrays.update(_bn_weights(layer, m))
    last = f"linear{len(hidden) + 1}"
    arrays[f"{last}/weight"] = rng.normal(0, math.sqrt(1 / hidden[-1]), (hidden[-1], 10))
    return {**arrays, f"{last}/bias": np.zeros(10)}


def _cnn_feed(
    rng: np.random.Generator, batch: int, side: int, channels: tuple[int, ...], optimiser: str
) -> Feed:
    arrays = {"x": rng.normal(size=(batch, 1, side, side)), "t": rng.integers(0, 10, batch)}
    for layer, (n, m) in enumerate(pairwise((1, *channels)), start=1):
        arrays[f"conv{layer}/weight"] = rng.normal(0, math.sqrt(2 / (9 * n)), (m, n, 3, 3))
        arrays.update(_bn_weights(layer, m))
    features = channels[-1] * (side // 2 ** len(channels)) ** 2
    arrays["linear/weight"] = rng.normal(0, math.sqrt(1 / features), (features, 10))
    return {**arrays, "linear/bias": np.zeros(10)}


def _bn_weights(layer: int, size: int) -> Feed:
    return {
        f"bn{layer}/gamma": np.ones(size),
        f"bn{layer}/beta": np.zeros(size),
        f"bn{layer}/running_mean": np.zeros(size),
        f"bn{layer}/running_var": np.ones(size),
    }


def _linear_feed(rng: np.random.Generator, batch: int, units: int) -> Feed:
    """W and b with the batch norm already folded in: ``(x @ w - m) * scale + beta``."""
    w = rng.normal(0, math.sqrt(1 / units), (units, units))
    scale = rng.uniform(0.5, 1.5, units) / np.sqrt(rng.uniform(0.5, 2, units) + EPS)
    bias = rng.normal(size=units) - rng.normal(size=units) * scale
    return {"x": rng.normal(size=(batch, units)), "w": w * scale, "b": bias}


def _bn_inference_feed(rng: np.random.Generator, shape: tuple[int, ...]) -> Feed:
    channels = shape[1]
    arrays = _norm_feed(rng, shape)
    del arrays["dy"]
    return {**arrays, "m": rng.normal(size=channels), "s": rng.uniform(0.5, 2.0, channels)}


def _moons_feed(rng: np.random.Generator, points: int) -> Feed:
    angle = np.linspace(0, np.pi, points // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    x = np.concatenate([upper, lower])
    arrays = {
        "x": x + rng.normal(scale=0.1, size=x.shape),
        "t": np.repeat(np.arange(2, dtype=np.int64), points // 2),
    }
    for layer, (n, m) in enumerate(pairwise((2, 16, 16, 1)), start=1):
        arrays[f"layer{layer}/w"] = rng.uniform(-1, 1, (n, m))
        arrays[f"layer{layer}/b"] = np.zeros(m)
    return arrays


_FEEDS: dict[str, Callable[..., Feed]] = {
    **dict.fromkeys(("bn", "ln", "gn", "in"), _norm_feed),
    "rms": _rms_feed,
    "softmax": _softmax_feed,
    "mlp": _mlp_feed,
    "cnn": _cnn_feed,
    "linear": _linear_feed,
    "bn_inference": _bn_inference_feed,
    "moons": _moons_feed,
}
