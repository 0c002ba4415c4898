"""Derivations in float32 and float16: steps make numbers that these do not hold."""

import numpy as np
import pytest

import minigrad as mg


def mean_square(x, t):
    return mg.mean((x - t) ** 2)


def gelu_after_layer_norm(x, t):
    return mg.mean((mg.gelu(mg.nn.layer_norm(x, None, None)) - t) ** 2)


@pytest.mark.parametrize("loss", [mean_square, gelu_after_layer_norm])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("width", [3, 4, 7])
def test_numbers_that_the_dtype_does_not_hold_do_not_spoil_a_derivation(loss, dtype, width):
    x, t = (mg.input(name, ("N", width), dtype) for name in "xt")
    (gradient,) = mg.grad(loss(x, t), [x])
    derivation = mg.simplify(gradient, proof=True)
    assert derivation.steps
    assert derivation.error < 1e-12
    assert derivation.result.dtype == dtype


def test_a_number_of_the_user_is_what_its_dtype_holds():
    x = mg.input("x", 3)
    near = x * np.float32(2 / 3)  # not 2/3, which is made beside it
    (step,) = mg.simplify(x / 3 * 2 - near, proof=True).steps
    assert step.error < 1e-12
    assert mg.prove_equal(x / 3 * 2, 2 * x / 3)
    assert mg.prove_equal(x / 3 * 2, near) is None
    assert mg.simplify([near, mg.exp(x) / 3 * 2], proof=True).error < 1e-12
