"""Simplify and layers: what is only true of batch statistics stays out of inference."""

import numpy as np
import pytest

import minigrad as mg


@pytest.mark.parametrize(
    "own", [lambda x: mg.mean(x, 0), lambda x: mg.sum(x, 0) / mg.count(x, 0) * 3 / 3]
)
@pytest.mark.parametrize("first", [mg.Graph, mg.simplify], ids=["graph", "nodes"])
def test_a_mean_of_the_user_s_is_not_replaced_at_inference_with_the_layer_s(own, first):
    x = mg.input("x", ("N", 4))
    mine, y = own(x), mg.nn.BatchNorm(4, center=False, scale=False)(x)
    if first is mg.Graph:
        graph = mg.simplify(mg.Graph([x], {"y": y, "mine": mine}))
    else:
        y, mine = mg.simplify([y, mine])
        graph = mg.Graph([x], {"y": y, "mine": mine})
    running = {"running_mean": np.full(4, 5, "f"), "running_var": np.ones(4, "f")}
    b, a = mg.evaluate(mg.to_inference(graph), {"x": np.ones((2, 4), "f"), **running})
    np.testing.assert_array_equal(a, np.ones(4))
    np.testing.assert_allclose(b, np.full((2, 4), -4), rtol=1e-2)


def test_a_layer_keeps_what_is_only_true_of_batch_statistics_out_of_its_forward_pass():
    x = mg.input("x", ("N", 4))
    layer = mg.nn.BatchNorm(4, center=False, scale=False)
    y = mg.mean(layer(x), 0)  # zero in training, and not at inference
    infer = mg.to_inference(mg.Graph([x], {"y": mg.simplify(y)}))
    state = {"running_mean": np.full(4, 2, "f"), "running_var": np.ones(4, "f")}
    (found,) = mg.evaluate(infer, {"x": np.zeros((1, 4), "f"), **state})
    np.testing.assert_allclose(found, np.full(4, -2), rtol=1e-2)
