"""A derivation in one picture."""

from xml.etree import ElementTree

import pytest

import minigrad as mg
from minigrad.render.derivation import compose_derivation


@pytest.fixture(scope="module")
def softmax():
    x, u = mg.input("x", ("N", 4)), mg.input("u", ("N", 4))
    (dx,) = mg.grad(mg.softmax(x), x, u)
    return mg.simplify(dx, proof=True)


def test_every_step_is_a_frame_with_its_laws(softmax):
    paths = {box.path[0] for box in compose_derivation(softmax).boxes}
    assert paths == {f"{i}. {', '.join(s.laws)}" for i, s in enumerate(softmax.steps, 1)}
    assert len(paths) >= 1


def test_both_sides_of_every_step_are_marked_and_joined(softmax):
    picture = compose_derivation(softmax)
    marked = [(box.path, box.status) for box in picture.boxes if box.status]
    assert sorted(marked) == sorted(
        {(box.path, side) for box in picture.boxes for side in ("before", "after")}
    )
    boxes = {box.key: box for box in picture.boxes}
    joined = [(boxes[a.tail].status, boxes[a.head].status) for a in picture.arrows
              if a.kind == "equals"]  # fmt: skip
    assert joined == [("before", "after")] * len(softmax.steps)


def test_a_name_that_a_step_gave_leads_to_where_it_is_used():
    x, u = mg.input("x", ("N", 4)), mg.input("u", ("N", 4))
    y = mg.nn.batch_norm(x, mg.parameter("gamma", 1.0, 4), mg.parameter("beta", 0.0, 4))
    (dx,) = mg.grad(y, x, u)
    picture = compose_derivation(mg.simplify(dx, proof=True))
    boxes = {box.key: box for box in picture.boxes}
    called = [(boxes[a.tail], boxes[a.head]) for a in picture.arrows if a.kind == "called"]
    assert called
    for made, read in called:
        assert made.caption.startswith(f"{read.caption} = ")
        assert made.path < read.path


def test_steps_stand_below_each_other():
    import pygraphviz

    x, u = mg.input("x", ("N", 4)), mg.input("u", ("N", 4))
    y = mg.nn.batch_norm(x, mg.parameter("gamma", 1.0, 4), mg.parameter("beta", 0.0, 4))
    drawing = mg.render(mg.simplify(mg.grad(y, [x], u)[0], proof=True))
    graph = pygraphviz.AGraph(string=drawing.dot)
    graph.layout(prog="dot")
    heights = {}
    for box in drawing.picture.boxes:
        y = float(graph.get_node(box.key).attr["pos"].split(",")[1])
        heights.setdefault(int(box.path[0].split(".")[0]), []).append(y)
    for number in range(1, len(heights)):
        assert min(heights[number]) > max(heights[number + 1])


def test_a_derivation_is_drawn_in_every_format(softmax):
    drawing = mg.render(softmax)
    assert ElementTree.fromstring(drawing.svg) is not None
    assert drawing.image("png").startswith(b"\x89PNG")
    assert "equals" in drawing.text
    assert drawing.mermaid.startswith("flowchart TB")


def test_a_proof_of_zero_is_drawn_too():
    x = mg.input("x", ("N", 4))
    assert mg.render(mg.prove_zero(mg.mean(x - mg.mean(x, 0), 0))).svg
