"""Functions of kernels, written in the kernel language itself so that they vectorise.

Single precision follows the Cephes library (S. Moshier, 1992): argument reduction and a minimax
polynomial, within 2 units in the last place. Double precision calls the C library.
"""

from __future__ import annotations

import re

_EXP = """
def exp_f32(x: f32) -> f32:
    z = x if x < 110.0 else 110.0
    z = z if z > -110.0 else -110.0
    n = rint(z * 1.44269504088896341)
    r = (z - n * 0.693359375) - n * -2.12194440e-4
    p = 1.9875691500e-4 * r + 1.3981999507e-3
    p = p * r + 8.3334519073e-3
    p = p * r + 4.1665795894e-2
    p = p * r + 1.6666665459e-1
    p = p * r + 5.0000001201e-1
    y = (p * r * r + r) + 1.0
    half = floor(n * 0.5)
    y = y * bits_f32((i32(half) + 127) << 23)
    y = y * bits_f32((i32(n - half) + 127) << 23)
    return x if x != x else y
"""

_LOG = """
def log_f32(x: f32) -> f32:
    tiny = x < 1.17549435e-38
    s = x * 8388608.0 if tiny else x
    b = bits_i32(s)
    e = f32((b >> 23) - 126) - (23.0 if tiny else 0.0)
    m = bits_f32((b & 8388607) | 1056964608)
    low = m < 0.707106781186547524
    e = e - 1.0 if low else e
    m = m + m - 1.0 if low else m - 1.0
    z = m * m
    p = 7.0376836292e-2 * m - 1.1514610310e-1
    p = p * m + 1.1676998740e-1
    p = p * m - 1.2420140846e-1
    p = p * m + 1.4249322787e-1
    p = p * m - 1.6668057665e-1
    p = p * m + 2.0000714765e-1
    p = p * m - 2.4999993993e-1
    p = p * m + 3.3333331174e-1
    y = p * m * z + e * -2.12194440e-4
    y = m + (y - 0.5 * z) + e * 0.693359375
    y = y if x < inf else x
    y = y if x > 0.0 else nan
    y = y if x != 0.0 else -inf
    return x if x != x else y
"""

_LOG1P = """
def log1p_f32(x: f32) -> f32:
    u = 1.0 + x
    d = u - 1.0
    y = log(u) * (x / d)
    y = x if d == 0.0 else y
    return x if x == inf else y
"""

_TANH = """
def tanh_f32(x: f32) -> f32:
    a = fabs(x)
    z = x * x
    p = -5.70498872745e-3 * z + 2.06390887954e-2
    p = p * z - 5.37397155531e-2
    p = p * z + 1.33314422036e-1
    p = p * z - 3.33332819422e-1
    big = 1.0 - 2.0 / (exp(a + a) + 1.0)
    big = -big if x < 0.0 else big
    small = x if z == 0.0 else p * z * x + x
    return small if a < 0.625 else big
"""

_CHOICE = """
def maximum_{t}(x: {t}, y: {t}) -> {t}:
    return x if x > y or x != x else y
"""

_SMALLEST = """
def minimum_{t}(x: {t}, y: {t}) -> {t}:
    return x if x < y or x != x else y
"""

_SIGN = """
def sign_{t}(x: {t}) -> {t}:
    s = {t}(x > 0) - {t}(x < 0)
    return x if x != x else s
"""

_ABS_INT = """
def abs_{t}(x: {t}) -> {t}:
    return -x if x < 0 else x
"""

_ABS = """
def abs_{t}(x: {t}) -> {t}:
    return fabs(x)
"""


_CLAMP = """
def clamp(i: index, last: index) -> index:
    low = i if i > 0 else 0
    return low if low < last else last
"""

_LESSER = """
def lesser(i: index, j: index) -> index:
    return i if i < j else j
"""


def _threefry() -> str:
    """Threefry-2x32-20, unrolled; see `minigrad.primitives.index.threefry`."""
    lines = ["", "def threefry(element: u32, counter: u32, k0: u32, k1: u32) -> u32:"]
    lines += ["    k2 = k0 ^ k1 ^ 466688986", "    a = element + k0", "    b = counter + k1"]
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    for group in range(5):
        for r in rotations[group % 2]:
            lines += ["    a = a + b", f"    b = (b << {r}) | (b >> {32 - r})", "    b = b ^ a"]
        lines.append(f"    a = a + k{(group + 1) % 3}")
        lines.append(f"    b = b + k{(group + 2) % 3} + {group + 1}")
    return "\n".join([*lines, "    return a", ""])


def _table() -> dict[str, str]:
    table = {
        "exp_f32": _EXP, "log_f32": _LOG, "log1p_f32": _LOG1P, "tanh_f32": _TANH,
        "threefry": _threefry(), "clamp": _CLAMP, "lesser": _LESSER,
    }  # fmt: skip
    for kind in ("f16", "f32", "f64", "i32", "i64", "bool"):
        if kind not in ("f32", "f64"):  # those are instructions
            table[f"maximum_{kind}"] = _CHOICE.format(t=kind)
            table[f"minimum_{kind}"] = _SMALLEST.format(t=kind)
        if kind != "bool":
            table[f"sign_{kind}"] = _SIGN.format(t=kind)
            table[f"abs_{kind}"] = (_ABS if kind[0] == "f" else _ABS_INT).format(t=kind)
    return table


FUNCTIONS = _table()
_NEEDS = {"log1p_f32": ["log_f32"], "tanh_f32": ["exp_f32"]}
_CALL = re.compile(r"\b([a-z0-9]+)\(")


def with_library(text: str) -> str:
    """``text`` and, before it, the functions that it may call, of every type."""
    called = set(_CALL.findall(text))
    wanted: dict[str, None] = {}
    kinds = [k for k in ("f16", "f32", "f64", "i32", "i64", "bool") if k in text]
    kinds += ["f32"] if "f16" in kinds else []
    for name in FUNCTIONS:
        root, _, kind = name.partition("_")
        if root in called and (not kind or kind in kinds):
            wanted.update(dict.fromkeys([*_NEEDS.get(name, []), name]))
    return "".join(FUNCTIONS[name] for name in wanted) + text
