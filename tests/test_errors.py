"""Every mistake gives one error that names the op, the types, the scope and the user's line.

One row is one mistake: what is done wrong, the type of the error, and what its message says. Rows
run under the scope ``block``, so a located message ends in ``(in block, test_errors.py:LINE)``,
where LINE is a line of the row's own lambda.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Mistake(NamedTuple):
    name: str
    do: Callable[[], Any]
    error: type[Exception]
    message: str  # a regular expression, from the start of the message
    located: bool = True


x = partial(mg.input, "x")  # no frame of its own: the line is that of the row
y = partial(mg.input, "y")


def run(node: Any, **feed: Any) -> Any:
    return mg.evaluate(node, feed)


def gradient(leaf: mg.Node, function: Callable[[mg.Node], mg.Node]) -> Any:
    return mg.grad(function(leaf), leaf)


SHAPES = [
    Mistake("broadcast", lambda: x((32, 64)) + y(3), mg.ShapeError,
            r"add: cannot broadcast f32\[32,64\] with f32\[3\]"),
    Mistake("broadcast named dims", lambda: x(("N", 2)) * y(("M", 2)), mg.ShapeError,
            r"mul: cannot broadcast f32\[N,2\] with f32\[M,2\]"),
    Mistake("broadcast_to", lambda: mg.broadcast_to(x(3), (3, 2)), mg.ShapeError,
            r"broadcast_to: cannot broadcast f32\[3\] to \[3, 2\]"),
    Mistake("where shapes", lambda: mg.where(x(2) > 0, y(3), 0.0), mg.ShapeError,
            r"where: cannot broadcast bool\[2\] with f32\[3\]"),
    Mistake("axis out of range", lambda: mg.sum(x((2, 3)), axis=2), mg.ShapeError,
            r"sum: axis 2 is out of range for a tensor of rank 2, f32\[2,3\]"),
    Mistake("axis twice", lambda: mg.mean(x((2, 3)), axis=(1, -1)), mg.ShapeError,
            r"mean: axis \(1, -1\) names a dim twice, f32\[2,3\]"),
    Mistake("axis no int", lambda: mg.max(x((2, 3)), axis=1.5), mg.ShapeError,
            r"max: axis 1.5 is not an int, f32\[2,3\]"),
    Mistake("expand_dims axis", lambda: mg.expand_dims(x((2, 3)), 4), mg.ShapeError,
            r"expand_dims: axis 4 is out of range for a tensor of rank 3, f32\[2,3\]"),
    Mistake("squeeze axis", lambda: mg.squeeze(x((2, 3)), 4), mg.ShapeError,
            r"squeeze: axis 4 is out of range for a tensor of rank 2, f32\[2,3\]"),
    Mistake("squeeze a dim of 3", lambda: mg.squeeze(x((2, 3)), 1), mg.ShapeError,
            r"squeeze: .*dim 3.*f32\[2,3\]"),
    Mistake("take axis", lambda: mg.take(x((2, 3)), [0], axis=2), mg.ShapeError,
            r"take: axis 2 is out of range for a tensor of rank 2, f32\[2,3\]"),
    Mistake("concatenate axis", lambda: mg.concatenate([x(2), y(2)], axis=1), mg.ShapeError,
            r"concatenate: axis 1 is out of range for a tensor of rank 1, f32\[2\]"),
    Mistake("concatenate shapes", lambda: mg.concatenate([x((2, 3)), y((2, 4))]), mg.ShapeError,
            r"concatenate: cannot join f32\[2,3\] and f32\[2,4\] along axis 0"),
    Mistake("concatenate ranks", lambda: mg.concatenate([x((2, 3)), y(2)]), mg.ShapeError,
            r"concatenate: cannot join f32\[2,3\] and f32\[2\]"),
    Mistake("concatenate nothing", lambda: mg.concatenate([]), mg.ShapeError,
            r"concatenate: needs at least one tensor"),
    Mistake("stack axis", lambda: mg.stack([x(2), y(2)], axis=3), mg.ShapeError,
            r"stack: axis 3 is out of range for a tensor of rank 2, f32\[2\]"),
    Mistake("unfold axis", lambda: mg.unfold(x((2, 3)), (2,), (2,)), mg.ShapeError,
            r"unfold: axis 2 is out of range for a tensor of rank 2, f32\[2,3\]"),
    Mistake("unfold too large a window", lambda: mg.unfold(x(3), (0,), (4,)), mg.ShapeError,
            r"unfold: a window of 4 does not fit the dim 3 of f32\[3\]"),
    Mistake("unfold a named dim", lambda: mg.unfold(x("N"), (0,), (2,)), mg.ShapeError,
            r"unfold: cannot take windows along the named dim 'N' of f32\[N\]"),
    Mistake("transpose", lambda: mg.transpose(x((2, 3)), (0, 0)), mg.ShapeError,
            r"transpose: axes \(0, 0\) are no permutation of the 2 axes of f32\[2,3\]"),
    Mistake("reshape", lambda: mg.reshape(x((2, 3)), (4, 2)), mg.ShapeError,
            r"reshape: cannot reshape f32\[2,3\] to \[4, 2\]: the numbers of elements differ"),
    Mistake("reshape loses a named dim", lambda: mg.reshape(x(("N", 6)), (-1, 2)), mg.ShapeError,
            r"reshape: -1 in \[-1, 2\] cannot be an int for f32\[N,6\]; repeat its named dims"),
    Mistake("reshape two -1", lambda: mg.reshape(x(6), (-1, -1)), mg.ShapeError,
            r"reshape: .*-1"),
    Mistake("matmul", lambda: x((2, 3)) @ y((4, 5)), mg.ShapeError,
            r"matmul: cannot multiply f32\[2,3\] with f32\[4,5\]: 3 against 4"),
    Mistake("matmul of a scalar", lambda: x((2, 3)) @ 2.0, mg.ShapeError,
            r"matmul: f32\[2,3\] with f32\[\]: a scalar has no axis to sum"),
    Mistake("matmul batches", lambda: x((2, 3, 4)) @ y((5, 4, 3)), mg.ShapeError,
            r"matmul: cannot broadcast the leading axes of f32\[2,3,4\] with f32\[5,4,3\]"),
    Mistake("index out of range", lambda: x((2, 3))[2], mg.ShapeError,
            r"slice: index 2 is outside the dim 2 of f32\[2,3\]"),
    Mistake("too many indices", lambda: x((2, 3))[0, 0, 0], mg.ShapeError,
            r"slice: \(0, 0, 0\) has too many entries for f32\[2,3\]"),
    Mistake("slice a named dim", lambda: x(("N", 3))[1:], mg.ShapeError,
            r"slice: cannot slice the named dim 'N' of f32\[N,3\]: its size is unknown"),
    Mistake("index a named dim", lambda: x(("N", 3))[0], mg.ShapeError,
            r"slice: index 0 is outside the dim N of f32\[N,3\]|slice: cannot index the named dim"),
    Mistake("negative step", lambda: x(4)[::-1], mg.ShapeError, r"slice: .*step.*f32\[4\]"),
    Mistake("pad widths", lambda: mg.pad(x((2, 3)), [(1, 1)]), mg.ShapeError,
            r"pad: pad_width needs a \(before, after\) pair for each of the axes of f32\[2,3\]"),
    Mistake("negative pad", lambda: mg.pad(x(2), [(-1, 0)]), mg.ShapeError,
            r"pad: pad_width \(\(-1, 0\),\) is negative; slice instead"),
    Mistake("pad a named dim", lambda: mg.pad(x("N"), [(1, 0)]), mg.ShapeError,
            r"pad: cannot pad the named dim 'N' of f32\[N\]: its size is unknown"),
    Mistake("max of nothing", lambda: mg.max(x((0, 3)), axis=0), mg.ShapeError,
            r"max: cannot reduce a dim of size 0: f32\[0,3\]"),
    Mistake("count of too few", lambda: mg.count(x((1, 3)), 0, at_least=2), mg.ShapeError,
            r"count: needs at least 2 elements to reduce, \[1, 3\] has 1"),
    Mistake("negative dim", lambda: mg.input("x", (2, -3)), mg.ShapeError,
            r"input: dim -3 of shape \(2, -3\) is negative"),
    Mistake("bad dim name", lambda: mg.input("x", ("batch size",)), mg.ShapeError,
            r"input: dim 'batch size' of shape \('batch size',\) is not a name such as 'N'"),
    Mistake("float dim", lambda: mg.input("x", (2.5,)), mg.ShapeError,
            r"input: dim 2.5 of shape \(2.5,\) is neither an int nor a name"),
    Mistake("random shape", lambda: mg.random_uniform(0, (-2,)), mg.ShapeError,
            r"random_uniform: dim -2 of shape \(-2,\) is negative"),
    Mistake("parameter without shape", lambda: mg.parameter("w", nn.initializers.zeros),
            mg.ShapeError, r"parameter: 'w' has an initialiser, so it needs a shape"),
    Mistake("parameter with a named dim", lambda: mg.parameter("w", 0.0, ("N",)), mg.ShapeError,
            r"parameter: 'w' has a named dim in \('N',\); it must be ints"),
    Mistake("parameter numbers and shape", lambda: mg.parameter("w", [1.0, 2.0], (3,)),
            mg.ShapeError, r"parameter: .*'w'.*\[2\].*\[3\]"),
    Mistake("initialiser of wrong shape",
            lambda: run(mg.parameter("w", lambda rng, shape, dtype: np.zeros(2), (3,))),
            mg.ShapeError, r"block/w: its initialiser gave shape \[2\], the parameter has \[3\]"),
    Mistake("penalty of a vector", lambda: mg.penalized(x(2), y(2)), mg.ShapeError,
            r"penalized: a penalty is a scalar, not f32\[2\]"),
    Mistake("at_inference type", lambda: mg.at_inference(x(2), y(3)), mg.ShapeError,
            r"at_inference: f32\[3\] cannot replace f32\[2\]"),
    Mistake("track shape", lambda: mg.track(mg.mean(x((2, 3)), 0), mg.state("m", [0.0] * 2), y(2)),
            mg.ShapeError, r"track: .*f32\[2\].*f32\[3\]"),
    Mistake("conv2d rank", lambda: mg.conv2d(x((3, 8, 8)), y((4, 3, 3, 3))), mg.ShapeError,
            r"conv2d: needs x \[N,C,H,W\] and weight \[O,C,kh,kw\], not f32\[3,8,8\]"),
    Mistake("conv2d channels", lambda: mg.conv2d(x((1, 2, 8, 8)), y((4, 3, 3, 3))), mg.ShapeError,
            r"conv2d: weight f32\[4,3,3,3\] with groups=1 does not fit 2 channels"),
    Mistake("pool rank", lambda: mg.max_pool2d(x((8, 8)), 2), mg.ShapeError,
            r"pool2d: needs \[N,C,H,W\], not f32\[8,8\]"),
    Mistake("layer of an unknown size", lambda: nn.Linear(4)(x((2, "C"))), mg.ShapeError,
            r"Linear: needs a known size along axis -1, was given f32\[2,C\]"),
    Mistake("layer used with another size",
            lambda: [layer(n) for layer in [nn.Linear(4)] for n in (x((2, 3)), y((2, 5)))],
            mg.ShapeError, r"Linear: needs 3 along axis -1, was given f32\[2,5\]"),
    Mistake("batch norm of another size", lambda: nn.BatchNorm(4)(x(("N", 3))), mg.ShapeError,
            r"BatchNorm: needs 4 along axis -1, was given f32\[N,3\]"),
]  # fmt: skip

DTYPES = [
    Mistake("constant of a string", lambda: mg.constant("one"), mg.DTypeError,
            r"constant: 'one' is not made of numbers"),
    Mistake("ragged list", lambda: mg.constant([[1.0], [1.0, 2.0]]), mg.DTypeError,
            r"constant: \[\[1.0\], \[1.0, 2.0\]\] is not made of numbers"),
    Mistake("operand None", lambda: x(2) + None, mg.DTypeError,
            r"constant: None is not made of numbers"),
    Mistake("input dtype", lambda: x(2, dtype="complex64"), mg.DTypeError,
            r"input: dtype complex64 is not supported; use one of bool, int32, int64, float16"),
    Mistake("no dtype", lambda: x(2, dtype="real"), mg.DTypeError,
            r"input: 'real' is not a dtype; use one of bool, int32"),
    Mistake("cast to an unsupported dtype", lambda: mg.cast(x(2), "uint8"), mg.DTypeError,
            r"cast: dtype uint8 is not supported; use one of bool, int32"),
    Mistake("random dtype", lambda: mg.random_uniform(0, 2, dtype="complex64"), mg.DTypeError,
            r"random_uniform: dtype complex64 is not supported"),
    Mistake("bool subtraction", lambda: x(2, dtype="bool") - y(2, dtype="bool"), mg.DTypeError,
            r"sub: has no meaning for bool\[2\]; cast it, or use mg.where"),
    Mistake("where condition", lambda: mg.where(x(2), 1.0, 0.0), mg.DTypeError,
            r"where: the condition must be bool, not f32\[2\]"),
    Mistake("float indices", lambda: mg.take(x(2), y(1)), mg.DTypeError,
            r"take: indices must be ints, not f32\[1\]"),
    Mistake("index by text", lambda: x(2)["a"], mg.DTypeError,
            r"slice: 'a' is no int, slice, None or \.\.\."),
    Mistake("random counter", lambda: mg.random_uniform(x(), 2), mg.DTypeError,
            r"random_uniform: the counter must be i64\[\], not f32\[\]"),
    Mistake("labels that are floats", lambda: mg.cross_entropy(x(("N", 3)), y("N")), mg.DTypeError,
            r"cross_entropy: .*f32\[N\]"),
]  # fmt: skip

GRADIENTS = [
    Mistake("non-scalar without ct", lambda: mg.grad(*[x(3)] * 2), mg.GradientError,
            r"grad: the output <input 'x' f32\[3\] in block> is not a scalar; give ct"),
    Mistake("unconnected", lambda: mg.grad(mg.sum(x(2)), y(2)), mg.GradientError,
            r"grad: <input 'y' f32\[2\] in block> has no gradient: the output does not depend"),
    Mistake("through argmax", lambda: gradient(x(3), lambda n: mg.cast(mg.argmax(n), "float32")),
            mg.GradientError, r"grad: .* has no gradient: .*argmax"),
    Mistake("through stop_gradient", lambda: gradient(x(3), lambda n: mg.sum(mg.stop_gradient(n))),
            mg.GradientError, r"grad: .* no gradient flows through stop_gradient"),
    Mistake("integer wrt", lambda: mg.grad(mg.mean(x(2)), y(2, dtype="int64")),
            mg.GradientError, r"grad: <input 'y' i64\[2\] in block> holds no floats"),
    Mistake("integer output", lambda: mg.grad(mg.sum(x(2, dtype="int64")), y(2)),
            mg.GradientError, r"grad: the output <sum i64\[\] in block> is not a float"),
    Mistake("ct of a wrong shape", lambda: mg.grad(x(2), x(2), ct=[1.0, 2.0, 3.0]),
            mg.GradientError, r"grad: ct is f32\[3\], the output is f32\[2\]"),
    Mistake("ct of a wrong dtype", lambda: mg.grad(x(2), x(2), ct=y(2, dtype="float64")),
            mg.GradientError, r"grad: ct is f64\[2\], the output is f32\[2\]; cast ct"),
    Mistake("number of cotangents", lambda: mg.vjp([x(2)], [x(2)], [1.0, 2.0]),
            mg.GradientError, r"grad: 2 cotangents for 1 outputs"),
    Mistake("number of tangents", lambda: mg.jvp([x(2)], [x(2)], []),
            mg.GradientError, r"jvp: 0 tangents for 1 nodes"),
    Mistake("wrt no node", lambda: mg.grad(mg.sum(x(2)), ["x"]), mg.GradientError,
            r"grad: 'x' is no node"),
]  # fmt: skip

FEEDS = [
    Mistake("missing feed", lambda: run(x(("N", 64)) * 2.0), mg.FeedError,
            r"input 'x' needs f32\[N,64\], was not fed"),
    Mistake("unknown feed", lambda: run(x(2), z=[1.0]), mg.FeedError,
            r"feed: nothing is called 'z'; there is x", located=False),
    Mistake("feed of a wrong shape", lambda: run(x(("N", 2)), x=np.zeros((3, 4))), mg.FeedError,
            r"input 'x' needs f32\[N,2\], was fed \[3, 4\]"),
    Mistake("feed of a wrong rank", lambda: run(x(("N", 2)), x=[1.0, 2.0]), mg.FeedError,
            r"input 'x' needs f32\[N,2\], was fed \[2\]"),
    Mistake("feed of a wrong dtype", lambda: run(x(2, dtype="int64"), x=[0.5, 1.0]), mg.FeedError,
            r"input 'x' needs i64\[2\], was fed float64; cast it yourself"),
    Mistake("feed of text", lambda: run(x(2), x=["a", "b"]), mg.FeedError,
            r"input 'x' needs f32\[2\], was fed list"),
    Mistake("feed of a node", lambda: run(x(2), x=mg.constant([1.0, 2.0])), mg.FeedError,
            r"input 'x' was fed the node <constant f32\[2\] in block>; evaluate it first"),
    Mistake("ragged feed", lambda: run(x(2), x=[[1.0], [1.0, 2.0]]), mg.FeedError,
            r"input 'x' needs f32\[2\], was fed list"),
    Mistake("one dim bound to two sizes",
            lambda: run([x("N"), y("N")], x=[1.0, 2.0], y=[1.0, 2.0, 3.0]), mg.FeedError,
            r"input 'y' needs f32\[N\] with N=2, was fed \[3\]"),
    Mistake("NaN feed", lambda: mg.evaluate(x(2) * 2, {"x": [1.0, np.nan]}, check_finite=True),
            mg.NonFiniteError,
            r"input 'x': 1 of 2 elements of f32\[2\] are not finite, first NaN"),
    Mistake("first infinity",
            lambda: mg.evaluate(mg.exp(mg.log(x(2))), {"x": [1.0, 0.0]}, check_finite=True),
            mg.NonFiniteError,
            r"log: 1 of 2 elements of f32\[2\] are not finite, first infinity"),
    Mistake("index out of range at run time", lambda: run(mg.take([1.0, 2.0], 2 + x(dtype="int64")),
            x=0), mg.GraphError, r"take: index 2 is out of bounds .* while computing f32\[\]"),
    Mistake("random dim of an unknown size",
            lambda: run(mg.random_uniform(0, ("N",))), mg.GraphError,
            r"random_uniform: the size of dim 'N' is not known from what was fed"),
    Mistake("missing state", lambda: mg.compile(mg.Graph([], mg.state("m", 0.0) + 1))({}),
            mg.FeedError, r"the state has no 'block/m', f32\[\]; see init_state\(\)"),
    Mistake("state of a wrong shape",
            lambda: mg.compile(mg.Graph([], mg.state("m", 0.0) + 1))({"block/m": [1.0]}),
            mg.FeedError, r"state 'block/m' needs f32\[\], was fed \[1\]"),
    Mistake("executable without an input",
            lambda: mg.compile(mg.Graph([], x(2) + 1))({}), mg.FeedError,
            r"input 'x' needs f32\[2\], was not fed"),
]  # fmt: skip

GRAPHS = [
    Mistake("no outputs", lambda: mg.Graph([x(2)], {}), mg.GraphError,
            r"Graph: no outputs; name at least one node to compute"),
    Mistake("output no node", lambda: mg.Graph([], {"y": 2.0}), mg.GraphError,
            r"Graph: output 'y' is a float, not a Node"),
    Mistake("input no input", lambda: mg.Graph([x(2) * 2], x(2)), mg.GraphError,
            r"Graph: <mul f32\[2\] in block> is not an input; make one with mg.input"),
    Mistake("undeclared input", lambda: mg.Graph([y(2)], x(2) + 1), mg.GraphError,
            r"Graph: the outputs need input 'x', which is not among the inputs"),
    Mistake("duplicate name", lambda: mg.Graph([], x(2) + x(2)), mg.GraphError,
            r"Graph: two leaves are called 'x', from test_errors.py:\d+ and test_errors.py:\d+; "
            r"give each layer a name of its own, or build it under mg.scope", located=False),
    Mistake("two updates of one state", lambda: [
                mg.Graph([], m + 1, [mg.Update(m, m + 1), mg.Update(m, m + 2)])
                for m in [mg.state("m", 0.0)]
            ], mg.GraphError,
            r"Graph: 'block/m' has two updates"),
    Mistake("update of an input", lambda: mg.Update(x(), y()), mg.GraphError,
            r"Update: <input 'x' f32\[\] in block> is no state or parameter, it cannot move"),
    Mistake("update of another type", lambda: mg.Update(mg.state("m", 0.0), y(2)), mg.GraphError,
            r"Update: block/m is f32\[\], its next value is f32\[2\]"),
    Mistake("leaf without a name", lambda: mg.input(""), mg.GraphError,
            r"a leaf's name must be text, not ''"),
    Mistake("constant of a node", lambda: mg.constant(x(2)), mg.GraphError,
            r"constant: <input 'x' f32\[2\] in block> is already a node"),
    Mistake("parameter from a node", lambda: mg.parameter("w", x(2)), mg.GraphError,
            r"parameter: the start of 'w' is <input 'x' f32\[2\] in block>, not numbers"),
    Mistake("dropout rate", lambda: mg.dropout(x(2), 1.0, mg.Generator()), mg.GraphError,
            r"dropout: rate 1.0 is not in \[0, 1\)"),
    Mistake("truth value", lambda: 1 if x(2) > 0 else 0, TypeError,
            r"<less bool\[2\] in block> has no truth value: it is a node, not a number; use mg.wh"),
    Mistake("iteration", lambda: list(x(2)), TypeError,
            r"<input 'x' f32\[2\] in block> cannot be iterated; index it"),
    Mistake("region", lambda: mg.Graph([], x(2) + 1).region("bn1"), mg.RegionError,
            r"no scope 'bn1'; this graph has block", located=False),
    Mistake("empty scope", lambda: mg.scope("a//b").__enter__(), mg.GraphError,
            r"scope name 'a//b' must be text without empty parts, such as 'bn1'"),
    Mistake("backend", lambda: mg.compile(mg.Graph([], x(2) + 1), backend="cuda"), mg.GraphError,
            r"compile: no backend 'cuda'; there is .*interpreter", located=False),
    Mistake("inference output", lambda: mg.to_inference(mg.Graph([], {"y": x(2)}), ["logits"]),
            mg.GraphError, r"to_inference: no output 'logits'; there is y", located=False),
    Mistake("scalarize a named dim", lambda: mg.scalarize(mg.Graph([], x("N") + 1)), mg.GraphError,
            r"scalarize: <input 'x' f32\[N\] in block> has a named dim; build the graph with"),
    Mistake("scalarize random numbers",
            lambda: mg.scalarize(mg.Graph([], mg.random_uniform(0, 2))), mg.GraphError,
            r"scalarize: random_uniform has no scalar form"),
    Mistake("render suffix", lambda: mg.render(x(2) * 2, "graph.jpeg"), mg.GraphError,
            r"render: 'graph.jpeg' ends in .jpeg; use one of .svg, .png", located=False),
    Mistake("render into no folder", lambda: mg.render(x(2) * 2, "no_such_folder/graph.dot"),
            mg.GraphError, r"render: cannot write no_such_folder.graph.dot: No such file",
            located=False),
    Mistake("render a region", lambda: mg.render(x(2) * 2, region="bn1"), mg.RegionError,
            r"no scope 'bn1'; this graph has block", located=False),
    Mistake("checkpoint that is not there", lambda: mg.load("no_such.safetensors"),
            mg.CheckpointError, r"no_such.safetensors: there is no such checkpoint", located=False),
    Mistake("checkpoint into no folder", lambda: mg.save("no_such_folder/a", {"w": 1.0}),
            mg.CheckpointError, r"no_such_folder/a: cannot be written: No such file",
            located=False),
]  # fmt: skip

MISTAKES = [*SHAPES, *DTYPES, *GRADIENTS, *FEEDS, *GRAPHS]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda row: row.name.replace(" ", "-"))
def test_message(mistake: Mistake) -> None:
    with mg.scope("block"), pytest.raises(mistake.error) as caught:
        mistake.do()
    message = str(caught.value)
    assert re.match(mistake.message, message), message
    if mistake.located:
        place = re.search(r" \(in block, test_errors\.py:(\d+)\)$", message)
        assert place, message
        assert int(place[1]) in lines_of(mistake.do.__code__), message


def lines_of(code: CodeType) -> set[int]:
    """The lines of a function and of the functions inside it."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    own = {line for _, _, line in code.co_lines() if line is not None}
    return own.union(*map(lines_of, inner))


def test_every_error_of_the_package_is_provoked() -> None:
    from minigrad.ir import errors

    types = {e for e in vars(errors).values() if isinstance(e, type)} - {errors.GraphError}
    assert types <= {mistake.error for mistake in MISTAKES}


def test_a_corrupt_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    mg.save(path, {"w": np.arange(100.0)})
    whole = path.read_bytes()
    for damaged in (whole[:-5], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(mg.CheckpointError, match=r"run\.safetensors: (not a sound|damaged)"):
            mg.load(path)


def test_a_checkpoint_of_another_graph_lists_the_differences(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    mg.save(path, {"v": np.zeros(2, np.float32), "w": np.zeros(3, np.float32)})
    weights = mg.parameter("w", [0.0, 0.0]) + mg.parameter("b", 0.0)
    with pytest.raises(mg.CheckpointError) as caught:
        mg.load(path, mg.Graph([], weights))
    assert "missing: b f32[]" in str(caught.value)
    assert "too much: v f32[2]" in str(caught.value)
    assert "of another type: w is f32[3], the graph has f32[2]" in str(caught.value)


def here() -> int:
    return sys._getframe(1).f_lineno


def lines(nodes: Any) -> set[str]:
    return {node.line for node in nodes}


def test_a_layer_names_the_line_of_its_call() -> None:
    layer = nn.Sequential(nn.Linear(4, name="fc"), nn.BatchNorm(4, name="bn"), nn.Dropout(0.5))
    image = x(("N", 3))
    out, line = layer(image), here()
    made = [node for node in mg.Graph([], mg.relu(out)).nodes if node.scope.path]
    assert len(made) > 8
    assert lines(made) == {f"test_errors.py:{line}"}


def test_a_gradient_has_the_line_of_its_forward_node() -> None:
    out, line = mg.sum(mg.tanh(x(3)) ** 2), here()
    (dx,) = mg.grad(out, mg.Graph([], out).inputs)
    assert lines(mg.Graph([], dx).nodes) == {f"test_errors.py:{line}"}


def test_an_error_inside_a_layer_names_the_line_of_the_call() -> None:
    layers = nn.Sequential(nn.Linear(4, name="fc1"), nn.BatchNorm(5, name="bn1"))
    with pytest.raises(mg.ShapeError) as caught:
        layers(x(("N", 3)))
    line = here() - 1
    assert str(caught.value).endswith(f"was given f32[N,4] (in bn1, test_errors.py:{line})")


def test_an_error_at_run_time_names_the_line_that_built_the_node() -> None:
    numbers = mg.input("numbers", 2)
    with mg.scope("bn1"):
        inverse, line = 1 / numbers, here()
    ready = mg.compile(mg.Graph([numbers], mg.sqrt(inverse)))
    with pytest.raises(mg.NonFiniteError, match=rf"div: 1 .* \(in bn1, test_errors.py:{line}\)"):
        ready({}, numbers=[1.0, 0.0], check_finite=True)
