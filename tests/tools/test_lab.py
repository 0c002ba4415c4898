"""The laboratory: its statistics, its report, its instruments, and one experiment end to end."""

from __future__ import annotations

import importlib
import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).parents[2]
pytest.importorskip("matplotlib")


@pytest.fixture
def part(monkeypatch):
    """A module of tools/lab by name."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return lambda name: importlib.import_module(f"lab.{name}")


@pytest.fixture
def tool(part):
    part("statistics")
    spec = importlib.util.spec_from_file_location("lab_tool", ROOT / "tools" / "lab.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- statistics ----------------------------------------------------------------------------------


def test_the_interval_is_students(part):
    from scipy import stats

    values = np.random.default_rng(0).normal(3, 2, 7)
    found = part("statistics").estimate(values)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.n == 7


def test_the_interval_covers_the_truth_as_often_as_it_says(part):
    rng, estimate = np.random.default_rng(1), part("statistics").estimate
    covered = np.mean([estimate(rng.normal(5, 2, 4)).holds(5) for _ in range(600)])
    assert covered == pytest.approx(0.95, abs=0.03)


def test_one_seed_has_no_interval_and_says_so(part):
    found = part("statistics").estimate([0.25])
    assert np.isnan(found.half)
    assert str(found) == "0.2500 (one seed)"
    assert not found.holds(0.25)


def test_a_difference_is_taken_pair_by_pair(part):
    ours, theirs = [1.0, 11.0, 21.0], [0.0, 10.0, 20.5]
    found = part("statistics").difference(ours, theirs)
    assert found.mean == pytest.approx(2.5 / 3)
    assert found.half < 1
    with pytest.raises(ValueError, match="zip"):
        part("statistics").difference([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("facts", "word"),
    [((True, True), "holds"), ((True, False), "holds in part"), ((False,), "does not hold")],
)
def test_a_verdict_counts_the_facts(part, facts, word):
    assert part("statistics").verdict(*facts) == word


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.93117, 0.0042, "0.9312 ± 0.0042"),
        (1312.4, 120.0, "1,312 ± 120"),
        (0.0, 0.0, "0 ± 0"),
        (3e-9, 2e-9, "3.0e-09 ± 2.0e-09"),
    ],
)
def test_an_estimate_shows_as_many_digits_as_it_has(part, mean, half, text):
    assert str(part("statistics").Estimate(mean, half, 4)) == text


def test_the_exponent_of_a_law_is_found(part):
    x = np.array([2.0, 4, 8, 64])
    assert part("statistics").power(x, 7 / x**0.5) == pytest.approx(-0.5)


# --- instruments ---------------------------------------------------------------------------------


def test_names_of_lines_keep_apart_and_in_order(part):
    spread = part("drawing").spread
    at = [0.99, 1.0, 0.98, 0.2]
    found = spread(at, 0.1)
    assert np.argsort(found).tolist() == np.argsort(at).tolist()
    assert np.diff(sorted(found)).min() > 0.0999
    assert max(found) <= 1
    assert spread([0.1, 0.9], 0.1) == [0.1, 0.9]


def test_a_stream_is_full_batches_in_an_order_of_its_seed(part):
    nets = part("nets")
    data = mg.data.Dataset(np.arange(10.0)[:, None], np.arange(10))
    take = lambda seed: [b.t.tolist() for b, _ in zip(nets.stream(data, 4, seed), range(6))]  # noqa: B905, E731
    assert take(0) == take(0) != take(1)
    assert {len(batch) for batch in take(0)} == {4}
    assert len({t for batch in take(0)[:2] for t in batch}) == 8  # no example twice an epoch
    with pytest.raises(ValueError, match="a batch of 11 does not fit 10"):
        next(nets.stream(data, 11, 0))


def test_the_learning_rate_is_a_state(part):
    nets = part("nets")
    trainer = nets.Trainer(nets.network((4, 3, 2), norm=nets.batch_norm()).graph)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    moved = {}
    for rate in (0.0, 0.5):
        before = trainer.start(0, rate)
        _, after = trainer.step(dict(before), x=x, t=np.arange(8) % 2)
        moved[rate] = float(np.abs(after["linear1/weight"] - before["linear1/weight"]).max())
    assert moved[0.0] == 0 < moved[0.5]


def test_hessian_vector_products_are_differences_of_the_gradient(part):
    nets, conditioning = part("nets"), part("conditioning")
    net = nets.network((3, 4, 2), activation="tanh", norm=nets.batch_norm())
    surface = conditioning.Curvature(net.graph)
    rng = np.random.default_rng(0)
    batch = mg.data.Dataset(rng.normal(size=(9, 3)), rng.integers(0, 2, 9))
    state = dict(mg.compile(net.graph).init_state())
    sizes = [p.shape for p in surface.parameters]
    v = rng.normal(size=sum(int(np.prod(shape)) for shape in sizes))
    graph = mg.retype(
        mg.Graph((), {"g": _flat(mg.grad(net.graph.outputs["loss"], surface.parameters))}),
        "float64",
    )

    def gradient(step):
        at, start = {k: np.asarray(state[k], np.float64) for k in state}, 0
        for p in surface.parameters:
            size = int(np.prod(p.shape))
            at[p.name] = at[p.name] + step * v[start : start + size].reshape(p.shape)
            start += size
        feed = {"x": batch.x, "t": batch.t, **{p.name: at[p.name] for p in surface.parameters}}
        return mg.evaluate(graph, feed)[0]

    expected = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    np.testing.assert_allclose(surface.product(state, batch, v), expected, rtol=1e-3, atol=1e-4)


def _flat(nodes):
    return mg.concatenate([mg.reshape(n, (-1,)) for n in nodes])


def test_power_iteration_finds_the_top_eigenvalue_of_a_quadratic(part):
    found = part("conditioning")._quadratic("standard")
    assert found["top"] == pytest.approx(found["exact"], rel=1e-3)


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_a_start_is_forgotten_after_the_steps_of_the_formula(part, decay):
    found = part("serving").forgotten(decay, np.random.default_rng(0).normal(size=50))
    assert found == int(np.ceil(np.log(0.01) / np.log(decay)))


def test_slow_readings_keep_the_rows_in_order_and_pad(part):
    x = np.repeat(np.arange(1.0, 9), 8)[None]
    found = part("sequences").slowed(x, 11)[0, :, 0]
    assert sorted(set(found[:11])) == list(range(1, 9))
    assert (np.diff(found[:11]) >= 0).all()
    assert (found[11:] == 0).all()


def test_ink_colours_the_channels(part):
    data = mg.data.Dataset([[0.0, 1.0]], [0])
    np.testing.assert_array_equal(
        part("covariate_shift").coloured(data, (1, 0, 0.5)).x, [[0, 1, 0, 0, 0, 0.5]]
    )


# --- the report ----------------------------------------------------------------------------------

HOSTILE = '<script>alert(1)</script> "quoted" & | `code` *bold* [x](y)\n# head'


def entry(part, text=HOSTILE):
    result, statistics = part("result"), part("statistics")
    with part("drawing").panels() as (figure, (ax,)):
        part("drawing").band(ax, [0, 1], [[1.0, 2.0], [2.0, 4.0]], 0)
        plot = result.Plot("plot", text, part("drawing").svg(figure))
    table = result.Table(text, (text, "value"), ((text, statistics.estimate([1.0, 2.0])),))
    found = result.Result("holds in part", (text,), (text,), (table,), (plot,))
    return result.Experiment("name", text, text, text, lambda settings: found), found, 1.0


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href")]


def test_the_page_escapes_text_and_needs_nothing_else(part, tmp_path):
    part("report").write(tmp_path, [entry(part)], HOSTILE)
    page, tags = (tmp_path / "index.html").read_text(), Tags()
    tags.feed(page)
    assert "script" not in tags.names
    assert "&lt;script&gt;" in page
    assert tags.sources
    assert all(s.startswith(("data:image/svg+xml;base64,", "#")) for s in tags.sources)


def test_markdown_escapes_text_and_names_its_plots(part, tmp_path):
    part("report").write(tmp_path, [entry(part)], HOSTILE)
    text = (tmp_path / "report.md").read_text()
    assert "<script>" not in text
    assert not re.search(r"(?m)^# head", text)
    assert "](plots/plot.svg)" in text
    assert (tmp_path / "plots" / "plot.svg").read_text().lstrip().startswith("<?xml")
    for row in [line for line in text.splitlines() if line.startswith("| ")]:
        assert len(re.findall(r"(?<!\\)\|", row)) in (3, 4)


def test_the_same_figure_is_the_same_bytes(part):
    assert entry(part)[1].plots[0].svg == entry(part)[1].plots[0].svg


# --- the tool ------------------------------------------------------------------------------------


def test_every_claim_is_listed_with_its_source(tool, capsys):
    tool.main(["--list"])
    out = capsys.readouterr().out
    names = {line.split()[0] for line in out.splitlines()}
    assert names == set(tool.EXPERIMENTS)
    assert len(names) == 9
    for experiment in tool.EXPERIMENTS.values():
        assert re.search(r"(19|20)\d\d", experiment.source), experiment.name


def test_an_unknown_experiment_lists_those_there_are(tool):
    with pytest.raises(SystemExit, match="no experiment 'figure2'; there is figure1"):
        tool.main(["--only", "figure2"])


def test_no_seed_is_refused(tool):
    with pytest.raises(SystemExit, match="--seeds is 0"):
        tool.main(["--only", "identity", "--seeds", "0"])


def test_help_teaches(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["--help"])
    out = capsys.readouterr().out
    for word in ("--quick", "--only figure1", "--seeds", "index.html"):
        assert word in out


@pytest.mark.slow
def test_the_smallest_experiment_runs_and_repeats_itself(tool, tmp_path, capsys):
    reports = []
    for run in ("one", "two"):
        out = tmp_path / run
        tool.main(["--quick", "--only", "identity", "--seeds", "2", "--out", str(out)])
        text = (out / "report.md").read_text()
        reports.append(re.sub(r"[\d.]+ s\b", "", text))
        assert (out / "index.html").stat().st_size > 10_000
    assert reports[0] == reports[1]
    assert "● holds" in reports[0]
    assert re.search(r"identity +[\d.]+ s  holds", capsys.readouterr().out)
    plots = [(tmp_path / run / "plots" / "identity.svg").read_bytes() for run in ("one", "two")]
    assert plots[0] == plots[1]


@pytest.mark.slow
def test_experiments_run_side_by_side(tool):
    settings = tool.Settings((0,), quick=True)
    entries = tool.perform(["placement", "identity"], settings, jobs=2)
    assert [experiment.name for experiment, _, _ in entries] == ["placement", "identity"]
    assert all(result.plots and result.seen for _, result, _ in entries)
