"""What composites promise beyond their value: errors, named dims, dropout's randomness."""

import numpy as np
import pytest

import minigrad as mg


def dropped(rate=0.4, draws=1, seed=0):
    x = mg.input("x", ("N", 500))
    generator = mg.Generator(seed)
    outputs = {f"y{i}": mg.dropout(x, rate, generator) for i in range(draws)}
    return mg.Graph([x], outputs)


def test_dropout_keeps_the_expectation():
    step = mg.compile(dropped(0.4))
    outputs, _ = step(step.init_state(), x=np.ones((200, 500)))
    y = outputs["y0"]
    assert set(np.unique(y).round(5)) == {0.0, np.float32(1 / 0.6).round(5)}
    assert (y == 0).mean() == pytest.approx(0.4, abs=0.01)
    assert y.mean() == pytest.approx(1.0, abs=0.02)


def test_dropout_differs_between_draws_and_steps_and_generators():
    step = mg.compile(dropped(draws=2))
    state = step.init_state()
    masks = []
    for _ in range(3):
        outputs, state = step(state, x=np.ones((4, 500)))
        masks += [outputs["y0"] > 0, outputs["y1"] > 0]
    layers = mg.nn.Sequential(mg.nn.Dropout(0.4, name="a"), mg.nn.Dropout(0.4, name="b"))
    both = mg.evaluate(layers(mg.input("x", ("N", 500))), {"x": np.ones((4, 500))})
    assert (both > 0).mean() == pytest.approx(0.36, abs=0.05)  # one mask twice would keep 0.6
    for i, a in enumerate(masks):
        for b in masks[i + 1 :]:
            assert 0.3 < (a == b).mean() < 0.7


def test_dropout_resumes_where_it_stopped():
    step = mg.compile(dropped())
    state = step.init_state()
    ones = np.ones((4, 500))
    _, middle = step(state, x=ones)
    kept = {name: value.copy() for name, value in middle.items()}
    first, _ = step(middle, x=ones)
    again, _ = step(kept, x=ones)
    np.testing.assert_array_equal(first["y0"], again["y0"])


def test_dropout_is_the_identity_at_inference():
    graph = dropped()
    infer = mg.to_inference(graph)
    assert infer.outputs["y0"] is graph.inputs[0]
    assert infer.states == ()


def test_dropout_gradient_uses_the_mask_of_the_forward_pass():
    graph = dropped()
    (dx,) = mg.grad(graph.outputs["y0"], graph.inputs, ct=1.0)
    y, slope = mg.evaluate([graph.outputs["y0"], dx], {"x": np.full((3, 500), 2.0)})
    np.testing.assert_array_equal(slope, y / 2)


def test_dropout_of_rate_zero_is_its_input():
    x = mg.input("x", 3)
    assert mg.dropout(x, 0.0, mg.Generator()) is x


def test_one_hot():
    found = mg.evaluate(mg.one_hot(mg.input("t", "N", "int64"), 3), {"t": [2, 0]})
    np.testing.assert_array_equal(found, [[0, 0, 1], [1, 0, 0]])


def test_relu_has_derivative_zero_at_zero_and_passes_nan_on():
    x = mg.input("x", 3)
    y = mg.relu(x)
    values, slopes = mg.evaluate([y, *mg.grad(mg.sum(y), x)], {"x": [0.0, np.nan, 2.0]})
    assert np.isnan(values[1])
    assert slopes[0] == 0
    assert slopes[2] == 1


def test_softplus_is_right_at_zero_and_infinity():
    x = mg.input("x", 3, "float64")
    y = mg.softplus(x)
    (dx,) = mg.grad(mg.sum(y), x)
    (d2x,) = mg.grad(mg.sum(dx), x)
    found = mg.evaluate([y, dx, d2x], {"x": [-np.inf, 0.0, np.inf]})
    np.testing.assert_allclose(found, [[0, np.log(2), np.inf], [0, 0.5, 1], [0, 0.25, 0]])


def test_softmax_of_equal_large_numbers_is_uniform():
    np.testing.assert_allclose(mg.evaluate(mg.softmax([1e30, 1e30])), [0.5, 0.5])


def test_conv_keeps_the_named_batch():
    x = mg.input("x", ("N", 1, 8, 8))
    y = mg.max_pool2d(mg.nn.Conv2d(4, padding="same")(x), 2)
    assert str(y.type) == "f32[N,4,4,4]"
    for batch in (1, 3):
        assert mg.evaluate(y, {"x": np.ones((batch, 1, 8, 8))}).shape == (batch, 4, 4, 4)


IMAGE = mg.input("x", ("N", 3, 8, 8))
ROWS = mg.input("r", ("N", 10))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mg.conv2d(IMAGE, np.ones((4, 2, 3, 3))), r"conv2d: weight f\d+\[4,2,3,3\].*3 ch"),
        (lambda: mg.conv2d(ROWS, np.ones((4, 3, 3, 3))), r"conv2d: needs x \[N,C,H,W\].*f32\[N,10"),
        (lambda: mg.conv2d(IMAGE, np.ones((4, 3, 9, 9))), r"unfold: a window of 9 does not fit"),
        (lambda: mg.max_pool2d(ROWS, 2), r"pool2d: needs \[N,C,H,W\], not f32\[N,10\]"),
        (lambda: mg.cross_entropy(ROWS, mg.input("t", ("N", 10))), r"labels must be ints, not f32"),
        (
            lambda: mg.cross_entropy(ROWS, mg.input("t", ("N", 1), "int64")),
            r"labels i64\[N,1\] do not fit logits f32\[N,10\]",
        ),
        (lambda: mg.dropout(ROWS, 1.0, mg.Generator()), r"dropout: rate 1.0 is not in \[0, 1\)"),
        (lambda: mg.gelu(ROWS, approximate="fast"), r"approximate='fast'; use 'none' or 'tanh'"),
        (lambda: mg.nn.Conv2d(4)(ROWS), r"Conv2d: needs \[N,C,H,W\], was given f32\[N,10\]"),
        (lambda: mg.nn.GroupNorm(6, groups=4)(IMAGE), r"GroupNorm: 4 groups do not divide 6"),
        (lambda: mg.nn.InstanceNorm(10)(ROWS), r"InstanceNorm: needs \[N,C,...\] with pixels"),
    ],
)
def test_error(build, message):
    with pytest.raises(mg.GraphError, match=message):
        build()
