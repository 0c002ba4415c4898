"""What a gradient check found: an entry for each input, and the primitive that is to blame."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir import GradientError

# Why an entry fails, and what usually helps.
FAILURES = {
    "mismatch": "the gradient differs from the numeric derivative",
    "not finite": "NaN or infinity; move the point by at={...}, or find the node by check_finite",
    "vacuous": (
        "connected, but zero in every direction tried: a wrong rule would pass too. Weigh the "
        "output by random numbers, move the point (at=, jitter=), or say expect_zero=[...]"
    ),
    "raises": "the gradient cannot be built or run",
    "not zero": "expect_zero names it, but its gradient carries a signal",
    "unconnected": "no gradient flows to it; leave it out of wrt, or say expect_zero=[...]",
    "kinks only": "every direction crosses a kink; move the point by at={...}",
}


@dataclass(frozen=True)
class Entry:
    """One input at one order: the verdict, and its worst element (or direction).

    ``verdict`` is ``ok``, ``zero`` (both sides are, and that is right), ``empty`` (no elements),
    or one of the failures ``mismatch``, ``not finite``, ``vacuous``, ``not zero``,
    ``unconnected``, ``raises``, ``kinks only``. ``error`` is relative, to what carries a signal at
    least. ``checked`` says which elements, beside random directions; ``index`` is None when the
    worst case is one of these.
    """

    name: str
    order: int
    verdict: str
    checked: str
    index: tuple[int, ...] | None = None
    analytic: float = 0.0
    numeric: float = 0.0
    error: float = 0.0
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict not in FAILURES

    def __str__(self) -> str:
        where = "" if self.index is None else "[" + ",".join(map(str, self.index)) + "]"
        text = f"order {self.order}  {self.name + where:<24} {self.verdict:<10}"
        if self.verdict not in ("empty", "kinks only", "raises"):
            text += f" analytic {self.analytic:< 13.6g} numeric {self.numeric:< 13.6g}"
            text += f" error {self.error:.1e}"
        return f"{text}  ({self.checked})" + (f"  {self.note}" if self.note else "")


@dataclass(frozen=True)
class Kink:
    """An element or direction left out, because its step crosses from one branch to another."""

    name: str
    order: int
    index: tuple[int, ...] | None
    primitive: str
    scope: str
    line: str

    def __str__(self) -> str:
        where = "a direction" if self.index is None else str(list(self.index))
        inside = f" in {self.scope}" if self.scope else ""
        return f"order {self.order}  {self.name}: {where} at a kink of {self.primitive}{inside}"


@dataclass(frozen=True)
class Culprit:
    """The first primitive, in the order of the graph, whose own vjp is wrong at the point."""

    primitive: str
    operand: int
    scope: str
    line: str
    analytic: float = 0.0
    numeric: float = 0.0
    raised: str = ""

    def __str__(self) -> str:
        inside = f", in {self.scope}" if self.scope else ""
        line = f", {self.line}" if self.line else ""
        if self.raised:
            return f"the vjp of {self.primitive} raises{inside}{line}: {self.raised}"
        return (
            f"the vjp of {self.primitive} is wrong for operand {self.operand}{inside}{line}: "
            f"alone, it gives {self.analytic:.6g} where {self.numeric:.6g} is right"
        )


@dataclass(frozen=True)
class Report:
    """The result of `gradcheck`; true when it passed, and `print(report)` says everything."""

    entries: tuple[Entry, ...]
    method: str
    reason: str
    order: int
    culprit: Culprit | None = None
    kinks: tuple[Kink, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True when every entry passed and at least one had something to check."""
        checked = any(e.verdict != "empty" for e in self.entries)
        return checked and all(entry.passed for entry in self.entries)

    @property
    def worst(self) -> Entry:
        """The first entry that failed, or else the one with the largest error."""
        failed = [entry for entry in self.entries if not entry.passed]
        return failed[0] if failed else max(self.entries, key=lambda entry: entry.error)

    def __bool__(self) -> bool:
        return self.passed

    def raise_if_failed(self) -> Report:
        """The report itself when it passed; GradientError with its text when it did not."""
        if not self.passed:
            raise GradientError(str(self))
        return self

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"gradcheck {verdict}: {self.method} ({self.reason})"]
        lines += [f"  {entry}" for entry in self.entries]
        found = dict.fromkeys(e.verdict for e in self.entries if not e.passed)
        lines += [f"  {verdict}: {FAILURES[verdict]}" for verdict in found]
        if not any(e.verdict != "empty" for e in self.entries):
            lines.append("  nothing was checked: every input is empty")
        if self.culprit is not None:
            lines.append(f"  {self.culprit}")
        elif "mismatch" in found:
            lines.append(
                "  every primitive's own vjp is right at this point: the fault is in how they are "
                "put together, or rtol is too small for the rounding of this graph"
            )
        lines += [f"  skipped: {kink}" for kink in self.kinks[:8]]
        if len(self.kinks) > 8:
            lines.append(f"  skipped: {len(self.kinks) - 8} more at kinks")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])
