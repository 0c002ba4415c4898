"""What each framework means by batch norm, and its statistics carried from one to another.

The paper leaves open how the running statistics move, which variance they follow, how large eps
is and what everything is called. `CONVENTIONS` answers for each framework; `convert` translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..ir import GraphError, ShapeError

Array: TypeAlias = np.ndarray[Any, Any]

CUMULATIVE = "cumulative"  # the decay of a plain average over all steps


@dataclass(frozen=True, slots=True)
class Names:
    """What a framework calls the parts of a batch norm layer; None where it has no such part."""

    mean: str
    variance: str
    gamma: str
    beta: str
    steps: str | None = None  # how many batches the statistics have seen
    separator: str = "/"  # between a layer's name and the part's
    decay: str = "momentum"  # the argument,
    complement: bool = False  # which is 1 - decay,
    cumulative: Any = "none"  # and its value for a plain average, if there is one
    eps: str = "eps"


@dataclass(frozen=True, slots=True)
class Convention:
    """What a framework means by batch norm where the paper leaves it open."""

    decay: float  # running = decay * running + (1 - decay) * batch
    eps: float
    unbiased: bool  # the running variance tracks v * n / (n - 1)


CONVENTIONS: dict[str, Convention] = {
    "keras": Convention(0.99, 1e-3, unbiased=False),
    "pytorch": Convention(0.9, 1e-5, unbiased=True),
    "flax": Convention(0.99, 1e-5, unbiased=False),
    "onnx": Convention(0.9, 1e-5, unbiased=False),
    "chainer": Convention(0.9, 2e-5, unbiased=True),
    "mlx": Convention(0.9, 1e-5, unbiased=True),
    "tinygrad": Convention(0.9, 1e-5, unbiased=True),
}

_TORCH = ("running_mean", "running_var", "weight", "bias")

# Keras, Flax and ONNX call decay "momentum"; PyTorch, MLX and tinygrad call 1 - decay so.
NAMES: dict[str, Names] = {
    "keras": Names("moving_mean", "moving_variance", "gamma", "beta", eps="epsilon"),
    "pytorch": Names(*_TORCH, "num_batches_tracked", ".", complement=True, cumulative=None),
    "flax": Names("mean", "var", "scale", "bias", eps="epsilon"),
    "onnx": Names("input_mean", "input_var", "scale", "B", separator=".", eps="epsilon"),
    "chainer": Names("avg_mean", "avg_var", "gamma", "beta", decay="decay"),
    "mlx": Names(*_TORCH, separator=".", complement=True),
    "tinygrad": Names(*_TORCH, "num_batches_tracked", ".", complement=True),
    "minigrad": Names("running_mean", "running_var", "gamma", "beta", "num_batches",
                      decay="decay", cumulative=CUMULATIVE),
}  # fmt: skip

_ROLES = ("mean", "variance", "gamma", "beta", "steps")


@dataclass(frozen=True)
class Converted:
    """Statistics in the terms of another framework, and what could not be carried over.

    ``stats`` holds the arrays by the target's names, ``arguments`` its layer's arguments.
    ``lost`` says, one sentence each, what the result does not hold; it is empty when exact.
    """

    stats: dict[str, Array]
    arguments: dict[str, Any]
    lost: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return not self.lost


def convert(
    stats: Mapping[str, Any],
    from_: str,
    to: str,
    *,
    n: int | Mapping[str, int] | None = None,
    keep: str = "statistics",
    arguments: Mapping[str, Any] | None = None,
    steps: int | None = None,
    start: float = 1.0,
    eps: float | None = None,
    names: str | None = None,
) -> Converted:
    """A batch norm layer's statistics and weights, as another framework would hold them.

    Parameters
    ----------
    stats : arrays by the names of ``from_`` (minigrad's own are understood too), each [C]; with a
        layer in front, ``bn1.running_mean``, for several layers at once.
    from_, to : keys of `CONVENTIONS`.
    n : how many elements each batch statistic was taken over, N for [N,C] and N*H*W for
        [N,C,H,W]; by layer if they differ. Needed when one convention tracks the biased variance
        and the other the unbiased.
    keep : "statistics" gives the running variance that ``to`` would have tracked, so that
        training goes on the same; "outputs" carries it as it is, so that inference answers the
        same. Where both track the same variance there is no difference.
    arguments : of the layer in the terms of ``from_``, such as ``{"momentum": 0.1}``; those left
        out have its defaults.
    steps, start : how many steps the statistics have made, and the variance they began with;
        ``start * decay**steps`` of a running variance is no variance and is not rescaled. Read
        from ``num_batches_tracked`` where there is one.
    eps : of the target layer, where it cannot be chosen; with ``keep="outputs"`` the running
        variance takes up the difference.
    names : the names to use, a key of `NAMES`, such as "minigrad"; those of ``to`` by default.

    Returns a `Converted`, whose ``lost`` names everything that is not exact. Raises GraphError
    for an unknown name or convention, a missing ``n``, an ``n`` of 1 (the unbiased variance of
    one number does not exist) and a variance that is or becomes negative.

    >>> found = convert({"running_mean": [0.5], "running_var": [2.0]}, "pytorch", "keras",
    ...                 n=5, steps=100)
    >>> {name: array.round(4).tolist() for name, array in found.stats.items()}
    {'moving_mean': [0.5], 'moving_variance': [1.6]}
    >>> found.arguments
    {'momentum': 0.9, 'epsilon': 1e-05}
    """
    for preset in (from_, to):
        _known(preset, CONVENTIONS)
    spelled = NAMES[_known(names or to, NAMES)]
    if keep not in ("statistics", "outputs"):
        raise GraphError(f"convert: keep={keep!r} is neither 'statistics' nor 'outputs'")
    decay, old_eps = _read_arguments(from_, arguments or {})
    lost: list[str] = []
    converted: dict[str, Array] = {}
    for layer, parts in _layers(stats, from_).items():
        size = n.get(layer) if isinstance(n, Mapping) else n
        if "variance" in parts:
            seen = steps if steps is not None else _counted(parts, start)
            factor = _bessel(from_, to, size, layer) if keep == "statistics" else 1.0
            v, note = _rescaled(parts["variance"], factor, decay, seen, start)
            lost += note
            if keep == "outputs" and eps is not None:
                v = v + np.asarray(old_eps - eps, v.dtype)
            parts["variance"] = _positive(v, layer)
        converted |= _spelled(layer, parts, spelled, lost)
    if eps is not None and keep == "statistics" and eps != old_eps:
        lost.append(f"inference answers differ: eps is {eps:g} instead of {old_eps:g}")
    found = _spelled_arguments(decay, old_eps if eps is None else eps, spelled, lost)
    return Converted(converted, found, tuple(dict.fromkeys(lost)))


def debias(running: Any, start: Any, decay: float | str, t: Any) -> Array:
    """A running statistic freed of its start: ``(s_t - decay**t * s_0) / (1 - decay**t)``.

    The weights of the batches in an EMA sum to ``1 - decay**t`` (Kingma and Ba 2015, "Adam",
    section 3, where ``s_0 = 0``); this is their mean, weighted towards the latest. A cumulative
    average (``decay="cumulative"``) is free of its start after one step.

    Parameters
    ----------
    running, start : arrays of one shape, or numbers; ``start`` is what ``running`` began with.
    t : how many steps it has made, at least 1; an array for one number a statistic.

    Raises GraphError for ``t < 1``, where nothing has been seen, and for a decay of 1, with which
    nothing is ever seen.

    >>> debias([0.9 * 1.0 + 0.1 * 5.0], 1.0, 0.9, 1).round(6)
    array([5.])
    """
    s, steps = np.asarray(running), np.asarray(t)
    if (steps < 1).any():
        raise GraphError(
            f"debias: t is {steps.min()}; a statistic that has seen no batch is only its start, "
            "there is nothing to free"
        )
    if decay != CUMULATIVE and (isinstance(decay, str) or not 0 <= decay < 1):
        raise GraphError(
            f"debias: decay is {decay!r}; it must be in [0, 1), where 1 never moves, or "
            f"{CUMULATIVE!r}"
        )
    share, seen = _shares(decay, steps)
    freed = (s.astype(np.float64) - share * np.asarray(start, np.float64)) / seen
    found: Array = np.asarray(freed, s.dtype if s.dtype.kind == "f" else np.float64)
    return found


# --- numbers ---------------------------------------------------------------------------------


def _shares(decay: float | str, steps: Any) -> tuple[Any, Any]:
    """How much of an EMA is its start, ``decay**t``, and the rest, exact for a decay near 1."""
    steps = np.asarray(steps, np.float64)
    if isinstance(decay, str):
        return np.where(steps > 0, 0.0, 1.0), np.where(steps > 0, 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.where(steps > 0, steps * np.log(decay), 0.0)
    return np.exp(exponent), -np.expm1(exponent)


def _bessel(from_: str, to: str, n: int | None, layer: str) -> float:
    """What turns the variance that ``from_`` tracks into the one that ``to`` does."""
    source, target = CONVENTIONS[from_].unbiased, CONVENTIONS[to].unbiased
    if source == target:
        return 1.0
    words = ("biased", "unbiased")
    where = f" of {layer!r}" if layer else ""
    if n is None:
        raise GraphError(
            f"convert: {from_} tracks the {words[source]} variance{where}, {to} the "
            f"{words[target]}; give n, the number of elements reduced (N, or N*H*W), or "
            "keep='outputs' to carry the running variance as it is"
        )
    if n < 2:
        raise GraphError(
            f"convert: n is {n}{where}; the unbiased variance n/(n-1) of fewer than two numbers "
            "does not exist, nothing can be rescaled"
        )
    return (n - 1) / n if source else n / (n - 1)


def _rescaled(
    variance: Array, factor: float, decay: float | str, steps: int | None, start: float
) -> tuple[Array, list[str]]:
    """The variance times ``factor``, all but what is left in it of its start."""
    if factor == 1:
        return variance, []
    if steps is None:
        return _like(variance * np.float64(factor), variance), [
            "what is left of the start of a running variance, start * decay**steps, was rescaled "
            "with the rest; give steps"
        ]
    share, _ = _shares(decay, steps)
    wide = variance.astype(np.float64)
    return _like(factor * wide + (1 - factor) * share * start, variance), []


def _like(value: Array, original: Array) -> Array:
    return value.astype(original.dtype if original.dtype.kind == "f" else np.float64)


def _positive(variance: Array, layer: str) -> Array:
    if (variance < 0).any():
        where = f" of {layer!r}" if layer else ""
        raise GraphError(
            f"convert: the running variance{where} is {variance.min():g}, below 0; a target with a "
            "larger eps cannot answer the same, or the source computed E[x^2]-E[x]^2"
        )
    return variance


def _counted(parts: Mapping[str, Array], start: float) -> int | None:
    """The layer's own count of steps; a 0 beside a variance that moved says that nobody counted."""
    if "steps" not in parts:
        return None
    counted = int(parts["steps"])
    return counted if counted or (parts["variance"] == start).all() else None


# --- names -----------------------------------------------------------------------------------


def _layers(stats: Mapping[str, Any], from_: str) -> dict[str, dict[str, Array]]:
    """The arrays by layer and role; a name without a layer belongs to the layer ``""``."""
    found: dict[str, dict[str, Array]] = {}
    roles = {**_roles("minigrad"), **_roles(from_)}
    for key, value in stats.items():
        cut = max(key.rfind("."), key.rfind("/"))
        layer, name = key[: max(cut, 0)], key[cut + 1 :]
        if isinstance(value, Mapping) or name not in roles:
            raise GraphError(
                f"convert: {key!r} is no part of batch norm in {from_}; it has "
                f"{', '.join(_roles(from_))}, flat, each behind its layer's name or alone"
            )
        array = np.asarray(value)
        parts = found.setdefault(layer, {})
        if roles[name] in parts:
            raise GraphError(f"convert: {key!r} is there twice, under two names")
        shapes = {a.shape for r, a in parts.items() if r != "steps"}
        if roles[name] != "steps" and shapes - {array.shape}:
            raise ShapeError(
                f"convert: {key!r} is {list(array.shape)}, the layer's other parts are "
                f"{list(shapes.pop())}"
            )
        parts[roles[name]] = array
    return found


def _roles(framework: str) -> dict[str, str]:
    row = NAMES[framework]
    return {getattr(row, role): role for role in _ROLES if getattr(row, role)}


def _spelled(
    layer: str, parts: Mapping[str, Array], names: Names, lost: list[str]
) -> dict[str, Array]:
    """The parts under the target's names."""
    prefix = layer.replace("/", names.separator).replace(".", names.separator)
    found = {}
    for role in _ROLES:
        name = getattr(names, role)
        if role in parts and name is None:
            lost.append("the number of steps has no place in the target")
        elif role in parts:
            found[prefix + names.separator + name if prefix else name] = parts[role]
    return found


def _read_arguments(from_: str, arguments: Mapping[str, Any]) -> tuple[float | str, float]:
    names, preset = NAMES[from_], CONVENTIONS[from_]
    for key in arguments:
        if key not in (names.decay, names.eps):
            raise GraphError(
                f"convert: {from_} has no argument {key!r} for this; it has {names.decay}, "
                f"{names.eps}"
            )
    eps = float(arguments.get(names.eps, preset.eps))
    if names.decay not in arguments:
        return preset.decay, eps
    given = arguments[names.decay]
    if names.cumulative != "none" and given == names.cumulative:
        return CUMULATIVE, eps
    if isinstance(given, str) or given is None or not 0 <= given <= 1:
        raise GraphError(f"convert: {names.decay}={given!r} is not in [0, 1]")
    return _flipped(float(given)) if names.complement else float(given), eps


def _spelled_arguments(
    decay: float | str, eps: float, names: Names, lost: list[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(decay, float):
        found[names.decay] = _flipped(decay) if names.complement else decay
    elif names.cumulative != "none":
        found[names.decay] = names.cumulative
    else:
        lost.append("the target has no cumulative average; choose a decay")
    return {**found, names.eps: eps}


def _flipped(share: float) -> float:
    """``1 - share`` in decimal: 0.1 from 0.9, not 0.09999999999999998."""
    from decimal import Decimal

    return float(1 - Decimal(repr(share)))


def _known(name: str, table: Mapping[str, Any]) -> str:
    if name not in table:
        raise GraphError(f"convert: {name!r} is not one of {', '.join(table)}")
    return name
