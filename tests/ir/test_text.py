"""The text form, the names and the structural hash: the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minigrad as mg
from minigrad.ir import node_names

PROGRAM = """
import minigrad as mg

x, t = mg.input("x", ("N", 4)), mg.input("t", "N", "int64")
logits = mg.nn.Sequential(
    mg.nn.Linear(8, name="fc1"), mg.nn.BatchNorm(8, name="bn1"),
    mg.relu, mg.nn.Linear(3, name="fc2")
)(x)
graph = mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})
graph = mg.optim.adam(graph, lr=1e-3)
print(graph)
print(graph.structural_hash())
"""


def test_golden_text() -> None:
    x = mg.input("x", ("N", 2))
    with mg.scope("norm"):
        mu = mg.mean(x, axis=0)
        centred = x - mu
    m = mg.state("m", [0.0, 0.0])
    graph = mg.Graph([x], {"y": centred**2, "mu": mu}, [mg.Update(m, 0.5 * m + mu)])
    assert str(graph) == textwrap.dedent(
        """\
        graph(x: f32[N,2])
          state m: f32[2]
          a: f32[2] = mean[axis=(0,)] x  # norm
          b: f32[N,2] = sub x a          # norm
          c: f32[N,2] = pow b 2
          d: f32[2] = mul 0.5 m
          e: f32[2] = add d a
          update m <- e
          return y=c, mu=a"""
    )


def test_golden_text_of_a_gradient() -> None:
    x = mg.input("x", 3)
    with mg.scope("bn1"):
        y = mg.exp(x)
    assert str(mg.Graph([x], {"dx": mg.grad(mg.sum(y), x)[0]})) == textwrap.dedent(
        """\
        graph(x: f32[3])
          a: f32[3] = broadcast_to[shape=(3,)] 1  # grad
          b: f32[3] = exp x                       # bn1
          c: f32[3] = mul a b                     # grad(bn1)
          return dx=c"""
    )


def test_names_of_nodes_step_aside_for_leaves() -> None:
    a = mg.input("a", 2)
    graph = mg.Graph([a], mg.exp(mg.sqrt(a)))
    assert list(node_names(graph).values()) == ["a", "b", "c"]


def test_names_go_on_after_z() -> None:
    x = mg.input("x", 2)
    for _ in range(30):
        x = mg.tanh(x)
    names = list(node_names(mg.Graph([], x)).values())
    assert len(set(names)) == 31
    assert names[-3:] == ["ab", "ac", "ad"] or names[-1] == "ae"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.1, "0.1"), (-1.5, "-1.5"), (1e30, "1e+30"), (float("inf"), "inf"), (7, "7"),
     (True, "True"), (float("nan"), "nan"), (float("-inf"), "-inf")],
)  # fmt: skip
def test_scalar_constants_print_their_value(value: float, text: str) -> None:
    constant = mg.constant(value)
    assert node_names(mg.Graph([], constant))[constant] == text


@pytest.mark.slow
def test_the_whole_text_is_the_same_in_every_process() -> None:
    def run(seed: str) -> str:
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout.decode()

    first = run("1")
    assert first == run("2")
    assert "update bn1/running_mean <- " in first


# --- hash --------------------------------------------------------------------------------------


def digest(outputs: object, *updates: mg.Update) -> str:
    return mg.Graph([], outputs, updates).structural_hash()  # type: ignore[arg-type]


def test_the_hash_does_not_depend_on_the_order_of_construction() -> None:
    x, y = mg.input("x", 2), mg.input("y", 2)
    left = mg.exp(x)
    right = mg.tanh(y)
    one = left - right
    y2, x2 = mg.input("y", 2), mg.input("x", 2)
    right2 = mg.tanh(y2)
    left2 = mg.exp(x2)
    assert digest({"a": one, "b": right}) == digest({"b": right2, "a": left2 - right2})


def test_the_hash_does_not_depend_on_the_order_of_updates() -> None:
    m, v = mg.state("m", 0.0), mg.state("v", 0.0)
    first, second = mg.Update(m, m + 1), mg.Update(v, v + m)
    assert digest(m + v, first, second) == digest(m + v, second, first)


def test_different_graphs_have_different_hashes() -> None:
    x, y, big = mg.input("x", (2, 2)), mg.input("y", (2, 2)), mg.input("x", (2, 3))
    double, m = mg.input("x", (2, 2), "float64"), mg.state("m", 0.0)
    graphs = [
        x + y, x - y, y - x, x + x, x + 1, x + 2, x + 1.5, mg.sum(x), mg.sum(x, 0), mg.sum(x, 1),
        mg.sum(x, 0, keepdims=True), mg.mean(x), mg.exp(x), mg.exp(big), mg.exp(double),
        mg.exp(mg.input("x", ("N", 2))), mg.exp(mg.parameter("x", np.zeros((2, 2), np.float32))),
        x.T, x[0], x[1], x[:1], x + np.zeros((2, 2)), x + np.eye(2), x + np.zeros((2, 2), "f4"),
        mg.pad(x, [(1, 0), (0, 0)]), mg.pad(x, [(0, 1), (0, 0)]),
        mg.pad(x, [(0, 1), (0, 0)], value=1.0), mg.cast(x, "float64"), mg.cast(x, "int64"),
        mg.constant(0.0), mg.constant(-0.0), mg.constant(float("nan")), m,
        mg.random_uniform(0, 2), mg.random_uniform(0, 2, seed=1), {"x": x + y}, {"y": x + y},
        {"a": x + y, "b": x - y}, {"b": x + y, "a": x - y},
    ]  # fmt: skip
    digests = [digest(graph) for graph in graphs]
    digests += [digest(m, mg.Update(m, m + 1)), digest(m, mg.Update(m, m + 2))]
    assert len(set(digests)) == len(digests)


def test_a_repeated_expression_hashes_as_a_shared_one() -> None:
    x = mg.input("x", 2)
    shared = mg.exp(x)
    assert digest(shared * shared) == digest(mg.exp(x) * mg.exp(x))
