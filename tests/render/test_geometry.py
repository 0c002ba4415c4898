"""Boxes and texts of the SVG: nothing lies over anything else that has to be read."""

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from render.graphs import bn_graph, network, training_step

import minigrad as mg

SVG = "{http://www.w3.org/2000/svg}"
SLACK = 1.5  # points: outlines have a width, and fonts differ in their last point
VIEWS = {
    "bn": lambda: mg.render(bn_graph(), region="bn1", gradients=True),
    "bn simplified": lambda: mg.render(bn_graph(), region="bn1", gradients=True, simplify=True),
    "inference": lambda: mg.render(mg.to_inference(bn_graph())),
    "difference": lambda: mg.render(mg.diff(bn_graph(), mg.to_inference(bn_graph()))),
    "network": lambda: mg.render(network()),
    "network with gradients": lambda: mg.render(network(), gradients=True, limit=1000),
    "training step, folded": lambda: mg.render(training_step(), depth=1),
    "5000 nodes": lambda: mg.render(network(180), expand=["stage7/bn"]),
}


def fonts():
    """DejaVu Sans, normal and bold, 100 units high."""
    matplotlib = pytest.importorskip("matplotlib")
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = {"normal": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf"}
    return {w: ImageFont.truetype(str(folder / name), 100) for w, name in names.items()}


def boxes_and_texts(svg, typefaces):
    """Rectangles of nodes, of the texts in each, and of the labels of arrows and scopes."""
    root = ElementTree.fromstring(svg)
    boxes, inner, labels = {}, {}, []
    for group in root.iter(f"{SVG}g"):
        kind = group.get("class")
        if kind not in ("node", "edge", "cluster"):
            continue
        title = group.find(f"{SVG}title").text
        found = [_extent(text, typefaces) for text in group.iter(f"{SVG}text")]
        if kind == "node":
            outline = _outline(group)
            if outline is not None and not title.startswith("r"):
                boxes[title], inner[title] = outline, found
        else:
            labels += [(f"{kind} {title}", rectangle) for rectangle in found]
    return boxes, inner, labels


def _extent(text, typefaces):
    size = float(text.get("font-size")) / 100
    typeface = typefaces[text.get("font-weight", "normal")]
    x, y = float(text.get("x")), float(text.get("y"))
    width = typeface.getlength("".join(text.itertext()).replace("\u00a0", " ").strip()) * size
    left = {"start": x, "middle": x - width / 2, "end": x - width}[text.get("text-anchor")]
    return left, y - 72 * size, left + width, y + 12 * size


def _outline(group):
    shapes = [e for e in group.iter() if e.tag[len(SVG) :] in ("polygon", "path", "ellipse")]
    points = []
    for shape in shapes:
        if shape.tag == f"{SVG}ellipse":
            cx, cy, rx, ry = (float(shape.get(k)) for k in ("cx", "cy", "rx", "ry"))
            points += [(cx - rx, cy - ry), (cx + rx, cy + ry)]
        else:
            numbers = re.findall(r"-?[\d.]+", shape.get("points") or shape.get("d"))
            points += list(zip(map(float, numbers[::2]), map(float, numbers[1::2]), strict=True))
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def overlap(a, b):
    return min(a[2], b[2]) - max(a[0], b[0]) > SLACK and min(a[3], b[3]) - max(a[1], b[1]) > SLACK


@pytest.fixture(scope="module", params=VIEWS)
def drawn(request):
    return boxes_and_texts(VIEWS[request.param]().svg, fonts())


def test_no_two_boxes_overlap(drawn):
    boxes, _, _ = drawn
    assert len(boxes) > 3
    pairs = itertools.combinations(boxes, 2)
    assert [(a, b) for a, b in pairs if overlap(boxes[a], boxes[b])] == []


def test_no_label_lies_on_a_box(drawn):
    boxes, _, labels = drawn
    assert [
        (name, key) for name, text in labels for key in boxes if overlap(text, boxes[key])
    ] == []


def test_no_two_labels_overlap(drawn):
    _, _, labels = drawn
    pairs = itertools.combinations(labels, 2)
    assert [(a, b) for (a, p), (b, q) in pairs if overlap(p, q)] == []


def test_texts_stay_inside_their_box(drawn):
    boxes, inner, _ = drawn
    for key, texts in inner.items():
        left, top, right, bottom = boxes[key]
        for text in texts:
            outside = (left - text[0], top - text[1], text[2] - right, text[3] - bottom)
            assert max(outside) < 3, (key, outside)


def test_the_check_sees_an_overlap():
    assert overlap((0, 0, 10, 10), (5, 5, 15, 15))
    assert not overlap((0, 0, 10, 10), (10, 0, 20, 10))
