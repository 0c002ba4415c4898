"""Run the rules over a graph, and offer only rewrites that hold."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir import Graph, GraphError
from ...ir.graph import require_graph
from .finding import Finding, Fix, Hit, Rule
from .numbers import TOLERANCE, disagreement
from .rows import RULES
from .subject import Subject

EPS = 1e-5  # what a rewrite adds under a root


def lint(graph: Graph, rules: Iterable[str] | None = None, *, fixes: bool = True) -> list[Finding]:
    """What is likely wrong in a graph although it computes: see `minigrad.passes.linting.RULES`.

    Parameters
    ----------
    graph : a graph that trains, with or without an optimiser, or an inference graph. Some rules
        need updates (weight decay, running statistics), some an output called ``loss``.
    rules : names of the rules to apply; all by default.
    fixes : whether to build and verify rewrites, which takes most of the time.

    A finding's ``fixed`` is the graph without the fault. It is offered only after a check in
    float64 at random points: all outputs and updates are what they were (where the rewrite adds
    an eps: for an eps of 0), and the rule no longer fires there. Raises GraphError for an
    unknown rule.

    >>> import minigrad as mg
    >>> x = mg.input("x", ("N", 3))
    >>> v = mg.mean(x**2, 0) - mg.mean(x, 0) ** 2
    >>> found, = mg.lint(mg.Graph([x], {"v": v}))
    >>> found.rule, found.fixed is not None
    ('one-pass-variance', True)
    """
    require_graph("lint", graph)
    chosen = RULES if rules is None else [_named(name) for name in rules]
    subject = Subject(graph)
    hits = [(rule, hit) for rule in chosen for hit in rule.find(subject)]
    position = {node: i for i, node in enumerate(subject.order)}
    hits.sort(key=lambda pair: position.get(pair[1].node, len(position)))
    return [_finding(subject, rule, hit, fixes) for rule, hit in hits]


def _finding(subject: Subject, rule: Rule, hit: Hit, fixes: bool) -> Finding:
    fixed, checked = None, ""
    if fixes and hit.fix is not None:
        fixed, checked = _verified(subject, rule, hit.fix)
    return Finding(rule.name, hit.message, hit.node, rule.why, rule.suggestion, fixed, checked)


def _verified(subject: Subject, rule: Rule, fix: Fix) -> tuple[Graph | None, str]:
    """The rewritten graph and what was seen of it; None when it does not hold."""
    if fix.before_grad and subject.has_gradients:
        return None, "known, but before the gradient is taken: lint the graph without its optimiser"
    try:
        exact = fix.build(0.0)
        offered = exact if fix.eps is None else fix.build(fix.eps)
        off = disagreement(fix.reference or subject.graph, exact, subject.points, fix.exempt)
        fires = off <= TOLERANCE and _fires(subject, rule, fix, offered)
    except GraphError:
        return None, ""
    if off > TOLERANCE or fires:
        return None, ""
    count = len(subject.points)
    where = f"at {count} random point{'s' * (count != 1)} in float64"
    if fix.eps is None:
        return offered, f"outputs and updates agree to {off:.0e} {where}"
    return (
        offered,
        f"adds eps {fix.eps:g}; for eps 0 outputs and updates agree to {off:.0e} {where}",
    )


def _fires(subject: Subject, rule: Rule, fix: Fix, offered: Graph) -> bool:
    """Whether the rewrite left the rule as often as it was."""
    rest = Subject(offered)
    if fix.gone is not None:
        return fix.gone in rest.order
    return len(list(rule.find(rest))) >= len(list(rule.find(subject)))


def _named(name: str) -> Rule:
    for rule in RULES:
        if rule.name == name:
            return rule
    raise GraphError(f"lint: no rule {name!r}; there is {', '.join(r.name for r in RULES)}")
