"""Batch renormalisation and ghost batch norm: the papers' formulas, their limits, inference."""

import numpy as np
import pytest

import minigrad as mg

EPS = 2.0**-10  # a number that float32 holds without rounding


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def images(rng, batch=6, channels=3):
    return rng.normal(2, 3, (batch, channels, 4, 5))


def renorm_by_hand(x, m, s, r_max, d_max, axes):
    """Ioffe 2017, Algorithm 1, in numpy."""
    mu, sigma = x.mean(axes, keepdims=True), np.sqrt(x.var(axes, keepdims=True) + EPS)
    r = np.clip(sigma / s, 1 / r_max, r_max)
    d = np.clip((mu - m) / s, -d_max, d_max)
    return (x - mu) / sigma * r + d, r, d


def graph_of(layer, x):
    return mg.retype(mg.Graph([x], {"y": layer(x)}), "float64")


def started(graph, rng=None, **states):
    """The initial state, some of it set, the weights moved off 1 and 0."""
    state = dict(mg.compile(graph, "interpreter").init_state())
    for name, value in states.items():
        state[name] = np.broadcast_to(np.asarray(value, state[name].dtype), state[name].shape)
    if rng is not None:
        for parameter in graph.parameters:
            state[parameter.name] = rng.normal(1, 0.5, parameter.shape)
    return state


def ops(node):
    return [n.prim.name for n in mg.Graph([], node).nodes if n.inputs]


# --- batch renormalisation ---------------------------------------------------------------------


@pytest.mark.parametrize(("r_max", "d_max"), [(1.0, 0.0), (1.2, 0.1), (3.0, 5.0), (1e9, 1e9)])
@pytest.mark.parametrize("axes", [(0,), (0, 2, 3)])
def test_renorm_is_the_papers_algorithm(rng, r_max, d_max, axes):
    x = images(rng) if len(axes) > 1 else rng.normal(2, 3, (6, 3))
    shape = (3, 1, 1) if len(axes) > 1 else (3,)
    m, s = rng.normal(size=shape), rng.uniform(0.5, 4, shape)
    gamma, beta = rng.normal(size=shape), rng.normal(size=shape)
    y = mg.nn.batch_renorm(x, gamma, beta, m, s, r_max=r_max, d_max=d_max, axes=axes, eps=EPS)
    expected, _, _ = renorm_by_hand(x, m, s, r_max, d_max, axes)
    np.testing.assert_allclose(mg.evaluate(y), gamma * expected + beta, rtol=0, atol=1e-13)


def test_renorm_gradient_holds_r_and_d_still(rng):
    x, u = rng.normal(2, 3, (6, 3)), rng.normal(size=(6, 3))
    m, s = rng.normal(size=3), rng.uniform(0.5, 4, 3)
    node = mg.input("x", (6, 3), "float64")
    y = mg.nn.batch_renorm(node, None, None, m, s, r_max=1.5, d_max=0.5, eps=EPS)
    (dx,) = mg.evaluate(mg.grad(y, [node], ct=u), {"x": x})
    _, r, _ = renorm_by_hand(x, m, s, 1.5, 0.5, (0,))
    sigma = np.sqrt(x.var(0) + EPS)
    x_hat = (x - x.mean(0)) / sigma
    bn = (u - u.mean(0) - x_hat * (u * x_hat).mean(0)) / sigma  # the closed form of batch norm
    np.testing.assert_allclose(dx, r * bn, rtol=0, atol=1e-14)


@pytest.mark.torch
def test_renorm_gradients_are_torchs(rng):
    torch = pytest.importorskip("torch")
    x, u, m, s = images(rng), images(rng), rng.normal(size=(3, 1, 1)), np.full((3, 1, 1), 2.0)
    gamma, beta = rng.normal(size=(3, 1, 1)), rng.normal(size=(3, 1, 1))
    nodes = [mg.input(n, a.shape, "float64") for n, a in (("x", x), ("g", gamma), ("b", beta))]
    y = mg.nn.batch_renorm(*nodes, m, s, r_max=1.4, d_max=0.7, axes=(0, 2, 3), eps=EPS)
    found = mg.evaluate([y, *mg.grad(y, nodes, ct=u)], {"x": x, "g": gamma, "b": beta})
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    mu = leaves[0].mean((0, 2, 3), keepdim=True)
    sigma = (leaves[0].var((0, 2, 3), keepdim=True, correction=0) + EPS).sqrt()
    with torch.no_grad():
        r = (sigma / 2.0).clamp(1 / 1.4, 1.4)
        d = ((mu - torch.tensor(m)) / 2.0).clamp(-0.7, 0.7)
    peer = leaves[1] * ((leaves[0] - mu) / sigma * r + d) + leaves[2]
    peer.backward(torch.tensor(u))
    for ours, theirs in zip(found, [peer, *(leaf.grad for leaf in leaves)], strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-11)


def test_renorm_passes_gradcheck():
    x = mg.input("x", (6, 3), "float64")
    gamma = mg.parameter("gamma", [1.0, 0.5, 2.0])
    y = mg.nn.batch_renorm(x, gamma, None, [0.3, 0.0, -1.0], [2.0, 1.0, 0.4], r_max=1.5, d_max=0.5)
    report = mg.gradcheck(mg.sum(y**3), [x, gamma], order=2)
    assert report.passed, report


def test_renorm_with_no_room_is_batch_norm(rng):
    x = mg.input("x", ("N", 4))
    graph = graph_of(mg.nn.BatchRenorm(4, r_max=1.0, d_max=0.0, plain_steps=0, eps=EPS), x)
    bn = graph_of(mg.nn.BatchNorm(4, eps=EPS), x)
    feed = rng.normal(3, 2, (8, 4))
    ours, _ = mg.compile(graph)(started(graph, running_mean=9, running_std=5), x=feed)
    theirs, _ = mg.compile(bn)(started(bn), x=feed)
    np.testing.assert_allclose(ours["y"], theirs["y"], rtol=0, atol=1e-14)


def test_renorm_unclipped_trains_on_what_inference_gives(rng):
    x = mg.input("x", ("N", 3, 4, 5))
    options = {"r_max": 1e6, "d_max": 1e6, "plain_steps": 0, "r_steps": 0, "d_steps": 0}
    graph = graph_of(mg.nn.BatchRenorm(3, channel_axis=1, **options), x)
    state = started(graph, rng, running_mean=[1.0, 2.0, 3.0], running_std=[2.0, 0.5, 4.0])
    feed = images(rng)
    training, _ = mg.compile(graph, "interpreter")(state, x=feed)
    inference, _ = mg.compile(mg.to_inference(graph), "interpreter")(state, x=feed)
    np.testing.assert_allclose(training["y"], inference["y"], rtol=0, atol=1e-12)


def test_renorm_inference_is_an_affine_map_of_the_running_statistics(rng):
    graph = graph_of(mg.nn.BatchRenorm(3, eps=EPS), mg.input("x", ("N", 3)))
    infer = mg.to_inference(graph)
    assert ops(infer.outputs["y"]) == ["sub", "pow", "mul", "mul", "add"]
    state = started(graph, rng, running_mean=[1.0, 2.0, 3.0], running_std=[2.0, 0.5, 4.0])
    x = rng.normal(2, 3, (5, 3))
    expected = state["gamma"] * (x - state["running_mean"]) / state["running_std"] + state["beta"]
    exe = mg.compile(infer)
    np.testing.assert_allclose(exe(state, x=x)[0]["y"], expected, rtol=0, atol=1e-13)
    alone = [exe(state, x=x[i : i + 1])[0]["y"][0] for i in range(5)]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-13)


def test_renorm_reads_the_statistics_from_before_the_step(rng):
    options = {"r_max": 2.0, "d_max": 2.0, "plain_steps": 0, "r_steps": 0, "d_steps": 0}
    graph = graph_of(mg.nn.BatchRenorm(3, decay=0.5, eps=EPS, **options), mg.input("x", ("N", 3)))
    x = rng.normal(1, 1.5, (8, 3))
    outputs, after = mg.compile(graph)(started(graph), x=x)
    expected, _, _ = renorm_by_hand(x, 0.0, 1.0, 2.0, 2.0, (0,))
    np.testing.assert_allclose(outputs["y"], expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(after["running_mean"], 0.5 * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        after["running_std"], 0.5 + 0.5 * np.sqrt(x.var(0) + EPS), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("step", "r_max", "d_max"),
    [(0, 1, 0), (4, 1, 0), (6, 1 + 2 * 2 / 16, 5 * 2 / 6), (10, 1 + 2 * 6 / 16, 5), (99, 3, 5)],
)
def test_renorm_limits_rise_with_the_counted_steps(rng, step, r_max, d_max):
    layer = mg.nn.BatchRenorm(3, plain_steps=4, r_steps=20, d_steps=10, eps=EPS)
    graph = graph_of(layer, mg.input("x", ("N", 3)))
    x = rng.normal(50, 40, (8, 3))  # far beyond any limit
    state = started(graph, renorm_step=step)
    outputs, after = mg.compile(graph)(state, x=x)
    expected, _, _ = renorm_by_hand(x, 0.0, 1.0, r_max, d_max, (0,))
    np.testing.assert_allclose(outputs["y"], expected, rtol=0, atol=1e-12)
    assert after["renorm_step"] == step + 1


def test_renorm_of_one_example_depends_on_it_where_batch_norm_does_not(rng):
    options = {"plain_steps": 0, "r_steps": 0, "d_steps": 0, "eps": EPS}
    graph = graph_of(mg.nn.BatchRenorm(3, **options), mg.input("x", ("N", 3)))
    exe, state = mg.compile(graph, "interpreter"), started(graph)
    ours = [exe(state, x=np.full((1, 3), value))[0]["y"][0, 0] for value in (1.0, 2.0)]
    np.testing.assert_allclose(ours, [1.0, 2.0], rtol=1e-12)  # x_hat is 0, d carries x


def test_renorm_in_half_precision_keeps_its_statistics_in_single():
    layer = mg.nn.BatchRenorm(4, plain_steps=0)
    x = mg.input("x", ("N", 4), "float16")
    graph = mg.Graph([x], {"y": layer(x)})
    step = mg.compile(graph)
    outputs, after = step(step.init_state(), x=np.ones((2, 4), np.float16))
    assert outputs["y"].dtype == np.float16
    assert after["running_std"].dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_max": 0.5}, "r_max 0.5 must be at least 1"),
        ({"d_max": -1.0}, "d_max -1.0 at least 0"),
        ({"decay": 1.5}, r"decay 1.5 is not in \[0, 1\]"),
        ({"eps": -1.0}, "eps -1.0 is negative"),
        ({"plain_steps": 9, "r_steps": 30, "d_steps": 3}, "a rise ends before it starts"),
    ],
)
def test_renorm_refuses_a_bad_configuration(options, message):
    with pytest.raises(mg.GraphError, match=rf"BatchRenorm: .*{message}.*test_variants\.py:\d+"):
        mg.nn.BatchRenorm(4, **options)


# --- ghost batch norm --------------------------------------------------------------------------


def ghosts_by_hand(x, sizes, decay, axes):
    """x_hat and the running statistics, from 0 and 1, ghost after ghost."""
    parts, m, s = [], 0.0, 1.0
    for part in np.split(x, np.cumsum(sizes)[:-1]):
        mu, v = part.mean(axes, keepdims=True), part.var(axes, keepdims=True)
        parts.append((part - mu) / np.sqrt(v + EPS))
        m, s = decay * m + (1 - decay) * mu, decay * s + (1 - decay) * v
    return np.concatenate(parts), m.ravel(), s.ravel()


@pytest.mark.parametrize(
    ("batch", "ghost", "sizes"),
    [(12, 4, (4, 4, 4)), (10, 4, (4, 3, 3)), (9, 4, (3, 3, 3)), (5, 4, (3, 2)), (12, 5, (4, 4, 4))],
)
@pytest.mark.parametrize("axes", [(0,), (0, 2, 3)])
def test_ghosts_are_normalised_one_by_one(rng, batch, ghost, sizes, axes):
    x = images(rng, batch) if len(axes) > 1 else rng.normal(2, 3, (batch, 3))
    axis = 1 if len(axes) > 1 else -1
    layer = mg.nn.GhostBatchNorm(3, ghost=ghost, channel_axis=axis, decay=0.75, eps=EPS)
    graph = graph_of(layer, mg.input("x", x.shape))
    outputs, after = mg.compile(graph)(started(graph), x=x)
    x_hat, m, s = ghosts_by_hand(x, sizes, 0.75, axes)
    np.testing.assert_allclose(outputs["y"], x_hat, rtol=0, atol=1e-12)
    np.testing.assert_allclose(after["running_mean"], m, rtol=1e-12)
    np.testing.assert_allclose(after["running_var"], s, rtol=1e-12)


def test_ghost_affine_and_gradients_pass_gradcheck():
    x = mg.input("x", (7, 3), "float64")
    layer = mg.nn.GhostBatchNorm(3, ghost=4, gamma_initializer=mg.nn.initializers.normal(1.0))
    y = layer(x)
    graph = mg.Graph([x], {"y": y})
    report = mg.gradcheck(mg.sum(graph.outputs["y"] ** 3), [x, *graph.parameters], order=2)
    assert report.passed, report


@pytest.mark.torch
def test_ghost_gradients_are_torchs(rng):
    torch = pytest.importorskip("torch")
    x, u = images(rng, 10), images(rng, 10)
    node = mg.input("x", x.shape, "float64")
    y = mg.nn.GhostBatchNorm(3, ghost=4, channel_axis=1, eps=EPS)(node)
    graph = mg.Graph([node], {"y": y})
    found, dx = mg.evaluate(
        [graph.outputs["y"], *mg.grad(graph.outputs["y"], [node], ct=u)], {"x": x}
    )
    leaf = torch.tensor(x, requires_grad=True)
    norm = torch.nn.functional.batch_norm
    parts = [norm(part, None, None, training=True, eps=EPS) for part in leaf.split([4, 3, 3])]
    peer = torch.cat(parts)
    peer.backward(torch.tensor(u))
    np.testing.assert_allclose(found, peer.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("ghost", [8, 100, None])
def test_one_ghost_is_batch_norm_node_for_node(ghost):
    x = mg.input("x", (8, 4) if ghost else ("N", 4))
    ours = mg.Graph([x], {"y": mg.nn.GhostBatchNorm(4, ghost=ghost, eps=EPS)(x)})
    theirs = mg.Graph([x], {"y": mg.nn.BatchNorm(4, eps=EPS)(x)})
    assert ops(ours.outputs["y"]) == ops(theirs.outputs["y"])
    assert [u.state.name for u in ours.updates] == [u.state.name for u in theirs.updates]
    feed = {"x": np.random.default_rng(0).normal(size=(8, 4))}
    results = [mg.compile(g)(mg.compile(g).init_state(), **feed) for g in (ours, theirs)]
    np.testing.assert_array_equal(results[0][0]["y"], results[1][0]["y"])
    for name in results[1][1]:
        np.testing.assert_array_equal(results[0][1][name], results[1][1][name])


def test_ghost_inference_is_independent_of_the_batch(rng):
    x = mg.input("x", (10, 3))
    graph = graph_of(mg.nn.GhostBatchNorm(3, ghost=4, eps=EPS), x)
    whole = graph_of(mg.nn.GhostBatchNorm(3, ghost=None, eps=EPS), mg.input("x", ("N", 3)))
    state = started(graph, rng, running_mean=[1.0, 2.0, 3.0], running_var=[2.0, 0.5, 4.0])
    feed = rng.normal(2, 3, (10, 3))
    expected = (feed - state["running_mean"]) / np.sqrt(state["running_var"] + EPS)
    expected = state["gamma"] * expected + state["beta"]
    infer = mg.to_inference(graph)
    assert not {"mean", "concatenate"} & {n.prim.name for n in infer.nodes}
    np.testing.assert_allclose(mg.compile(infer)(state, x=feed)[0]["y"], expected, atol=1e-12)
    exe = mg.compile(mg.to_inference(whole))
    alone = [exe(state, x=feed[i : i + 1])[0]["y"][0] for i in range(10)]
    np.testing.assert_allclose(alone, expected, atol=1e-12)


def test_ghosts_are_noisier_than_the_batch(rng):
    x = rng.normal(size=(4096, 16))
    spread = {}
    for ghost in (16, None):
        node = mg.input("x", x.shape)
        layer = mg.nn.GhostBatchNorm(16, ghost=ghost, center=False, scale=False, eps=0.0)
        y = mg.evaluate(graph_of(layer, node), {"x": x})[0]
        spread[ghost] = (y - x).std()  # x has mean 0 and variance 1: what is left is noise
    assert spread[16] > 10 * spread[None]
    assert spread[16] == pytest.approx(np.sqrt(1.5 / 16), rel=0.15)  # 1/m of mu, 1/(2m) of sigma


def test_unbiased_ghosts_track_the_variance_of_the_data(rng):
    x = rng.normal(0, 3, (4000, 4))
    tracked = {}
    for unbiased in (False, True):
        layer = mg.nn.GhostBatchNorm(4, ghost=4, decay=0.999, unbiased=unbiased)
        graph = graph_of(layer, mg.input("x", x.shape))
        _, after = mg.compile(graph)(started(graph, running_var=9), x=x)
        share = 1 - 0.999**1000
        tracked[unbiased] = (after["running_var"].mean() - 9 * (1 - share)) / share
    assert tracked[True] == pytest.approx(9, rel=0.06)
    assert tracked[False] == pytest.approx(9 * 3 / 4, rel=0.06)


def test_a_named_batch_cannot_be_cut_and_the_error_says_what_to_do():
    message = r"GhostBatchNorm: cannot cut the named dim 'N' of f32\[N,4\] into ghosts of 32.*"
    with pytest.raises(mg.ShapeError, match=message + r"ghost=None \(in gbn1, test_variants"):
        mg.nn.GhostBatchNorm(4, ghost=32, name="gbn1")(mg.input("x", ("N", 4)))


@pytest.mark.parametrize("layer", [mg.nn.BatchRenorm, mg.nn.GhostBatchNorm])
def test_a_batch_axis_is_needed(layer):
    with pytest.raises(mg.ShapeError, match=r"needs a batch axis before the channels"):
        layer(4)(mg.input("x", (4,)))


@pytest.mark.parametrize("options", [{"ghost": 0}, {"decay": -0.1}, {"eps": -1.0}])
def test_ghost_refuses_a_bad_configuration(options):
    with pytest.raises(mg.GraphError, match=r"GhostBatchNorm: .*test_variants\.py:\d+"):
        mg.nn.GhostBatchNorm(4, **options)


def test_training_with_either_learns_on_the_native_backend(rng):
    x, t = rng.normal(size=(60, 5)).astype(np.float32), rng.integers(0, 3, 60)
    x[np.arange(60), t] += 4
    for norm in (mg.nn.BatchRenorm(16, plain_steps=2, r_steps=9, d_steps=9),
                 mg.nn.GhostBatchNorm(16, ghost=16)):  # fmt: skip
        data, labels = mg.input("x", (60, 5)), mg.input("t", 60, "int64")
        logits = mg.nn.Linear(3, name="out")(mg.relu(norm(mg.nn.Linear(16, name="in")(data))))
        graph = mg.Graph([data, labels], {"loss": mg.cross_entropy(logits, labels)})
        step = mg.compile(mg.optim.adam(graph, lr=0.02))
        state = step.init_state()
        losses = []
        for _ in range(40):
            outputs, state = step(state, x=x, t=t)
            losses.append(float(outputs["loss"]))
        assert losses[-1] < 0.2 * losses[0]
