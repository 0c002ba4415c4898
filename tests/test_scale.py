"""Nothing recurses over nodes: long chains and large graphs build, differentiate, print."""

import sys

import numpy as np
import pytest

import minigrad as mg

pytestmark = pytest.mark.slow  # CI runs it, and `pytest -m slow`


@pytest.fixture(scope="module")
def chain():
    x = mg.input("x", dtype="float64")
    y = x
    for _ in range(25_000):
        y = (y + x) * 0.5
    (dx,) = mg.grad(y, x)
    return mg.Graph([x], {"y": y, "dx": dx})


def test_a_chain_of_50000_is_deeper_than_the_stack(chain):
    assert len(chain.nodes) > 100_000 > sys.getrecursionlimit()
    y, dx = mg.evaluate(chain, {"x": 3.0})
    assert y == pytest.approx(3.0)
    assert dx == pytest.approx(1.0)


def test_it_verifies_prints_and_hashes(chain, tmp_path):
    chain.verify()
    text = str(chain)
    assert len(text.splitlines()) > 100_000
    (tmp_path / "chain.txt").write_text(text)
    assert len(chain.structural_hash()) == 32


def test_its_networkx_view_keeps_every_edge(chain):
    view = chain.to_networkx()
    assert view.number_of_nodes() == len(chain.nodes)
    assert view.number_of_edges() == sum(len(node.inputs) for node in chain.nodes)


def test_its_passes_do_not_recurse(chain):
    infer = mg.to_inference(chain, ["y"])
    single = mg.retype(infer, "float32")
    assert mg.evaluate(single, {"x": 3.0})[0].dtype == np.float32


def test_it_draws(chain, tmp_path):
    mg.render(mg.Graph(chain.inputs, {"y": chain.outputs["y"]}), tmp_path / "chain.svg")
    assert (tmp_path / "chain.svg").stat().st_size < 1_000_000


def test_a_wide_graph_of_100000_nodes():
    x = mg.input("x", 4)
    terms = [mg.exp(x * float(i % 7)) for i in range(33_000)]
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + (
            [terms[-1]] if len(terms) % 2 else []
        )
    total = mg.sum(terms[0])
    (dx,) = mg.grad(total, x)
    graph = mg.Graph([x], {"total": total, "dx": dx})
    assert len(graph.nodes) > 100_000
    graph.verify()
    found = mg.evaluate(graph, {"x": np.zeros(4)})
    assert found[0] == pytest.approx(4 * 33_000)
