"""What the tests of lint share."""

import minigrad as mg


def data(shape=("N", 3), name="x"):
    return mg.input(name, shape)


def graph_of(y, loss=None, **outputs):
    return mg.Graph([], {"y": y, **({} if loss is None else {"loss": loss}), **outputs})


def found(graph, rule):
    """The findings of one rule; whatever else is found is another test's business."""
    return [f for f in mg.lint(graph) if f.rule == rule]


def only(graph, rule):
    (finding,) = found(graph, rule)
    return finding


def centred(x):
    """x about its mean, and its variance."""
    c = x - mg.mean(x, 0)
    return c, mg.mean(c**2, 0)
