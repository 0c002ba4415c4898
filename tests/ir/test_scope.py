"""Scopes: where a node comes from, kept through differentiation, and never its meaning."""

from __future__ import annotations

import threading

import pytest

import minigrad as mg
from minigrad.ir import current_scope


def test_scopes_nest_and_are_left_again() -> None:
    with mg.scope("stage1"):
        with mg.scope("bn1"):
            inner = mg.constant(1.0)
        outer = mg.constant(1.0)
    assert inner.scope.path == ("stage1", "bn1")
    assert outer.scope.path == ("stage1",)
    assert current_scope() == mg.Scope()


def test_a_path_enters_two_scopes_at_once() -> None:
    with mg.scope("stage1/bn1"):
        assert current_scope() == mg.Scope(("stage1", "bn1"))


def test_a_scope_is_left_on_an_error() -> None:
    with pytest.raises(ZeroDivisionError), mg.scope("bn1"):
        1 / 0  # noqa: B018
    assert current_scope() == mg.Scope()


def test_a_scope_made_here_and_entered_there_belongs_there() -> None:
    later = mg.scope("bn1")
    with mg.scope("stage1"), later:
        assert str(current_scope()) == "stage1/bn1"


def test_a_scope_decorates_a_function() -> None:
    @mg.scope("bn1")
    def build() -> mg.Node:
        return mg.constant(1.0)

    with mg.scope("stage1"):
        assert build().scope.path == ("stage1", "bn1")
    assert build().scope.path == ("bn1",)


def test_threads_do_not_share_a_scope() -> None:
    seen = []
    with mg.scope("here"):
        thread = threading.Thread(target=lambda: seen.append(current_scope()))
        thread.start()
        thread.join()
    assert seen == [mg.Scope()]


def test_leaves_are_named_by_their_scope() -> None:
    with mg.scope("stage1/bn1"):
        assert mg.parameter("gamma", 1.0).name == "stage1/bn1/gamma"
        assert mg.state("mean", 0.0).name == "stage1/bn1/mean"
        assert mg.input("x").name == "x"  # fed by the caller, who knows no scopes


def test_orders_print_as_nested_gradients() -> None:
    assert str(mg.Scope(("a", "b"), 2)) == "grad(grad(a/b))"
    assert str(mg.Scope((), 2)) == "grad(grad)"
    assert str(mg.Scope()) == ""


def scoped() -> tuple[mg.Node, mg.Node]:
    x = mg.input("x", 3)
    with mg.scope("outer"):
        y = mg.exp(x)
        with mg.scope("bn1"):
            y = mg.tanh(y) ** 3
    return x, mg.sum(y)


def test_a_gradient_stays_in_its_scope_one_order_higher() -> None:
    x, y = scoped()
    (dx,) = mg.grad(y, x)
    made = set(mg.Graph([], dx).nodes) - set(mg.Graph([], y).nodes)
    assert {n.scope.order for n in made} == {1}
    assert {str(n.scope) for n in made} == {"grad", "grad(outer)", "grad(outer/bn1)"}
    assert dx.scope == mg.Scope(("outer",), 1)


def test_a_second_gradient_is_one_order_higher_still() -> None:
    x, y = scoped()
    (dx,) = mg.grad(y, x)
    (ddx,) = mg.grad(mg.sum(dx), x)
    first = {*mg.Graph([], [y, dx]).nodes}
    made = [n for n in mg.Graph([], ddx).nodes if n not in first and n.prim.name != "sum"]
    assert {n.scope.order for n in made} == {2}
    assert {n.scope.path for n in made} <= {(), ("outer",), ("outer", "bn1")}
    assert ("outer", "bn1") in {n.scope.path for n in made}


def test_grad_leaves_the_current_scope_as_it_was() -> None:
    x, y = scoped()
    with mg.scope("here"):
        mg.grad(y, x)
        assert current_scope() == mg.Scope(("here",))
        with pytest.raises(mg.GradientError):
            mg.grad(y, mg.input("other"))
        assert current_scope() == mg.Scope(("here",))


def test_a_scope_never_changes_what_a_graph_means() -> None:
    def build() -> mg.Graph:
        x = mg.input("x", 3)
        return mg.Graph([x], {"y": mg.exp(x) * x})

    plain = build()
    with mg.scope("bn1"):
        scoped_graph = build()
    assert plain.structural_hash() == scoped_graph.structural_hash()
