"""Every row's type rule refuses what does not fit: it names the op, the types and the line."""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad.primitives import PRIMITIVES
from minigrad.primitives.index import SCATTER_ADD, TAKE
from minigrad.primitives.reduce import COUNT
from minigrad.primitives.shape import PAD, SLICE

FOLD, RESHAPE = PRIMITIVES["fold"], PRIMITIVES["reshape"]


def f(*shape, dtype="float32"):
    return mg.input("x", shape, dtype)


def i(*shape):
    return f(*shape, dtype="int64")


def b(*shape):
    return f(*shape, dtype="bool")


SHAPES = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "less", "less_equal"]
FLOATS = ["sqrt", "exp", "log", "log1p", "tanh", "erf"]
SIGNED = ["neg", "abs", "sign"]
WINDOW = {"axis": (1,), "window": (2,), "stride": (1,), "dilation": (1,)}

CASES = [
    *[(n, getattr(mg, n), (f(2, 3), f(2)), "broadcast f32[2,3] with f32[2]") for n in SHAPES],
    *[(n, getattr(mg, n), (f("N"), f(3)), "broadcast f32[N] with f32[3]") for n in SHAPES],
    *[(n, PRIMITIVES[n], (f(2), i(2)), "different dtypes") for n in ("add", "equal", "maximum")],
    *[(n, PRIMITIVES[n], (i(2),) * k, "needs a float, not i64[2]")
      for n, k in [*((n, 1) for n in FLOATS), ("div", 2), ("pow", 2)]],
    *[(n, getattr(mg, n), (b(2),), "has no meaning for bool[2]") for n in SIGNED],
    ("sub", mg.sub, (b(2), b(2)), "has no meaning for bool[2]"),
    ("where", mg.where, (f(2), f(2), f(2)), "the condition must be bool, not f32[2]"),
    ("where", mg.where, (b(2), f(3), f(3)), "cannot broadcast"),
    ("where", PRIMITIVES["where"], (b(2), f(2), i(2)), "different dtypes"),
    ("cast", lambda x: mg.cast(x, "complex64"), (f(2),), "complex64 is not supported"),
    ("sum", lambda x: mg.sum(x, axis=2), (f(2, 3),), "axis 2 is out of range"),
    ("sum", lambda x: mg.sum(x, axis=(0, -2)), (f(2, 3),), "names a dim twice"),
    ("sum", lambda x: mg.sum(x, axis=1.0), (f(2, 3),), "axis"),
    ("mean", lambda x: mg.mean(x, axis=-3), (f(2, 3),), "axis -3 is out of range"),
    ("mean", lambda x: PRIMITIVES["mean"](x, axis=(0,), keepdims=False), (i(2),), "needs a float"),
    ("max", lambda x: mg.max(x, axis=0), (f(0, 3),), "cannot reduce a dim of size 0"),
    ("argmax", lambda x: mg.argmax(x, axis=2), (f(2, 3),), "axis 2 is out of range"),
    ("argmax", lambda x: mg.argmax(x, axis=0), (f(0, 3),), "size 0"),
    ("count", lambda x: COUNT(x, axis=(3,)), (f("N"),), "axis 3 is out of range"),
    ("reshape", lambda x: mg.reshape(x, (4, 2)), (f(2, 3),), "cannot reshape f32[2,3] to [4, 2]"),
    ("reshape", lambda x: mg.reshape(x, (-1, 4)), (f(2, 3),), "-1 in"),
    ("reshape", lambda x: mg.reshape(x, ("M", 2)), (f("N", 2),), "cannot reshape"),
    ("transpose", lambda x: mg.transpose(x, (0, 0)), (f(2, 3),), "are no permutation"),
    ("transpose", lambda x: mg.transpose(x, (0,)), (f(2, 3),), "are no permutation"),
    ("broadcast_to", lambda x: mg.broadcast_to(x, (3,)), (f(2),), "cannot broadcast f32[2] to [3]"),
    ("broadcast_to", lambda x: mg.broadcast_to(x, (1,)), (f(2),), "cannot broadcast f32[2] to [1]"),
    ("slice", lambda x: x[3], (f(3),), "index 3 is outside the dim 3"),
    ("slice", lambda x: x[0, 0], (f(3),), "too many entries"),
    ("slice", lambda x: x["a"], (f(3),), "is no int"),
    ("slice", lambda x: x[1:], (f("N"),), "cannot slice the named dim 'N'"),
    ("slice", lambda x: x[::-1], (f(3),), "outside the dim 3"),
    ("slice", lambda x: SLICE(x, start=(0,), stop=(1,), step=(1,)), (f(2, 2),), "entry for each"),
    ("pad", lambda x: mg.pad(x, [(1, -1)]), (f(3),), "is negative"),
    ("pad", lambda x: mg.pad(x, [(1, 1)]), (f("N"),), "cannot pad the named dim 'N'"),
    ("pad", lambda x: PAD(x, pad_width=((1, 1),), interior=(0, 0), value=0.0), (f(3),), "(before"),
    ("concatenate", lambda x, y: mg.concatenate([x, y]), (f(2, 3), f(2, 4)), "cannot join"),
    ("concatenate", lambda x: mg.concatenate([x, x]), (f("N"),), "join along the named dim"),
    ("concatenate", lambda x, y: PRIMITIVES["concatenate"](x, y, axis=0), (f(2), i(2)), "join"),
    ("unfold", lambda x: mg.unfold(x, (0,), (4,)), (f(3),), "a window of 4 does not fit the dim 3"),
    ("unfold", lambda x: mg.unfold(x, (0,), (2,)), (f("N"),), "windows along the named dim 'N'"),
    ("unfold", lambda x: mg.unfold(x, (0,), (0,)), (f(3),), "must be at least 1"),
    ("unfold", lambda x: mg.unfold(x, (1,), (2,)), (f(3),), "axis 1 is out of range"),
    ("fold", lambda x: FOLD(x, size=(9,), **WINDOW), (f(2, 3, 2),), "are not the windows of"),
    ("matmul", mg.matmul, (f(2, 3), f(4, 2)), "cannot multiply f32[2,3] with f32[4,2]"),
    ("matmul", mg.matmul, (f("N", 3), f("M", 2)), "cannot multiply"),
    ("matmul", mg.matmul, (f(2, 2, 3), f(3, 3, 2)), "cannot broadcast the leading axes"),
    ("matmul", mg.matmul, (f(), f(3)), "a scalar has no axis"),
    ("matmul", PRIMITIVES["matmul"], (f(2), f(2, 2)), "needs matrices"),
    ("matmul", PRIMITIVES["matmul"], (f(2, 2), i(2, 2)), "different dtypes"),
    ("take", mg.take, (f(3), f(2)), "indices must be ints, not f32[2]"),
    ("take", lambda x, j: TAKE(x, j, axis=2), (f(3), i(2)), "axis 2 is out of range"),
    ("scatter_add", lambda x, j: SCATTER_ADD(x, j, axis=0, shape=(4, 2)), (f(2, 3), i(2)), "fit"),
    ("random_uniform", lambda c: mg.random_uniform(c, (2,)), (f(),), "the counter must be i64[]"),
]  # fmt: skip

COVERED = {name for name, *_ in CASES}


@pytest.mark.parametrize(
    ("name", "build", "operands", "message"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_misfit_is_an_error_that_names_op_and_line(name, build, operands, message):
    with pytest.raises(mg.GraphError) as caught:
        build(*operands)
    text = str(caught.value)
    assert message in text
    if name != "cast":  # a dtype is refused before there is an op
        assert name in text
        assert "test_errors.py:" in text


def test_the_scope_is_named_too():
    with mg.scope("stage1"), mg.scope("bn1"), pytest.raises(mg.ShapeError, match="in stage1/bn1"):
        mg.add(f(32, 64), f(3))


def test_every_row_that_can_refuse_does():
    never = {"input", "parameter", "state", "constant", "mark", "stop_gradient"}
    assert set(PRIMITIVES) - never == COVERED
