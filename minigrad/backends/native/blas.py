"""Matrix products: the BLAS that scipy brings, called by our own threads, each on its share.

`scipy.linalg.cython_blas` exports C pointers. Only that extension module is loaded, not all of
scipy.linalg, and its threads are turned off, since BLAS threads that spin after a product starve
every other pool.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

_WRAPPER = """
@NO = private constant [1 x i8] c"N"
@YES = private constant [1 x i8] c"T"
declare void @minigrad_{blas}(ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr, ptr)

define internal void @gemm_{kind}(ptr %a, ptr %b, ptr %c, i64 %m, i64 %n, i64 %k,
    i64 %lda, i64 %ldb, i64 %ldc, i1 %ta, i1 %tb, i1 %add) {{
entry:
  %ints = alloca [6 x i32]
  %floats = alloca [2 x {type}]
  %rows = icmp sgt i64 %m, 0
  %columns = icmp sgt i64 %n, 0
  %work = and i1 %rows, %columns
  br i1 %work, label %go, label %end
go:
{stores}
  %beta = getelementptr {type}, ptr %floats, i64 1
  store {type} 1.0, ptr %floats
  %keep = select i1 %add, {type} 1.0, {type} 0.0
  store {type} %keep, ptr %beta
  %opa = select i1 %ta, ptr @YES, ptr @NO
  %opb = select i1 %tb, ptr @YES, ptr @NO
  call void @minigrad_{blas}(ptr %opb, ptr %opa, ptr %p.n, ptr %p.m, ptr %p.k, ptr %floats,
    ptr %b, ptr %p.ldb, ptr %a, ptr %p.lda, ptr %beta, ptr %c, ptr %p.ldc)
  br label %end
end:
  ret void
}}
"""

GEMM = (
    "ptr", "ptr", "ptr", "index", "index", "index", "index", "index", "index",
    "bool", "bool", "bool",
)  # fmt: skip
_BLAS = {"f32": ("sgemm", "float"), "f64": ("dgemm", "double")}


def wrapper(kind: str) -> str:
    """The assembly of ``gemm_f32`` or ``gemm_f64``: C-ordered ``c = a @ b`` (+ c)."""
    blas, type_ = _BLAS[kind]
    lines = []
    for position, name in enumerate(("m", "n", "k", "lda", "ldb", "ldc")):
        lines += [
            f"  %i.{name} = trunc i64 %{name} to i32",
            f"  %p.{name} = getelementptr i32, ptr %ints, i64 {position}",
            f"  store i32 %i.{name}, ptr %p.{name}",
        ]
    return _WRAPPER.format(blas=blas, kind=kind, type=type_, stores="\n".join(lines))


@cache
def symbols() -> dict[str, int]:
    """Addresses of the products, by the name that the assembly calls."""
    table = _module().__pyx_capi__
    _one_thread()
    return {f"minigrad_{name}": _address(table[name]) for name, _ in _BLAS.values()}


def _module() -> Any:
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.find_spec("scipy")
    assert found is not None
    assert found.origin is not None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(found.origin).parent / "linalg" / f"cython_blas{suffix}"
        if path.exists():
            loader = importlib.machinery.ExtensionFileLoader("cython_blas", str(path))
            spec = importlib.util.spec_from_loader("cython_blas", loader)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            return module
    return importlib.import_module(name)


def _address(capsule: Any) -> int:
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    found: int = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return found


def _one_thread() -> None:
    """Our threads call BLAS side by side; scipy's copy of it must not start its own."""
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().lib_controllers:
        if library.user_api == "blas" and "numpy" not in library.filepath:
            library.set_num_threads(1)
