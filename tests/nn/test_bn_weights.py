"""Batch norm of a part of the batch: the layer on the rows that count, and nothing else."""

import numpy as np
import pytest

import minigrad as mg

MASK = np.array([True, False, True, True, False, True])


def run(convention, data, mask=None, steps=3, **options):
    """The outputs and states of a few steps."""
    shape = ("N", *data.shape[1:])
    x = mg.input("x", shape, "float64")
    layer = mg.nn.BatchNorm(3, channel_axis=1, convention=convention, name="bn", **options)
    w = None if mask is None else mg.input("w", ("N", *[1] * (data.ndim - 1)), mask.dtype)
    graph = mg.Graph([], {"y": layer(x) if w is None else layer(x, w)})
    step = mg.compile(graph, "interpreter")
    state = step.init_state()
    feed = {} if mask is None else {"w": mask.reshape(-1, *[1] * (data.ndim - 1))}
    for _ in range(steps):
        outputs, state = step(state, x=data, **feed)
    return outputs["y"], state


def batch(shape):
    return np.random.default_rng(0).normal(2, 3, shape)


@pytest.mark.parametrize("options", [{}, {"statistics": "running"}, {"decay": "cumulative"}])
@pytest.mark.parametrize("convention", ["keras", "pytorch"])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 2, 4)], ids=["2d", "4d"])
def test_a_mask_over_rows_is_the_layer_on_those_rows(shape, convention, options):
    data = batch(shape)
    wanted, state = run(convention, data[MASK], **options)
    data[~MASK] = np.nan  # what has no weight may be anything
    found, masked_state = run(convention, data, MASK, **options)
    np.testing.assert_allclose(found[MASK], wanted, rtol=1e-12)
    for name, value in state.items():
        np.testing.assert_allclose(masked_state[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("convention", ["keras", "pytorch"])
def test_whole_weights_are_rows_given_so_often(convention):
    data, often = batch((6, 3)), np.array([2, 0, 1, 3, 1, 1])
    wanted, state = run(convention, np.repeat(data, often, axis=0))
    found, weighted_state = run(convention, data, often)
    np.testing.assert_allclose(np.repeat(found, often, axis=0), wanted, rtol=1e-12)
    for name, value in state.items():
        np.testing.assert_allclose(weighted_state[name], value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(("convention", "rows"), [("keras", 0), ("pytorch", 0), ("pytorch", 1)])
def test_too_little_weight_leaves_the_running_variance_alone(convention, rows):
    found, state = run(convention, batch((6, 3)), np.arange(6) < rows)
    assert (state["bn/running_var"] == 1).all()
    assert (state["bn/running_mean"] == 0).all() == (rows == 0)
    assert np.isfinite(found).all()


def test_padding_of_any_kind_has_no_gradient_and_changes_none():
    x, mask = mg.input("x", (6, 3), "float64"), MASK[:, None]
    gamma = mg.parameter("gamma", np.array([1.0, 2.0, 3.0]))
    y = mg.nn.batch_norm(x, gamma, None, weights=mask)
    loss = mg.sum(mg.where(mask, y**3, 0))
    data = batch((6, 3))
    clean = mg.evaluate(mg.grad(loss, [x, gamma]), {"x": data})
    data[~MASK] = np.nan
    found = mg.evaluate(mg.grad(loss, [x, gamma]), {"x": data})
    for a, b in zip(found, clean, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (found[0][~MASK] == 0).all()
    assert mg.gradcheck(mg.sum(mg.where(mask, y**3, 0)), [x, gamma])


def test_without_weights_the_graph_is_the_six_primitives():
    x = mg.input("x", ("N", 3))
    ops = {n.prim.name for n in mg.Graph([], mg.nn.batch_norm(x, None, None)).nodes if n.inputs}
    assert ops == {"mean", "sub", "pow", "add", "sqrt", "mul"}
