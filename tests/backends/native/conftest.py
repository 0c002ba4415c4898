"""One directory of kernels for a whole session: what one test compiles, another one loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backends.native.training import GRAPH

import minigrad as mg


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="session")
def step(kernels: Path) -> Any:
    """A small training step."""
    return mg.compile(GRAPH, threads=2, cache=kernels)


@pytest.fixture(scope="session")
def inference(kernels: Path) -> Any:
    """Its inference graph."""
    return mg.compile(mg.to_inference(GRAPH, ["y"]), threads=2, cache=kernels)
