"""The interpreter: what it takes, what it keeps, and that it leaves what it was given alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import minigrad as mg

MEGABYTE = 2**20


def chain(length: int) -> tuple[mg.Node, mg.Node]:
    x = y = mg.input("x", MEGABYTE // 4)
    for _ in range(length):
        y = -y
    return x, y


def peak_of(run: object) -> int:
    tracemalloc.start()
    try:
        run()  # type: ignore[operator]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_value_is_freed_after_its_last_use() -> None:
    x, y = chain(60)
    ready = mg.compile(mg.Graph([x], y))
    numbers = np.ones(MEGABYTE // 4, np.float32)
    assert peak_of(lambda: ready({}, x=numbers)) < 3.5 * MEGABYTE
    assert peak_of(lambda: mg.evaluate(y, {"x": numbers})) < 3.5 * MEGABYTE


def test_a_value_is_kept_while_it_is_needed() -> None:
    x, y = chain(20)
    ready = mg.compile(mg.Graph([x], {"first": -x, "last": y + (-x)}))
    outputs, _ = ready({}, x=np.ones(MEGABYTE // 4, np.float32))
    np.testing.assert_array_equal(outputs["first"][:2], [-1, -1])
    np.testing.assert_array_equal(outputs["last"][:2], [0, 0])


def test_a_value_nobody_reads_is_not_computed() -> None:
    x = mg.input("x", 2)
    mg.take([1.0], mg.cast(x, "int64"))  # would fail
    np.testing.assert_array_equal(mg.evaluate(x + 1, {"x": [7.0, 8.0]}), [8, 9])


# --- what comes out ----------------------------------------------------------------------------


def test_one_node_gives_an_array_and_several_a_list() -> None:
    x = mg.input("x")
    feed = {"x": 2.0}
    assert isinstance(mg.evaluate(x + 1, feed), np.ndarray)
    assert mg.evaluate([x + 1, x * 3, x], feed) == [3, 6, 2]
    assert mg.evaluate([], {}) == []
    assert mg.evaluate(mg.Graph([x], {"b": x + 1, "a": x * 3}), feed) == [3, 6]


def test_one_node_asked_for_twice_comes_twice() -> None:
    x = mg.input("x")
    y = x + 1
    assert mg.evaluate([y, y], {"x": 1.0}) == [2, 2]


def test_results_have_the_inferred_type() -> None:
    x = mg.input("x", ("N", 3))
    y = mg.sum(x, axis=1) > 0
    found = mg.evaluate([y, mg.argmax(x), mg.mean(x)], {"x": np.ones((2, 3))})
    assert [a.dtype.name for a in found] == ["bool", "int64", "float32"]
    assert [a.shape for a in found] == [(2,), (2,), ()]


# --- what goes in ------------------------------------------------------------------------------


def test_a_feed_by_node_or_by_name() -> None:
    x, y = mg.input("x"), mg.input("y")
    assert mg.evaluate(x - y, {x: 5.0, "y": 3.0}) == 2


def test_an_intermediate_node_may_be_fed() -> None:
    x = mg.input("x", 2)
    middle = mg.log(x)
    found = mg.evaluate([middle * 2, middle], {middle: [1.0, 2.0]})
    np.testing.assert_array_equal(found[0], [2, 4])
    np.testing.assert_array_equal(found[1], [1, 2])


def test_a_fed_intermediate_node_leaves_the_rest_to_be_computed() -> None:
    x = mg.input("x", 2)
    middle = x * 2
    found = mg.evaluate(middle + x, {middle: [10.0, 20.0], "x": [1.0, 2.0]})
    np.testing.assert_array_equal(found, [11, 22])


def test_a_fed_intermediate_node_is_checked() -> None:
    middle = mg.exp(mg.input("x", 2))
    with pytest.raises(mg.FeedError, match=r"<exp f32\[2\]> needs f32\[2\], was fed \[3\]"):
        mg.evaluate(middle + 1, {middle: [1.0, 2.0, 3.0]})


def test_a_parameter_and_a_constant_may_be_fed() -> None:
    w, c = mg.parameter("w", 3.0), mg.constant(10.0)
    assert mg.evaluate(w * c, {}) == 30
    assert mg.evaluate(w * c, {"w": 4.0}) == 40
    assert mg.evaluate(w * c, {c: 2.0}) == 6


@pytest.mark.parametrize(
    ("dtype", "value", "ok"),
    [
        ("float32", np.float64(1.5), True),
        ("float32", 1, True),
        ("float32", True, True),
        ("float16", np.float64(1.5), True),
        ("int64", np.int32(2), True),
        ("int32", True, True),
        ("int64", 1.0, False),
        ("bool", 1, False),
        ("float32", 1j, False),
    ],
)
def test_a_feed_is_cast_up_and_inside_its_category_only(dtype, value, ok) -> None:
    x = mg.input("x", (), dtype)
    if ok:
        assert mg.evaluate(x, {"x": value}).dtype == dtype
    else:
        with pytest.raises(mg.FeedError, match="cast it yourself"):
            mg.evaluate(x, {"x": value})


LAYOUTS = {
    "transposed": np.arange(12.0, dtype=np.float32).reshape(4, 3).T,
    "strided": np.arange(24.0, dtype=np.float32).reshape(3, 8)[:, ::2],
    "reversed": np.arange(12.0, dtype=np.float32).reshape(3, 4)[::-1],
    "broadcast": np.broadcast_to(np.float32(2), (3, 4)),
    "fortran": np.asfortranarray(np.arange(12.0, dtype=np.float32).reshape(3, 4)),
    "swapped bytes": np.arange(12.0).reshape(3, 4).astype(">f4"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(layout: str) -> None:
    array = LAYOUTS[layout]
    x = mg.input("x", (3, 4))
    y = mg.concatenate([mg.tanh(x) @ mg.transpose(x), mg.reshape(x[:, ::2], (3, 2))], axis=1)
    plain = np.array(array, np.float32, order="C")
    np.testing.assert_array_equal(mg.evaluate(y, {"x": array}), mg.evaluate(y, {"x": plain}))


def test_read_only_inputs_are_fine_and_stay_as_they_are() -> None:
    array = np.ones((2, 3), np.float32)
    array.flags.writeable = False
    x = mg.input("x", (2, 3))
    (dx,) = mg.grad(mg.sum(mg.max_pool2d(mg.reshape(x, (1, 1, 2, 3)), 2) ** 2), x)
    mg.evaluate([x, dx], {"x": array})
    np.testing.assert_array_equal(array, np.ones((2, 3)))


def test_scalars_are_zero_dimensional() -> None:
    x = mg.input("x")
    found = mg.evaluate([x, x + 1, mg.sum(x), mg.exp(x)], {"x": np.zeros(())})
    assert [a.shape for a in found] == [()] * 4


def test_an_empty_batch() -> None:
    x = mg.input("x", ("N", 3))
    y = mg.softmax(mg.tanh(x) @ np.eye(3, dtype=np.float32), axis=1)
    loss = mg.sum(y)
    found = mg.evaluate([y, loss, *mg.grad(loss, x)], {"x": np.empty((0, 3))})
    assert [a.shape for a in found] == [(0, 3), (), (0, 3)]
    assert found[1] == 0


# --- check_finite ------------------------------------------------------------------------------


def test_nothing_is_checked_unless_asked() -> None:
    x = mg.input("x", 2)
    np.testing.assert_array_equal(mg.evaluate(mg.log(x), {"x": [0.0, 1.0]}), [-np.inf, 0])


def test_the_first_non_finite_node_is_named() -> None:
    x = mg.input("x", 3)
    with mg.scope("loss"):
        y = mg.sqrt(x)
    with pytest.raises(mg.NonFiniteError) as caught:
        mg.evaluate(mg.exp(mg.log(y)), {"x": [1.0, -1.0, -2.0]}, check_finite=True)
    expected = f"sqrt: 2 of 3 elements of f32[3] are not finite, first NaN (in loss, {y.line})"
    assert str(caught.value) == expected


def test_finite_values_pass_the_check() -> None:
    x = mg.input("x", 2)
    y = [mg.log(x), x > 0, mg.argmax(x)]
    assert len(mg.evaluate(y, {"x": [1.0, 2.0]}, check_finite=True)) == 3


def test_a_non_finite_gradient_is_named_as_one() -> None:
    x = mg.input("x", 2)
    with mg.scope("norm"):
        y = mg.sqrt(x)
    (dx,) = mg.grad(mg.sum(y), x)
    with pytest.raises(mg.NonFiniteError, match=r"div: 1 of 2 .* \(in grad\(norm\), "):
        mg.evaluate(dx, {"x": [0.0, 1.0]}, check_finite=True)


def test_a_parameter_that_starts_as_nan_is_named() -> None:
    w = mg.parameter("w", float("nan"))
    with pytest.raises(mg.NonFiniteError, match="parameter 'w': 1 of 1"):
        mg.evaluate(w * 2, check_finite=True)
