"""The visual language: one colour and one shape for each kind of box and arrow.

Colours are light tints of Okabe and Ito's colour-blind-safe palette with a dark outline of the
same hue; shapes and line styles say the same again, so that the pictures read in grey.
"""

from __future__ import annotations

from dataclasses import dataclass

FONT = "DejaVu Sans,Verdana,Helvetica,Arial,sans-serif"
INK, FAINT, ALARM, PAPER = "#1a1a1a", "#5f5f5f", "#c00000", "#ffffff"


@dataclass(frozen=True, slots=True)
class Look:
    """How a kind of box is drawn, and what the legend calls it."""

    shape: str
    fill: str
    line: str
    legend: str
    style: str = "filled"


LOOKS: dict[str, Look] = {
    "input": Look("ellipse", "#fff6cc", "#8a6d00", "input (oval)"),
    "parameter": Look("box3d", "#dff3ea", "#00734f", "parameter, it trains (block)"),
    "state": Look("cylinder", "#f4e3ee", "#93477a", "state, kept for the next step (drum)"),
    "constant": Look("box", "#f2f2f2", "#5f5f5f", "constant"),
    "forward": Look("box", "#e3eefa", "#005a94", "forward op (round corners)", "rounded,filled"),
    "gradient": Look("box", "#fde6d3", "#b04a00", "gradient op (cut corners)", "filled,diagonals"),
    "output": Look("box", "#ffffff", "#1a1a1a", "result", "filled,bold"),
    "scope": Look("folder", "#eef2f6", "#44546a", "folded scope"),
    "named": Look("plain", "#ffffff", "#5f5f5f", "a value by its name", ""),
    "elided": Look("box", "#ffffff", "#5f5f5f", "left out", "dotted"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """How a kind of arrow is drawn, and what the legend calls it."""

    color: str
    style: str
    width: str
    legend: str
    head: str = "normal"


LINES: dict[str, Line] = {
    "data": Line("#005a94", "solid", "1.3", "value (full head)"),
    "use": Line("#005a94", "bold", "2.4", "value used more than once: ways ❶ ❷ …"),
    "gradient": Line("#b04a00", "solid", "1.3", "gradient (open head)", "onormal"),
    "term": Line("#b04a00", "bold", "2.4", "a way's term of a sum of gradients", "onormal"),
    "saved": Line("#8a97a5", "dotted", "1.0", "forward value read by a gradient", "odot"),
    "average": Line("#93477a", "dashed", "1.3", "for the next step only", "vee"),
    "update": Line("#93477a", "dashed", "1.8", "update: next step's state", "vee"),
}
LINES |= {
    "broken": Line(ALARM, "bold", "3.4", "not finite, and where it spreads", "diamond"),
    "same": Line("#8a8a8a", "solid", "1.0", "in both graphs"),
    "removed": Line("#a33b00", "dashed", "1.6", "only in the first", "onormal"),
    "added": Line("#005a94", "bold", "2.6", "only in the second"),
    "called": Line("#5f5f5f", "dotted", "1.6", "the value of that name", "vee"),
    "equals": Line("#1a1a1a", "bold", "2.6", "equals, by the laws named above", "normal"),
    "order": Line("#ffffff", "invis", "0", ""),
    "replaced": Line("#1a1a1a", "dotted", "2.2", "replaced by", "vee"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """How a difference marks a box: a sign, colours, and a line that tells without them."""

    sign: str
    fill: str
    line: str
    width: str
    style: str
    legend: str


MARKS: dict[str, Mark] = {
    "same": Mark("", "#f4f4f4", "#8a8a8a", "1.0", "", "in both graphs"),
    "changed": Mark("≠", "#fff3bf", "#6d5600", "2.2", "", "differs: another operand"),
    "before": Mark("", "#ffffff", "#1a1a1a", "2.0", "dashed", "what stood there"),
    "after": Mark("", "#d6e8fa", "#005a94", "3.0", "", "what is equal to it"),
    "removed": Mark("−", "#fde6d3", "#a33b00", "1.8", "dashed", "only in the first graph"),
    "added": Mark("+", "#d6e8fa", "#005a94", "3.0", "", "only in the second graph"),
}
CLUSTER_FILLS = ("#fbfbfd", "#f5f7fa", "#eff2f6")
