"""The kernel language: what a text says is what the machine does."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import erf

from minigrad.backends.native.language import translate
from minigrad.backends.native.library import with_library
from minigrad.backends.native.machine import Library
from minigrad.backends.native.words import KernelError
from minigrad.primitives.index import threefry

LIBRARY = Library(None)
POINTERS = {"f2": "ptr_f16", "f4": "ptr_f32", "f8": "ptr_f64", "i4": "ptr_i32", "i8": "ptr_i64",
            "b1": "ptr_bool"}  # fmt: skip


def run(text: str, **arguments: Any) -> None:
    """Compile a body of statements over ``arguments``, arrays and indices, and run it."""
    given = {
        name: POINTERS[value.dtype.str[1:]] if isinstance(value, np.ndarray) else "index"
        for name, value in arguments.items()
    }
    head = f"def kernel({', '.join(f'{name}: {kind}' for name, kind in given.items())}):"
    lines = "\n".join(f"    {line}" for line in text.strip("\n").splitlines())
    call(f"{head}\n{lines}\n", *arguments.values())


def call(text: str, *arguments: Any) -> None:
    """Run the function ``kernel`` of a text."""

    def assembly(entry: str) -> str:
        return translate(with_library(text)).replace("@kernel(", f"@{entry}(")

    is_array = [isinstance(a, np.ndarray) for a in arguments]
    kinds = [ctypes.c_void_p if array else ctypes.c_int64 for array in is_array]
    function = ctypes.CFUNCTYPE(None, *kinds)(LIBRARY.load(text, assembly, {}))
    function(*[a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments])


def mapped(function: str, x: np.ndarray, *others: np.ndarray, dtype: Any = None) -> np.ndarray:
    """``function`` of every element."""
    y = np.empty(x.shape, dtype or x.dtype)
    names = ["x", "x2", "x3"][: 1 + len(others)]
    values = ", ".join(f"{name}[i]" for name in names)
    text = f"for i in range(n):\n    y[i] = {function}({values})"
    run(text, **dict(zip(names, (x, *others), strict=True)), y=y, n=x.size)
    return y


def result(text: str, dtype: Any = "f8", **arguments: Any) -> Any:
    """What a body leaves in ``y[0]``."""
    y = np.zeros(1, dtype)
    run(text, y=y, **arguments)
    return y[0]


# --- statements --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ("5", range(5)), ("2, 5", range(2, 5)), ("1, 12, 4", range(1, 12, 4)),
        ("0", range(0)), ("4, 2", range(0)), ("n", range(3)), ("n, 3 * n", range(3, 9)),
    ],
)  # fmt: skip
def test_a_loop_runs_over_a_range(bounds: str, expected: range) -> None:
    text = f"k = 0\nfor i in range({bounds}):\n    y[k] = i\n    k = k + 1"
    y = np.full(20, -1)
    run(text, y=y, n=3)
    np.testing.assert_array_equal(y[: len(expected) + 1], [*expected, -1])


def test_loops_nest() -> None:
    y = np.zeros(12, np.int64)
    run("for i in range(3):\n    for j in range(4):\n        y[i * 4 + j] = 10 * i + j", y=y)
    np.testing.assert_array_equal(y, [10 * i + j for i in range(3) for j in range(4)])


def test_a_loop_leaves_its_variable_to_the_next_one() -> None:
    text = "for i in range(3):\n    y[0] += 1\nfor i in range(4):\n    y[0] += 10"
    assert result(text, "i8") == 43


def test_only_the_taken_branch_runs() -> None:
    y = np.zeros(4, np.int64)
    run("for i in range(4):\n    if i < 2:\n        y[i] = 1\n    else:\n        y[i] = 2", y=y)
    np.testing.assert_array_equal(y, [1, 1, 2, 2])


def test_a_branch_without_else_changes_nothing_otherwise() -> None:
    assert result("k = 7\nif n > 5:\n    k = 1\ny[0] = k", "i8", n=5) == 7
    assert result("k = 7\nif n > 5:\n    k = 1\ny[0] = k", "i8", n=6) == 1


def test_branches_nest() -> None:
    text = """
for i in range(4):
    if i > 0:
        if i > 2:
            y[i] = 3
        else:
            y[i] = 2
    else:
        y[i] = 1
"""
    y = np.zeros(4, np.int64)
    run(text, y=y)
    np.testing.assert_array_equal(y, [1, 2, 2, 3])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1.0 if n > 2 else 2.0", [2, 2, 2, 1]),
        ("1.0 if n > 2 else (5.0 if n == 0 else 2.0)", [5, 2, 2, 1]),
        ("1.0 if n > 0 and n < 3 else 0.0", [0, 1, 1, 0]),
        ("1.0 if n == 0 or n == 3 else 0.0", [1, 0, 0, 1]),
        ("1.0 if not n else 0.0", [1, 0, 0, 0]),
        ("f64(n != 2)", [1, 1, 0, 1]),
    ],
)
def test_a_conditional_expression(expression: str, expected: list[float]) -> None:
    assert [result(f"y[0] = {expression}", n=n) for n in range(4)] == expected


def test_a_function_of_the_text_is_called_by_name() -> None:
    text = """
def third(x: f32) -> f32:
    return x / 3.0

def kernel(x: ptr_f32, y: ptr_f32):
    y[0] = third(third(x[0]))
"""
    x, y = np.array([18.0], np.float32), np.zeros(1, np.float32)
    call(text, x, y)
    assert y[0] == 2


def test_a_docstring_is_passed_over() -> None:
    assert result('"""What it does."""\ny[0] = 1') == 1


def test_a_shifted_pointer_reads_further_on() -> None:
    text = """
def second(x: ptr_f64) -> f64:
    return x[1]

def kernel(x: ptr_f64, y: ptr_f64):
    y[0] = second(at(x, 2))
"""
    y = np.zeros(1)
    call(text, np.arange(8.0) + 0.5, y)
    assert y[0] == 3.5


# --- types and literals ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", POINTERS)
def test_every_type_is_read_and_written(dtype: str) -> None:
    x = np.array([0, 1, 1, 0, 1]).astype(dtype)
    y = np.zeros_like(x)
    run("for i in range(n):\n    y[i] = x[i]", x=x, y=y, n=5)
    np.testing.assert_array_equal(y, x)


NUMBERS = {
    "f2": [-2.75, 0, 1.5, 60000], "f4": [-2.75, 0, 1.5, 2**20], "f8": [-2.75, 0, 1.5, 2**20],
    "i4": [-3, 0, 1, 2**20], "i8": [-3, 0, 1, 2**20], "b1": [False, True],
}  # fmt: skip


@pytest.mark.parametrize("target", NUMBERS)
@pytest.mark.parametrize("start", NUMBERS)
def test_a_conversion_is_numpys(start: str, target: str) -> None:
    x = np.array(NUMBERS[start]).astype(start)
    kind = POINTERS[target].removeprefix("ptr_")
    with np.errstate(over="ignore"):
        expected = x.astype(target)
    np.testing.assert_array_equal(mapped(kind, x, dtype=target), expected)


@pytest.mark.parametrize("number", [0.1, 1e-45, 3.4028235e38, 1 / 3, -0.0, 1e-300, 16777217.0])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_literal_is_the_nearest_number_of_its_type(number: float, dtype: str) -> None:
    expected = np.array([number]).astype(dtype)
    y = np.ones(1, dtype)
    run(f"y[0] = {number!r}", y=y)
    assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_inf_and_nan_are_literals(dtype: str) -> None:
    y = np.zeros(3, dtype)
    run("y[0] = inf\ny[1] = -inf\ny[2] = nan", y=y)
    np.testing.assert_array_equal(y, np.array([np.inf, -np.inf, np.nan], dtype))


def test_a_number_takes_the_type_of_what_it_meets() -> None:
    x = np.array([1e-8], np.float32)
    y = np.zeros(2)
    run("y[0] = x[0] + 1.0\ny[1] = f64(x[0]) + 1.0", x=x, y=y)
    assert y[0] == 1
    assert y[1] > 1


def test_numbers_alone_are_computed_by_python() -> None:
    assert result("y[0] = 7 / 2 + 2 * 3 - 1") == 8.5


def test_a_local_keeps_the_type_of_its_first_value() -> None:
    assert result("s = f32(0)\ns = s + 16777216.0\ns = s + 1.0\ny[0] = s") == 2**24


# --- arithmetic --------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["+", "-", "*"])
@pytest.mark.parametrize("dtype", ["i4", "i8"])
def test_ints_wrap_around(op: str, dtype: str) -> None:
    bounds = np.iinfo(dtype)
    some = [bounds.max, bounds.min, bounds.max - 1, 1, -1, 2, bounds.max // 3 * 2]
    x, z = np.array(list(itertools.product(some, repeat=2)), dtype).T.copy()
    y = np.zeros_like(x)
    run(f"for i in range(n):\n    y[i] = x[i] {op} z[i]", x=x, z=z, y=y, n=x.size)
    with np.errstate(over="ignore"):
        expected = {"+": np.add, "-": np.subtract, "*": np.multiply}[op](x, z)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", ["i4", "i8"])
def test_the_negative_and_the_absolute_value_of_the_least_int_are_itself(dtype: str) -> None:
    least = np.array([np.iinfo(dtype).min, -5, 0, 5], dtype)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(mapped("abs", least), np.abs(least))
        np.testing.assert_array_equal(mapped("-", least), -least)


def test_a_sum_of_ints_wraps_around() -> None:
    x = np.full(3, np.iinfo(np.int64).max)
    with np.errstate(over="ignore"):
        expected = x.sum()
    assert result("for i in range(3):\n    y[0] += x[i]", "i8", x=x) == expected


@pytest.mark.parametrize("op", ["+", "*", "|", "&"])
def test_bools_add_as_or_and_multiply_as_and(op: str) -> None:
    x, z = np.array([[False, False], [False, True], [True, False], [True, True]]).T.copy()
    y = np.zeros(4, bool)
    run(f"for i in range(4):\n    y[i] = x[i] {op} z[i]", x=x, z=z, y=y)
    np.testing.assert_array_equal(y, x | z if op in "+|" else x & z)


def test_a_bool_is_stored_as_one_byte_of_0_or_1() -> None:
    y = np.full(3, 7, np.int8).view(bool)
    run("for i in range(3):\n    y[i] = i > 0", y=y)
    np.testing.assert_array_equal(y.view(np.int8), [0, 1, 1])


COMPARISONS = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater,
    ">=": np.greater_equal,
}  # fmt: skip


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i8", "b1"])
def test_a_comparison_is_numpys_also_with_nan(op: str, dtype: str) -> None:
    floats, ints = [-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan], [-5, 0, 5]
    some = np.array(floats if dtype[0] == "f" else ints).astype(dtype)
    x, z = np.array(list(itertools.product(some, repeat=2)), dtype).T.copy()
    y = np.zeros(x.size, bool)
    run(f"for i in range(n):\n    y[i] = x[i] {op} z[i]", x=x, z=z, y=y, n=x.size)
    np.testing.assert_array_equal(y, COMPARISONS[op](x, z))


def test_index_division_and_remainder() -> None:
    y = np.zeros(2, np.int64)
    run("y[0] = n // 5\ny[1] = n % 5", y=y, n=23)
    np.testing.assert_array_equal(y, [4, 3])


@pytest.mark.parametrize("op", ["+", "-", "*", "/"])
def test_half_precision_rounds_after_every_operation(op: str) -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(0, 30, (2, 5000)).astype(np.float16)
    y = np.zeros_like(x)
    run(f"for i in range(n):\n    y[i] = x[i] {op} z[i]", x=x, z=z, y=y, n=x.size)
    numpy = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[op]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(y, numpy(x, z))


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_sum_of_any_length_takes_every_element_once(n: int, dtype: str) -> None:
    x = np.arange(n + 1).astype(dtype)  # whole numbers: no order of adding rounds
    text = f"s = {POINTERS[dtype][4:]}(0)\nfor i in range(n):\n    s += x[i]\ny[0] = s"
    assert result(text, dtype, x=x, n=n) == n * (n - 1) // 2


def test_a_sum_hands_nan_and_infinity_on() -> None:
    text = "s = f32(0)\nfor i in range(n):\n    s += x[i]\ny[0] = s"
    for special in (np.nan, np.inf, -np.inf):
        x = np.ones(100, np.float32)
        x[37] = special
        np.testing.assert_equal(result(text, "f4", x=x, n=100), np.float32(special))


# --- functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i8", "b1"])
def test_the_larger_and_the_smaller_are_numpys_and_nan_wins(function: str, dtype: str) -> None:
    floats, ints = [-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan], [-5, 0, 5]
    some = np.array(floats if dtype[0] == "f" else ints).astype(dtype)
    x, z = np.array(list(itertools.product(some, repeat=2)), dtype).T.copy()
    np.testing.assert_array_equal(mapped(function, x, z), getattr(np, function)(x, z))


@pytest.mark.parametrize("function", ["sign", "abs"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "i8"])
def test_sign_and_absolute_value_are_numpys(function: str, dtype: str) -> None:
    floats, ints = [-np.inf, -1.5, -0.0, 0.0, 1e-7, np.inf, np.nan], [-5, 0, 5]
    x = np.array(floats if dtype[0] == "f" else ints).astype(dtype)
    np.testing.assert_array_equal(mapped(function, x), getattr(np, function)(x))


REFERENCES: dict[str, Any] = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "erf": erf, "sqrt": np.sqrt,
}  # fmt: skip


def all_sorts_of_floats() -> np.ndarray:
    """Bit patterns evenly over float32: every exponent, both signs, subnormals, NaNs."""
    with np.errstate(invalid="ignore"):
        return np.arange(0, 2**32, 40009, np.uint64).astype(np.uint32).view(np.float32)


def common_floats() -> np.ndarray:
    rng = np.random.default_rng(0)
    near = [rng.normal(0, scale, 30000) for scale in (1e-3, 0.1, 1, 10, 40)]
    return np.concatenate([*near, 1 + near[0], near[0] - 1]).astype(np.float32)


@pytest.mark.parametrize("function", REFERENCES)
@pytest.mark.parametrize("draw", [all_sorts_of_floats, common_floats])
def test_single_precision_is_within_3_ulp(function: str, draw: Any) -> None:
    x = draw()
    with np.errstate(all="ignore"):
        exact = REFERENCES[function](x.astype(np.float64))
        nearest = exact.astype(np.float32)
        y = mapped(function, x)
        ulp = np.abs(y - exact) / np.spacing(np.abs(nearest)).astype(np.float64)
    finite = np.isfinite(nearest)
    np.testing.assert_array_equal(y[~finite], nearest[~finite])
    worst = np.argmax(np.where(finite, ulp, 0))
    assert ulp[worst] <= 3, f"{function}({x[worst]!r}) = {y[worst]!r}, exactly {exact[worst]!r}"


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-45, 1.0, -1.0, 88.7, 88.8, -87.5,
           -103.9, -104.1, 3.4028235e38, -3.4028235e38]  # fmt: skip


@pytest.mark.parametrize("function", REFERENCES)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_special_values_are_numpys(function: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL).astype(dtype)
        expected = REFERENCES[function](x.astype(np.float64)).astype(dtype)
    found = mapped(function, x)
    tolerance = {"f2": 1e-3, "f4": 4e-7, "f8": 1e-15}[dtype]
    least = float(np.finfo(dtype).smallest_subnormal)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=3 * least)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


@pytest.mark.parametrize(
    "function",
    [
        "log1p",
        "tanh",
        "erf",
        "sqrt",
    ],
)
def test_the_sign_of_zero_is_kept(function: str) -> None:
    found = mapped(function, np.array([0.0, -0.0], np.float32))
    np.testing.assert_array_equal(np.signbit(found), [False, True])


def test_threefry_is_that_of_the_row() -> None:
    key = np.uint32(0xDEADBEEF), np.uint32(12345)
    elements, counter = np.arange(5000, dtype=np.uint32), 0xFFFFFFF0
    expected, _ = threefry(elements, np.full_like(elements, counter), key)
    y = np.zeros(5000, np.int64)
    text = f"for i in range(n):\n    y[i] = threefry(u32(i), u32(c), {key[0]}, {key[1]})"
    run(text, y=y, n=5000, c=counter)
    np.testing.assert_array_equal(y, expected)


# --- what is not in the language ---------------------------------------------------------------

OUTSIDE = [
    "while True:\n    y[0] = 1.0", "y[0] = other", "y[0] = other(1.0)", "y[0] = cos(y[0])",
    "y[0] = n / 2", "y[0] *= 2.0", "y[0] -= 1.0", "y[0] = y[0] ** 2", "y[0] = 'text'",
    "y[0] = [1.0]", "y[0] = y.size", "y[0] = lambda: 1", "import os", "pass", "del y",
    "z: f32 = 1.0", "y[0] = y[0] & y[0]", "y[0] = y[0] // 2.0", "assert n", "return",
    "with n:\n    y[0] = 1.0", "break", "y[0:2] = 1.0",
]  # fmt: skip
MISREAD = [  # text -> what it is taken for
    ("y[0] = 1.0 if 0 < n < 3 else 0.0", "0 < n"), ("y[0] = +y[0]", "-y[0]"), ("y[0] = ~n", "-n"),
    ("for i in pairs(n):\n    n = i", "range(n)"), ("z = y[0] = 1.0", "z = 1.0"),
    ("for i in range(n):\n    n = i\nelse:\n    n = 0", "a loop without else"),
    ("y[0] = n[0]", "a load from the address of n"),
    ("for i in n:\n    n = i", "AssertionError"), ("y.size = n", "AssertionError"),
    ("y[0] = 1.0 if n is n else 0.0", "KeyError"),
]  # fmt: skip


def translated(text: str) -> str:
    lines = text.replace("\n", "\n    ")
    return translate(f"def kernel(y: ptr_f32, n: index):\n    {lines}\n")


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_text_outside_the_language_is_refused(text: str) -> None:
    with pytest.raises(KernelError):
        translated(text)


@pytest.mark.parametrize(("text", "taken_for"), MISREAD)
def test_a_text_that_looks_like_the_language_is_refused(text: str, taken_for: str) -> None:
    with pytest.raises(KernelError):
        translated(text)
