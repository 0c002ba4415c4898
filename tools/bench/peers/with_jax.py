"""JAX: the primitives, differentiated and compiled by XLA in one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import DECAY, EPS, GROUPS, RMS_EPS, Case, Feed, axes, beside, rate

from . import Run, Setting, weights_of

Tree = dict[str, Any]


def prepare(case: Case, feed: Feed, setting: Setting) -> Run:
    """Arrays on the device, and a jitted function that the first call compiles."""
    if setting.cache:
        jax.config.update("jax_compilation_cache_dir", setting.cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return _norm(case, feed) if case.kind in FORWARD else _step(case, feed)


# --- norms -----------------------------------------------------------------------------------


def _norm(case: Case, feed: Feed) -> Run:
    leaves = [jnp.asarray(feed[k]) for k in ("gamma", "beta") if k in feed]
    x, dy = jnp.asarray(feed["x"]), jnp.asarray(feed["dy"])

    @jax.jit
    def both(dy: Any, *values: Any) -> Any:
        y, back = jax.vjp(lambda *v: FORWARD[case.kind](case, *v), *values)
        return y, *back(dy)

    names = ("y", "dx", "dgamma", "dbeta")
    return Run(
        lambda: jax.block_until_ready(both(dy, x, *leaves)),
        lambda arrays: dict(zip(names, map(np.asarray, arrays), strict=False)),
    )


def batch_norm(x: Any, over: tuple[int, ...], gamma: Any, beta: Any) -> Any:
    """From primitives, as minigrad has it."""
    mu = x.mean(over, keepdims=True)
    v = ((x - mu) ** 2).mean(over, keepdims=True)
    return gamma * ((x - mu) * jax.lax.rsqrt(v + EPS)) + beta


def _beside(case: Case, x: Any, gamma: Any, beta: Any) -> Any:
    return batch_norm(x, axes(case), gamma.reshape(beside(case)), beta.reshape(beside(case)))


def _group_norm(case: Case, x: Any, gamma: Any, beta: Any) -> Any:
    x_hat = batch_norm(x.reshape(len(x), GROUPS, -1), (2,), 1.0, 0.0).reshape(x.shape)
    return gamma.reshape(beside(case)) * x_hat + beta.reshape(beside(case))


def _rms_norm(case: Case, x: Any, gamma: Any) -> Any:
    return gamma * (x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + RMS_EPS))


FORWARD: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("bn", "ln", "in"), _beside),
    "gn": _group_norm,
    "rms": _rms_norm,
    "softmax": lambda case, x: jax.nn.softmax(x),
}


# --- training steps --------------------------------------------------------------------------


def _step(case: Case, feed: Feed) -> Run:
    """The state goes in and comes out of one function, which may overwrite it."""
    x, t = jnp.asarray(feed["x"]), jnp.asarray(feed["t"])
    network = _mlp if case.kind == "mlp" else _cnn
    lr, adam = rate(case), case.options["optimiser"] == "adam"

    def loss(trained: Tree, x: Any, t: Any) -> Any:
        logits, statistics = network(case, trained, x)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), t[:, None], 1)
        return -chosen.mean(), statistics

    def step(state: Tree, x: Any, t: Any) -> Any:
        (value, statistics), g = jax.value_and_grad(loss, has_aux=True)(state["w"], x, t)
        move = _adam if adam else _sgd
        running = {
            name: DECAY * state["running"][name] + (1 - DECAY) * s for name, s in statistics.items()
        }
        return value, {**move(state, g, lr), "running": running}

    compiled = jax.jit(step, donate_argnums=0)
    state: Tree = {}

    def call() -> float:
        nonlocal state
        value, state = compiled(state, x, t)
        return float(jax.block_until_ready((value, state))[0])

    def reset() -> None:
        nonlocal state
        arrays = {name: jnp.array(array) for name, array in weights_of(feed).items()}
        running = {name: arrays.pop(name) for name in list(arrays) if "running" in name}
        state = {"w": arrays, "running": running, "step": jnp.zeros((), jnp.int32)}
        state["m"], state["v"] = ({k: jnp.zeros_like(w) for k, w in arrays.items()} for _ in "mv")

    def read(value: float) -> Feed:
        arrays = {**state["w"], **state["running"]}
        return {"loss": np.asarray(value), **{k: np.array(a) for k, a in arrays.items()}}

    reset()
    return Run(call, read, reset)


def _sgd(state: Tree, g: Tree, lr: float) -> Tree:
    return {**state, "w": jax.tree.map(lambda w, d: w - lr * d, state["w"], g)}


def _adam(state: Tree, g: Tree, lr: float) -> Tree:
    step = state["step"] + 1
    m = jax.tree.map(lambda m, d: 0.9 * m + 0.1 * d, state["m"], g)
    v = jax.tree.map(lambda v, d: 0.999 * v + 0.001 * d * d, state["v"], g)
    faded = lr / (1 - 0.9**step), jnp.sqrt(1 - 0.999**step)
    w = jax.tree.map(
        lambda w, m, v: w - faded[0] * m / (jnp.sqrt(v) / faded[1] + 1e-8), state["w"], m, v
    )
    return {**state, "w": w, "m": m, "v": v, "step": step}


def _normed(w: Tree, k: int, z: Any, over: tuple[int, ...], statistics: Tree) -> Any:
    """Batch norm ``k``; its statistics are put down beside it."""
    shape = (-1, *[1] * (len(over) - 1))
    n = z.size // w[f"bn{k}/gamma"].size
    statistics[f"bn{k}/running_mean"] = z.mean(over)
    statistics[f"bn{k}/running_var"] = z.var(over) * n / (n - 1)
    return batch_norm(z, over, w[f"bn{k}/gamma"].reshape(shape), w[f"bn{k}/beta"].reshape(shape))


def _mlp(case: Case, w: Tree, x: Any) -> Any:
    activation = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[case.options["activation"]]
    statistics: Tree = {}
    layers = len(case.options["hidden"])
    for k in range(1, layers + 1):
        x = activation(_normed(w, k, x @ w[f"linear{k}/weight"], (0,), statistics))
    return x @ w[f"linear{layers + 1}/weight"] + w[f"linear{layers + 1}/bias"], statistics


def _cnn(case: Case, w: Tree, x: Any) -> Any:
    statistics: Tree = {}
    for k in range(1, len(case.options["channels"]) + 1):
        z = jax.lax.conv(x, w[f"conv{k}/weight"], (1, 1), "SAME")
        h = jax.nn.relu(_normed(w, k, z, (0, 2, 3), statistics))
        window = (1, 1, 2, 2)
        x = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, window, window, "VALID")
    return x.reshape(len(x), -1) @ w["linear/weight"] + w["linear/bias"], statistics
