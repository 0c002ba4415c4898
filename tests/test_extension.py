"""An op is added from outside, in one row, and everything else follows."""

import numpy as np
import pytest

import minigrad as mg

sinh = mg.Primitive(
    "sinh",
    mg.Kind.ELEMENTWISE,
    eval=lambda xp, x: xp.sinh(x),
    infer=lambda x: x,
    vjp=lambda ct, y, x: (ct * mg.sqrt(1 + y * y),),  # cosh x
    symbol="sinh",
)


@pytest.fixture
def x():
    return mg.input("x", ("N", 3))


def test_it_computes(x):
    data = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(mg.evaluate(sinh(x), {"x": data}), np.sinh(data), rtol=1e-6)


def test_it_differentiates_to_any_order(x):
    data = np.random.default_rng(0).normal(size=(4, 3))
    y = sinh(x)
    found = []
    for _ in range(3):
        (y,) = mg.grad(mg.sum(y), x)
        found.append(mg.evaluate(mg.retype(mg.Graph([], y), "float64"), {"x": data})[0])
    for ours, theirs in zip(found, (np.cosh, np.sinh, np.cosh), strict=True):
        np.testing.assert_allclose(ours, theirs(data), rtol=1e-12)


def test_it_is_checked_to_second_order(x):
    report = mg.gradcheck(mg.mean(sinh(x) ** 2), x, order=2)
    assert report.passed, report


def test_a_wrong_rule_for_it_is_found_and_named(x):
    from dataclasses import replace

    wrong = replace(sinh, vjp=lambda ct, y, x: (ct * y,))
    with mg.scope("mine"):
        y = wrong(x)
    report = mg.gradcheck(mg.mean(y * y), x)
    assert not report.passed
    assert (report.culprit.primitive, report.culprit.scope) == ("sinh", "mine")
    assert report.culprit.line.startswith("test_extension.py:")


def test_it_is_drawn_and_printed(x, tmp_path):
    graph = mg.Graph([x], {"y": mg.sum(sinh(x))})
    mg.render(graph, tmp_path / "y.svg")
    assert "sinh" in (tmp_path / "y.svg").read_text(encoding="utf-8")
    assert "= sinh x" in str(graph)


def test_it_serves_in_a_layer_that_trains(x):
    t = mg.input("t", ("N", 3))
    y = mg.nn.Linear(3, name="out")(sinh(mg.nn.BatchNorm(3, name="bn1")(x)))
    step = mg.compile(mg.optim.adam(mg.Graph([x, t], {"loss": mg.mse(y, t)}), lr=0.05))
    state, rng = step.init_state(), np.random.default_rng(0)
    data = rng.normal(size=(64, 3))
    losses = []
    for _ in range(60):
        outputs, state = step(state, x=data, t=data[:, ::-1])
        losses.append(float(outputs["loss"]))
    assert losses[-1] < 0.2 * losses[0]
