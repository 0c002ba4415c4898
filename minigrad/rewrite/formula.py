"""Formulas: a node written as mathematics, as text or LaTeX, down to the nodes that have names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..ir import Node, toposort, value_text

SUM, BIG, PRODUCT, MATRIX, PREFIX, POWER, ATOM = range(7)  # how tightly a formula binds; BIG: Σ


@dataclass(frozen=True, slots=True)
class Style:
    """How one notation writes things; ``table`` maps an op to its pattern and its binding."""

    table: Mapping[str, tuple[str, int]]
    call: str
    group: str
    cut: str
    greek: bool

    def leaf(self, name: str) -> str:
        """The name of a leaf."""
        return latex_name(name) if self.greek else name


TEXT = Style(
    {
        "add": ("{0} + {1}", SUM), "sub": ("{0} - {1}", SUM), "mul": ("{0} * {1}", PRODUCT),
        "div": ("{0} / {1}", PRODUCT), "neg": ("-{0}", PREFIX), "pow": ("{0} ** {1}", POWER),
        "mean": ("M({0})", ATOM), "sum": ("sum({0})", ATOM), "matmul": ("{0} @ {1}", MATRIX),
        "broadcast_to": ("{0}", -1), "reshape": ("{0}", -1), "count": ("n", ATOM),
        "stop_gradient": ("{0}", -1),
    },
    "{name}({args})", "({0})", "...", False,
)  # fmt: skip
LATEX = Style(
    {
        "add": ("{0} + {1}", SUM), "sub": ("{0} - {1}", SUM), "mul": (r"{0} \, {1}", PRODUCT),
        "div": (r"\frac{{{0}}}{{{1}}}", ATOM), "neg": ("-{0}", PREFIX),
        "pow": ("{0}^{{{1}}}", POWER), "sqrt": (r"\sqrt{{{0}}}", ATOM),
        "mean": (r"M\!\left({0}\right)", ATOM), "sum": (r"\sum {0}", BIG),
        "matmul": (r"{0} \, {1}", MATRIX), "exp": ("e^{{{0}}}", POWER),
        "abs": (r"\left|{0}\right|", ATOM), "broadcast_to": ("{0}", -1), "reshape": ("{0}", -1),
        "count": ("n", ATOM), "log": (r"\ln\left({0}\right)", ATOM),
        "tanh": (r"\tanh\left({0}\right)", ATOM), "stop_gradient": ("{0}", -1),
        "max": (r"\max\left({0}\right)", ATOM),
    },
    r"\operatorname{{{name}}}\left({args}\right)", r"\left({0}\right)", r"\cdots", True,
)  # fmt: skip
UNGROUPED = frozenset({"mean", "div", "sqrt", "abs", "log", "tanh", "max", "exp"})
LONGEST = 2000  # characters; operands that are longer are cut


def formula(node: Node, names: Mapping[Node, str] | None = None, style: Style = TEXT) -> str:
    """``node`` written out; nodes in ``names`` (other than itself) stand as their name.

    >>> import minigrad as mg
    >>> x, g = mg.input("x", ("N", 4)), mg.input("gamma", 4)
    >>> formula(g * (x - mg.mean(x, 0)))
    'gamma * (x - M(x))'
    >>> formula((x - mg.mean(x, 0)) / g, style=LATEX)
    '\\\\frac{x - M\\\\!\\\\left(x\\\\right)}{\\\\gamma}'
    """
    names = names or {}
    known = [n for n in names if n is not node]
    written: dict[Node, tuple[str, int]] = {n: (names[n], ATOM) for n in known}
    for inner in toposort([node], stop=known):
        written[inner] = _written(inner, [written[i] for i in inner.inputs], style)
    return written[node][0]


def _written(node: Node, operands: list[tuple[str, int]], style: Style) -> tuple[str, int]:
    name = node.prim.name
    if name == "constant":
        return _number(node, style)
    if not operands:
        return style.leaf(node.name), ATOM
    pattern, binding = style.table.get(name, ("", ATOM))
    if name == "pow" and operands[1][0] == "-1" and style.greek:
        pattern = "{0}^{{-1}}"
    if not pattern:
        escaped = name.replace("_", r"\_") if style.greek else name
        args = ", ".join(text for text, _ in operands)
        args = args if len(args) <= LONGEST else style.cut
        return style.call.format(name=escaped, args=args), ATOM
    if binding == -1:
        return operands[0]
    grouped = [
        _group(name, position, operand, binding, style) for position, operand in enumerate(operands)
    ]
    if sum(map(len, grouped)) > LONGEST:  # whole operands go, so that brackets stay in pairs
        grouped = [style.cut] * len(grouped)
    return pattern.format(*grouped), binding


def _group(name: str, position: int, operand: tuple[str, int], binding: int, style: Style) -> str:
    text, inner = operand
    if (style.greek and name in UNGROUPED) or binding == ATOM:
        return text
    tight = inner < binding
    if position and name in ("sub", "div"):
        tight = inner <= binding
    if name in ("mul", "div") and inner == MATRIX:
        tight = not style.greek  # Python reads ``a * x @ w`` as ``(a * x) @ w``
    if name in ("add", "sub", "mul", "div") and position and inner == PREFIX:
        tight = True
    if name == "pow":
        tight = inner <= POWER if position == 0 else inner < ATOM and not style.greek
    if position and text.startswith("-"):
        tight = not (style.greek and name == "pow")
    return style.group.format(text) if tight else text


def _number(node: Node, style: Style) -> tuple[str, int]:
    value: Any = node.attrs["value"]
    same = value.size > 0 and bool((value == value.flat[0]).all())
    text = value_text(value.flat[0] if same else value)
    binding = ATOM
    if same and style.greek:
        text = text.replace("inf", r"\infty").replace("nan", r"\mathrm{NaN}")
        digits, _, exponent = text.partition("e")
        if exponent:
            text = rf"{digits} \cdot 10^{{{int(exponent)}}}".removeprefix(r"1 \cdot ")
            binding = POWER if text.startswith("10") else PRODUCT
    return text, min(binding, PREFIX) if text.startswith("-") else binding


GREEK = frozenset(
    {"alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "mu", "nu"}
    | {"rho", "sigma", "tau", "phi", "psi", "omega"}
)


def latex_name(name: str) -> str:
    """A leaf's name in LaTeX: Greek where it is Greek, upright where it is a word."""
    last = name.split("/")[-1]
    if last in GREEK:
        return f"\\{last}"
    if len(last) == 1 and last.isalpha():
        return last
    plain = re.sub(r"[^0-9A-Za-z]+", " ", last).strip()
    return rf"\mathrm{{{plain}}}"
