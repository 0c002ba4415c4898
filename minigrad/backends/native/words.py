"""The words of the kernel language: its types, and what each operator is to LLVM."""

from __future__ import annotations

import ast
import struct
from typing import Any, TypeAlias

import numpy as np

# type of the language -> type of LLVM
LLVM = {
    "f16": "half", "f32": "float", "f64": "double",
    "bool": "i1", "i32": "i32", "i64": "i64", "u32": "i32", "index": "i64",
}  # fmt: skip
STORED = {"bool": "i8"}  # what lies in memory
RANK = {"bool": 0, "u32": 1, "i32": 1, "index": 2, "i64": 3, "f16": 4, "f32": 5, "f64": 6}
FLOATS = ("f16", "f32", "f64")

Value: TypeAlias = "tuple[str | int | float | bool, str]"  # text and type; type "" for a number

INTRINSICS = {
    "sqrt": "sqrt", "fabs": "fabs", "floor": "floor", "rint": "rint",
    "maximum": "maximum", "minimum": "minimum",
}  # fmt: skip
LIBM = ("exp", "log", "log1p", "tanh", "erf", "pow")


class KernelError(Exception):
    """The kernel's text is not of the language: a defect of the compiler, not of the user."""


PREDICATES: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_FLOAT_OPS: dict[type[ast.operator], str] = {
    ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv",
}  # fmt: skip
_INT_OPS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "sdiv", ast.Mod: "srem",
    ast.LShift: "shl", ast.RShift: "lshr", ast.BitOr: "or", ast.BitAnd: "and", ast.BitXor: "xor",
}  # fmt: skip
_BOOL_OPS: dict[type[ast.operator], str] = {
    ast.Add: "or", ast.Mult: "and", ast.BitOr: "or", ast.BitAnd: "and",
}  # fmt: skip


def number(value: Any, kind: str) -> str:
    """A Python number as a constant of LLVM."""
    if kind == "bool":
        return "true" if value else "false"
    if kind not in FLOATS:
        return str(int(value))
    if kind == "f16":
        return f"0xH{np.float16(value).view(np.uint16):04X}"
    if kind == "f32":
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    return f"0x{struct.unpack('<Q', struct.pack('<d', float(value)))[0]:016X}"


def opcode(op: ast.operator, kind: str) -> str:
    table = _FLOAT_OPS if kind in FLOATS else _BOOL_OPS if kind == "bool" else _INT_OPS
    if type(op) not in table:
        raise KernelError(f"{type(op).__name__} on {kind}")
    word = table[type(op)]
    if kind in FLOATS:
        # A product rounded once and subtracted from itself rounded twice would not be zero.
        return word if word == "fsub" else f"{word} contract"
    return f"{word} nsw" if kind == "index" and word in ("add", "sub", "mul") else word


def folded(op: ast.operator, x: Any, y: Any) -> Any:
    code = ast.Expression(ast.BinOp(ast.Constant(x), op, ast.Constant(y)))
    return eval(compile(ast.fix_missing_locations(code), "<kernel>", "eval"))


def conversion(have: str, kind: str) -> str:
    if have in FLOATS:
        if kind in FLOATS:
            return "fpext" if RANK[kind] > RANK[have] else "fptrunc"
        return "fptosi"
    if kind in FLOATS:
        return "uitofp" if have in ("bool", "u32") else "sitofp"
    return "trunc" if RANK[kind] < RANK[have] else "zext" if have in ("bool", "u32") else "sext"


def parameter(kind: str) -> str:
    return "ptr" if kind.startswith("ptr") else LLVM[kind]
