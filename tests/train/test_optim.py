"""Every optimiser against torch.optim in float64, and what an optimiser leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.ir import GradientError, GraphError
from minigrad.train import optim, schedule

STEPS = 25


def quadratic(dtype: str = "float64", **attrs: object) -> mg.Graph:
    """A loss with two weights and a bias that does not decay; x is fed anew at every step."""
    rng = np.random.default_rng(0)
    w = mg.parameter("w", rng.normal(size=(3, 2)).astype(dtype), **attrs)
    v = mg.parameter("v", rng.normal(size=2).astype(dtype))
    b = mg.parameter("b", rng.normal(size=2).astype(dtype), weight_decay=False)
    x = mg.input("x", ("N", 3), dtype)
    return mg.Graph([x], {"loss": mg.mean((mg.tanh(x @ w + b) * v - 0.3) ** 2)})


def run(graph: mg.Graph, steps: int = STEPS) -> dict[str, np.ndarray]:
    step = mg.compile(graph, "interpreter")
    state = step.init_state()
    for k in range(steps):
        _, state = step(state, x=batch(k))
    return state


def batch(k: int) -> np.ndarray:
    return np.random.default_rng([1, k]).normal(size=(5, 3))


def run_torch(make, scheduler=None, clip=None, decay=0.0, decay_all=False):
    torch = pytest.importorskip("torch")
    start = mg.compile(quadratic(), "interpreter").init_state()
    p = {k: torch.tensor(a, requires_grad=True) for k, a in start.items()}
    groups = [
        {"params": [p["w"], p["v"]], "weight_decay": decay},
        {"params": [p["b"]], "weight_decay": decay if decay_all else 0.0},
    ]
    opt = make(torch.optim, groups)
    sched = scheduler(torch.optim.lr_scheduler, opt) if scheduler else None
    for k in range(STEPS):
        opt.zero_grad()
        loss = ((torch.tanh(torch.tensor(batch(k)) @ p["w"] + p["b"]) * p["v"] - 0.3) ** 2).mean()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(list(p.values()), clip)
        opt.step()
        if sched:
            sched.step()
    return {k: t.detach().numpy() for k, t in p.items()}


def assert_weights_equal(state, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-12, atol=1e-14, err_msg=name)


CASES = {
    "sgd": (optim.sgd, {"lr": 0.1}, lambda o, p: o.SGD(p, lr=0.1)),
    "momentum": (
        optim.momentum,
        {"lr": 0.1, "momentum": 0.8},
        lambda o, p: o.SGD(p, lr=0.1, momentum=0.8),
    ),
    "nesterov": (
        optim.nesterov,
        {"lr": 0.1},
        lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (optim.rmsprop, {}, lambda o, p: o.RMSprop(p)),
    "rmsprop with momentum": (
        optim.rmsprop,
        {"momentum": 0.7, "alpha": 0.9},
        lambda o, p: o.RMSprop(p, momentum=0.7, alpha=0.9),
    ),
    "adam": (optim.adam, {"lr": 0.05}, lambda o, p: o.Adam(p, lr=0.05)),
    "adam with betas": (
        optim.adam,
        {"lr": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
        lambda o, p: o.Adam(p, lr=0.05, betas=(0.5, 0.9), eps=1e-3),
    ),
    "adamw": (optim.adamw, {"lr": 0.05}, lambda o, p: o.AdamW(p, lr=0.05)),
}


@pytest.mark.torch
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("case", CASES)
def test_follows_torch(case, decay):
    make, options, peer = CASES[case]
    state = run(make(quadratic(), weight_decay=decay, **options))
    assert_weights_equal(state, run_torch(peer, decay=decay))


@pytest.mark.torch
@pytest.mark.parametrize("case", ["nesterov", "adamw"])
def test_decays_everything_when_asked(case):
    make, options, peer = CASES[case]
    state = run(make(quadratic(), weight_decay=0.1, decay_all=True, **options))
    assert_weights_equal(state, run_torch(peer, decay=0.1, decay_all=True))


@pytest.mark.torch
@pytest.mark.parametrize("clip", [0.01, 0.2, 100.0])
def test_clips_the_global_norm_as_torch(clip):
    make, options, peer = CASES["momentum"]
    state = run(make(quadratic(), clip_norm=clip, **options))
    assert_weights_equal(state, run_torch(peer, clip=clip))


@pytest.mark.torch
@pytest.mark.parametrize("case", ["sgd", "adam", "adamw"])
def test_follows_torch_under_a_step_schedule(case):
    make, options, peer = CASES[case]
    rate = schedule.step_decay(options["lr"], every=7, factor=0.5)
    state = run(make(quadratic(), **{**options, "lr": rate}, weight_decay=0.1))
    staircase = lambda s, opt: s.StepLR(opt, step_size=7, gamma=0.5)  # noqa: E731
    assert_weights_equal(state, run_torch(peer, staircase, decay=0.1))


@pytest.mark.torch
def test_follows_torch_under_a_cosine_schedule():
    make, options, peer = CASES["adam"]
    rate = schedule.cosine(0.05, steps=STEPS, final=0.001)
    state = run(make(quadratic(), **{**options, "lr": rate}))
    wave = lambda s, opt: s.CosineAnnealingLR(opt, T_max=STEPS, eta_min=0.001)  # noqa: E731
    assert_weights_equal(state, run_torch(peer, wave))


@pytest.mark.parametrize("make", optim.OPTIMISERS.values(), ids=optim.OPTIMISERS)
def test_untrainable_parameters_stay(make):
    graph = make(quadratic(trainable=False), lr=0.1)
    state = run(graph, 2)
    np.testing.assert_array_equal(state["w"], mg.compile(graph, "interpreter").init_state()["w"])
    assert not any(name.endswith("/w") for name in state)


@pytest.mark.parametrize("make", optim.OPTIMISERS.values(), ids=optim.OPTIMISERS)
def test_a_constraint_holds_after_every_step(make):
    state = run(make(quadratic(constraint=lambda w: mg.minimum(w, 0.2)), lr=0.1), 3)
    assert state["w"].max() == 0.2


@pytest.mark.parametrize("make", optim.OPTIMISERS.values(), ids=optim.OPTIMISERS)
def test_lowers_the_loss_in_single_precision(make):
    step = mg.compile(make(quadratic("float32"), lr=0.02), "interpreter")
    state = step.init_state()
    x = batch(0).astype(np.float32)
    first, state = step(state, x=x)
    for _ in range(20):
        last, state = step(state, x=x)
    assert last["loss"] < first["loss"]
    assert state["w"].dtype == np.float32


def test_float32_debiasing_keeps_its_digits():
    """In float32 the first step would be off by 5e-5: 1 - 0.999 has four digits there."""
    w = mg.parameter("w", np.float32(1.0))
    _, state = (
        step := mg.compile(optim.adam(mg.Graph([], {"loss": w * 3}), lr=0.5), "interpreter")
    )(step.init_state())
    assert abs(state["w"] - 0.5) < 1e-6


def test_running_statistics_still_move():
    x, w, m = mg.input("x", "N"), mg.parameter("w", 1.0), mg.state("m", 0.0)
    mu = mg.track(batch_mean := mg.mean(x), m, 0.5 * m + 0.5 * batch_mean)
    graph = optim.sgd(mg.Graph([x], {"loss": (w * mu - 1) ** 2}), lr=0.1)
    step = mg.compile(graph, "interpreter")
    _, state = step(step.init_state(), x=[2.0, 4.0])
    assert state["m"] == 1.5
    assert [s.name for s in mg.to_inference(graph).states] == ["m"]


def test_everything_an_optimiser_adds_is_under_its_scope():
    before = quadratic()
    graph = optim.adam(before, lr=schedule.constant(0.1), clip_norm=1.0, weight_decay=0.1)
    forward = set(before.nodes)
    added = [n for n in graph.nodes if n not in forward and n.scope.order == 0]
    assert {n.scope.path for n in added} == {("adam",)}
    assert all(s.name.startswith("adam/") for s in graph.states)
    graph.verify()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda g: optim.sgd(mg.Graph([], g.parameters[0]), lr=1), GraphError, "no output called"),
        (lambda g: optim.sgd(g, lr=0), GraphError, "lr is 0, it must be positive"),
        (lambda g: optim.adam(g, beta2=1.0), GraphError, "adam: beta2 is 1.0"),
        (lambda g: optim.momentum(g, lr=1, weight_decay=-1), GraphError, "weight_decay is -1"),
        (lambda g: optim.sgd(g, lr=1, clip_norm=0), GraphError, "clip_norm is 0"),
        (lambda g: optim.sgd(g, lr=lambda step: step), GraphError, "schedule gives a float"),
        (lambda g: optim.sgd(optim.sgd(g, lr=1), lr=1), GraphError, "has two updates"),
        (lambda g: schedule.cosine(1, steps=3, warmup=3), GraphError, "warmup is 3"),
        (
            lambda g: optim.adam(
                mg.Graph([], {"loss": g.outputs["loss"], "u": mg.parameter("u", 1.0)}), lr=1
            ),
            GradientError,
            "adam: .*'u'.*trainable=False",
        ),
    ],
)
def test_a_mistake_is_explained(build, error, message):
    with pytest.raises(error, match=message):
        build(quadratic())
