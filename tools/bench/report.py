"""What results look like: tables on the terminal, the table of the README, bars.

A ratio is a peer's time over minigrad's, taken within each round, the median of the rounds: more
than 1 means that minigrad is faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from results import Results
from rich import box
from rich.console import Console
from rich.table import Table

from minigrad.ir.files import write_whole

US = "minigrad"
BUSY = 0.15  # share of the processors that others may use; above it a case is marked
DAGGER = " †"
MARKERS = "<!-- bench:begin -->", "<!-- bench:end -->"
TITLES = {
    "bn": "Batch norm training: y, dx, dgamma, dbeta",
    "norms": "Other norms and softmax, forward and backward",
    "mlp": "MLP training step, with batch norm, optimiser and reading the loss",
    "cnn": "CNN training step",
    "inference": "Inference",
    "scalar": "micrograd's demo, one epoch",
    "start": "From process start to the first result",
}

Entries = Mapping[str, Mapping[str, Any]]  # by peer


def ratios(entries: Entries) -> dict[str, float]:
    """Each measured peer over minigrad; nothing when minigrad was not measured.

    >>> ratios({"minigrad": {"rounds": [1.0, 2.0]}, "torch": {"rounds": [2.0, 6.0]}})
    {'minigrad': 1.0, 'torch': 2.5}
    """
    ours = entries.get(US, {}).get("rounds")
    if not ours:
        return {}
    return {
        peer: median(theirs / mine for theirs, mine in zip(entry["rounds"], ours, strict=True))
        for peer, entry in entries.items()
        if "rounds" in entry
    }


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(0.0000123), duration(0.456), duration(12)
    ('12.3 us', '456 ms', '12 s')
    """
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size * 0.9995:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds)} s"


def _digits(number: float) -> str:
    """Three of them, and never 1e+03."""
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"


# --- the terminal ----------------------------------------------------------------------------


def case_table(name: str, entries: Entries) -> Table:
    """All that was measured of a case, a line a peer."""
    table = _table(name, "peer")
    starts = name.startswith("start")
    last = ("import", "build", "first call") if starts else ("error", "MB build", "MB run")
    for column in ("median", "fastest", "spread", "ratio", *last):
        table.add_column(column, justify="right")
    over = ratios(entries)
    for peer, entry in entries.items():
        why = entry.get("missing") or entry.get("failed")
        if why:
            table.add_row(peer, f"[dim]{why}[/]" if "missing" in entry else "[red]failed[/]")
            continue
        row = [duration(entry["median"]), duration(entry["min"]), f"{entry['spread']:.0%}"]
        row.append(_digits(over[peer]) if peer in over else "")
        table.add_row(peer, *row, *(_start_cells(entry) if starts else _run_cells(entry)))
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
                  pad_edge=False, collapse_padding=True)  # fmt: skip
    table.add_column(first, no_wrap=True)
    return table


def _start_cells(entry: Mapping[str, Any]) -> list[str]:
    return [duration(entry["start"][part]) for part in ("import", "prepare", "first")]


def _run_cells(entry: Mapping[str, Any]) -> list[str]:
    memory = entry.get("memory") or {}
    cells = [f"{memory[part]:.1f}" if memory else "" for part in ("compile", "run")]
    return [f"{entry['error']:.0e}", *cells]


def print_failures(console: Console, name: str, entries: Entries) -> None:
    """Why peers failed, in full."""
    for peer, entry in entries.items():
        if "failed" in entry:
            console.print(f"{name}, {peer}: {entry['failed']}", style="red", markup=False)


def print_ratios(console: Console, results: Results) -> None:
    """A table a group: peer / minigrad."""
    for group, cases in grouped(results).items():
        peers = measured(cases.values())
        if not peers:
            continue
        table = _table(TITLES.get(group, group), "peer / minigrad")
        table.add_column(US, justify="right")
        for peer in peers:
            table.add_column(peer, justify="right")
        for name, entries in cases.items():
            over = ratios(entries)
            ours = duration(entries[US]["median"]) if over else "failed"
            cells = [_digits(over[peer]) if peer in over else "" for peer in peers]
            table.add_row(name, ours, *cells)
        console.print(table)


def grouped(results: Results) -> dict[str, dict[str, Entries]]:
    """Entries by group, in order of `TITLES`, and by name of case without its group.

    A dagger stands behind the name of a case during which others used the processors.
    """
    found: dict[str, dict[str, Entries]] = {group: {} for group in TITLES}
    for name, case in results["cases"].items():
        title = name.removeprefix(case["group"]).strip() + DAGGER * (case["busy"] > BUSY)
        found.setdefault(case["group"], {})[title] = case["peers"]
    return {group: entries for group, entries in found.items() if entries}


def measured(cases: Iterable[Entries]) -> list[str]:
    """The peers, but minigrad, with a number in any of some cases."""
    peers = [peer for entries in cases for peer, e in entries.items() if "rounds" in e]
    return [peer for peer in dict.fromkeys(peers) if peer != US]


# --- the README ------------------------------------------------------------------------------


def readme_table(results: Results) -> str:
    """Markdown: a table a group, with medians and in brackets peer / minigrad."""
    lines: list[str] = []
    for group, cases in grouped(results).items():
        peers = measured(cases.values())
        lines += [f"**{TITLES.get(group, group)}**", ""]
        lines.append("| | " + " | ".join([US, *peers]) + " |")
        lines.append("|---|" + "---:|" * (len(peers) + 1))
        for name, entries in cases.items():
            over = ratios(entries)
            cells = [_cell(entries.get(peer, {}), over.get(peer)) for peer in peers]
            lines.append(f"| {name} | {_cell(entries.get(US, {}), None)} | " + _row(cells))
        lines.append("")
    return "\n".join([*lines, _footnote(results)])


def _cell(entry: Mapping[str, Any], over: float | None) -> str:
    if "median" not in entry:
        return ""
    return duration(entry["median"]) + ("" if over is None else f" ({_digits(over)})")


def _row(cells: list[str]) -> str:
    return "".join(f"{cell} | " for cell in cells).rstrip()


def _footnote(results: Results) -> str:
    cases, found = results["cases"].values(), results["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items() if k != US)
    days = sorted({case["when"][:10] for case in cases})
    busy = any(case["busy"] > BUSY for case in cases)
    warning = f"{DAGGER.strip()} others used the processors meanwhile. " if busy else ""
    commits = ", ".join(dict.fromkeys(case["commit"] for case in cases))
    return (
        f"{warning}Medians of interleaved rounds, float32, 2 threads; in brackets the peer's time "
        f"over minigrad's (above 1 minigrad is faster). {found['cpu']}, {found['cores']} cores, "
        f"Python {found['python']}, {versions}; {' to '.join(dict.fromkeys((days[0], days[-1])))}, "
        f"commit {commits}. By `python tools/bench/run.py`."
    )


def write_readme(path: Path, results: Results) -> None:
    """Put the table between the markers; ValueError when they are not there, once and in order."""
    text = path.read_text(encoding="utf-8")
    begin, end = MARKERS
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in after or end in before:
        raise ValueError(f"{path} needs {begin} and {end}, once each, where the table shall stand")
    if not results["cases"]:
        raise ValueError("there are no results; measure first: python tools/bench/run.py")
    write_whole(path, f"{before}{begin}\n{readme_table(results)}\n{end}{after}")


# --- bars ------------------------------------------------------------------------------------


_LONGEST, _TICKS = 30, (0.5, 1, 2, 5, 10, 20)  # of the axis of the plot


def plot(path: Path, results: Results) -> None:
    """Horizontal bars of the ratios on a logarithmic axis, a colour a peer.

    Bars to the left are of peers that are faster; one that is longer than the axis says its ratio.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [
        (f"{group} {title}", ratios(entries))
        for group, entries_of in grouped(results).items()
        for title, entries in entries_of.items()
    ]
    rows = [(name, over) for name, over in reversed(rows) if len(over) > 1]
    peers = measured(case["peers"] for case in results["cases"].values())
    lines = sum(len(over) for _, over in rows)
    figure, axis = plt.subplots(figsize=(8, 1 + 0.13 * lines), layout="constrained")
    place, ticks, seen = 0.0, [], set()
    for name, over in rows:
        present = [peer for peer in reversed(peers) if peer in over]
        for peer in present:
            colour = f"C{peers.index(peer)}"
            label = None if peer in seen else peer
            axis.barh(place, over[peer] - 1, left=1, height=0.9, color=colour, label=label)
            if over[peer] > _LONGEST:
                said = f"{over[peer]:,.0f}x "
                axis.text(_LONGEST, place, said, ha="right", va="center", fontsize=7, color="white")
            seen.add(peer)
            place += 1
        ticks.append((place - (len(present) + 1) / 2, name))
        place += 0.8
    axis.set_xscale("log")
    fastest = min(ratio for _, over in rows for ratio in over.values())
    axis.set_xlim(min(0.9 * fastest, 0.5), _LONGEST)
    axis.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axis.minorticks_off()
    axis.grid(axis="x", linewidth=0.4)
    axis.set_axisbelow(True)
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axis.set_xlabel("peer / minigrad (right of the line minigrad is faster)")
    axis.margins(y=0.01)
    figure.legend(loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=150)
    plt.close(figure)
