"""Every sample: value against numpy, and the inferred type against the actual array."""

from __future__ import annotations

import numpy as np
import pytest
from samples import SAMPLES

import minigrad as mg
from minigrad.ir import Kind
from minigrad.primitives import PRIMITIVES

ROUNDING = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-14}
ids = {"ids": lambda sample: sample.id}

ELEMENTWISE = sorted(n for n, row in PRIMITIVES.items() if row.kind is Kind.ELEMENTWISE)


def evaluated(sample, seed=0):
    nodes, arrays = sample.nodes(), sample.arrays(seed)
    graph = mg.Graph(nodes, {"y": sample.build(*nodes)})
    (y,) = mg.evaluate(graph, dict(zip(nodes, arrays, strict=True)))
    return graph.outputs["y"], y, arrays


@pytest.mark.parametrize("sample", SAMPLES, **ids)
def test_the_value_is_numpys(sample):
    _, y, arrays = evaluated(sample)
    wanted = np.asarray(sample.reference(*arrays))
    assert y.shape == wanted.shape
    near = 4 * max([ROUNDING.get(a.dtype.name, 0) for a in (y, *arrays)])
    if y.dtype.kind != "f":
        near = 0
    np.testing.assert_allclose(np.float64(y), np.float64(wanted), rtol=near, atol=near)


@pytest.mark.parametrize("sample", SAMPLES, **ids)
def test_the_inferred_type_is_the_arrays(sample):
    node, y, _ = evaluated(sample)
    assert sample.sized(node.shape) == y.shape
    assert node.dtype == y.dtype


@pytest.mark.parametrize("sample", SAMPLES, **ids)
def test_the_graph_verifies(sample):
    nodes = sample.nodes()
    node = sample.build(*nodes)
    mg.Graph(nodes, {"y": node}).verify()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_op_treats_each_element_alone(name):
    """Evaluating one element at a time gives the same numbers."""
    sample = next(s for s in SAMPLES if s.prim == name and s.operands[0].shape == (2, 3))
    _, y, arrays = evaluated(sample)
    wide = np.broadcast_arrays(*arrays)
    scalars = [mg.input(f"x{i}", (), o.dtype) for i, o in enumerate(sample.operands)]
    one = sample.build(*scalars)
    for index in np.ndindex(2, 3):
        feed = {node: a[index] for node, a in zip(scalars, wide, strict=True)}
        (found,) = mg.evaluate(mg.Graph(scalars, {"y": one}), feed)
        np.testing.assert_allclose(found, y[index], rtol=1e-6)


SPECIAL = [
    ("maximum", (np.nan, 1.0), np.nan), ("maximum", (1.0, np.nan), np.nan),
    ("minimum", (np.nan, 1.0), np.nan), ("abs", (-0.0,), 0.0), ("sign", (0.0,), 0.0),
    ("sqrt", (-1.0,), np.nan), ("log", (0.0,), -np.inf), ("log1p", (1e-20,), 1e-20),
    ("exp", (1000.0,), np.inf), ("div", (1.0, 0.0), np.inf), ("div", (0.0, 0.0), np.nan),
    ("pow", (0.0, 0.0), 1.0), ("pow", (0.0, -1.0), np.inf), ("tanh", (100.0,), 1.0),
    ("erf", (10.0,), 1.0), ("equal", (np.nan, np.nan), False), ("less", (np.nan, 1.0), False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "operands", "wanted"), SPECIAL)
def test_special_values_follow_ieee(name, operands, wanted):
    nodes = [mg.input(f"x{i}", (), "float64") for i in range(len(operands))]
    found = mg.evaluate(getattr(mg, name)(*nodes), {f"x{i}": v for i, v in enumerate(operands)})
    np.testing.assert_equal(found[()], wanted)


def test_a_sum_in_half_precision_is_carried_in_single():
    x = mg.input("x", 4096, "float16")
    assert mg.evaluate(mg.sum(x), {"x": np.ones(4096, np.float16)}) == 4096


def test_an_index_out_of_range_fails_and_names_the_op():
    x, i = mg.input("x", 3), mg.input("i", (), "int64")
    with pytest.raises(mg.GraphError, match=r"take.*test_values\.py"):
        mg.evaluate(mg.take(x, i), {"x": np.zeros(3), "i": 5})
