"""Tensor types: broadcasting and promotion against numpy, and what is known of named dims."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ir import as_shape, bind_dims, broadcast_shapes, normalize_axes, promote

ORDER = ["bool", "int32", "int64", "float16", "float32", "float64"]

dims = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=3).map(tuple)


@given(st.lists(dims, min_size=1, max_size=3))
def test_broadcasting_is_numpys(shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(mg.ShapeError):
            broadcast_shapes(*shapes)
    else:
        assert broadcast_shapes(*shapes) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("N", 64), (64,), ("N", 64)),
        (("N", 1), (64,), ("N", 64)),
        (("N",), (1,), ("N",)),
        (("N", 1), ("M",), ("N", "M")),
        ((), ("N",), ("N",)),
        (("N",), ("M",), None),
        (("N",), (3,), None),
    ],
)
def test_a_named_dim_broadcasts_with_itself_and_one(first, second, expected) -> None:
    for pair in ((first, second), (second, first)):
        if expected is None:
            with pytest.raises(mg.ShapeError, match="cannot broadcast"):
                broadcast_shapes(*pair)
        else:
            assert broadcast_shapes(*pair) == expected


def test_promotion_is_the_maximum_of_one_order() -> None:
    for a, b in itertools.product(range(len(ORDER)), repeat=2):
        assert promote(np.dtype(ORDER[a]), np.dtype(ORDER[b])) == ORDER[max(a, b)]


@pytest.mark.parametrize("dtype", ORDER)
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (True, ORDER),
        (2, ["int64", "int32", "int64", "float16", "float32", "float64"]),
        (2.5, ["float32", "float32", "float32", "float16", "float32", "float64"]),
    ],
)
def test_a_python_number_widens_to_its_category_only(dtype, number, expected) -> None:
    tensor = mg.input("x", 3, dtype)
    wanted = expected[ORDER.index(dtype)]
    assert mg.mul(tensor, number).dtype == wanted
    assert mg.mul(number, tensor).dtype == wanted


def test_an_array_takes_part_with_its_own_dtype() -> None:
    x = mg.input("x", 3, "float32")
    assert (x + np.ones(3, "float64")).dtype == "float64"
    assert (np.ones(3, "float64") * x).dtype == "float64"
    assert mg.add(x, [1.0, 2.0, 3.0]).dtype == "float32"


def test_types_print_as_in_the_paper() -> None:
    names = ["bool", "i32", "i64", "f16", "f32", "f64"]
    for dtype, short in zip(ORDER, names, strict=True):
        assert str(mg.input("x", ("N", 64), dtype).type) == f"{short}[N,64]"
    assert str(mg.input("x").type) == "f32[]"


def test_equal_types_are_equal_and_hash_alike() -> None:
    a, b = mg.input("a", ("N", 2)).type, mg.input("b", ["N", 2], np.float32).type
    assert a == b
    assert len({a, b}) == 1


def test_a_shape_may_be_one_dim_or_a_list() -> None:
    assert as_shape(3) == as_shape([3]) == as_shape((np.int64(3),)) == (3,)
    assert as_shape("N") == ("N",)
    assert as_shape(()) == ()


@pytest.mark.parametrize(
    ("axis", "expected"), [(None, (0, 1, 2)), (-1, (2,)), ((2, 0), (0, 2)), ([-3], (0,)), ((), ())]
)
def test_axes_come_out_sorted_and_not_negative(axis, expected) -> None:
    assert normalize_axes(axis, 3) == expected


def test_a_name_is_bound_once() -> None:
    sizes: dict[str, int] = {}
    assert bind_dims(("N", 2), (5, 2), sizes)
    assert sizes == {"N": 5}
    assert bind_dims(("N", "N"), (5, 5), sizes)
    assert not bind_dims(("N",), (6,), sizes)
    assert not bind_dims(("M", "M"), (1, 2), sizes)
    assert not bind_dims(("N",), (5, 1), sizes)


def test_one_graph_runs_for_every_size_of_a_named_dim() -> None:
    x = mg.input("x", ("N", 2))
    ready = mg.compile(mg.Graph([x], {"y": mg.sum(x, axis=0) / mg.count(x, axis=0)}))
    for size in (1, 2, 7):
        numbers = np.arange(2.0 * size, dtype=np.float32).reshape(size, 2)
        outputs, _ = ready({}, x=numbers)
        np.testing.assert_allclose(outputs["y"], numbers.mean(axis=0))


def test_results_of_one_type_share_the_object() -> None:
    x, w = mg.input("x", ("N", 4)), mg.input("w", 4)
    assert (x + w).type is (x * w).type
    assert mg.mean(x, 0).type is mg.sum(x * w, 0).type
    assert mg.mean(x, 0).type is not mg.mean(x, 1).type
    with pytest.raises(mg.ShapeError, match=r"cannot broadcast f32\[N,4\] with f32\[3\]"):
        x + mg.input("u", 3)
