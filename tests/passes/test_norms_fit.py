"""The fit behind find_norms: what is affine in the draws, element by element, and what is not."""

from __future__ import annotations

import numpy as np

from minigrad.passes.norms_fit import affine
from minigrad.passes.norms_probe import close

rng = np.random.default_rng(0)
X = np.stack([sign * x for x in rng.normal(size=(3, 4, 2)) for sign in (1, -1)])
A, B = rng.normal(size=(2, 4, 2))


def test_a_slope_and_an_intercept_for_each_element_are_found() -> None:
    found = affine(X, A * X + B)
    assert found is not None
    np.testing.assert_allclose(found[0], A, rtol=1e-12)
    np.testing.assert_allclose(found[1], B, rtol=1e-12)


def test_what_bends_has_no_line_however_little() -> None:
    for bent in (X**3, X**2, np.abs(X), np.tanh(X), A * X + 1e-7 * X**2, A * X + 1e-7 * X**3):
        assert affine(X, bent + B) is None


def test_what_does_not_depend_on_x_or_is_no_number_has_no_line() -> None:
    assert affine(X, np.broadcast_to(B, X.shape)) is None
    assert affine(X, np.full_like(X, np.nan)) is None
    assert affine(X, X[:, :1]) is None


def test_nothing_is_close_to_a_nan_or_to_another_shape() -> None:
    ones = np.ones(3)
    assert close(ones, ones * (1 + 1e-10))
    assert not close(ones, ones * (1 + 1e-8))
    assert not close(np.full(3, np.nan), ones)
    assert not close(ones, np.full(3, np.nan))
    assert not close(ones, np.ones((1, 3)))
