"""What works on a graph says so when it is given something else."""

import pytest

import minigrad as mg

FUNCTIONS = """find_norms lint fold fold_report batch_dependence certify_inference track_statistics
to_inference scalarize compile"""


@pytest.mark.parametrize("name", FUNCTIONS.split())
def test_a_node_in_place_of_a_graph_is_a_clear_error(name: str) -> None:
    y = mg.exp(mg.input("x", 3))
    with pytest.raises(mg.GraphError, match=r": needs a Graph, not Node <exp f32\[3\]>; mg\.Graph"):
        getattr(mg, name)(y)
    with pytest.raises(mg.GraphError, match=r": needs a Graph, not int 3 \(test_arguments\.py"):
        getattr(mg, name)(3)


def test_retype_needs_a_graph_too() -> None:
    with pytest.raises(mg.GraphError, match="retype: needs a Graph"):
        mg.retype(mg.input("x", 3), "float64")
