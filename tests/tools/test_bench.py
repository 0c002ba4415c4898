"""The benchmark measures what it says: right references, checked peers, tables that add up.

No time is asserted here; `tools/bench/run.py` is run by hand.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "tools" / "bench"
MODULES = ("cases", "peers", "reference", "results", "report", "rounds", "run")


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's modules, imported as its own scripts import them, and forgotten after."""
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)

    class Bench:
        pass

    for name in MODULES:
        setattr(Bench, name, importlib.import_module(name))
    yield Bench
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in MODULES:
            del sys.modules[name]


MLP = {"inputs": 5, "hidden": (4, 3), "batch": 7}

TINY = [
    ("bn", {"shape": (6, 4)}),
    ("bn", {"shape": (3, 4, 5, 2)}),
    ("bn", {"shape": (3, 5, 2, 4), "last": True}),
    ("ln", {"shape": (3, 5, 8)}),
    ("rms", {"shape": (3, 5, 8)}),
    ("softmax", {"shape": (3, 5, 8)}),
    ("gn", {"shape": (3, 16, 4, 2)}),
    ("in", {"shape": (3, 6, 4, 2)}),
    ("linear", {"batch": 3, "units": 4}),
    ("bn_inference", {"shape": (3, 4, 5, 2)}),
    ("mlp", {**MLP, "activation": "relu", "optimiser": "sgd"}),
    ("mlp", {**MLP, "activation": "relu", "optimiser": "adam"}),
    ("mlp", {**MLP, "activation": "sigmoid", "optimiser": "sgd"}),
    ("cnn", {"batch": 6, "side": 8, "channels": (3, 4), "optimiser": "sgd"}),
    ("moons", {"points": 6}),
]


def only(*kinds):
    return [row for row in TINY if row[0] in kinds]


def largest_error(bench, peer, kind, options):
    """In tolerances, of all checked calls, from the start and again after a reset."""
    case = bench.cases.Case("tiny", kind, "", options)
    feed = bench.cases.feed(case)
    row = bench.peers.PEERS[peer]
    run = row.load().prepare(case, feed, bench.peers.Setting(variant=row.variant))
    errors = []
    for _ in range(2):
        run.reset()
        for right in bench.reference.expected(case, feed):
            found = run.read(run.call())
            for name, array in right.items():
                start = feed[name] if "/" in name else None
                errors.append(bench.reference.error(case, found[name], array, start))
    return max(errors) / bench.reference.tolerance(case)


@pytest.mark.parametrize(("kind", "options"), TINY)
def test_minigrad_equals_the_reference(bench, kind, options):
    assert largest_error(bench, "minigrad", kind, options) < 0.5


@pytest.mark.parametrize(("kind", "options"), only("bn", "linear", "bn_inference", "mlp", "moons"))
def test_numpy_by_hand_equals_the_reference(bench, kind, options):
    assert largest_error(bench, "numpy", kind, options) < 0.5


def test_the_scalar_graph_of_the_demo_equals_the_reference(bench):
    assert largest_error(bench, "minigrad-scalars", "moons", {"points": 4}) < 0.5


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "options"), TINY[:-1])
def test_torch_equals_the_reference(bench, kind, options):
    pytest.importorskip("torch")
    assert largest_error(bench, "torch", kind, options) < 0.5


def test_every_kind_has_a_tiny_case(bench):
    assert {case.kind for case in bench.cases.CASES} == {kind for kind, _ in TINY}


def test_names_of_cases_are_unique_and_their_peers_exist(bench):
    every = [*bench.cases.CASES, *bench.cases.FIRST_STEPS]
    assert len({case.name for case in every}) == len(every)
    assert {peer for case in every for peer in case.peers} == set(bench.peers.PEERS)
    assert all(bench.cases.named(case.name) is case for case in every)


# --- checks and rounds -----------------------------------------------------------------------


def test_an_error_is_seen_in_one_element_of_many(bench):
    case = bench.cases.Case("tiny", "bn", "", {"shape": (6, 4)})
    right = np.random.default_rng(0).normal(size=1_000_000)
    wrong = right.copy()
    wrong[123] += 0.1
    assert bench.reference.error(case, wrong, right) > bench.reference.tolerance(case)
    with pytest.raises(ValueError, match="shape"):
        bench.reference.error(case, right[:-1], right)


TOY_CASE = "inference linear+bn 1"


def test_a_measurement_lists_all_peers_in_order(bench, monkeypatch):
    absent = bench.peers.Peer("with_nothing", ("no_such_package",))
    monkeypatch.setitem(bench.peers.PEERS, "nobody", absent)
    case = bench.cases.named(TOY_CASE)
    peers = ["nobody", "numpy", "minigrad"]
    found = bench.rounds.measure(case, peers, bench.peers.Setting(), rounds=2)
    assert list(found) == peers
    assert found["nobody"] == {"missing": "not installed"}
    for peer in ("numpy", "minigrad"):
        entry = found[peer]
        assert len(entry["rounds"]) == 2
        assert entry["error"] < 1e-5
        assert 0 < entry["min"] <= entry["median"]


def test_a_wrong_peer_fails_and_the_others_go_on(bench, monkeypatch):
    expected = bench.reference.expected

    def off(case, feed):
        return [
            {name: value + 1 for name, value in entry.items()} for entry in expected(case, feed)
        ]

    monkeypatch.setattr(bench.reference, "expected", off)
    case = bench.cases.named(TOY_CASE)
    found = bench.rounds.measure(case, ["numpy"], bench.peers.Setting(), rounds=1)
    assert "wrong: y is off by" in found["numpy"]["failed"]


# --- results and tables ----------------------------------------------------------------------


def fake(**peers):
    told = {"group": "bn", "when": "2026-01-02T03:04+00:00", "commit": "abc", "busy": 0.0}
    return {**told, "peers": peers}


def entry(*rounds):
    median = sorted(rounds)[len(rounds) // 2]
    told = {"error": 1e-7, "memory": {"compile": 1.0, "run": 2.0}}
    return {"median": median, "min": min(rounds), "spread": 0.1, "rounds": list(rounds), **told}


@pytest.fixture
def found():
    machine = {"cpu": "CPU", "cores": 2, "system": "Linux", "python": "3.11"}
    machine["versions"] = {"minigrad": "0.1.0", "torch": "2.13"}
    cases = {
        "bn (64,256)": fake(
            minigrad=entry(1e-5, 2e-5, 4e-5), torch=entry(3e-5, 4e-5, 8e-5),
            jax={"missing": "not installed"},
        ),
        "bn (8,8)": fake(minigrad=entry(1e-3, 1e-3, 1e-3), torch={"failed": "RuntimeError: no"}),
    }  # fmt: skip
    return {"machine": machine, "cases": cases}


def test_a_ratio_is_the_median_of_the_ratios_within_rounds(bench, found):
    entries = found["cases"]["bn (64,256)"]["peers"]
    assert bench.report.ratios(entries) == pytest.approx({"minigrad": 1, "torch": 2})
    assert bench.report.ratios({"torch": entry(1.0)}) == {}
    assert bench.run.failures(found) == ["bn (8,8): torch"]


def test_the_ratio_table_has_a_row_a_case(bench, found):
    from rich.console import Console

    console = Console(width=100, record=True)
    bench.report.print_ratios(console, found)
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["(64,256)", "20", "us", "2"] in lines
    assert ["(8,8)", "1", "ms"] in lines


def test_the_table_of_a_case_says_who_is_missing_or_failed(bench, found):
    from rich.console import Console

    console = Console(width=100, record=True)
    for name, case in found["cases"].items():
        console.print(bench.report.case_table(name, case["peers"]))
        bench.report.print_failures(console, name, case["peers"])
    text = console.export_text()
    assert "not installed" in text
    assert "bn (8,8), torch: RuntimeError: no" in text


@pytest.mark.parametrize(("seconds", "text"), [
    (1.234e-5, "12.3 us"), (9.999e-4, "1 ms"), (0.1234, "123 ms"), (1234.0, "1234 s"),
])  # fmt: skip
def test_durations_have_three_digits(bench, seconds, text):
    assert bench.report.duration(seconds) == text


def test_the_readme_table_stands_between_its_markers(bench, found, tmp_path):
    readme = tmp_path / "README.md"
    begin, end = bench.report.MARKERS
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    bench.report.write_readme(readme, found)
    once = readme.read_text()
    assert once.startswith(f"before\n{begin}\n**Batch norm")
    assert once.endswith(f"{end}\nafter\n")
    assert "old" not in once
    assert "| | minigrad | torch |\n|---|---:|---:|\n| (64,256) | 20 us | 40 us (2) |" in once
    assert "| (8,8) | 1 ms |  |" in once
    assert "CPU, 2 cores, Python 3.11, torch 2.13; 2026-01-02, commit abc" in once
    bench.report.write_readme(readme, found)
    assert readme.read_text() == once


def test_a_case_measured_beside_other_work_is_marked(bench, found):
    assert "†" not in bench.report.readme_table(found)
    found["cases"]["bn (8,8)"]["busy"] = 0.5
    table = bench.report.readme_table(found)
    assert "| (8,8) † | 1 ms |" in table
    assert "\n† others used the processors meanwhile. Medians" in table


@pytest.mark.parametrize("text", ["", "<!-- bench:end --> <!-- bench:begin -->"])
def test_a_readme_without_markers_is_left_as_it_is(bench, found, tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ValueError, match="bench:begin"):
        bench.report.write_readme(readme, found)
    assert readme.read_text() == text


def test_results_of_one_machine_are_joined_by_case(bench, found, tmp_path):
    path = tmp_path / "results.json"
    bench.results.save(path, found)
    assert json.loads(path.read_text()) == bench.results.load(path) == found
    assert list(tmp_path.iterdir()) == [path]
    new = {"machine": found["machine"], "cases": {"bn (8,8)": fake(minigrad=entry(1.0))}}
    joined = bench.results.merged(found, new)["cases"]
    assert joined == {**found["cases"], **new["cases"]}
    elsewhere = {**new, "machine": {**new["machine"], "cpu": "another"}}
    assert bench.results.merged(found, elsewhere) == elsewhere
    assert bench.results.load(tmp_path / "none.json")["cases"] == {}


def test_the_share_of_others_is_a_share(bench):
    assert 0 <= bench.results.busy_share(0.02) <= 1


def test_bars_are_drawn(bench, found, tmp_path):
    pytest.importorskip("matplotlib")
    bench.report.plot(tmp_path / "ratios.svg", found)
    assert "(64,256)" in (tmp_path / "ratios.svg").read_text()


# --- options ---------------------------------------------------------------------------------


def test_quick_is_a_part_of_all_and_full_adds_the_slow_peers(bench):
    chosen = bench.run.chosen_cases
    assert {c.name for c in chosen(None, True)} < {c.name for c in chosen(None, False)}
    case = bench.cases.CASES[0]
    peers = [bench.run.chosen_peers(case, None, *flags) for flags in ((True, False), (False, False),
             (False, True))]  # fmt: skip
    assert set(peers[0]) < set(peers[1]) < set(peers[2]) == set(case.peers)
    assert bench.run.chosen_peers(case, ["numba"], False, False) == ["minigrad", "numba"]


@pytest.mark.parametrize(("words", "message"), [
    (["--only", "bnn"], "no case 'bnn'"),
    (["--peers", "torhc"], "no peer torhc; there is minigrad, "),
    (["--rounds", "0"], "--rounds must be at least 1"),
    (["--table", "--json", "no_such_file.json"], "there are no results in no_such_file.json"),
])  # fmt: skip
def test_a_bad_request_is_one_clear_message_and_status_2(bench, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        bench.run.main(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
