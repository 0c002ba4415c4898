"""Optimisers: a training graph in, the same graph with an update for every weight out.

``optim.adam(graph, lr=1e-3)`` differentiates the output called ``loss`` and adds one `Update` for
each trainable parameter, each slot (``adam/m/linear1/weight``) and the step counter. Nothing
moves by itself: a compiled step returns the new state.

Formulas and argument names are PyTorch's, whose defaults most papers quote. What they share:

* ``lr`` is a number or a schedule (`minigrad.train.schedule`).
* ``weight_decay`` leaves parameters marked ``weight_decay=False`` (gamma, beta, biases) alone,
  unless ``decay_all=True``. It is an L2 term in the gradient everywhere but in `adamw`.
* ``clip_norm`` scales all gradients down together when their global norm is larger (Pascanu et
  al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1).
* ``trainable=False`` parameters stay; a ``constraint`` is applied to each new value.
* A trainable parameter that the loss does not depend on is an error, not a silent no-op.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..autodiff import grad
from ..ir import GradientError, Graph, GraphError, Node, Update, scope
from ..primitives import cast, constant, maximum, sqrt, state, sum
from .schedule import Schedule, learning_rate

LOSS = "loss"
Rate: TypeAlias = "float | Schedule"


def sgd(
    graph: Graph,
    *,
    lr: Rate,
    weight_decay: float = 0.0,
    decay_all: bool = False,
    clip_norm: float | None = None,
) -> Graph:
    """Gradient descent: ``w - lr * g`` (Robbins and Monro 1951).

    >>> import minigrad as mg
    >>> w = mg.parameter("w", 3.0)
    >>> step = mg.compile(sgd(mg.Graph([], {"loss": w * w}), lr=0.1))
    >>> outputs, state = step(step.init_state())
    >>> round(float(state["w"]), 6)
    2.4
    """
    plan = _plan("sgd", graph, lr, weight_decay, decay_all, clip_norm)

    def move(w: Node, g: Node, slots: Slots) -> Node:
        return w - plan.rate(w) * g

    return plan.build(move)


def momentum(
    graph: Graph,
    *,
    lr: Rate,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay_all: bool = False,
    clip_norm: float | None = None,
) -> Graph:
    """Heavy ball: ``b = momentum * b + g``; ``w - lr * b`` (Polyak 1964)."""
    plan = _plan("momentum", graph, lr, weight_decay, decay_all, clip_norm, momentum=momentum)

    def move(w: Node, g: Node, slots: Slots) -> Node:
        b = slots("velocity", lambda old: momentum * old + g)
        return w - plan.rate(w) * b

    return plan.build(move)


def nesterov(
    graph: Graph,
    *,
    lr: Rate,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay_all: bool = False,
    clip_norm: float | None = None,
) -> Graph:
    """Nesterov's: ``b = momentum * b + g``; ``w - lr * (g + momentum * b)``.

    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning",
    in the form of Bengio et al. 2013 that frameworks use.
    """
    plan = _plan("nesterov", graph, lr, weight_decay, decay_all, clip_norm, momentum=momentum)

    def move(w: Node, g: Node, slots: Slots) -> Node:
        b = slots("velocity", lambda old: momentum * old + g)
        return w - plan.rate(w) * (g + momentum * b)

    return plan.build(move)


def rmsprop(
    graph: Graph,
    *,
    lr: Rate = 0.01,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    decay_all: bool = False,
    clip_norm: float | None = None,
) -> Graph:
    """``v = alpha * v + (1 - alpha) * g**2``; ``w - lr * g / (sqrt(v) + eps)``.

    Tieleman and Hinton 2012, lecture 6.5; with ``momentum`` the quotient goes through a heavy ball.
    """
    plan = _plan(
        "rmsprop", graph, lr, weight_decay, decay_all, clip_norm, alpha=alpha, momentum=momentum
    )

    def move(w: Node, g: Node, slots: Slots) -> Node:
        v = slots("v", lambda old: alpha * old + (1 - alpha) * g**2)
        direction = g / (sqrt(v) + eps)
        if momentum:
            quotient = direction
            direction = slots("velocity", lambda old: momentum * old + quotient)
        return w - plan.rate(w) * direction

    return plan.build(move)


def adam(
    graph: Graph,
    *,
    lr: Rate = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_all: bool = False,
    clip_norm: float | None = None,
) -> Graph:
    """``m = beta1*m + (1-beta1)*g``; ``v = beta2*v + (1-beta2)*g**2``; both debiased; then
    ``w - lr * m / (sqrt(v) + eps)``. Kingma and Ba 2015, "Adam", algorithm 1.

    >>> import minigrad as mg
    >>> w = mg.parameter("w", 3.0)
    >>> g = adam(mg.Graph([], {"loss": w * w}), lr=0.1)
    >>> sorted(s.name for s in g.states)
    ['adam/m/w', 'adam/step', 'adam/v/w']
    """
    plan = _plan(
        "adam", graph, lr, weight_decay, decay_all, clip_norm,
        counted=True, beta1=beta1, beta2=beta2,
    )  # fmt: skip

    change = _adam_change(plan, beta1, beta2, eps)
    return plan.build(lambda w, g, slots: w - change(g, slots))


def adamw(
    graph: Graph,
    *,
    lr: Rate = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_all: bool = False,
    clip_norm: float | None = None,
) -> Graph:
    """`adam` on the loss alone, and ``w`` shrunk by ``lr * weight_decay`` beside it.

    Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2.
    """
    plan = _plan(
        "adamw", graph, lr, 0.0, decay_all, clip_norm,
        counted=True, beta1=beta1, beta2=beta2,
    )  # fmt: skip
    _check_range("adamw", weight_decay=(weight_decay, np.inf))
    change = _adam_change(plan, beta1, beta2, eps)

    def move(w: Node, g: Node, slots: Slots) -> Node:
        shrunk = w * (1 - plan.rate(w) * weight_decay) if plan.decays(w, weight_decay) else w
        return shrunk - change(g, slots)

    return plan.build(move)


OPTIMISERS: dict[str, Callable[..., Graph]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


# --- what they share -------------------------------------------------------------------------

Slots: TypeAlias = Callable[[str, Callable[[Node], Node]], Node]
Move: TypeAlias = Callable[[Node, Node, Slots], Node]  # (weight, gradient, slots) -> next weight


@dataclass
class _Plan:
    """The gradients, the rate and the step counter of one optimiser on one graph."""

    name: str
    graph: Graph
    weights: list[Node]
    gradients: list[Node]
    lr: Node  # f64[]
    step: Node | None  # how many steps were done before this one
    weight_decay: float
    decay_all: bool
    casts: dict[tuple[Node, np.dtype[Any]], Node] = field(default_factory=dict)

    def rate(self, w: Node) -> Node:
        """The learning rate in the weight's dtype."""
        return self.scalar(self.lr, w)

    def scalar(self, value: Node, like: Node) -> Node:
        """A float64 scalar in the dtype of ``like``: one node for all weights of that dtype."""
        key = (value, like.type.dtype)
        if key not in self.casts:
            self.casts[key] = _as_dtype(value, like.type.dtype)
        return self.casts[key]

    def decays(self, w: Node, weight_decay: float) -> bool:
        return bool(weight_decay) and (self.decay_all or w.attrs.get("weight_decay", True))

    def build(self, move: Move) -> Graph:
        updates: list[Update] = []
        with scope(self.name):
            for w, g in zip(self.weights, self.gradients, strict=True):
                if self.decays(w, self.weight_decay):
                    g = g + self.weight_decay * w
                value = move(w, g, self._slots(w, updates))
                constraint = w.attrs.get("constraint")
                updates.append(Update(w, value if constraint is None else constraint(value)))
            if self.step is not None:
                updates.append(Update(self.step, self.step + 1))
        return self.graph.with_updates(updates)

    def _slots(self, w: Node, updates: list[Update]) -> Slots:
        def slot(name: str, next_value: Callable[[Node], Node]) -> Node:
            old = state(f"{name}/{w.name}", 0.0, w.type.shape, dtype=w.type.dtype)
            value = next_value(old)
            updates.append(Update(old, value))
            return value

        return slot


def _plan(
    name: str,
    graph: Graph,
    lr: Rate,
    weight_decay: float,
    decay_all: bool,
    clip_norm: float | None,
    counted: bool = False,
    **fractions: float,
) -> _Plan:
    _check_range(name, weight_decay=(weight_decay, np.inf))
    _check_range(name, **{key: (value, 1.0) for key, value in fractions.items()})
    weights = _trainable(name, graph)
    gradients = _gradients(name, graph.outputs[LOSS], weights)
    with scope(name):
        step = state("step", 0) if counted or callable(lr) else None
        rate = learning_rate(lr, step)
        if clip_norm is not None:
            gradients = _clipped(name, gradients, clip_norm)
    return _Plan(name, graph, weights, gradients, rate, step, weight_decay, decay_all)


def _trainable(name: str, graph: Graph) -> list[Node]:
    if LOSS not in graph.outputs:
        raise GraphError(
            f"{name}: the graph has no output called {LOSS!r}, only {', '.join(graph.outputs)}; "
            "name the scalar to minimise 'loss'"
        )
    weights = [w for w in graph.parameters if w.attrs.get("trainable", True)]
    if not weights:
        raise GradientError(f"{name}: the graph has no trainable parameter")
    return weights


def _gradients(name: str, loss: Node, weights: list[Node]) -> list[Node]:
    try:
        return grad(loss, weights)
    except GradientError as error:
        raise GradientError(
            f"{name}: {error}; a parameter that shall not learn is made with trainable=False"
        ) from None


def _adam_change(
    plan: _Plan, beta1: float, beta2: float, eps: float
) -> Callable[[Node, Slots], Node]:
    """What Adam subtracts: ``lr / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + eps)``.

    The debiasing scalars are float64: in float32, ``1 - 0.999`` has four digits.
    """
    assert plan.step is not None
    with scope(plan.name):
        t = cast(plan.step + 1, "float64")
        rate = plan.lr / (1 - constant(np.float64(beta1)) ** t)
        root = sqrt(1 - constant(np.float64(beta2)) ** t)

    def change(g: Node, slots: Slots) -> Node:
        m = slots("m", lambda old: beta1 * old + (1 - beta1) * g)
        v = slots("v", lambda old: beta2 * old + (1 - beta2) * g**2)
        return plan.scalar(rate, g) * m / (sqrt(v) / plan.scalar(root, g) + eps)

    return change


def _clipped(name: str, gradients: list[Node], clip_norm: float) -> list[Node]:
    """Scaled by ``min(1, clip_norm / (norm + 1e-6))``, as torch's clip_grad_norm_ does."""
    if not clip_norm > 0:
        raise GraphError(f"{name}: clip_norm is {clip_norm}, it must be positive")
    total = sum(gradients[0] ** 2)
    for g in gradients[1:]:
        total = total + sum(g**2)
    scale = clip_norm / maximum(sqrt(total) + 1e-6, clip_norm)
    return [g * _as_dtype(scale, g.type.dtype) for g in gradients]


def _as_dtype(x: Node, dtype: np.dtype[Any]) -> Node:
    if x.prim.name == "constant":
        return constant(x.attrs["value"], dtype)
    return x if x.type.dtype == dtype else cast(x, dtype)


def _check_range(name: str, **values: tuple[float, float]) -> None:
    for key, (value, below) in values.items():
        if not 0 <= value < below:
            raise GraphError(f"{name}: {key} is {value}, it must lie in [0, {below})")
