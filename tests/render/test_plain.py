"""Mermaid and text: the same picture where no image can be shown."""

import re

import pytest
from render.graphs import bn_graph, network
from render.test_output import HOSTILE

import minigrad as mg

LABEL = r'"[^"<>`\\\n]*(?:<br>[^"<>`\\\n]*)*"'
BRACKETS = [("(", ")"), ("[", "]"), ("([", "])"), ("[(", ")]"), ("[[", "]]"), ("{{", "}}")]
NODE = "|".join(rf"{re.escape(a)}{LABEL}{re.escape(b)}" for a, b in BRACKETS)
GRAMMAR = re.compile(
    rf"flowchart TB|subgraph scope\d+ \[{LABEL}\]|end"
    rf"|[a-z]\d+(?:{NODE}):::\w+"
    rf"|[a-z]\d+ (?:-->|==>|-\.->)(?:\|{LABEL}\|)? [a-z]\d+"
    r"|classDef \w+ [a-z#0-9,: -]+"
)


def test_the_text_of_a_small_graph_is_exactly_this():
    x = mg.input("x", ("N", 3))
    with mg.scope("act"):
        y = mg.exp(x) * x
    graph = mg.Graph([x], {"y": y})
    assert mg.render(graph).text == (
        "> x                                          f32[N,3]       input\n"
        "[act]\n"
        "> exp(x)                                     f32[N,3]       exp\n"
        "> exp(x) · x                                 f32[N,3]       mul\n"
        "[outside]\n"
        "> y                                          f32[N,3]       output\n"
    )


def test_the_mermaid_of_a_small_graph_is_exactly_this():
    x = mg.input("x", ("N", 3))
    with mg.scope("act"):
        y = mg.exp(x)
    assert mg.render(mg.Graph([x], {"y": y})).mermaid == (
        "flowchart TB\n"
        '  n0(["input<br>x"]):::inputBox\n'
        '  o1("output<br>y"):::outputBox\n'
        '  subgraph scope0 ["act"]\n'
        '    n1("exp<br>exp(x)"):::forwardBox\n'
        "  end\n"
        '  n0 -->|"f32#91;N,3#93;"| n1\n'
        '  n1 -->|"f32#91;N,3#93;"| o1\n'
        "  classDef inputBox fill:#fff6cc,stroke:#8a6d00,color:#1a1a1a\n"
        "  classDef forwardBox fill:#e3eefa,stroke:#005a94,color:#1a1a1a\n"
        "  classDef outputBox fill:#ffffff,stroke:#1a1a1a,color:#1a1a1a\n"
    )


def test_the_text_of_a_gradient_stands_below_its_cause():
    lines = mg.render(bn_graph(), region="bn1", gradients=True).text.splitlines()
    places = {line.split(" = ")[0].strip(" 0123456789"): i for i, line in enumerate(lines)}
    assert places["> y"] < places["* dβ"]
    assert places["> μ"] < places["> σ²"] < places["> x̂"]
    row = next(i for i, line in enumerate(lines) if re.match(r"\s+\d+ > μ = ", line))
    assert lines[row + 1].strip() == "used twice: in x̂ and in σ²"


def parsed(mermaid):
    lines = [line.strip() for line in mermaid.rstrip("\n").split("\n")]
    assert [line for line in lines if not GRAMMAR.fullmatch(line)] == []
    opened = sum(line.startswith("subgraph") for line in lines)
    assert opened == sum(line == "end" for line in lines)
    return lines


@pytest.mark.parametrize("view", [{}, {"gradients": True}, {"depth": 1}])
def test_mermaid_has_every_box_and_every_arrow(view):
    drawing = mg.render(network(), **view)
    lines = parsed(drawing.mermaid)
    assert sum(":::" in line for line in lines) == len(drawing.picture.boxes)
    arrows = [line for line in lines if re.match(r"[a-z]\d+ (-->|==>|-\.->)", line)]
    assert len(arrows) == len(drawing.picture.arrows)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_hostile_names_do_nothing_in_mermaid_and_text(name):
    with mg.scope(name):
        x = mg.input(name + "x", 2)
        graph = mg.Graph([x], {name: mg.parameter(name, [1.0, 2.0]) * x})
    drawing = mg.render(graph, gradients=True)
    parsed(drawing.mermaid)
    assert len(drawing.mermaid) < 20_000
    assert len(drawing.text) < 20_000
    assert all(c.isprintable() or c == "\n" for c in drawing.text)
    assert drawing.image("mermaid")
    assert drawing.image("text")


def test_the_difference_has_a_text_and_a_mermaid_too():
    graph = bn_graph()
    drawing = mg.render(mg.diff(graph, mg.to_inference(graph)))
    parsed(drawing.mermaid)
    assert "− μ = mean(x)" in drawing.text
    assert "≠ x − μ" in drawing.text
    assert "replaces μ" in drawing.text


def test_files_of_text_and_mermaid(tmp_path):
    for suffix, start in ((".mmd", "flowchart TB"), (".txt", "> x ")):
        path = tmp_path / f"bn{suffix}"
        mg.render(bn_graph(), path)
        assert path.read_text(encoding="utf-8").startswith(start)
