"""What goes into the page: words, rules, numbers, the graphs of the switch, the document."""

import html.parser
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from render.page.graphs import network

import minigrad as mg
from minigrad.render.page.document import json_text
from minigrad.render.page.numbers import LEVELS, value_data
from minigrad.render.page.rules import RULES

ROOT = Path(__file__).parents[3]


def content(page):
    """The data inside a page, found as a browser finds it."""
    found = []

    class Reader(html.parser.HTMLParser):
        inside = False

        def handle_starttag(self, tag, attributes):
            self.inside = tag == "script" and ("id", "data") in attributes

        def handle_data(self, text):
            if self.inside:
                found.append(text)

        def handle_endtag(self, tag):
            self.inside = False

    reader = Reader()
    reader.feed(page.html)
    return json.loads("".join(found))


def formulas(view, scope):
    index = view["scopes"].index([scope])
    shown = [n for n in view["nodes"] if n["scope"] == index and "inline" not in n]
    return {node["formula"]: node for node in shown}


@pytest.fixture(scope="module")
def drawn():
    graph, feed = network(1)
    return content(mg.explore(graph, feed=feed))


def test_batch_norm_reads_as_in_the_paper(drawn):
    told = formulas(drawn["views"][0], "bn1")
    for text in (
        "μ = mean(x)", "x − μ", "σ² = mean((x − μ)²)", "σ² + ε", "√(σ² + ε)", "1/√(σ² + ε)",
        "x̂ = (x − μ) · 1/√(σ² + ε)", "γ · x̂", "y = γ · x̂ + β",
        "dβ = Σ u", "dγ = Σ u · x̂", "dx̂ = u · γ", "dx = d(x − μ) + dμ / count",
        "next μ = 0.99 · running μ + 0.01 · μ",
    ):  # fmt: skip
        assert text in told, text


def test_each_gradient_names_its_cause_and_each_forward_node_its_gradient(drawn):
    view = drawn["views"][0]
    told = formulas(view, "bn1")
    assert view["nodes"][told["dγ = Σ u · x̂"]["cause"]]["formula"] == "γ · x̂"
    assert view["nodes"][told["γ"]["ct"]]["formula"] == "dγ = Σ u · x̂"


def test_a_value_that_a_scope_reads_twice_comes_in_through_a_port(drawn):
    view = drawn["views"][0]
    scope = view["scopes"].index(["bn1"])
    assert {name for home, _, name in view["ports"] if home == scope} == {"x", "u"}


def test_the_switch_has_the_inference_graph_and_links_equal_ops(drawn):
    train, inference = drawn["views"][:2]
    assert (train["key"], inference["key"]) == ("train", "inference")
    assert not any(node["order"] for node in inference["nodes"])
    for own, old in inference["twins"].items():
        assert inference["nodes"][int(own)]["op"] == train["nodes"][old]["op"]
    told = formulas(inference, "bn1")
    assert told["running μ"]["note"] == "stands where the batch's μ stood"
    assert told["running σ²"]["note"] == "stands where the batch's σ² stood"
    notes = {n["formula"]: n["note"] for n in train["nodes"] if n.get("note")}
    assert notes["μ = mean(x)"] == "at inference: bn1/running_mean"


def test_folded_the_norm_is_a_bias_and_gives_the_same(drawn):
    _, inference, folded = drawn["views"]
    assert folded["key"] == "folded"
    ops = [node["op"] for node in folded["nodes"] if "inline" not in node]
    assert "sqrt" not in ops
    values = [view["nodes"][dict(view["outputs"])["y"]]["value"] for view in (inference, folded)]
    np.testing.assert_allclose(values[0]["stats"], values[1]["stats"], rtol=1e-4, atol=1e-5)
    assert any("worked into" in node.get("note", "") for node in folded["nodes"])
    assert any(node.get("note") == "gone when folded" for node in inference["nodes"])


def test_a_graph_without_a_test_time_form_has_no_switch():
    x = mg.input("x", ("N", 2))
    (view,) = content(mg.explore(mg.exp(x) * x))["views"]
    assert view["label"] == "Graph"
    assert any(node.get("incoming") is not None for node in view["nodes"])


def test_gradients_can_be_left_out():
    graph, _ = network(1)
    train = content(mg.explore(graph, gradients=False))["views"][0]
    assert not any(node["order"] for node in train["nodes"])


def test_a_graph_that_brings_its_own_gradient_keeps_it():
    x = mg.input("x", 3)
    loss = mg.sum(x**3)
    (dx,) = mg.grad(loss, [x])
    (view,) = content(mg.explore(mg.Graph([x], {"loss": loss, "dx": dx})))["views"]
    own = [n for n in view["nodes"] if n["order"] == 1 and "inline" not in n]
    assert own
    assert all("cause" in node for node in own if node["op"] == "mul")


def test_values_are_those_of_the_interpreter(drawn):
    graph, feed = network(1)
    view = drawn["views"][0]
    loss = view["nodes"][dict(view["outputs"])["loss"]]
    expected = mg.evaluate(graph.outputs["loss"], feed)
    assert loss["value"]["stats"][0] == pytest.approx(float(expected), rel=1e-5)


def test_a_state_takes_the_place_of_the_start():
    graph, feed = network(1)
    view = content(mg.explore(graph, feed=feed, state={"bn1/running_mean": np.full(4, 7.0)}))
    told = formulas(view["views"][1], "bn1")["running μ"]
    assert told["value"]["whole"] == [["7", "7", "7", "7"]]


@pytest.mark.parametrize("feed", [{"x": np.zeros((2, 4), "f")}, {"nothing": 1.0}, {"x": 1, "t": 1}])
def test_a_feed_that_does_not_fit_is_refused(feed):
    with pytest.raises(mg.FeedError):
        mg.explore(network(1)[0], feed=feed)


def test_without_a_feed_there_are_no_values():
    graph, _ = network(1)
    assert '"value":' not in mg.explore(graph).html


def test_every_primitive_has_a_rule_with_a_line_for_each_gradient():
    for name, row in mg.PRIMITIVES.items():
        if row.kind is mg.Kind.MARKER:
            continue
        rule = RULES[name]
        assert bool(rule.backward) == (row.vjp is not None), name
        assert rule.forward
    assert {name.split()[0] for name in RULES} <= set(mg.PRIMITIVES)


# --- rules against finite differences: what the page teaches must be true ------------------------

_SIGNS = {"·": "*", "−": "-", "√a": "sqrt(a)", "√π": "sqrt(pi)", "aᵖ⁻¹": "a**(p-1)", "aᵖ": "a**p",
          "eᵃ": "exp(a)", "y²": "y**2", "a³": "a**3", "a²": "a**2", "ln a": "log(a)",
          "ln(1 + a)": "log(1+a)",
          "tanh a": "tanh(a)", "sgn a": "sign(a)", "|a|": "abs(a)", "ū": "u"}  # fmt: skip


def _as_python(text):
    for sign, code in _SIGNS.items():
        text = text.replace(sign, code)
    return text.split(" = ", 1)[1]


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "div", "neg", "pow", "sqrt", "exp", "log", "log1p", "tanh", "abs",
     "pow 2", "pow 3", "pow -1"],
)  # fmt: skip
def test_a_printed_rule_is_the_derivative(name):
    known = {f: getattr(np, f) for f in ("sqrt", "exp", "log", "tanh", "sign", "abs")} | {
        "pi": np.pi
    }
    at = {"a": 0.7, "b": 1.3, "p": 2.5, "u": 0.9}
    rule = RULES[name]

    def forward(**moved):
        return eval(_as_python(rule.forward), {**known, **at, **moved})

    for line in rule.backward:
        by = line.removeprefix("∂L/∂")[0]
        told = eval(_as_python(line), {**known, **at, "y": forward()})
        step = 1e-6
        slope = (forward(**{by: at[by] + step}) - forward(**{by: at[by] - step})) / (2 * step)
        assert told == pytest.approx(at["u"] * slope, rel=1e-7), line


# --- numbers -------------------------------------------------------------------------------------


def test_a_small_value_is_shown_whole_and_a_large_one_is_not():
    assert value_data(np.arange(4.0).reshape(2, 2))["whole"] == [["0", "1"], ["2", "3"]]
    assert "whole" not in value_data(np.zeros((20, 20)))


def test_a_heat_strip_is_small_and_symmetric_about_zero():
    heat = value_data(np.linspace(-1, 3, 40_000).reshape(200, 200))["heat"]
    assert len(heat["cells"]) == 12 * 48
    assert heat["low"] == -heat["high"]
    assert heat["cells"][-1] == LEVELS[-1]


def test_a_histogram_counts_what_is_finite():
    data = value_data(np.array([0.0, 1.0, 1.0, np.nan, np.inf]))
    assert data["bad"] == 2
    assert data["bars"][0] == 50
    assert data["bars"][-1] == 100


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308 * np.ones(3), np.zeros((0, 3)), True, 3])
def test_any_value_becomes_json(value):
    json.loads(json_text(value_data(np.asarray(value))))


# --- the document --------------------------------------------------------------------------------


def test_text_cannot_leave_the_json():
    told = json_text({"a": "</script><script>alert(1)</script><!-- \u2028 \ud800"})
    assert not re.search("[<>&\u2028]", told)
    assert json.loads(told)["a"].startswith("</script><script>")


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    graph, _ = network(1)
    target = tmp_path / "page.html"
    target.write_text("old")
    page = mg.explore(graph, target)
    assert target.read_text(encoding="utf-8") == page.html
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(mg.GraphError, match="cannot write"):
        page.save(tmp_path / "missing" / "page.html")


def test_the_same_graph_gives_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from render.page.graphs import network;"
        "import minigrad as mg, hashlib; g, f = network(2);"
        "print(hashlib.sha256(mg.explore(g, feed=f).html.encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code, str(ROOT / "tests")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(runs) == 1


@pytest.mark.slow
def test_a_deep_chain_needs_no_recursion():
    x = mg.input("x", 2)
    y = x
    for _ in range(5_000):
        y = mg.tanh(y)
    assert (
        len(content(mg.explore(mg.Graph([x], {"loss": mg.sum(y)})))["views"][0]["nodes"]) > 10_000
    )


def test_importing_minigrad_reads_no_asset():
    code = "import sys, minigrad; print('importlib.resources' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.slow
def test_the_wheel_has_the_assets(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    source = tmp_path / "source"  # a copy: a build leaves folders beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "minigrad").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assets = ROOT / "minigrad" / "render" / "page" / "assets"
    with zipfile.ZipFile(wheel) as file:
        for path in assets.iterdir():
            assert file.read(str(path.relative_to(ROOT))) == path.read_bytes()
