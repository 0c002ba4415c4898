"""Convolution and pooling: windows against loops, padding, named batches, bad arguments."""

import numpy as np
import pytest

import minigrad as mg

IMAGE = mg.input("x", ("N", 2, 6, 5))
KERNEL = np.ones((4, 2, 3, 3), np.float32)


def convolved(x, w, stride, dilation):
    """Cross-correlation by loops over every output element."""
    high, wide = (
        (size - (k - 1) * dilation - 1) // stride + 1
        for size, k in zip(x.shape[2:], w.shape[2:], strict=True)
    )
    y = np.zeros((len(x), len(w), high, wide))
    for n, o, i, j in np.ndindex(*y.shape):
        for c, k, m in np.ndindex(*w.shape[1:]):
            y[n, o, i, j] += (
                w[o, c, k, m] * x[n, c, i * stride + k * dilation, j * stride + m * dilation]
            )
    return y


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_convolution_is_the_sum_over_a_window(stride, dilation):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 7, 6)), rng.normal(size=(2, 3, 3, 2))
    found = mg.evaluate(mg.conv2d(x, w, stride=stride, dilation=dilation))
    np.testing.assert_allclose(found, convolved(x, w, stride, dilation), rtol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3, (2, 1)])
@pytest.mark.parametrize("size", [(6, 5), (7, 7), (1, 2)])
def test_same_gives_the_ceiling_of_size_over_stride(size, stride):
    steps = (stride, stride) if isinstance(stride, int) else stride
    wanted = tuple(-(-n // s) for n, s in zip(size, steps, strict=True))
    x = mg.input("x", ("N", 2, *size))
    assert mg.conv2d(x, KERNEL, stride=stride, padding="same").shape[2:] == wanted
    assert mg.avg_pool2d(x, 3, stride=stride, padding="same").shape[2:] == wanted


def test_same_puts_the_odd_row_last():
    x = np.arange(1.0, 5).reshape(1, 1, 1, 4)
    found = mg.evaluate(mg.conv2d(x, np.ones((1, 1, 1, 2)), padding="same"))
    np.testing.assert_array_equal(found.ravel(), [3, 5, 7, 4])


def test_valid_pads_nothing():
    assert mg.conv2d(IMAGE, KERNEL, padding="valid").type == mg.conv2d(IMAGE, KERNEL).type


def test_pooling_strides_by_its_window():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    largest, mean = mg.evaluate([mg.max_pool2d(x, 2), mg.avg_pool2d(x, 2)])
    np.testing.assert_array_equal(largest[0, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(mean[0, 0], [[2.5, 4.5], [10.5, 12.5]])


def test_padding_never_wins_a_maximum():
    found = mg.evaluate(mg.max_pool2d(np.full((1, 1, 3, 3), -7.0), 2, padding=1))
    np.testing.assert_array_equal(found, np.full((1, 1, 2, 2), -7.0))


def test_ties_in_a_window_share_the_gradient():
    x = mg.input("x", (1, 1, 2, 2))
    (dx,) = mg.evaluate(mg.grad(mg.sum(mg.max_pool2d(x, 2)), x), {"x": np.ones((1, 1, 2, 2))})
    np.testing.assert_array_equal(dx, np.full((1, 1, 2, 2), 0.25))


@pytest.mark.parametrize("order", [1, 2])
def test_gradcheck_of_conv_pool_and_bias(order):
    x, w = mg.input("x", ("N", 2, 5, 5), "float64"), mg.input("w", (4, 1, 3, 3), "float64")
    b = mg.input("b", 4, "float64")
    y = mg.avg_pool2d(mg.tanh(mg.conv2d(x, w, b, stride=2, padding=1, groups=2)), 2, stride=1)
    rng = np.random.default_rng(2)
    at = {"x": rng.normal(size=(2, 2, 5, 5)), "w": rng.normal(size=(4, 1, 3, 3))}
    report = mg.gradcheck(y, [x, w, b], at={**at, "b": rng.normal(size=4)}, order=order)
    assert report.passed, report


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mg.conv2d(IMAGE, KERNEL, padding="full"), "padding 'full' is not a number"),
        (lambda: mg.max_pool2d(IMAGE, 2, padding="full"), "padding 'full' is not a number"),
        (lambda: mg.conv2d(IMAGE, KERNEL, padding=-1), r"pad: .*negative"),
        (lambda: mg.conv2d(IMAGE, KERNEL, stride=0), r"unfold: .*stride 0"),
        (lambda: mg.conv2d(IMAGE, KERNEL, stride=0, padding="same"), "stride >= 1, not 6 and 0"),
        (lambda: mg.conv2d(IMAGE, KERNEL, stride=(1, 2, 3)), r"stride \(1, 2, 3\) is neither"),
        (lambda: mg.conv2d(IMAGE, KERNEL, groups=0), "groups=0 does not fit 2 channels"),
        (lambda: mg.conv2d(IMAGE, np.ones((3, 1, 3, 3)), groups=2), "groups=2 does not fit"),
        (lambda: mg.max_pool2d(IMAGE, 2, padding=2), "padding 2 leaves a window of 2 without"),
        (
            lambda: mg.conv2d(mg.input("h", ("N", 2, "H", 5)), KERNEL, padding="same"),
            "'same' needs a known size and a stride >= 1, not H and 1",
        ),
    ],
)
def test_error_names_the_user_line(build, message):
    with pytest.raises(mg.ShapeError, match=rf"{message}.*test_image\.py:\d+"):
        build()
