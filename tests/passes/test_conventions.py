"""Statistics from one framework's terms to another's: closed forms, round trips, PyTorch."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.conventions import CONVENTIONS, NAMES, convert, debias

FRAMEWORKS = sorted(CONVENTIONS)
N = 6


def layer_state(framework, seed=0):
    rng = np.random.default_rng(seed)
    row = NAMES[framework]
    return {
        row.mean: rng.normal(size=4),
        row.variance: rng.uniform(0.5, 2, 4),
        row.gamma: rng.normal(size=4),
        row.beta: rng.normal(size=4),
    }


def tracked(framework, steps, seed=1):
    """What a framework's formula gives after ``steps`` batches of N."""
    preset = CONVENTIONS[framework]
    rng = np.random.default_rng(seed)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(steps):
        x = rng.normal(2, 3, (N, 3))
        mean = 0.9 * mean + 0.1 * x.mean(0)
        var = 0.9 * var + 0.1 * x.var(0, ddof=int(preset.unbiased))
    return {NAMES[framework].mean: mean, NAMES[framework].variance: var}


def decay_of(framework, decay):
    row = NAMES[framework]
    return {row.decay: round(1 - decay, 12) if row.complement else decay}


@pytest.mark.parametrize("to", FRAMEWORKS)
@pytest.mark.parametrize("from_", FRAMEWORKS)
def test_statistics_become_those_the_other_framework_would_have_tracked(from_, to):
    found = convert(tracked(from_, 7), from_, to, n=N, steps=7, arguments=decay_of(from_, 0.9))
    for name, wanted in tracked(to, 7).items():
        np.testing.assert_allclose(found.stats[name], wanted, rtol=1e-14)
    assert found.exact
    assert found.arguments[NAMES[to].decay] == decay_of(to, 0.9)[NAMES[to].decay]


@pytest.mark.parametrize("to", FRAMEWORKS)
@pytest.mark.parametrize("from_", FRAMEWORKS)
@pytest.mark.parametrize("keep", ["statistics", "outputs"])
def test_there_and_back_is_where_it_began(from_, to, keep):
    state = layer_state(from_)
    there = convert(state, from_, to, n=N, keep=keep, steps=5)
    assert set(there.stats) == {
        getattr(NAMES[to], role) for role in ("mean", "variance", "gamma", "beta")
    }
    back = convert(there.stats, to, from_, n=N, keep=keep, steps=5, arguments=there.arguments)
    for name, array in state.items():
        np.testing.assert_allclose(back.stats[name], array, rtol=1e-14)
    assert back.arguments == convert({}, from_, from_).arguments


def test_kept_outputs_leave_the_running_variance_as_it_is():
    state = layer_state("pytorch")
    found = convert(state, "pytorch", "keras", keep="outputs")
    np.testing.assert_array_equal(found.stats["moving_variance"], state["running_var"])
    assert found.exact
    assert found.arguments == {"momentum": 0.9, "epsilon": 1e-5}


def test_a_fixed_eps_goes_into_the_variance_and_the_answers_stay():
    state = layer_state("keras")
    found = convert(state, "keras", "pytorch", keep="outputs", eps=1e-5)
    kept = found.stats["running_var"] + found.arguments["eps"]
    np.testing.assert_allclose(kept, state["moving_variance"] + 1e-3, rtol=1e-15)
    assert found.exact


def test_a_larger_eps_that_the_variance_cannot_take_up_is_refused():
    state = {"running_var": np.array([1e-4])}
    with pytest.raises(mg.GraphError, match="below 0"):
        convert(state, "pytorch", "keras", keep="outputs", eps=1e-3)


@pytest.mark.parametrize(("arguments", "to", "found"), [
    ({"momentum": 0.1, "eps": 1e-5}, "keras", {"momentum": 0.9, "epsilon": 1e-5}),
    ({"momentum": 0.03}, "chainer", {"decay": 0.97, "eps": 1e-5}),
    ({"momentum": 0.01}, "mlx", {"momentum": 0.01, "eps": 1e-5}),
])  # fmt: skip
def test_arguments_change_their_name_and_their_sense(arguments, to, found):
    assert convert({}, "pytorch", to, arguments=arguments).arguments == found


def test_a_cumulative_average_has_a_name_in_pytorch_and_minigrad_only():
    cumulative = {"momentum": None}
    ours = convert({}, "pytorch", "keras", arguments=cumulative, names="minigrad")
    assert ours.arguments["decay"] == "cumulative"
    assert ours.exact
    theirs = convert({}, "pytorch", "keras", arguments=cumulative)
    assert "momentum" not in theirs.arguments
    assert "no cumulative average" in theirs.lost[0]


def test_what_is_lost_is_said():
    state = {"running_var": [2.0], "num_batches_tracked": np.int64(3)}
    found = convert(state, "pytorch", "keras", n=4)
    assert found.lost == ("the number of steps has no place in the target",)
    np.testing.assert_allclose(found.stats["moving_variance"], 0.75 * 2 + 0.25 * 0.9**3)
    del state["num_batches_tracked"]
    assert "give steps" in convert(state, "pytorch", "keras", n=4).lost[0]


def test_several_layers_are_converted_at_once_each_with_its_n():
    state = {"a.running_var": [3.0], "b.running_var": [3.0], "b.weight": [1.0]}
    found = convert(state, "pytorch", "keras", n={"a": 3, "b": 5}, steps=10**6)
    assert {k: float(v[0]) for k, v in found.stats.items()} == pytest.approx(
        {"a/moving_variance": 2.0, "b/moving_variance": 2.4, "b/gamma": 1.0}
    )


@pytest.mark.parametrize(("stats", "options", "message"), [
    ({"running_var": [1.0]}, {}, "give n"),
    ({"running_var": [1.0]}, {"n": 1}, "fewer than two"),
    ({"running_var": [-1.0]}, {"n": 4}, "below 0"),
    ({"moving_variance": [1.0]}, {"n": 4}, "no part of batch norm in pytorch"),
    ({"bn": {"running_var": [1.0]}}, {"n": 4}, "flat"),
    ({"running_var": [1.0], "running_mean": [0.0, 1.0]}, {"n": 4}, r"is \[2\], the layer's"),
    ({}, {"arguments": {"decay": 0.9}}, "has no argument 'decay'"),
    ({}, {"arguments": {"momentum": 9}}, "not in"),
    ({}, {"keep": "all"}, "neither"),
    ({}, {"names": "theano"}, "not one of"),
])  # fmt: skip
def test_a_bad_request_says_what_is_wrong(stats, options, message):
    with pytest.raises(mg.GraphError, match=message):
        convert(stats, "pytorch", "keras", **options)


@pytest.mark.torch
def test_a_trained_torch_layer_and_a_trained_minigrad_layer_are_converted_into_each_other():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm2d(3).double()
    ours = mg.nn.BatchNorm(3, channel_axis=1, name="bn", decay=0.9)
    graph = mg.Graph([], {"y": ours(mg.input("x", ("N", 3, 2, 2), "float64"))})
    step = mg.compile(graph, "interpreter")
    state = step.init_state()
    rng = np.random.default_rng(0)
    for _ in range(9):
        x = rng.normal(3, 2, (5, 3, 2, 2))
        theirs(torch.from_numpy(x))
        _, state = step(state, x=x)
    found = convert(theirs.state_dict(), "pytorch", "keras", n=20, names="minigrad")
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(found.stats[name], state[f"bn/{name}"], rtol=1e-12)
    assert found.arguments == {"decay": 0.9, "eps": 1e-5}
    back = convert(state, "keras", "pytorch", n=20, steps=9, arguments={"momentum": 0.9})
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(
            back.stats[f"bn.{name}"], theirs.state_dict()[name].numpy(), rtol=1e-12
        )


@pytest.mark.parametrize("start", [0.0, 1.0, -7.5])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.999999])
@pytest.mark.parametrize("t", [1, 2, 1000])
def test_debias_gives_the_weighted_mean_of_what_was_seen(start, decay, t):
    batch = np.random.default_rng(t).normal(size=(t, 2))
    s = np.full(2, start)
    for b in batch:
        s = decay * s + (1 - decay) * b
    weights = decay ** np.arange(t - 1, -1, -1.0)
    wanted = weights @ batch / weights.sum()
    tolerance = 1e-15 / (1 - decay)  # the digits that the EMA itself keeps
    np.testing.assert_allclose(debias(s, start, decay, t), wanted, rtol=1e-9, atol=10 * tolerance)


def test_debias_of_a_constant_is_the_constant_after_one_step_near_one():
    decay = 1 - 1e-9
    s = decay * 3.0 + (1 - decay) * 5.0
    assert debias(s, 3.0, decay, 1) == pytest.approx(5.0, abs=1e-5)


def test_debias_leaves_a_cumulative_average_alone_and_keeps_the_dtype():
    s = np.float32([1.5, 2.5])
    found = debias(s, 1.0, "cumulative", 3)
    np.testing.assert_array_equal(found, s)
    assert found.dtype == np.float32


def test_debias_takes_a_number_of_steps_for_each_statistic():
    found = debias([1.9, 2.71], 1.0, 0.9, [1, 2])
    np.testing.assert_allclose(found, [10.0, 1.0 + 1.71 / 0.19], rtol=1e-12)


@pytest.mark.parametrize(("decay", "t", "message"), [
    (0.9, 0, "t is 0"), (0.9, -1, "t is -1"), (1.0, 3, "never moves"), ("ema", 3, "cumulative"),
    (-0.1, 3, "must be in"), (0.9, [1, 0], "t is 0"),
])  # fmt: skip
def test_debias_refuses_what_has_no_answer(decay, t, message):
    with pytest.raises(mg.GraphError, match=message):
        debias([1.0, 2.0], 0.0, decay, t)
