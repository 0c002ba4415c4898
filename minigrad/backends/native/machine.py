"""From LLVM's assembly to addresses: optimise for this processor, keep the object code on disk.

A kernel's key is the hash of its text, of the translator, LLVM's version and the processor: a cache
can be shared by processes and machines: an entry is written under another name and moved into
place, and one that does not load is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

_FORMAT = b"minigrad kernel 1\n"
_TRANSLATION = ("language", "words", "library", "blas", "loaded", "machine", "pool")


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="pic",
        codemodel="small",
    )


@cache
def _version() -> str:
    parts = (
        llvmlite.__version__,
        ".".join(map(str, llvm.llvm_version_info)),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        _translator(),
    )
    return "\n".join(parts)


def _translator() -> str:
    """A fingerprint of what turns kernel text into assembly."""
    here = Path(__file__).parent
    texts = [(here / f"{name}.py").read_bytes() for name in _TRANSLATION]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def default_cache() -> Path | None:
    """Where kernels are kept unless `compile` is told otherwise; None for a user without home."""
    try:
        return Path.home() / ".cache" / "minigrad" / "kernels"
    except RuntimeError:
        return None


class Library:
    """Machine code by name: compiled once, kept on disk, loaded into this process."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.compiled = 0  # kernels built by LLVM here, not found on disk
        self._engine: Any = None
        self._loaded: dict[str, int] = {}

    def load(self, text: str, assembly: Callable[[str], str], symbols: Mapping[str, int]) -> int:
        """The address of the kernel that ``text`` stands for.

        ``assembly(name)`` translates it with ``name`` as its entry, and is asked only when the
        kernel is not on disk; it may call ``symbols``.
        """
        key = hashlib.sha256(f"{_version()}\n{text}".encode()).hexdigest()
        name = f"entry_{key[:32]}"
        if name not in self._loaded:
            for symbol, address in symbols.items():
                llvm.add_symbol(symbol, address)
            self._loaded[name] = self._found(key, name, assembly)
        return self._loaded[name]

    def _found(self, key: str, name: str, assembly: Callable[[str], str]) -> int:
        code = self._read(key)
        if code is not None:
            with contextlib.suppress(RuntimeError):
                return self._link(name, code)
        code = optimised(assembly(name))
        self.compiled += 1
        self._write(key, code)
        return self._link(name, code)

    def _link(self, name: str, code: bytes) -> int:
        if self._engine is None:
            _target()
            self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _fresh_target())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        address: int = self._engine.get_function_address(name)
        if not address:
            raise RuntimeError(f"{name} is not in the object code")
        return address

    def _read(self, key: str) -> bytes | None:
        if self.directory is None:
            return None
        try:
            content = (self.directory / key[:2] / key).read_bytes()
        except OSError:
            return None
        head, code = content[: len(_FORMAT) + 32], content[len(_FORMAT) + 32 :]
        return code if head == _FORMAT + hashlib.sha256(code).digest() else None

    def _write(self, key: str, code: bytes) -> None:
        if self.directory is None:
            return
        place = self.directory / key[:2]
        try:  # a cache that cannot be written costs time, never a result
            place.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=place)
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_FORMAT + hashlib.sha256(code).digest() + code)
            os.replace(name, place / key)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)


def optimised(assembly: str) -> bytes:
    """Object code of an assembly text, by LLVM's O3 pipeline for this processor."""
    module = llvm.parse_assembly(assembly)
    module.verify()
    target = _target()
    module.triple = llvm.get_process_triple()
    module.data_layout = str(target.target_data)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    tuning.loop_interleaving, tuning.loop_unrolling = True, False  # interleaving is enough
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(module, builder)
    code: bytes = target.emit_object(module)
    return code


def _fresh_target() -> Any:
    """An engine takes its target machine with it when it goes."""
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )
