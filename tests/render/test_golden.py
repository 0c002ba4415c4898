"""Pictures of batch norm as they were looked at: DOT and text, byte by byte.

After a deliberate change, look at the new picture and write the files anew:
``python tests/render/test_golden.py``.
"""

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from render.graphs import bn_graph

import minigrad as mg

FOLDER = Path(__file__).parent / "golden"


def drawings():
    """The pictures of the README, on a batch norm from primitives."""
    graph = bn_graph()
    return {
        "bn": mg.render(graph, region="bn1", gradients=True),
        "bn_simplified": mg.render(graph, region="bn1", gradients=True, simplify=True),
        "bn_diff": mg.render(mg.diff(graph, mg.to_inference(graph)), region="bn1"),
    }


@pytest.mark.parametrize("suffix", ["dot", "txt", "mmd"])
@pytest.mark.parametrize("name", ["bn", "bn_simplified", "bn_diff"])
def test_the_picture_is_the_one_that_was_looked_at(name, suffix, tmp_path):
    path = tmp_path / f"{name}.{suffix}"
    drawings()[name].save(path)
    assert path.read_text(encoding="utf-8") == (FOLDER / path.name).read_text(encoding="utf-8")


def test_no_golden_file_is_left_over():
    assert {p.stem for p in FOLDER.iterdir()} == set(drawings())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, drawing in drawings().items():
        for suffix in ("dot", "txt", "mmd"):
            drawing.save(FOLDER / f"{name}.{suffix}")
