"""Files, bytes and hostile names."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from render.graphs import bn_graph, texts

import minigrad as mg

MAGIC = {
    ".svg": b"<?xml",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".dot": b"digraph",
    ".gv": b"digraph",
}
HOSTILE = [
    "<script>alert(1)</script>",
    "quote \" and ' and `",
    "back\\slash \\N \\G \\l",
    "line\nbreak\ttab\r\0null\x07",
    "&amp; &lt; ]]> -->",
    "]; a -> b; [",
    "x" * 10_000,
    "\ud800 surrogate",
    "‮ right to left",
    "{}|<f0>",
    " ",
]


@pytest.mark.parametrize("suffix", MAGIC)
def test_the_suffix_names_the_format(tmp_path, suffix):
    path = tmp_path / f"bn1{suffix}"
    mg.render(bn_graph(), path)
    assert path.read_bytes().startswith(MAGIC[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_pictures_need_no_program_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for suffix in (".png", ".pdf", ".svg"):
        mg.render(bn_graph(), tmp_path / f"a{suffix}", gradients=True)


def test_an_unknown_suffix_is_an_error_before_any_work(tmp_path):
    for name in ("a.jpg", "a"):
        with pytest.raises(
            mg.GraphError, match=r"use one of \.svg, \.png, \.pdf, \.dot, \.gv, \.mmd, \.txt"
        ):
            mg.render(bn_graph(), tmp_path / name, region="nowhere")


def test_a_path_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(mg.GraphError, match=r"cannot write .*No such file"):
        mg.render(bn_graph(), tmp_path / "missing" / "a.svg")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.svg"
    path.write_text("old")

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(mg.GraphError, match="No space left"):
        mg.render(bn_graph(), path)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unknown_region_lists_the_scopes():
    with pytest.raises(mg.RegionError, match=r"no scope 'bn7'; this graph has bn1"):
        mg.render(bn_graph(), region="bn7")


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_hostile_names_do_nothing(name):
    with mg.scope(name):
        w = mg.parameter(name, [1.0, 2.0])
        x = mg.input(name + "x", 2)
        graph = mg.Graph([x], {name: w * x})
    drawing = mg.render(graph, gradients=True, values={x: [1.0, 2.0]})
    assert len(drawing.dot) < 20_000
    root = ElementTree.fromstring(drawing.svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "title", "text", "path", "polygon", "ellipse", "a", "polyline"}
    assert drawing.image("png").startswith(MAGIC[".png"])


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_hostile_names_do_nothing_in_the_other_pictures(name):
    """A difference, a derivation, a zoom, a simplified gradient: valid XML, DOT read back whole."""
    import pygraphviz

    x = mg.input(name, (2, 2))
    with mg.scope(name):
        y = mg.exp(x - mg.mean(x, 0))
        other = mg.Graph([x], {name: mg.tanh(x)})
    graph = mg.Graph([x], {name: y})
    u = mg.input("cotangent", (2, 2))
    drawings = [
        mg.render(mg.diff(graph, other)),
        mg.render(graph, gradients=True, simplify=True),
        mg.render(graph, zoom=y.inputs[0]),
        mg.render(mg.simplify(mg.grad(y, [x], u)[0], proof=True)),
    ]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing.svg)
        assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
        read = pygraphviz.AGraph(string=drawing.dot)
        keys = {n for n in map(str, read.nodes()) if not re.fullmatch(r"r\d+", n)}
        assert keys == {box.key for box in drawing.picture.boxes}
        assert len(drawing.dot) < 60_000


def test_a_hostile_name_is_still_shown_as_it_is():
    x = mg.input("<b>&\\N", 2)
    assert "<b>&\\N" in texts(mg.render(mg.exp(x)).svg)


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import minigrad as mg
from render.graphs import bn_graph, training_step
import hashlib, numpy as np
x = np.arange(8, dtype="float32").reshape(2, 4)
drawing = mg.render(bn_graph(), region="bn1", gradients=True, values={"x": x})
print(hashlib.sha256(drawing.svg.encode() + drawing.image("png")).hexdigest())
print(hashlib.sha256(mg.render(training_step(), limit=10).svg.encode()).hexdigest())
graph = bn_graph()
simple = mg.render(graph, region="bn1", simplify=True, gradients=True)
difference = mg.render(mg.diff(graph, mg.to_inference(graph)))
u = mg.input("u", ("N", 4))
proof = mg.render(mg.simplify(mg.grad(graph.outputs["y"], list(graph.inputs), u)[0], proof=True))
zoom = mg.render(graph, zoom="σ²")
for found in (simple, difference, proof, zoom):
    text = found.dot + found.text + found.mermaid
    print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.mark.slow
def test_equal_graphs_give_equal_bytes_in_every_process():
    tests = str(Path(__file__).parents[1])
    runs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, tests],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "random")
    }
    assert len(runs) == 1
    assert len(runs.pop().split()) == 6


def test_importing_minigrad_loads_no_drawing_library():
    code = "import sys, minigrad; print({'graphviz', 'pygraphviz', 'networkx'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
