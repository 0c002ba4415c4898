"""Random graphs in float64 with a point to try them at, from the generator of `graphs.py`."""

import random

import numpy as np
from graphs import Builder, random_graph

import minigrad as mg
from minigrad.ir import is_leaf, toposort
from minigrad.passes.points import Point


def random_float64_graph(seed, number, largest=25):
    """A graph with gradients, not meant to meet infinities, and the numbers it was grown with."""
    rng = random.Random(f"simplify/{seed}/{number}")
    builder = Builder(rng)
    while builder.special:
        builder = Builder(rng)
    graph = mg.retype(differentiated(random_graph(builder, largest)), "float64")
    values = {n.name: v for n, v in builder.values.items() if is_leaf(n) and n.name}
    leaves = {
        n: n.attrs["value"] if n.prim.name == "constant" else np.asarray(values[n.name], n.dtype)
        for n in graph.leaves
    }
    return graph, Point(leaves, builder.dims)


def differentiated(graph):
    """The outputs, and their gradients by up to three leaves each, where there are any."""
    outputs = dict(graph.outputs)
    for name, node in graph.outputs.items():
        if not node.type.is_float:
            continue
        leaves = [n for n in toposort([node]) if n.prim.name in ("input", "parameter")]
        for leaf in [n for n in leaves if n.type.is_float][:3]:
            try:
                (outputs[f"d{name}_{leaf.name}"],) = mg.grad(mg.mean(node * node + node), [leaf])
            except mg.GraphError:
                continue
    return mg.Graph((), outputs)
