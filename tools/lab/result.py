"""What an experiment is and what it hands to the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settings:
    """How much to run: ``seeds`` numbers the repetitions, ``quick`` makes each short."""

    seeds: tuple[int, ...] = (0, 1, 2, 3)
    quick: bool = True

    def pick(self, quick: Any, full: Any) -> Any:
        return quick if self.quick else full


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; a cell is anything that ``str`` makes readable."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Plot:
    """A drawn figure; ``name`` is its file, ``caption`` says what to see in it."""

    name: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Result:
    """What was seen. ``verdict`` comes from the numbers: see `statistics.verdict`."""

    verdict: str
    seen: tuple[str, ...]
    limits: tuple[str, ...]  # when the claim does not hold
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One claim of the lectures, and how it is tried."""

    name: str
    title: str
    claim: str
    source: str
    run: Callable[[Settings], Result]
    weight: float = 1.0  # how long it takes, beside the others
