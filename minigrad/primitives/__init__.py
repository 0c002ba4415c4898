"""The primitives: rows, and the public function of each. `PRIMITIVES` is the whole table."""

from ..ir import OPERATORS, Primitive
from . import elementwise, index, leaf, linear, marker, reduce, shape, window
from .elementwise import (
    abs,
    add,
    cast,
    div,
    equal,
    erf,
    exp,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    sign,
    sqrt,
    stop_gradient,
    sub,
    tanh,
    where,
)
from .index import random_uniform, take
from .leaf import (
    Initializer,
    Operand,
    as_node,
    constant,
    floating,
    initial_value,
    input,
    parameter,
    same_dtype,
    state,
)
from .linear import matmul
from .marker import advance, at_inference, penalized, track
from .reduce import argmax, count, max, mean, min, reduced_shape, sum
from .shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    getitem,
    pad,
    reshape,
    squeeze,
    stack,
    transpose,
)
from .window import unfold

PRIMITIVES: dict[str, Primitive] = {
    row.name: row
    for module in (leaf, elementwise, reduce, shape, window, linear, index, marker)
    for row in vars(module).values()
    if isinstance(row, Primitive)
}

OPERATORS.update(
    abs=abs,
    add=add,
    div=div,
    getitem=getitem,
    less=less,
    less_equal=less_equal,
    matmul=matmul,
    mul=mul,
    neg=neg,
    pow=pow,
    sub=sub,
    transpose=transpose,
)

__all__ = [
    "PRIMITIVES",
    "Initializer",
    "Operand",
    "abs",
    "add",
    "advance",
    "argmax",
    "as_node",
    "at_inference",
    "broadcast_to",
    "cast",
    "concatenate",
    "constant",
    "count",
    "div",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "floating",
    "getitem",
    "initial_value",
    "input",
    "less",
    "less_equal",
    "log",
    "log1p",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mul",
    "neg",
    "pad",
    "parameter",
    "penalized",
    "pow",
    "random_uniform",
    "reduced_shape",
    "reshape",
    "same_dtype",
    "sign",
    "sqrt",
    "squeeze",
    "stack",
    "state",
    "stop_gradient",
    "sub",
    "sum",
    "take",
    "tanh",
    "track",
    "transpose",
    "unfold",
    "where",
]
