"""Two graphs in one picture."""

from xml.etree import ElementTree

import pytest
from render.graphs import bn_graph, network

import minigrad as mg
from minigrad.render.difference import compose_difference
from minigrad.render.scene import View


def picture(before, after, **view):
    return compose_difference(mg.diff(before, after), View(**view))


def training_and_inference(**view):
    graph = bn_graph()
    return picture(graph, mg.to_inference(graph), **view)


def test_the_inference_graph_replaces_both_batch_statistics():
    found = training_and_inference()
    names = {box.key: box.caption.split(" = ")[0] for box in found.boxes}
    arrows = {(names[a.tail], names[a.head]) for a in found.arrows if a.kind == "replaced"}
    assert arrows == {("μ", "running μ"), ("σ²", "running σ²")}


def test_every_box_says_whether_it_was_removed_changed_or_kept():
    found = training_and_inference()
    status = {box.caption.split(" = ")[0]: box.status for box in found.boxes}
    assert status["μ"] == status["σ²"] == status["next μ"] == status["(x − μ)²"] == "removed"
    assert status["x − μ"] == status["σ² + ε"] == "changed"
    assert status["running μ"] == status["γ · x̂"] == status["x"] == status["y"] == "same"
    notes = {box.caption: box.notes for box in found.boxes}
    assert notes["x − μ"] == ("now x − running μ",)


def test_arrows_are_those_of_the_first_the_second_or_both():
    found = training_and_inference()
    names = {box.key: box.caption.split(" = ")[0] for box in found.boxes}
    kinds = {(names[a.tail], names[a.head]): a.kind for a in found.arrows if a.kind != "replaced"}
    assert kinds["x", "x − μ"] == "same"
    assert kinds["μ", "x − μ"] == "removed"
    assert kinds["running μ", "x − μ"] == "added"
    assert kinds["next μ", "running μ"] == "removed"


def test_added_nodes_say_so_in_words():
    x = mg.input("x", 3)
    before = mg.Graph([x], {"y": mg.exp(x)})
    after = mg.Graph([x], {"y": mg.exp(mg.tanh(x))})
    found = picture(before, after)
    assert {b.caption: b.status for b in found.boxes}["tanh(x)"] == "added"
    assert "<B>+ added</B>" in mg.render(mg.diff(before, after)).dot


def test_a_region_shows_its_boundary():
    graph = network()
    found = picture(graph, mg.to_inference(graph), region="stage2/bn")
    assert {b.op for b in found.boxes if b.ghost} == {"from stage2/linear", "to stage2/act"}
    assert "x − μ" in {b.caption for b in found.boxes}


def test_a_region_that_neither_graph_has_is_an_error():
    graph = bn_graph()
    with pytest.raises(mg.RegionError, match="no scope 'bn9'"):
        mg.render(mg.diff(graph, graph), region="bn9")


def test_equal_graphs_are_all_grey():
    found = picture(network(), network())
    assert {box.status for box in found.boxes} == {"same"}
    assert {arrow.kind for arrow in found.arrows} == {"same"}


def test_a_large_difference_folds_its_scopes_and_says_what_changed_in_each():
    graph = network(60)
    found = picture(graph, mg.to_inference(graph, ["logits"]), expand=["stage7/bn"])
    folded = {box.caption: box for box in found.boxes if box.kind == "scope"}
    assert len(folded) < 150
    assert folded["stage9"].status == "changed"
    assert folded["stage9"].notes[0] == "14 same, 2 changed, 9 removed"
    assert "stage7" not in folded
    assert any(box.status == "removed" and box.caption.startswith("μ") for box in found.boxes)


def test_hostile_names_do_nothing_in_a_difference():
    name = '<script>"\\N\n]; a -> b'
    x = mg.input(name, 3)
    with mg.scope(name):
        found = mg.diff(mg.Graph([x], {name: mg.exp(x)}), mg.Graph([x], {name: mg.tanh(x)}))
    root = ElementTree.fromstring(mg.render(found).svg)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
