"""Folding: what goes into which weight, what stays outside and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from passes.fold_models import (
    NEXT_SCALE,
    NEXT_SHIFT,
    PREVIOUS,
    Layer,
    assert_same,
    bn,
    infer,
    picture,
    reasons,
    rules,
    state_of,
    varying,
    vector,
)

import minigrad as mg
from minigrad import nn
from minigrad.passes.fold_build import MERGED

# --- where a map goes ----------------------------------------------------------------------------


def test_a_norm_behind_a_linear_layer_goes_into_its_weight() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4), mg.relu)
    report = mg.fold_report(graph)
    assert varying(report.graph) == {"matmul": 1, "add": 1, "maximum": 1}
    assert rules(report) == [(PREVIOUS, "fc"), (MERGED, "bn")]
    assert_same(graph, report.graph)


def test_a_norm_in_front_of_a_linear_layer_goes_into_its_weight() -> None:
    graph = infer(vector(), bn("bn", 5), nn.Linear(4, name="fc"), mg.relu)
    report = mg.fold_report(graph)
    assert varying(report.graph) == {"matmul": 1, "add": 1, "maximum": 1}
    assert rules(report)[:2] == [(NEXT_SCALE, "fc"), (NEXT_SHIFT, "fc")]
    assert_same(graph, report.graph)


def test_norms_on_both_sides_and_in_a_row_leave_products_and_one_bias() -> None:
    graph = infer(
        vector(), bn("a", 5), bn("b", 5), nn.Linear(4, name="fc1"), bn("c", 4), bn("d", 4),
        nn.Linear(3, name="fc2"), bn("e", 3),
    )  # fmt: skip
    folded = mg.fold(graph)
    assert varying(folded) == {"matmul": 2, "add": 1}
    assert_same(graph, folded)


def test_the_bias_before_a_norm_is_kept_in_the_shift() -> None:
    """(x W + b - m) r gamma + beta = x (W r gamma) + ((b - m) r gamma + beta)."""
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4))
    state = state_of(graph)
    folded = mg.compile(mg.fold(graph, state), "interpreter").init_state()
    s = state["bn/gamma"] / np.sqrt(state["bn/running_var"] + 1e-3)
    np.testing.assert_allclose(folded["fc/weight"], state["fc/weight"] * s, rtol=1e-6)
    shift = (state["fc/bias"] - state["bn/running_mean"]) * s + state["bn/beta"]
    np.testing.assert_allclose(folded["bn/bias"], shift, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [
    {}, {"padding": 1}, {"stride": 2}, {"padding": "same", "stride": 2}, {"groups": 2},
    {"bias": False}, {"dilation": 2}, {"window": (1, 2)},
], ids=str)  # fmt: skip
def test_a_norm_behind_a_convolution_goes_into_its_kernels(options: Mapping[str, object]) -> None:
    x = mg.input("x", ("N", 4, 8, 8))
    conv = nn.Conv2d(6, name="conv", **options)  # type: ignore[arg-type]
    graph = infer(x, conv, bn("bn", 6, 1), mg.relu)
    folded = mg.fold(graph)
    arithmetic = {k: varying(folded)[k] for k in ("matmul", "add", "mul", "sub", "pow")}
    assert arithmetic == {"matmul": 1, "add": 1, "mul": 0, "sub": 0, "pow": 0}
    assert_same(graph, folded)


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"groups": 3}, {"bias": False}], ids=str)
def test_a_norm_in_front_of_a_convolution_without_padding_goes_into_its_kernels(
    options: Mapping[str, object],
) -> None:
    conv = nn.Conv2d(6, name="conv", **options)  # type: ignore[arg-type]
    graph = infer(picture(), bn("bn", 3, 1), conv, mg.relu)
    report = mg.fold_report(graph)
    assert {(NEXT_SCALE, "conv"), (NEXT_SHIFT, "conv")} <= set(rules(report))
    assert varying(report.graph)["add"] == 1
    assert varying(report.graph)["mul"] == 0
    assert_same(graph, report.graph)


def test_a_norm_goes_past_flatten_and_mean_pooling_into_the_next_layer() -> None:
    graph = infer(
        picture(), mg.relu, bn("bn", 3, 1), lambda v: mg.avg_pool2d(v, 2), nn.Flatten(),
        nn.Linear(4, name="fc"), mg.tanh,
    )  # fmt: skip
    folded = mg.fold(graph)
    assert varying(folded)["mul"] == 0
    assert varying(folded)["add"] == 1
    assert_same(graph, folded)


def test_a_scale_goes_back_past_mean_pooling_into_the_layer_before() -> None:
    graph = infer(
        picture(), nn.Conv2d(4, name="conv"), lambda v: mg.avg_pool2d(v, 2), bn("bn", 4, 1), mg.relu
    )
    report = mg.fold_report(graph)
    assert (PREVIOUS, "conv") in rules(report)
    assert_same(graph, report.graph)


def test_a_norm_goes_past_a_slice_into_the_layer_that_reads_it() -> None:
    graph = infer(
        picture(), mg.tanh, bn("bn", 3, 1), lambda v: v[:, 1:, 2:5, ::2], nn.Conv2d(4, 2, name="c")
    )
    report = mg.fold_report(graph)
    assert {(NEXT_SCALE, "c"), (NEXT_SHIFT, "c")} <= set(rules(report))
    assert varying(report.graph)["mul"] == 0
    assert_same(graph, report.graph)


def test_gamma_and_beta_of_a_layer_norm_go_into_the_next_layer() -> None:
    """No rule knows a batch norm: the affine end of any normaliser folds."""
    graph = infer(vector(), nn.LayerNorm(5, name="ln"), nn.Linear(4, name="fc"))
    folded = mg.fold(graph)
    assert varying(graph)["mul"] - varying(folded)["mul"] == 1
    assert_same(graph, folded)


def test_a_weight_on_the_left_takes_a_map_from_both_sides() -> None:
    x = mg.input("x", (5, "N"))
    w = mg.parameter("w", np.ones((4, 5), "f"))
    s, t = (mg.parameter(n, np.ones((5, 1), "f")) for n in ("s", "t"))
    after = mg.parameter("after", np.ones((4, 1), "f"))
    graph = mg.Graph([x], {"y": mg.matmul(w, x * s + t) * after})
    report = mg.fold_report(graph)
    assert varying(report.graph) == {"matmul": 1, "add": 1}
    x = mg.input("x", (5, 4))  # a fixed size, so that numbers() feeds it
    graph = mg.Graph([x], {"y": mg.matmul(w, x * s + t) * after})
    assert_same(graph, mg.fold(graph))


def test_division_negation_and_reversed_subtraction_are_affine() -> None:
    x, c = vector(), mg.parameter("c", [1.0, 2.0, 3.0, 4.0, 5.0])
    w = mg.parameter("w", np.ones((5, 3), "f"))
    graph = mg.Graph([x], {"y": mg.matmul(-(c - x / c), w)})
    folded = mg.fold(graph)
    assert varying(folded) == {"matmul": 1, "add": 1}
    assert_same(graph, folded)


# --- where it does not ---------------------------------------------------------------------------


def test_a_shift_does_not_pass_zero_padding_and_the_log_says_so() -> None:
    graph = infer(picture(), bn("bn", 3, 1), nn.Conv2d(4, padding=1, name="conv"), mg.relu)
    report = mg.fold_report(graph)
    reason = reasons(report, "into the next weight")["bn"]
    assert reason.startswith("a shift does not pass through padding with zeros (a scale does)")
    assert "in conv, fold_models.py:" in reason
    assert "no product with a weight before it" in reasons(report, "into the previous weight")["bn"]
    assert rules(report) == [(MERGED, "bn")]
    assert_same(graph, report.graph)


def test_a_scale_alone_passes_zero_padding() -> None:
    scale = mg.parameter("scale", np.ones((3, 1, 1), "f"))
    graph = infer(picture(), lambda v: v * scale, nn.Conv2d(4, padding=1, name="conv"))
    report = mg.fold_report(graph)
    assert (NEXT_SCALE, "conv") in rules(report)
    assert varying(report.graph)["mul"] == 0
    assert_same(graph, report.graph)


def test_a_norm_between_two_padded_convolutions_goes_back() -> None:
    graph = infer(
        picture(), nn.Conv2d(4, padding=1, name="one"), bn("bn", 4, 1),
        nn.Conv2d(4, padding=1, name="two"),
    )  # fmt: skip
    report = mg.fold_report(graph)
    assert rules(report) == [(PREVIOUS, "one"), (MERGED, "bn")]
    assert_same(graph, report.graph)


@pytest.mark.parametrize("barrier", [mg.relu, mg.tanh, mg.exp, mg.softmax, mg.abs])
def test_nothing_passes_what_is_not_linear(barrier: Layer) -> None:
    graph = infer(vector(), bn("bn", 5), barrier, nn.Linear(4, name="fc"))
    report = mg.fold_report(graph)
    assert "is not linear" in reasons(report, "into the next weight")["bn"] or (
        "reads several values" in reasons(report, "into the next weight")["bn"]
        or "of its several readers" in reasons(report, "into the next weight")["bn"]
    )
    assert NEXT_SCALE not in {rule for rule, _ in rules(report)}
    assert_same(graph, report.graph)


def test_a_norm_over_another_axis_than_the_weight_brings_in_stays() -> None:
    x = mg.input("x", ("N", 6, 5))
    graph = infer(x, nn.Linear(4, name="fc"), bn("bn", 6, 1), mg.relu)
    report = mg.fold_report(graph)
    reason = reasons(report, "into the previous weight")["bn"]
    assert reason.startswith("the scale varies along the rows of the product f32[N,6,4], not along")
    assert_same(graph, report.graph)


def test_a_norm_over_another_axis_than_is_summed_stays() -> None:
    x = mg.input("x", ("N", 6, 5))
    graph = infer(x, bn("bn", 6, 1), nn.Linear(4, name="fc"), mg.relu)
    report = mg.fold_report(graph)
    reason = reasons(report, "into the next weight")["bn"]
    assert reason.startswith("the scale varies along the rows of f32[N,6,5], not along the summed")
    assert_same(graph, report.graph)


def test_a_square_product_does_not_confuse_its_axes() -> None:
    """Equal sizes fit every shape; only the axis tells rows from columns."""
    x = mg.input("x", ("N", 5, 5))
    for graph in (
        infer(x, bn("bn", 5, 1), nn.Linear(5, name="fc"), mg.relu),
        infer(x, nn.Linear(5, name="fc"), bn("bn", 5, 1), mg.relu),
    ):
        report = mg.fold_report(graph)
        assert rules(report) in ([(MERGED, "bn")], [])
        assert_same(graph, report.graph)


def test_a_product_of_two_varying_values_takes_nothing_in() -> None:
    x, s = vector(), mg.parameter("s", [2.0] * 5)
    graph = mg.Graph([x], {"y": mg.matmul(mg.transpose(x), x * s)})
    report = mg.fold_report(graph)
    assert report.folds == ()
    assert "matmul reads several values" in report.refusals[0].reason


def test_windows_do_not_carry_a_map_to_a_maximum() -> None:
    """Behind overlapping windows the scale would cost nine times as much."""
    graph = infer(picture(), nn.Conv2d(4, name="conv"), bn("bn", 4, 1), nn.MaxPool2d(3, stride=1))
    folded = mg.fold(graph)
    assert varying(folded)["add"] == 1
    add = next(n for n in folded.nodes if n.prim.name == "add" and "N" in n.shape)
    assert add.ndim == 4
    assert_same(graph, folded)


def test_a_graph_without_maps_comes_back_as_it_is() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc1"), mg.relu, nn.Linear(3, name="fc2"), mg.tanh)
    folded = mg.fold(graph)
    assert folded.outputs["y"] is graph.outputs["y"]
    assert mg.fold_report(graph).folds == ()


# --- values that are read elsewhere --------------------------------------------------------------


def test_a_product_that_something_else_reads_keeps_its_weight() -> None:
    x = vector()
    h = nn.Linear(4, name="fc")(x)
    graph = mg.to_inference(mg.Graph([x], {"y": mg.relu(bn("bn", 4)(h)), "h": mg.tanh(h)}))
    report = mg.fold_report(graph)
    assert "before it is read elsewhere" in reasons(report, "into the previous weight")["bn"]
    assert varying(report.graph)["matmul"] == 1
    assert_same(graph, report.graph)


def test_a_normed_value_that_is_read_twice_folds_backwards_once() -> None:
    x = vector()
    h = bn("bn", 4)(nn.Linear(4, name="fc")(x))
    two = nn.Linear(3, name="two")(h)
    graph = mg.to_inference(mg.Graph([x], {"y": two, "z": mg.relu(h)}))
    report = mg.fold_report(graph)
    assert rules(report) == [(PREVIOUS, "fc"), (MERGED, "bn")]
    assert varying(report.graph)["matmul"] == 2
    assert_same(graph, report.graph)


def test_a_normed_value_that_two_layers_read_goes_into_both() -> None:
    x = vector()
    h = bn("bn", 5)(x)
    outputs = {name: nn.Linear(3, name=name)(h) for name in ("one", "two")}
    graph = mg.to_inference(mg.Graph([x], outputs))
    report = mg.fold_report(graph)
    assert [r for r in rules(report) if r[0] == NEXT_SCALE] == [
        (NEXT_SCALE, "one"), (NEXT_SCALE, "two"),
    ]  # fmt: skip
    assert varying(report.graph) == {"matmul": 2, "add": 2}
    assert_same(graph, report.graph)


def test_two_norms_of_one_product_do_not_compute_it_twice() -> None:
    x = vector()
    h = nn.Linear(4, name="fc")(x)
    outputs = {name: mg.relu(bn(name, 4)(h)) for name in ("one", "two")}
    graph = mg.to_inference(mg.Graph([x], outputs))
    folded = mg.fold(graph)
    assert varying(folded)["matmul"] == 1
    assert sum(varying(folded).values()) <= sum(varying(graph).values())
    assert_same(graph, folded)


def test_a_residual_block_folds_inside() -> None:
    x = mg.input("x", ("N", 4, 8, 8))
    body = nn.Sequential(
        nn.Conv2d(4, padding=1, bias=False, name="c1"), bn("b1", 4, 1), mg.relu,
        nn.Conv2d(4, padding=1, bias=False, name="c2"), bn("b2", 4, 1),
    )  # fmt: skip
    graph = mg.to_inference(mg.Graph([x], {"y": mg.relu(x + body(x))}))
    report = mg.fold_report(graph)
    assert [where for rule, where in rules(report) if rule == PREVIOUS] == ["c1", "c2"]
    assert varying(report.graph)["mul"] == 0
    assert varying(report.graph)["add"] == 3
    assert_same(graph, report.graph)


def test_a_layer_used_twice_gets_two_folded_weights() -> None:
    x = vector()
    layer = nn.Linear(5, name="fc")
    h = mg.relu(bn("one", 5)(layer(x)))
    graph = mg.to_inference(mg.Graph([x], {"y": bn("two", 5)(layer(h))}))
    state = state_of(graph)
    folded = mg.fold(graph, state)
    names = {n.name for n in folded.parameters}
    assert names == {"fc/weight", "fc/weight2", "one/bias", "two/bias"}
    assert_same(graph, mg.fold(graph))


# --- numbers -------------------------------------------------------------------------------------


def test_with_numbers_only_products_and_biases_run() -> None:
    graph = infer(
        picture(), nn.Conv2d(4, name="conv"), bn("bn", 4, 1), mg.relu, nn.Flatten(),
        nn.Linear(3, name="fc"), bn("out", 3),
    )  # fmt: skip
    state = state_of(graph)
    folded = mg.fold(graph, state)
    assert varying(folded) == Counter(n.prim.name for n in folded.nodes if n.inputs)
    assert [n.name for n in folded.parameters] == [
        "conv/weight", "bn/bias", "fc/weight", "out/bias",
    ]  # fmt: skip
    assert folded.states == ()
    ready = mg.compile(folded, "interpreter")
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8))
    got = ready(ready.init_state(), x=x)[0]["y"]
    want = mg.compile(graph, "interpreter")(state, x=x)[0]["y"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_without_numbers_any_state_of_the_graph_runs() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4))
    folded = mg.fold(graph)
    assert {n.name for n in folded.leaves if n.name} == {n.name for n in graph.leaves if n.name}
    for seed in (0, 1):
        state, x = state_of(graph, seed), np.random.default_rng(seed).normal(size=(3, 5))
        outputs = [mg.compile(g, "interpreter")(state, x=x)[0]["y"] for g in (graph, folded)]
        np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)


def test_folded_weights_are_rounded_once() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4))
    state = {k: v.astype("f") for k, v in state_of(graph).items()}
    wide = {k: v.astype("d") for k, v in state.items()}
    eps = float(np.float32(1e-3))
    exact = wide["fc/weight"] * (wide["bn/gamma"] / np.sqrt(wide["bn/running_var"] + eps))
    found = mg.fold_report(graph, state).values
    assert found is not None
    np.testing.assert_array_equal(found["fc/weight"], exact.astype("f"))


def test_folding_a_folded_graph_changes_nothing() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4), mg.relu)
    once = mg.fold(graph, state_of(graph))
    assert mg.fold(once).outputs["y"] is once.outputs["y"]


def test_a_state_that_does_not_fit_is_refused() -> None:
    graph = infer(vector(), nn.Linear(4, name="fc"), bn("bn", 4))
    state = state_of(graph)
    with pytest.raises(mg.FeedError, match=r"fold: the state has no 'bn/gamma', f32\[4\] \(in bn"):
        mg.fold(graph, {k: v for k, v in state.items() if k != "bn/gamma"})
    with pytest.raises(mg.FeedError, match=r"'bn/gamma' is f32\[4\], the state has float64\[3\]"):
        mg.fold(graph, {**state, "bn/gamma": np.zeros(3)})


def test_a_training_graph_is_refused() -> None:
    x = vector()
    graph = mg.Graph([x], {"y": bn("bn", 5)(x)})
    with pytest.raises(mg.GraphError, match=r"still moves bn/running_mean, .*fold mg.to_inference"):
        mg.fold(graph)
