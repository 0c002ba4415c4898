"""The report: one self-contained HTML page, and Markdown with plots beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigrad.ir.files import write_whole

from .result import Experiment, Result, Table

SIGNS = {"holds": "●", "holds in part": "◐", "does not hold": "○"}
Entry = tuple[Experiment, Result, float]  # and the seconds that it took

INTRODUCTION = (
    "Every number is a mean over seeds with Student's 95 % interval; a seed sets the weights and "
    "the order of the data, the split into training and test part is fixed. Differences are "
    "paired: both sides share their seeds. A verdict is computed from the numbers of this very "
    "run, so another run may come to another one where an interval is wide."
)


def write(out: Path, entries: Sequence[Entry], facts: str) -> list[Path]:
    """Write ``index.html``, ``report.md`` and ``plots/*.svg`` below ``out``; the files written."""
    (out / "plots").mkdir(parents=True, exist_ok=True)
    written = []
    for plot in (plot for _, result, _ in entries for plot in result.plots):
        written.append(out / "plots" / f"{plot.name}.svg")
        write_whole(written[-1], plot.svg)
    for name, text in (
        ("index.html", as_html(entries, facts)),
        ("report.md", as_markdown(entries, facts)),
    ):
        write_whole(out / name, text)
        written.append(out / name)
    return written


# --- Markdown ----------------------------------------------------------------------------------


def as_markdown(entries: Sequence[Entry], facts: str) -> str:
    lines = ["# The laboratory of batch norm", "", INTRODUCTION, "", _mark(facts), ""]
    lines += ["| experiment | claim | verdict |", "|---|---|---|"]
    for experiment, result, _ in entries:
        row = (experiment.title, experiment.claim, f"{SIGNS[result.verdict]} {result.verdict}")
        lines.append("| " + " | ".join(_mark(cell) for cell in row) + " |")
    for experiment, result, seconds in entries:
        lines += ["", f"## {_mark(experiment.title)}", ""]
        lines += [f"**Claim** ({_mark(experiment.source)}): {_mark(experiment.claim)}", ""]
        lines += [f"**Verdict: {SIGNS[result.verdict]} {result.verdict}**", ""]
        for plot in result.plots:
            lines += [f"![{_mark(plot.caption)}](plots/{plot.name}.svg)", "", _mark(plot.caption)]
            lines += [""]
        lines += ["**Seen**", "", *[f"* {_mark(text)}" for text in result.seen], ""]
        for table in result.tables:
            lines += [*_markdown_table(table), ""]
        lines += ["**When it does not hold**", "", *[f"* {_mark(t)}" for t in result.limits], ""]
        command = f"python tools/lab.py --only {experiment.name}"
        lines.append(f"*`{command}`, {seconds:.0f} s*")
    return "\n".join(lines) + "\n"


def _markdown_table(table: Table) -> list[str]:
    rows = [table.header, ["---"] + ["---:"] * (len(table.header) - 1)]
    lines = [_mark(table.caption), ""]
    lines += [
        "| " + " | ".join(_mark(cell) for cell in rows[0]) + " |",
        "|" + "|".join(rows[1]) + "|",
    ]
    for row in table.rows:
        lines.append("| " + " | ".join(_mark(cell) for cell in row) + " |")
    return lines


def _mark(text: Any) -> str:
    """Text that Markdown shows as it is."""
    found = " ".join(str(text).split())
    for sign in "\\`*_[]|#":
        found = found.replace(sign, "\\" + sign)
    return found.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- HTML --------------------------------------------------------------------------------------

CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d8dee4;
  --paper: #ffffff; --card: #f6f8fa; --link: #0a5fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #a0a8b0; --line: #3a4048;
  --paper: #15181c; --card: #1e2227; --link: #7ab8ff; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.2rem 5rem; }
h1 { font-size: 1.9rem; margin: .5rem 0; } h2 { font-size: 1.35rem; margin: 3rem 0 .5rem;
  padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.soft { color: var(--soft); font-size: .92rem; } a { color: var(--link); }
blockquote { margin: .5rem 0; padding: .5rem 1rem; border-left: 4px solid var(--link);
  background: var(--card); }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 6px; padding: .4rem; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .3rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem;
  margin: .3rem 0 1rem; } caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; font-variant-numeric: tabular-nums; }
.verdict { font-weight: 600; white-space: nowrap; } code { background: var(--card);
  padding: .1rem .3rem; border-radius: 4px; font-size: .9em; }
"""


def as_html(entries: Sequence[Entry], facts: str) -> str:
    rows = "".join(
        f'<tr><td><a href="#{_safe(e.name)}">{_safe(e.title)}</a></td><td>{_safe(e.claim)}</td>'
        f'<td class="verdict">{SIGNS[r.verdict]} {_safe(r.verdict)}</td></tr>'
        for e, r, _ in entries
    )
    sections = "".join(_section(entry) for entry in entries)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>The laboratory of batch norm</title><style>{CSS}</style></head><body>"
        f"<h1>The laboratory of batch norm</h1><p>{_safe(INTRODUCTION)}</p>"
        f'<p class="soft">{_safe(facts)}</p><div class="scroll"><table><thead><tr>'
        "<th>experiment</th><th>claim</th><th>verdict</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{sections}</body></html>\n"
    )


def _section(entry: Entry) -> str:
    experiment, result, seconds = entry
    figures = "".join(
        f'<figure><img alt="{_safe(plot.caption)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(plot.svg.encode()).decode()}">'
        f"<figcaption>{_safe(plot.caption)}</figcaption></figure>"
        for plot in result.plots
    )
    tables = "".join(_html_table(table) for table in result.tables)
    return (
        f'<section id="{_safe(experiment.name)}"><h2>{_safe(experiment.title)}</h2>'
        f'<blockquote>{_safe(experiment.claim)}<br><span class="soft">{_safe(experiment.source)}'
        f'</span></blockquote><p class="verdict">{SIGNS[result.verdict]} {_safe(result.verdict)}'
        f"</p>{figures}<h3>Seen</h3>{_items(result.seen)}{tables}"
        f"<h3>When it does not hold</h3>{_items(result.limits)}"
        f'<p class="soft"><code>python tools/lab.py --only {_safe(experiment.name)}</code>, '
        f"{seconds:.0f} s</p></section>"
    )


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{_safe(cell)}</th>" for cell in table.header)
    body = "".join(
        "<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f'<div class="scroll"><table><caption>{_safe(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _items(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_safe(text)}</li>" for text in texts) + "</ul>"


def _safe(text: Any) -> str:
    return html.escape(str(text), quote=True)
