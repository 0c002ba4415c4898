"""Kernels are kept on disk: found again, built again when damaged, shared by processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

SHAPE = (50, 6)


def graph_of(factor: float = 2.0) -> mg.Graph:
    x = mg.input("x", ("N", 6))
    return mg.Graph([x], {"y": mg.tanh(x) * factor})


def built(cache: Any, graph: mg.Graph | None = None) -> int:
    """Compile, check one step, and tell how many kernels LLVM built."""
    graph = graph or graph_of()
    step: Any = mg.compile(graph, threads=1, cache=cache)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    outputs, _ = step({}, x=x)
    expected, _ = mg.compile(graph, "interpreter")({}, x=x)
    np.testing.assert_allclose(outputs["y"], expected["y"], rtol=1e-5, atol=1e-6)
    return int(step.compiled)


def entries(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A directory that holds one kernel; the pool's own code is made before."""
    built(False)
    assert built(tmp_path / "cache") == 1
    return tmp_path / "cache"


def test_the_second_compilation_builds_nothing(cache: Path) -> None:
    assert built(cache) == 0


def test_a_path_may_be_text(cache: Path) -> None:
    assert built(str(cache)) == 0


def test_another_process_builds_nothing(cache: Path) -> None:
    assert compile_in_a_process(cache).wait(30) == 0


def test_another_text_is_another_entry(cache: Path) -> None:
    before = entries(cache)
    assert built(cache, graph_of(3.0)) == 1
    assert built(cache, graph_of(3.0)) == 0
    assert built(cache) == 0
    assert len(entries(cache)) == len(before) + 1


def test_entries_are_told_apart_by_type(cache: Path) -> None:
    assert built(cache, mg.retype(graph_of(), "float64")) == 1
    assert built(cache, mg.retype(graph_of(), "float64")) == 0


def test_other_sizes_of_named_dims_are_the_same_entry(cache: Path) -> None:
    step: Any = mg.compile(graph_of(), threads=1, cache=cache)
    for size in (1, 9):
        step({}, x=np.zeros((size, 6)))
    assert step.compiled == 0


# --- damage ------------------------------------------------------------------------------------


def middle_changed(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "only its head": lambda content: content[:30],
    "one byte less": lambda content: content[:-1],
    "one byte more": lambda content: content + b"x",
    "one byte changed": middle_changed,
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"not object code\n" * 300,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_built_again(damage: str, cache: Path) -> None:
    (path,) = entries(cache)
    sound = path.read_bytes()
    path.write_bytes(DAMAGES[damage](sound))
    assert built(cache) == 1
    assert path.read_bytes() == sound  # and put back
    assert built(cache) == 0


def test_the_entry_of_another_kernel_is_built_again(cache: Path) -> None:
    (path,) = entries(cache)
    sound = path.read_bytes()
    built(cache, graph_of(3.0))
    (other,) = set(entries(cache)) - {path}
    shutil.copy(other, path)
    assert built(cache) == 1
    assert path.read_bytes() == sound


def test_an_entry_that_is_a_directory_is_no_error(cache: Path) -> None:
    (path,) = entries(cache)
    path.unlink()
    path.mkdir()
    assert built(cache) == 1


def test_nothing_but_entries_is_left_in_the_directory(cache: Path) -> None:
    built(cache, graph_of(3.0))
    assert len(entries(cache)) == 2


# --- places where nothing can be kept ----------------------------------------------------------


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "c"
    assert built(place) == 1
    assert built(place) == 0


def test_a_directory_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert built(tmp_path / "file") == 1
    assert built(tmp_path / "file" / "below") == 1
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_a_place_that_takes_no_files_is_no_error() -> None:
    assert built("/proc/minigrad") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_directory_that_may_not_be_written_is_no_error(cache: Path) -> None:
    for path in (cache, *cache.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        assert built(cache) == 0
        assert built(cache, graph_of(3.0)) == 1
    finally:
        for path in (cache, *cache.rglob("*")):
            path.chmod(0o700)


def test_a_disk_that_is_full_is_no_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    assert built(cache, graph_of(3.0)) == 1


def test_a_failed_write_leaves_no_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(1, "Operation not permitted")

    before = entries(cache)
    monkeypatch.setattr("os.replace", refused)
    assert built(cache, graph_of(3.0)) == 1
    assert entries(cache) == before


def test_no_cache_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert built(False) == 1
    assert built(False) == 1
    assert entries(tmp_path) == []


@pytest.mark.parametrize("default", [None, True])
def test_kernels_are_kept_in_the_users_cache_by_default(
    default: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert built(default) == 1
    assert built(default) == 0
    assert len(entries(tmp_path / ".cache" / "minigrad")) == 1


def test_a_user_without_a_home_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert built(None) == 1


# --- several processes -------------------------------------------------------------------------

COMPILE = """
import sys
from pathlib import Path
import numpy as np
import minigrad as mg

cache, start, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
x = mg.input("x", ("N", 6))
h = [mg.tanh(x) * 2.0, mg.exp(mg.sum(x, 0)), mg.softmax(x, 1), mg.mean(x * x)][:number]
graph = mg.Graph([x], {"y": h[0], **{f"h{k}": y for k, y in enumerate(h[1:])}})
if start:
    import time
    import minigrad.backends.native
    (cache / f"ready{start}").touch()
    while len(list(cache.glob("ready*"))) < 2:
        time.sleep(0.001)
step = mg.compile(graph, threads=1, cache=cache)
outputs, _ = step({}, x=np.ones((3, 6)))
np.testing.assert_allclose(outputs["y"], np.full((3, 6), 2 * np.tanh(1)), rtol=1e-6)
assert number > 1 or step.compiled == 0, step.compiled
"""


def compile_in_a_process(cache: Path, start: str = "", number: int = 1) -> subprocess.Popen[bytes]:
    """Compile into ``cache`` in another process; with ``start``, when two of them are there."""
    return subprocess.Popen([sys.executable, "-c", COMPILE, str(cache), start, str(number)])


@pytest.mark.slow
def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    running = [compile_in_a_process(tmp_path, name, 4) for name in "ab"]
    assert [process.wait(60) for process in running] == [0, 0]
    for path in tmp_path.glob("ready*"):
        path.unlink()
    kept = entries(tmp_path)
    assert compile_in_a_process(tmp_path, "", 4).wait(60) == 0
    assert entries(tmp_path) == kept


@pytest.mark.slow
def test_layers_that_are_alike_share_machine_code() -> None:
    x = y = mg.input("x", 100)
    for _ in range(400):
        y = mg.tanh(y)
    step: Any = mg.compile(mg.Graph([x], {"y": y}), cache=False)
    kernels = step.source().count("def k")
    assert kernels > 6
    assert step.compiled < kernels / 2
    np.testing.assert_allclose(
        step({}, x=np.ones(100))[0]["y"], mg.evaluate(y, {x: np.ones(100)}), rtol=1e-5
    )
