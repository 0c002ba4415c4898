"""What every primitive computes, and its derivative rule, in textbook notation.

y is the result, a, b, ... the operands in order, and ū = ∂L/∂y what comes in from above. A row of
ops of the library; an op of the user's own has no row and shows the nodes that its rule built.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir import Node
from ..captions import inline


@dataclass(frozen=True, slots=True)
class Rule:
    """``forward`` is what the op computes, ``backward`` one line for each operand."""

    forward: str
    backward: tuple[str, ...] = ()
    note: str = ""


_STOPS = "no gradient flows through it"
_PIECES = "its derivative is 0 almost everywhere"
_MOVES = "the same numbers elsewhere: the gradient is carried back to where each came from"

RULES: dict[str, Rule] = {
    "add": Rule("y = a + b", ("∂L/∂a = ū", "∂L/∂b = ū"), "a sum hands the gradient on unchanged"),
    "sub": Rule("y = a − b", ("∂L/∂a = ū", "∂L/∂b = −ū")),
    "mul": Rule("y = a · b", ("∂L/∂a = ū · b", "∂L/∂b = ū · a"), "each factor weighs the other"),
    "div": Rule("y = a / b", ("∂L/∂a = ū / b", "∂L/∂b = −ū · y / b")),
    "neg": Rule("y = −a", ("∂L/∂a = −ū",)),
    "pow": Rule(
        "y = aᵖ",
        ("∂L/∂a = ū · p · aᵖ⁻¹", "∂L/∂p = ū · y · ln a"),
        "a constant power p has no gradient",
    ),
    "pow 2": Rule("y = a²", ("∂L/∂a = ū · 2 · a",)),
    "pow 3": Rule("y = a³", ("∂L/∂a = ū · 3 · a²",)),
    "pow -1": Rule("y = 1 / a", ("∂L/∂a = −ū · y²",)),
    "sqrt": Rule("y = √a", ("∂L/∂a = ū / (2 · y)",)),
    "exp": Rule("y = eᵃ", ("∂L/∂a = ū · y",)),
    "log": Rule("y = ln a", ("∂L/∂a = ū / a",)),
    "log1p": Rule("y = ln(1 + a)", ("∂L/∂a = ū / (1 + a)",)),
    "tanh": Rule("y = tanh a", ("∂L/∂a = ū · (1 − y²)",)),
    "erf": Rule("y = erf a", ("∂L/∂a = ū · 2/√π · exp(−a²)",)),
    "abs": Rule("y = |a|", ("∂L/∂a = ū · sgn a",)),
    "sign": Rule("y = sgn a", (), _PIECES),
    "maximum": Rule(
        "y = max(a, b)",
        ("∂L/∂a = ū where a > b, else 0", "∂L/∂b = 0 where a > b, else ū"),
        "the gradient follows the winner; a tie goes to b, so max(a, 0) is ReLU",
    ),
    "minimum": Rule(
        "y = min(a, b)",
        ("∂L/∂a = ū where a < b, else 0", "∂L/∂b = 0 where a < b, else ū"),
        "the gradient follows the winner; a tie goes to b",
    ),
    "where": Rule(
        "y = a where c, else b",
        ("∂L/∂a = ū where c, else 0", "∂L/∂b = 0 where c, else ū"),
        "the condition has no gradient",
    ),
    "equal": Rule("y = (a = b)", (), _PIECES),
    "less": Rule("y = (a < b)", (), _PIECES),
    "less_equal": Rule("y = (a ≤ b)", (), _PIECES),
    "cast": Rule("y = a in another dtype", ("∂L/∂a = ū in the dtype of a",)),
    "stop_gradient": Rule("y = a", (), _STOPS),
    "sum": Rule(
        "y = Σ a",
        ("∂L/∂a = ū, repeated over the summed axes",),
        "every element counted once, so every element receives ū",
    ),
    "mean": Rule(
        "y = 1/n · Σ a",
        ("∂L/∂a = ū / n, repeated over the averaged axes",),
        "every element moves the mean by 1/n",
    ),
    "max": Rule(
        "y = max a",
        ("∂L/∂a = ū where a = y, else 0",),
        "elements that tie for the maximum share ū equally",
    ),
    "argmax": Rule("y = the index of the largest a", (), _PIECES),
    "count": Rule("y = n, the number of elements reduced", (), "a shape has no gradient"),
    "reshape": Rule("y = a in another shape", ("∂L/∂a = ū in the shape of a",), _MOVES),
    "transpose": Rule("y = aᵀ", ("∂L/∂a = ūᵀ",), _MOVES),
    "broadcast_to": Rule(
        "y = a, repeated",
        ("∂L/∂a = Σ ū over the repeats",),
        "what was copied forward is summed backward",
    ),
    "slice": Rule("y = a[i:j]", ("∂L/∂a = ū in place, 0 around it",), _MOVES),
    "pad": Rule("y = a with a border", ("∂L/∂a = ū without the border",), _MOVES),
    "concatenate": Rule("y = [a, b, …]", ("∂L/∂a = the part of ū that a filled, and so on",)),
    "unfold": Rule(
        "y = the windows of a", ("∂L/∂a = Σ ū over the windows that read it",), "im2col"
    ),
    "fold": Rule("y = Σ windows, put back", ("∂L/∂a = the windows of ū",), "col2im"),
    "matmul": Rule(
        "y = a @ b",
        ("∂L/∂a = ū @ bᵀ", "∂L/∂b = aᵀ @ ū"),
        "the shapes leave no other way to multiply",
    ),
    "take": Rule(
        "y = a[i]", ("∂L/∂a = Σ ū at each index i",), "an element taken twice receives two terms"
    ),
    "scatter_add": Rule("y = Σ a at each index i", ("∂L/∂a = ū[i]",)),
    "random_uniform": Rule("y ~ U[0, 1)", (), "chance has no gradient"),
    "input": Rule("what is fed"),
    "parameter": Rule("what is trained", (), "its gradient is what an optimiser reads"),
    "state": Rule("what one step hands to the next", (), "moved by its update, not by a gradient"),
    "constant": Rule("a number that never changes"),
}


def rule_name(node: Node) -> str:
    """The key of a node's rule: its op, or a power's own row."""
    if node.prim.name == "pow" and inline(node.inputs[1]):
        special = f"pow {inline(node.inputs[1])}"
        return special if special in RULES else "pow"
    return node.prim.name
