"""The one promotion rule: bool < int < float, the wider wins, Python numbers never widen."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import minigrad as mg

ORDER = ["bool", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize(("a", "b"), list(product(ORDER, ORDER)))
def test_of_two_tensors_the_later_in_the_order_wins(a, b):
    x, y = mg.input("x", 2, a), mg.input("y", 2, b)
    wanted = max(a, b, key=ORDER.index)
    assert mg.add(x, y).dtype == wanted
    assert mg.where(x < y if "bool" not in (a, b) else mg.equal(x, y), x, y).dtype == wanted


NUMBERS = [
    *[(dtype, 2, dtype) for dtype in ORDER if dtype != "bool"], ("bool", 2, "int64"),
    *[(dtype, 2.5, dtype) for dtype in ORDER[3:]], ("int64", 2.5, "float32"),
    ("int32", 2.5, "float32"), ("bool", 2.5, "float32"), ("float16", np.float64(2.5), "float16"),
    *[(dtype, True, dtype) for dtype in ORDER],
]  # fmt: skip


@pytest.mark.parametrize(("tensor", "number", "wanted"), NUMBERS)
def test_a_python_number_does_not_widen_its_category(tensor, number, wanted):
    x = mg.input("x", 2, tensor)
    assert mg.add(x, number).dtype == wanted
    assert mg.add(number, x).dtype == wanted


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_array_is_a_tensor(dtype):
    x = mg.input("x", 2, "float32")
    wanted = max(dtype, "float32", key=ORDER.index)
    assert (x + np.ones(2, dtype)).dtype == wanted
    assert (np.ones(2, dtype) + x).dtype == wanted


FLOATING = ["sqrt", "exp", "log", "log1p", "tanh", "erf", "mean"]


@pytest.mark.parametrize(("name", "dtype"), list(product(FLOATING, ORDER)))
def test_ops_on_floats_take_ints_as_float32(name, dtype):
    wanted = dtype if dtype.startswith("float") else "float32"
    assert getattr(mg, name)(mg.input("x", 3, dtype)).dtype == wanted


@pytest.mark.parametrize(("name", "dtype"), list(product(["div", "pow"], ORDER[1:])))
def test_div_and_pow_of_ints_are_float32(name, dtype):
    wanted = dtype if dtype.startswith("float") else "float32"
    x, y = mg.input("x", 3, dtype), mg.input("y", 3, dtype)
    assert getattr(mg, name)(x, y).dtype == wanted


def test_a_sum_of_bools_counts_in_int64():
    assert mg.sum(mg.input("x", 3, "bool")).dtype == "int64"


@pytest.mark.parametrize(("value", "dtype"), [
    (2.5, "float32"), (2, "int64"), (True, "bool"), ([1.0], "float32"), ([1], "int64"),
    (np.ones(2), "float64"), (np.ones(2, np.float16), "float16"), (np.ones(2, np.uint8), "int64"),
])  # fmt: skip
def test_constants_have_the_dtype_of_what_they_are_made_from(value, dtype):
    assert mg.constant(value).dtype == dtype
