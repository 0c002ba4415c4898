"""What a picture says, read from its data and its DOT text."""

import re

import numpy as np
import pytest
from render.graphs import bn_graph, network, texts, training_step

import minigrad as mg
from minigrad.ir import Kind, Primitive
from minigrad.render.scene import View, compose


def picture(graph, **view):
    return compose(graph, View(**view))


def captions(graph, **view):
    return {box.caption for box in picture(graph, **view).boxes}


def test_both_edges_of_x_times_x_are_drawn():
    x = mg.input("x", 3)
    arrows = picture(mg.Graph([x], {"y": x * x})).arrows
    assert [(a.tail, a.head, a.position) for a in arrows[:2]] == [("n0", "n1", 0), ("n0", "n1", 1)]


def test_a_small_graph_has_exactly_this_dot():
    x = mg.input("x", ("N", 3))
    dot = mg.render(mg.Graph([x], {"y": mg.exp(x)})).dot
    lines = [line.strip() for line in dot.splitlines() if "->" in line]
    assert lines == [
        'n0 -> n1 [label=" f32[N,3] " color="#005a94" penwidth=1.3 style=solid]',
        'n1 -> o1 [label=" f32[N,3] " color="#005a94" penwidth=1.3 style=solid]',
    ]
    assert "newrank=true" in dot
    assert 'bgcolor="#ffffff"' in dot


def test_operands_of_ops_that_do_not_commute_are_numbered():
    x, y = mg.input("x", 3), mg.input("y", 3)
    labels = [a.label for a in picture(mg.Graph([x, y], {"z": x - y})).arrows]
    assert labels[:2] == ["a) f32[3]", "b) f32[3]"]
    assert "a)" not in mg.render(x + y).dot


def test_batch_norm_reads_like_the_paper():
    assert {
        "μ = mean(x)",
        "x − μ",
        "(x − μ)²",
        "σ² = mean((x − μ)²)",
        "σ² + ε",
        "√(σ² + ε)",
        "1/√(σ² + ε)",
        "x̂ = (x − μ) · 1/√(σ² + ε)",
        "γ · x̂",
        "y = γ · x̂ + β",
        "next μ = 0.9 · running μ + 0.1 · μ",
    } <= captions(bn_graph(), region="bn1")


def test_a_normaliser_without_running_statistics_has_the_papers_letters_by_structure():
    x = mg.input("x", ("N", 4))
    with mg.scope("ln"):
        c = x - mg.mean(x, 1, keepdims=True)
        y = mg.tanh(c * mg.sqrt(mg.mean(c**2, 1, keepdims=True) + 1e-5) ** -1)
    found = captions(mg.Graph([x], {"y": mg.mean(y)}))
    assert {"μ = mean(x)", "σ² = mean((x − μ)²)", "x̂ = (x − μ) · 1/√(σ² + ε)"} <= found
    assert "mean(tanh(x̂))" in found


def test_gradients_are_named_after_what_they_are_gradients_of():
    assert {
        "u = dL/dy",
        "dβ = Σ u",
        "dγ = Σ u · x̂",
        "dx̂ = u · γ",
        "dμ = Σ −d(x − μ)",
        "dx = d(x − μ) + dμ / count",
    } <= captions(bn_graph(), region="bn1", gradients=True)


def test_the_terms_of_dx_are_labelled_by_the_path_they_took():
    arrows = picture(bn_graph(), region="bn1", gradients=True).arrows
    terms = [a.label.split("  ")[0] for a in arrows if a.kind == "term"]
    assert sorted(terms) == ["❶ via x̂", "❶❷ via x − μ", "❷ via σ²", "❸ via μ"]


def test_a_use_and_its_term_have_the_same_badge():
    found = picture(bn_graph(), region="bn1", gradients=True)
    names = {box.key: box.caption.split(" = ")[0] for box in found.boxes}
    uses = {
        a.label.split()[0]: (names[a.tail], names[a.head]) for a in found.arrows if a.kind == "use"
    }
    assert uses == {
        "❶": ("x − μ", "x̂"),
        "❷": ("x − μ", "(x − μ)²"),
        "❶❷": ("x", "x − μ"),
        "❸": ("x", "μ"),
    }


def test_forks_say_where_a_value_goes_and_why_its_gradient_has_terms():
    notes = {
        box.caption.split(" = ")[0]: box.notes
        for box in picture(bn_graph(), region="bn1", gradients=True).boxes
        if box.notes
    }
    assert notes["μ"] == ("used twice: in x̂ and in σ²",)
    assert notes["x − μ"] == ("used twice: ❶ in x̂, ❷ in σ²",)
    assert notes["dx"] == (
        "3 terms, for the 3 ways that x takes",
        "❶ through x̂  ❷ through σ²  ❸ through μ",
    )
    assert notes["next σ²"] == ("EMA: a moving average of σ²",)


def test_every_fork_of_a_network_has_its_own_badges():
    found = picture(network(), gradients=True, limit=1000)
    badges = [a.label.split()[0] for a in found.arrows if a.kind == "use"]
    single = [b for b in badges if len(b) == 1]
    assert sorted(single) == list("❶❷❸❹❺❻")


def test_the_simplified_gradient_is_the_papers_and_its_terms_keep_their_badges():
    found = picture(bn_graph(), region="bn1", gradients=True, simplify=True)
    captions = {box.caption for box in found.boxes}
    assert "dx = 1/√(σ² + ε) · γ · (u − mean(u) − mean(u · x̂) · x̂)" in captions
    names = {box.key: box.caption for box in found.boxes}
    terms = {a.label.split()[0]: names[a.tail] for a in found.arrows if a.kind == "term"}
    assert terms["❶"] == "u = dL/dy"
    assert terms["❷"] == "mean(u · x̂) · x̂"
    assert terms["❸"] == "mean(u)"
    rows = {box.caption.split(" = ")[0]: box.row for box in found.boxes if box.kind != "output"}
    assert rows["mean(u)"] == rows["μ"]
    assert rows["dx"] == rows["x"]
    assert rows["dγ"] == rows["γ · x̂"]


def test_the_simplified_gradient_has_the_values_of_the_plain_one():
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    view = {"region": "stage2/bn", "gradients": True, "values": {"x": x, "t": x**2}}

    def dx(**more):
        boxes = picture(network(), **view, **more).boxes
        return {b.caption.split(" = ")[0]: b.summary for b in boxes if b.strong}

    plain, simple = dx(), dx(simplify=True)
    assert plain.keys() == simple.keys() == {"dx", "dγ", "dβ"}
    for name, summary in plain.items():
        assert summary.std == pytest.approx(simple[name].std, rel=1e-4)


def test_parts_that_match_no_term_get_no_badge():
    x = mg.input("x", 3)
    graph = mg.Graph([x], {"y": mg.exp(x) * mg.tanh(x)})
    found = picture(graph, gradients=True, simplify=True)
    assert {a.label.split()[0] for a in found.arrows if a.kind == "term"} <= {"❶", "❷"}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("width", [3, 7])
def test_badges_survive_constants_that_a_dtype_rounds(dtype, width):
    x, t = (mg.input(name, ("N", width), dtype) for name in "xt")
    with mg.scope("layer"):
        y = mg.gelu(mg.nn.layer_norm(x, None, None))
    graph = mg.Graph([x, t], {"loss": mg.mean((y - t) ** 2)})
    found = picture(graph, region="layer", gradients=True, simplify=True)
    names = {box.key: box.caption for box in found.boxes}
    terms = {a.label.split()[0]: names[a.tail] for a in found.arrows if a.kind == "term"}
    assert sorted(terms) == ["❶", "❶❸", "❷", "❸"]
    assert terms["❸"] == f"mean({terms['❶']})"
    assert terms["❷"].startswith("mean(x̂ · ")


@pytest.mark.parametrize("simplify", [False, True])
def test_a_name_stands_for_one_value(simplify):
    x, t = mg.input("x", ("N", 3)), mg.input("t", ("N", 3))
    with mg.scope("layer"):
        y = mg.gelu(mg.nn.layer_norm(x, None, None))
    graph = mg.Graph([x, t], {"loss": mg.mean((y - t) ** 2)})
    found = picture(graph, region="layer", gradients=True, simplify=simplify)
    names = [box.caption.split(" = ")[0] for box in found.boxes if " = " in box.caption]
    assert {"u", "x̂", "y", "dx"} <= set(names)
    assert len(names) == len(set(names))


def test_a_training_step_is_simplified_too():
    found = picture(training_step(), region="stage1/bn", gradients=True, simplify=True)
    assert {"❶", "❷", "❸"} <= {a.label.split()[0] for a in found.arrows if a.kind == "term"}


def test_updates_are_dashed_arrows_from_the_new_value_to_its_state():
    found = picture(bn_graph())
    boxes = {box.key: box for box in found.boxes}
    updates = [(boxes[a.tail], boxes[a.head]) for a in found.arrows if a.kind == "update"]
    assert [(new.caption.split(" = ")[0], old.kind) for new, old in updates] == [
        ("next μ", "state"),
        ("next σ²", "state"),
    ]
    dashed = {"average": 8, "update": 2}
    assert {kind: sum(a.kind == kind for a in found.arrows) for kind in dashed} == dashed
    assert mg.render(bn_graph()).dot.count("style=dashed") == 10


def test_a_next_value_that_is_no_average_is_not_called_one():
    state = mg.state("count", 0.0)
    x = mg.input("x", 3)
    graph = mg.Graph([x], {"y": x * state}, [mg.Update(state, state + 1.0)])
    assert not any("EMA" in note for box in picture(graph).boxes for note in box.notes)


def test_updates_are_drawn_for_every_weight_of_a_training_step():
    found = picture(training_step())
    assert sum(a.kind == "update" for a in found.arrows) == len(training_step().updates)


def test_scalar_constants_stand_inside_the_op_that_reads_them():
    x = mg.input("x", 3)
    assert captions(mg.Graph([x], {"y": x * 2.5})) == {"x", "x · 2.5", "y"}


def test_scopes_are_nested_clusters_and_the_gradient_has_its_own():
    dot = mg.render(network(), region="stage1", gradients=True).dot
    titles = re.findall(r"label=<<B>(.*?)</B>> labeljust", dot)
    assert titles[0] == "stage1"
    assert {"bn", "linear", "act", "grad(bn)", "grad(linear)", "forward"} <= set(titles)
    assert dot.count("{") == dot.count("}")


def test_a_region_shows_its_nodes_and_its_boundary_only():
    found = picture(network(), region="stage2/bn")
    solid = [box for box in found.boxes if not box.ghost]
    assert all(box.path == ("stage2", "bn") for box in solid)
    ghosts = {(box.op, box.caption) for box in found.boxes if box.ghost}
    assert ghosts == {("from stage2/linear", "x"), ("to stage2/act", "y")}


def test_a_region_without_gradients_leaves_those_of_a_training_step_out():
    assert all(box.order == 0 for box in picture(training_step(), region="stage1/bn").boxes)


def test_gradients_that_came_with_the_graph_are_recognised_not_derived_twice():
    derived = picture(network(), region="stage1/bn", gradients=True)
    brought = picture(training_step(), region="stage1/bn", gradients=True)
    names = [{b.caption.split(" = ")[0] for b in p.boxes if b.strong} for p in (derived, brought)]
    assert names[0] == names[1] == {"dx", "dγ", "dβ"}


def test_a_loss_sends_its_own_cotangent_into_the_region():
    boxes = picture(network(), region="stage2/bn", gradients=True).boxes
    assert [b.op for b in boxes if b.caption == "u = dL/dy"] == ["from grad(stage2/act)"]
    assert all(b.kind != "input" for b in boxes)


def test_the_cotangent_gets_a_free_name():
    u = mg.input("u", 3)
    graph = mg.Graph([u], {"y": mg.exp(u)})
    assert "u'" in {b.caption.split(" = ")[0] for b in picture(graph, gradients=True).boxes}


def test_gradients_of_something_unconnected_are_an_error():
    graph = mg.Graph([], {"n": mg.input("i", 3, "int64") + 1})
    with pytest.raises(mg.GraphError, match="no gradient of n reaches"):
        mg.render(graph, gradients=True)


def test_the_inference_graph_reads_the_running_statistics():
    found = captions(mg.to_inference(bn_graph()), region="bn1")
    assert {"running μ", "x − running μ", "running σ² + ε"} <= found
    assert not any("mean(" in caption for caption in found)


def test_values_show_statistics_and_a_histogram():
    x = np.arange(8, dtype="float32").reshape(2, 4)
    svg = mg.render(bn_graph(), region="bn1", values={"x": x}).svg
    shown = texts(svg)
    assert "3.5 ± 2.29" in shown
    assert "0 … 7" in shown
    assert re.search("[▁▂▃▄▅▆▇█]", shown)


def test_values_of_gradients_use_a_seeded_cotangent_or_the_one_that_is_fed():
    graph = bn_graph()
    x = np.arange(8, dtype="float32").reshape(2, 4)

    def dbeta(values):
        boxes = picture(graph, region="bn1", gradients=True, values=values).boxes
        return next(b.summary for b in boxes if b.caption == "dβ = Σ u")

    assert dbeta({"x": x}) == dbeta({"x": x})
    assert dbeta({"x": x, "u": np.ones((2, 4), "float32")}).mean == 2.0


def test_what_is_not_finite_is_red():
    x = mg.input("x", 3)
    graph = mg.Graph([x], {"y": mg.log(x)})
    dot = mg.render(graph, values={"x": np.array([1.0, 0.0, -1.0], "float32")}).dot
    assert "2 of 3 not finite" in dot
    assert dot.count('color="#c00000" fillcolor') == 1
    assert "#c00000" not in mg.render(graph, values={"x": np.ones(3, "float32")}).dot


def broken_graph():
    x, t = mg.input("x", ("N", 4)), mg.input("t", ("N", 4))
    with mg.scope("act"):
        h = mg.log(x)
    with mg.scope("mse"):
        loss = mg.mean((h - t) ** 2)
    return mg.Graph([x, t], {"loss": loss})


def test_the_first_value_that_is_not_finite_is_named_and_its_way_to_the_loss_is_marked():
    feed = {"x": np.full((2, 4), -1, "float32"), "t": np.zeros((2, 4), "float32")}
    found = picture(broken_graph(), values=feed)
    first = [b.caption for b in found.boxes if "the first that is not finite" in b.notes]
    assert first == ["log(x)"]
    names = {box.key: box.caption for box in found.boxes}
    way = [(names[a.tail], names[a.head]) for a in found.arrows if a.kind == "broken"]
    assert way == [
        ("log(x)", "log(x) − t"),
        ("log(x) − t", "(log(x) − t)²"),
        ("(log(x) − t)²", "mean((log(x) − t)²)"),
        ("mean((log(x) − t)²)", "loss"),
    ]


def test_a_folded_scope_says_that_the_first_value_not_finite_is_inside():
    feed = {"x": np.full((2, 4), -1, "float32"), "t": np.zeros((2, 4), "float32")}
    boxes = {b.caption: b for b in picture(broken_graph(), values=feed, depth=1).boxes}
    assert boxes["act"].alarm
    assert "the first that is not finite" in boxes["act"].notes


def test_gradient_lines_are_as_wide_as_the_gradient_is_large():
    x = mg.input("x", 3)
    graph = mg.Graph([x], {"loss": mg.sum(mg.exp(mg.tanh(x) * 1e-3) * 1e3)})
    found = picture(graph, gradients=True, values={"x": np.ones(3, "float32")})
    widths = [(b.summary.rms, a.width) for a in found.arrows for b in found.boxes
              if b.key == a.tail and a.width is not None]  # fmt: skip
    assert len(widths) >= 3
    assert [w for _, w in sorted(widths)] == sorted(w for _, w in widths)
    assert any(text.startswith("width: size (rms)") for text in found.told)
    assert all(a.width is None for a in picture(graph, gradients=True).arrows)


def test_a_bad_feed_is_the_evaluators_error():
    with pytest.raises(mg.FeedError, match="nothing is called 'z'"):
        mg.render(bn_graph(), values={"z": 1.0, "x": np.ones((2, 4), "float32")})


def test_an_op_from_outside_shows_its_symbol():
    swish = Primitive("swish", Kind.ELEMENTWISE, lambda xp, x: x, lambda x: x, None, symbol="✿")
    x = mg.input("x", 3)
    assert {"✿", "swish"} <= {
        part
        for box in picture(mg.Graph([x], {"y": swish(x)})).boxes
        for part in (box.symbol, box.op)
    }


def test_a_node_or_several_nodes_are_drawn_like_a_graph():
    x = mg.input("x", 3)
    assert "out" in captions(mg.Graph((), mg.exp(x)))
    assert mg.render([mg.exp(x), mg.tanh(x)]).dot.count("style=solid") == 4


def test_a_graph_shows_itself_in_a_notebook():
    assert bn_graph()._repr_svg_().startswith("<?xml")
    assert mg.render(bn_graph())._repr_svg_() == bn_graph()._repr_svg_()


def test_a_second_derivative_is_drawn():
    x = mg.input("x")
    (dx,) = mg.grad(mg.tanh(x), x)
    (d2x,) = mg.grad(dx, x)
    found = picture(mg.Graph([x], {"dx": dx, "d2x": d2x}))
    assert {0, 1, 2} <= {box.order for box in found.boxes}
    assert mg.render(d2x).svg
