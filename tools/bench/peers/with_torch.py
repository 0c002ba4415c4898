"""PyTorch: eager with its fused kernels, channels-last memory, or torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (everyone calls it F)
from cases import DECAY, EPS, GROUPS, RMS_EPS, Case, Feed, rate
from torch import nn

from . import Run, Setting, weights_of

Tensor = torch.Tensor


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """Tensors, modules and, in the variant ``compile``, compiled functions."""
    torch.set_num_threads(setting.threads)
    return _PREPARE[case.kind](case, feed, setting.variant)


# --- norms -----------------------------------------------------------------------------------


def _norm(case: Case, feed: Feed, variant: str) -> Run:
    last = bool(case.options.get("last"))  # [N,H,W,C] in memory is channels-last [N,C,H,W]
    seen = [_moved(torch.from_numpy(feed[k]), 3, 1) if last else torch.from_numpy(feed[k])
            for k in ("x", "dy")]  # fmt: skip
    x, dy = seen
    leaves = [torch.from_numpy(feed[k]) for k in ("gamma", "beta") if k in feed]
    for leaf in (x, *leaves):
        leaf.requires_grad_()
    forward = FORWARD[case.kind]
    if variant == "compile":
        forward = torch.compile(forward, dynamic=False)

    def call() -> Any:
        y = forward(x, *leaves)
        return y.detach(), *torch.autograd.grad(y, (x, *leaves), dy)

    def read(arrays: Any) -> Feed:
        images = [_moved(a, 1, 3) if last else a for a in arrays[:2]]
        names = ("y", "dx", "dgamma", "dbeta")
        return dict(zip(names, [a.numpy() for a in (*images, *arrays[2:])], strict=False))

    return Run(call, read)


def _moved(x: Tensor, source: int, target: int) -> Tensor:
    return torch.movedim(x, source, target)


FORWARD: dict[str, Callable[..., Tensor]] = {
    "bn": lambda x, g, b: F.batch_norm(x, None, None, g, b, training=True, eps=EPS),
    "ln": lambda x, g, b: F.layer_norm(x, x.shape[-1:], g, b, EPS),
    "gn": lambda x, g, b: F.group_norm(x, GROUPS, g, b, EPS),
    "in": lambda x, g, b: F.instance_norm(x, weight=g, bias=b, eps=EPS),
    "rms": lambda x, g: F.rms_norm(x, x.shape[-1:], g, RMS_EPS),
    "softmax": lambda x: F.softmax(x, -1),
}


# --- inference -------------------------------------------------------------------------------


def _linear(case: Case, feed: Feed, variant: str) -> Run:
    x, b = torch.from_numpy(feed["x"]), torch.from_numpy(feed["b"])
    w = torch.from_numpy(np.ascontiguousarray(feed["w"].T))
    return _without_gradient(lambda: F.linear(x, w, b))


def _bn_inference(case: Case, feed: Feed, variant: str) -> Run:
    x, m, s, g, b = (torch.from_numpy(feed[k]) for k in ("x", "m", "s", "gamma", "beta"))
    return _without_gradient(lambda: F.batch_norm(x, m, s, g, b, training=False, eps=EPS))


def _without_gradient(forward: Callable[[], Tensor]) -> Run:
    def call() -> Tensor:
        with torch.inference_mode():
            return forward()

    return Run(call, lambda y: {"y": y.numpy()})


# --- training steps --------------------------------------------------------------------------


def _step(case: Case, feed: Feed, variant: str) -> Run:
    x, t = torch.from_numpy(feed["x"]), torch.from_numpy(feed["t"])
    model: Any
    model, places = _mlp(case) if case.kind == "mlp" else _cnn(case)
    if variant == "channels-last":
        model, x = (v.to(memory_format=torch.channels_last) for v in (model, x))
    optimiser = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[case.options["optimiser"]]
    compiled = variant == "compile"
    kind = {"foreach": True} if compiled else {"fused": True}
    moves = optimiser(model.parameters(), lr=rate(case), **kind)

    def step() -> Tensor:
        moves.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), t)
        loss.backward()
        moves.step()
        return loss

    run = torch.compile(step, dynamic=False) if compiled else step

    def reset() -> None:
        with torch.no_grad():
            for name, array in weights_of(feed).items():
                places[name].copy_(torch.from_numpy(_turned(name, array)))
            for slots in moves.state.values():
                for slot in slots.values():
                    if isinstance(slot, Tensor):
                        slot.zero_()

    def read(loss: float) -> Feed:
        arrays = {name: place.detach().numpy().copy() for name, place in places.items()}
        turned = {name: _turned(name, array) for name, array in arrays.items()}
        return {"loss": np.asarray(loss), **turned}

    reset()
    return Run(lambda: run().item(), read, reset)


def _turned(name: str, array: Any) -> Any:
    """PyTorch keeps the weight of a linear layer as [out, in]."""
    return array.T if name.startswith("linear") and array.ndim == 2 else array


def _mlp(case: Case) -> tuple[nn.Module, dict[str, Tensor]]:
    activation = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}[case.options["activation"]]
    sizes = (case.options["inputs"], *case.options["hidden"])
    layers: list[nn.Module] = []
    places: dict[str, Tensor] = {}
    for k in range(1, len(sizes)):
        linear = nn.Linear(sizes[k - 1], sizes[k], bias=False)
        norm = nn.BatchNorm1d(sizes[k], eps=EPS, momentum=1 - DECAY)
        layers += [linear, norm, activation()]
        places.update({f"linear{k}/weight": linear.weight, **_bn_places(k, norm)})
    return _ended(layers, sizes[-1], places, f"linear{len(sizes)}")


def _cnn(case: Case) -> tuple[nn.Module, dict[str, Tensor]]:
    sizes = (1, *case.options["channels"])
    layers: list[nn.Module] = []
    places: dict[str, Tensor] = {}
    for k in range(1, len(sizes)):
        convolution = nn.Conv2d(sizes[k - 1], sizes[k], 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(sizes[k], eps=EPS, momentum=1 - DECAY)
        layers += [convolution, norm, nn.ReLU(), nn.MaxPool2d(2)]
        places.update({f"conv{k}/weight": convolution.weight, **_bn_places(k, norm)})
    side = case.options["side"] // 2 ** (len(sizes) - 1)
    return _ended([*layers, nn.Flatten()], sizes[-1] * side**2, places, "linear")


def _bn_places(k: int, norm: Any) -> dict[str, Tensor]:
    return {
        f"bn{k}/gamma": norm.weight,
        f"bn{k}/beta": norm.bias,
        f"bn{k}/running_mean": norm.running_mean,
        f"bn{k}/running_var": norm.running_var,
    }


def _ended(
    layers: list[nn.Module], features: int, places: dict[str, Tensor], name: str
) -> tuple[nn.Module, dict[str, Tensor]]:
    last = nn.Linear(features, 10)
    places = {**places, f"{name}/weight": last.weight, f"{name}/bias": last.bias}
    return nn.Sequential(*layers, last), places


_PREPARE: dict[str, Callable[[Case, Feed, str], Run]] = {
    **dict.fromkeys(FORWARD, _norm),
    "linear": _linear,
    "bn_inference": _bn_inference,
    "mlp": _step,
    "cnn": _step,
}
