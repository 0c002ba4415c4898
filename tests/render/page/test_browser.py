"""The page in a real browser: what a person clicks, presses and sees."""

import json
import re

import numpy as np
import pytest
from render.page.graphs import network

import minigrad as mg

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    graph, feed = network(2)
    path = tmp_path_factory.mktemp("page") / "page.html"
    mg.explore(graph, path, feed, record=recording(), title="two layers")
    return path


def recording():
    steps = np.arange(0, 50, 5)
    decay = np.exp(-steps / 10.0)[:, None] * np.ones(4)
    norm = {
        "batch_mean": decay + 0.1 * np.sin(steps)[:, None],
        "running_mean": decay,
        "batch_var": 1 + decay,
        "running_var": 1 + decay,
    }
    return mg.train.Recording(
        steps,
        decay[:, 0] * 2,
        {"bn1": norm, "bn2": norm},
        {"linear1/weight": decay[:, 0], "bn1/gamma": decay[:, 0] * 3},
        {"bn1": np.sort(np.random.default_rng(0).normal(size=(10, 5)))},
    )


def formula(tab):
    return tab.text("#panel h2")


def box(text):
    return f".box[aria-label*={json.dumps(text, ensure_ascii=False)}]"


def test_a_click_shows_formula_type_rule_statistics_and_line(show, page):
    tab = show(page, "focus=bn1")
    tab.click(box("mean: μ = mean(x)"))
    told = tab.text("#panel")
    assert formula(tab) == "μ = mean(x)"
    for part in ("f32[4]", "graphs.py:", "∂L/∂a = ū / n", "at inference: bn1/running_mean"):
        assert part in told
    assert tab.count("#panel .histogram, #panel .whole") >= 1
    assert tab.count("#panel canvas.heat") >= 1


def test_neighbours_in_the_panel_are_links(show, page):
    tab = show(page, "focus=bn1&node=bn1/gamma")
    assert formula(tab) == "γ"
    tab.click("#panel .chip.op")
    assert formula(tab) == "γ · x̂"


def test_hovering_tells_what_a_box_is(show, page):
    tab = show(page, "focus=bn1")
    x, y = tab.middle(box("sub: x − μ"))
    tab.mouse("mouseMoved", x, y)
    tab.wait("!document.querySelector('#tip').hidden")
    told = tab.text("#tip")
    assert "x − μ" in told
    assert "f32[N,4]" in told
    assert "bn1" in told


def test_a_gradient_op_stands_in_the_row_of_its_cause(show, page):
    tab = show(page)
    apart = tab.js("""(() => {
      const rows = [];
      app.view.nodes.forEach((node, i) => {
        if (node.kind !== "gradient" || node.inline !== undefined) return;
        if (node.cause === undefined || node.adjoint !== undefined) return;
        rows.push(Math.abs(app.plan.of[i].y - app.plan.of[node.cause].y));
      });
      return [rows.length, Math.max(...rows)];
    })()""")  # fmt: skip
    assert apart[0] > 30
    assert apart[1] == 0


def test_dx_has_three_terms_and_each_says_its_path(show, page):
    tab = show(page, "open=bn1&node=bn1/gamma")
    labels = tab.js("app.wires.filter(w => w.matches('.term')).map(w => w.textContent)")
    assert sorted(labels) == ["via (x − μ)²", "via x − μ", "via x̂", "via μ"]


def test_the_update_leaves_the_statistic_and_returns_to_its_state(show, page):
    tab = show(page, "open=bn1")
    assert tab.count(".wire.update") == 2
    x = tab.js("app.plan.items.get('n' + app.view.byId.get('bn1/running_mean')).x")
    mu = tab.js("[...app.plan.items.values()].find(i => app.view.nodes[i.index].name === 'μ').x")
    assert x < mu


def test_keys_step_forward_and_then_backward(show, page):
    tab = show(page, "open=bn1")
    tab.key(".", ".")
    assert tab.text("#where").startswith("forward 2/")
    first = formula(tab)
    tab.key(",")
    assert formula(tab) != first
    phases = tab.js("app.steps.map(s => s.phase)")
    turn = phases.index("backward")
    assert phases == sorted(phases, key=["forward", "backward", "update"].index)
    tab.js(f"goTo({turn})")
    assert tab.text("#where").startswith(f"backward {turn + 1}/")
    assert tab.count(".box.now") == 1
    done = tab.js("app.steps.map(s => app.placedNodes.get(s.item.key).matches('.future'))")
    assert done == [i > turn for i in range(len(done))]
    tab.key("End")
    assert tab.text("#where").startswith("next step")
    tab.key("Home")
    assert tab.count(".stepping") == 0


def test_no_step_comes_before_what_it_reads(show, page):
    tab = show(page)
    wrong = tab.js("""(() => {
      const at = new Map(app.steps.map((s, i) => [s.index, i]));
      const late = (s) => app.view.nodes[s.index].in.some((o) => at.get(o) > at.get(s.index));
      return app.steps.filter(late).length;
    })()""")  # fmt: skip
    assert wrong == 0


def test_space_plays_and_pauses(show, page):
    tab = show(page)
    tab.key(" ")
    tab.wait("app.step >= 1")
    assert tab.js("document.querySelector('#play').getAttribute('aria-label')") == "pause"
    tab.key(" ")
    assert tab.js("app.timer") is None


def test_search_finds_by_op_scope_and_formula(show, page):
    tab = show(page, "open=")
    tab.key("/")
    tab.write("bn2 sqrt")
    assert tab.count("#found li") >= 1
    assert "bn2" in tab.text("#found [aria-selected=true] small")
    tab.key("Enter")
    assert formula(tab) == "√(σ² + ε)"
    assert tab.js("app.closed.has(app.view.scopes.findIndex(p => p[0] === 'bn2'))") is False
    tab.key("/")
    tab.write("no such thing")
    assert tab.text("#found") == "nothing found"


def test_scopes_close_and_open(show, page):
    tab = show(page)
    every = tab.count(".box")
    tab.key("c")
    assert tab.count(".band") == 0
    closed = tab.count(".box")
    assert closed < every / 4
    tab.click(box("scope bn1, closed") + ".closed:not(.gradient)", times=2)
    assert tab.count(".band") == 1
    assert "bn1" in tab.text(".band .title")
    tab.click(".band .title")
    assert tab.count(".box") == closed
    tab.key("e")
    assert tab.count(".box") == every


def test_enter_closes_the_scope_of_the_selected_node_and_opens_it_again(show, page):
    tab = show(page, "node=bn1/gamma")
    bands = tab.count(".band")
    tab.key("Enter")
    assert tab.count(".band") == bands - 1
    assert formula(tab) == "bn1"
    tab.key("Enter")
    assert tab.count(".band") == bands


def test_the_switch_shows_running_statistics_and_marks_them(show, page):
    tab = show(page, "node=bn1/gamma")
    tab.click("#switch button[data-key=inference]")
    assert tab.js("app.view.key") == "inference"
    assert formula(tab) == "γ"  # the selection is kept
    stands = "app.view.nodes.filter(n => (n.note || '').startsWith('stands')).map(n => n.leaf)"
    assert sorted(tab.js(stands)) == [
        f"bn{i}/running_{statistic}" for i in (1, 2) for statistic in ("mean", "var")
    ]
    assert tab.count(".box.gradient") == 0
    tab.key("1")
    assert tab.js("app.view.key") == "train"
    assert tab.count(".box.changed") == 4  # the batch statistics
    tab.key("3")
    assert tab.js("app.view.key") == "folded"
    assert tab.js("app.view.nodes.some(n => n.op === 'sqrt')") is False


def test_arrow_keys_move_the_selection(show, page):
    tab = show(page, "open=bn1")
    tab.click(box("sub: x − μ"))
    tab.key("ArrowDown")
    assert formula(tab) == "(x − μ)²"
    tab.key("ArrowUp", "ArrowUp")
    assert formula(tab) == "μ = mean(x)"
    tab.key("ArrowRight")
    assert tab.count("#panel .card.gradient") == 1


def test_a_deep_link_opens_selects_and_is_kept_up_to_date(show, page):
    tab = show(page, "view=train&open=bn2&node=bn2/beta&theme=dark")
    assert formula(tab) == "β"
    assert tab.count(".band") == 1
    assert tab.js("document.documentElement.dataset.theme") == "dark"
    tab.key("Escape")
    assert "node=" not in tab.js("location.hash")
    tab.js("location.hash = '#node=bn1/gamma'")
    tab.wait("document.querySelector('#panel h2').textContent === 'γ'")


def test_wheel_drag_and_keys_move_the_view(show, page):
    tab = show(page)
    scale = tab.js("app.camera.k")
    x, y = tab.middle("#stage")
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    tab.wait(f"app.camera.k > {scale} * 1.2")
    before = tab.js("[app.camera.x, app.camera.y]")
    tab.drag((90, 120), (150, 200))
    after = tab.js("[app.camera.x, app.camera.y]")
    assert np.allclose(np.subtract(after, before), [60, 80])
    scale = tab.js("app.camera.k")
    tab.key("+")
    assert tab.js("app.camera.k") > scale
    tab.key("0")
    assert tab.js("app.camera.k") < scale


def test_two_fingers_zoom(show, page):
    tab = show(page)
    scale = tab.js("app.camera.k")
    tab.send("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    for kind, gap in (("touchStart", 60), ("touchMove", 90), ("touchMove", 140)):
        points = [{"x": 500 - gap, "y": 400, "id": 0}, {"x": 500 + gap, "y": 400, "id": 1}]
        tab.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    tab.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert tab.js("app.camera.k") > 1.5 * scale


def test_the_slider_moves_through_the_recording(show, page):
    tab = show(page)
    assert "step 45" in tab.text("#record-told")
    tab.js("document.querySelector('#record-step').focus()")
    tab.key("Home")
    assert "step 0" in tab.text("#record-told")
    assert "batch 1" in tab.text("#charts")
    tab.key("ArrowRight")
    assert "step 5" in tab.text("#record-told")
    assert tab.count("#charts .chart") == 4
    tab.click(box("mean: μ = mean(x)"))
    assert "bn1/gamma" in tab.text("#charts")


def test_help_lists_the_keys_and_escape_closes_it(show, page):
    tab = show(page)
    tab.key("?")
    assert tab.js("document.querySelector('#help').open") is True
    assert "Space" in tab.text("#help")
    tab.key("Escape", "/")
    assert tab.js("document.querySelector('#help').open") is False
    assert tab.js("document.activeElement.id") == "search"  # the keys work again at once


def test_every_control_has_a_name_and_focus_is_seen(show, page):
    tab = show(page)
    nameless = tab.js(
        "[...document.querySelectorAll('button, input, select, [role=button]')].filter(e => "
        "!(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    tab.key("Tab")
    outline = tab.js("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_dark_mode_follows_the_system_and_the_button(show, page):
    light = "getComputedStyle(document.body).backgroundColor"
    dark, bright = show(page, dark=True), show(page)
    assert dark.js(light) != bright.js(light)
    bright.key("d")
    assert dark.js(light) == bright.js(light)


def test_no_boxes_overlap_and_no_wire_crosses_a_box(show, page):
    """Geometry of the whole graph: boxes apart, and wires in the gutters and gaps."""
    tab = show(page)
    found = tab.js("""(() => {
      const items = [...app.plan.items.values()], hit = [], crossed = [];
      const box = ({ x, y, width: w, height: h }) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
      items.forEach((a, i) => items.slice(i + 1).forEach((b) => {
        const [p, q] = [box(a), box(b)];
        if (p[0] < q[2] && q[0] < p[2] && p[1] < q[3] && q[1] < p[3]) hit.push([a.key, b.key]);
      }));
      for (const wire of app.plan.wires) wire.points.slice(1).forEach(([x, y], i) => {
        const [u, v] = wire.points[i];
        const low = [Math.min(x, u), Math.min(y, v)], high = [Math.max(x, u), Math.max(y, v)];
        for (const item of items) {
          if (item === wire.tail || item === wire.head) continue;
          const [l, t, r, b] = box(item);
          if (low[0] < r - 1 && high[0] > l + 1 && low[1] < b - 1 && high[1] > t + 1)
            crossed.push([wire.tail.key, wire.head.key, item.key]);
        }
      });
      return [hit, crossed];
    })()""")  # fmt: skip
    assert found == [[], []]


def test_no_text_leaves_its_box(show, page):
    tab = show(page)
    wide = tab.js("""[...document.querySelectorAll('.box')].flatMap((b) => {
      const body = b.querySelector('.body').getBBox();
      return [...b.querySelectorAll('text')].map((t) => t.getBBox())
        .filter((t) => t.x < body.x - 1 || t.x + t.width > body.x + body.width + 1)
        .map(() => b.textContent);
    })""")  # fmt: skip
    assert wide == []


HOSTILE = [
    "<script>fail()</script>",
    "</script><img src=x onerror=fail()>",
    "a\"'`${fail()}",
    "\\N\n\t",
]
HOSTILE += ["<!--", "]]>", "x" * 10_000, "‮abc", "&lt;b&gt;", "__proto__", "constructor"]


def test_hostile_names_do_nothing(show, tmp_path):
    nodes, feed = [], {}
    for number, name in enumerate(HOSTILE):
        with mg.scope(name.replace("/", "|") or "s"):
            nodes.append(mg.mean(mg.exp(mg.input(name, ("N", 3)) * float(number + 1))))
        feed[name] = np.zeros((2, 3), "f")
    total = nodes[0]
    for node in nodes[1:]:
        total = total + node
    path = tmp_path / "hostile.html"
    mg.explore(mg.Graph([], {"loss": total, HOSTILE[0]: nodes[0]}), path, feed, title=HOSTILE[1])
    tab = show(path)
    assert tab.js("app.view.scopes.length") == len(HOSTILE) + 1
    assert tab.count("script") == 2
    assert tab.count("img") == 0
    assert tab.text("#title") == HOSTILE[1]
    tab.js("app.view.nodes.forEach((n, i) => { if (n.inline === undefined) app.go(i); })")
    tab.key("c", "e", "/")
    tab.write("script")
    assert tab.count("#found li") >= 1


def test_nothing_is_fetched_and_inline_handlers_cannot_run(show, page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=", text.split("<script>")[0])
    tab = show(page)
    tab.js("document.body.insertAdjacentHTML('beforeend', '<i id=probe onclick=\"window.bad=1\">')")
    tab.js("document.querySelector('#probe').click()")
    assert tab.js("window.bad") is None
    told = [c for c in tab.complaints() if "Content Security Policy" in str(c)]
    assert told  # the policy said so; this is not a complaint about the page
    tab._browser.events.clear()


def test_a_graph_of_two_thousand_nodes_opens_quickly(show, tmp_path, record_property):
    graph, feed = network(48)
    page = mg.explore(graph, tmp_path / "large.html", feed)
    assert page.html.count('"op":') > 2000
    times = []
    for _ in range(3):  # the machine may be busy; the best of three is the page's own time
        tab = show(tmp_path / "large.html")
        tab.wait("document.body.dataset.ready")
        times.append(float(tab.js("document.body.dataset.ready")))
    opened = min(times)
    spent = tab.js(
        "(() => { const t = performance.now(); setAll(false); "
        "document.body.getBoundingClientRect(); return performance.now() - t; })()"
    )
    boxes, nodes = tab.count(".box"), tab.js("app.view.nodes.length")
    print(f"\n{nodes} nodes open in {opened:.0f} ms; all {boxes} boxes in {spent:.0f} ms")
    record_property("milliseconds", opened)
    assert boxes > 1500
    assert opened < 2000
    assert spent < 20_000  # every box at once, on a slow and busy machine


def test_a_chain_of_thousands_of_nodes_without_scopes_opens(show, tmp_path):
    x = mg.input("x", 2)
    y = x
    for _ in range(1000):
        y = mg.tanh(y * 1.01)
    mg.explore(mg.Graph([x], {"loss": mg.sum(y)}), tmp_path / "chain.html")
    tab = show(tmp_path / "chain.html")
    assert tab.count(".box") > 2000


def test_a_shared_layer_that_is_entered_twice_is_drawn(show, tmp_path):
    x = mg.input("x", ("N", 3))
    layer = mg.nn.Linear(3, name="shared")
    with mg.scope("other"):
        pass
    h = layer(x)
    with mg.scope("other"):
        h = mg.relu(h)
    y = layer(h)
    mg.explore(mg.Graph([x], {"loss": mg.mean(y)}), tmp_path / "shared.html")
    tab = show(tmp_path / "shared.html")
    tab.key("c", "e")
    assert tab.count(".band") == 2


def test_what_is_not_finite_is_marked(show, tmp_path):
    x = mg.input("x", 3)
    mg.explore(mg.Graph([x], {"y": mg.log(x)}), tmp_path / "bad.html", {"x": [1.0, 0.0, -1.0]})
    tab = show(tmp_path / "bad.html", "node=a")
    assert tab.count(".box.broken") >= 1
    assert "2 of 3 not finite" in tab.text("#panel .alarm")


def test_a_notebook_shows_the_page_inline(show, chromium, tmp_path):
    graph, feed = network(1)
    host = tmp_path / "notebook.html"
    host.write_text(f"<!doctype html><body>{mg.explore(graph, feed=feed)._repr_html_()}", "utf-8")
    tab = show(host)
    assert tab.count("iframe") == 1
    frame = chromium.frame()
    frame.wait("document.body.dataset.ready")
    assert frame.count(".box") > 20
    frame.js("app.go(app.view.byId.get('bn1/gamma'))")  # no address to write to: no error either
    assert formula(frame) == "γ"


def test_it_prints_on_paper(show, page):
    tab = show(page, "open=bn1")
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.js("getComputedStyle(document.querySelector('#player')).display") == "none"
    assert len(tab.send("Page.printToPDF", landscape=True, printBackground=True)["data"]) > 10_000
