"""The table of samples is complete: every primitive has some, and each sample holds its op."""

import pytest
from samples import SAMPLES

import minigrad as mg
from minigrad.ir import toposort
from minigrad.primitives import PRIMITIVES

NO_SAMPLE = {"input", "parameter", "state", "constant", "mark"}  # leaves compute nothing


def test_every_primitive_has_samples_and_every_sample_a_primitive():
    assert {sample.prim for sample in SAMPLES} == set(PRIMITIVES) - NO_SAMPLE


@pytest.mark.parametrize("name", sorted(set(PRIMITIVES) - NO_SAMPLE))
def test_a_primitive_has_several_samples_with_named_and_empty_dims_among_them(name):
    of_this = [sample for sample in SAMPLES if sample.prim == name]
    shapes = [operand.shape for sample in of_this for operand in sample.operands]
    assert len(of_this) >= 4
    if name != "random_uniform":  # its shape is an attribute, its operand a scalar
        assert any(isinstance(dim, str) for shape in shapes for dim in shape)
        assert any(0 in shape for shape in shapes)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.id)
def test_the_graph_of_a_sample_holds_its_primitive_or_nothing_to_do(sample):
    node = sample.build(*sample.nodes())
    names = {n.prim.name for n in toposort([node])}
    assert sample.prim in names or node.prim.name in ("input", "constant", "reshape")


def test_the_names_of_samples_are_unique():
    names = [sample.id for sample in SAMPLES]
    assert len(set(names)) == len(names)


def test_a_row_added_without_samples_is_noticed():
    row = mg.Primitive("cube", mg.Kind.ELEMENTWISE, lambda xp, x: x**3, lambda x: x, None)
    assert {sample.prim for sample in SAMPLES} != set(PRIMITIVES) - NO_SAMPLE | {row.name}
