"""The house rules that a reader relies on: small files, small functions, a light import."""

import ast
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path for folder in ("minigrad", "tools", "models") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = {
        node.name: size
        for node in ast.walk(ast.parse(text))
        if isinstance(node, functions) and (size := code_lines(node)) > 50
    }
    assert long == {}


def code_lines(function):
    """Lines of a function without its docstring: a long docstring is no fault."""
    total = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        total -= first.end_lineno - first.lineno + 1
    return total


def test_importing_loads_nothing_heavy():
    heavy = {"networkx", "scipy", "numba", "rich", "graphviz", "pygraphviz", "safetensors"}
    heavy |= {"sklearn", "mlxtend", "matplotlib", "torch", "jax", "pytest"}
    code = f"import sys, minigrad; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_loads_no_pass_and_no_page():
    """They are loaded when they are first asked for."""
    late = {
        "passes.simplification",
        "passes.replacement",
        "passes.norms",
        "passes.linting",
        "passes.fold_affine",
    }
    late |= {"rewrite", "render.scene", "render.page", "train.loop", "gradcheck.check"}
    names = {f"minigrad.{name}" for name in late}
    code = f"import sys, minigrad; print(sorted({names!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert [name for name in names if import_module(name) is None] == []  # a name that is there


PACKAGES = ["minigrad", *(f"minigrad.{p}" for p in ("gradcheck", "passes", "render", "train"))]
MODULES = {"nn", "checkpoint", "data", "optim", "schedule"}  # meant as modules


@pytest.mark.parametrize("package", [import_module(name) for name in PACKAGES], ids=PACKAGES)
def test_no_public_function_is_hidden_by_a_module(package):
    """Importing a submodule sets it on its package, over a lazy function of that name."""
    submodules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    for name in set(package.__all__) & submodules - MODULES:
        import_module(f"{package.__name__}.{name}")
        assert not isinstance(getattr(package, name), ModuleType), name


def test_a_lazy_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'minigrad' has no attribute 'batchnorm'"):
        mg.batchnorm  # noqa: B018
    assert {"fold", "optim", "explore"} <= set(dir(mg))


def test_models_and_tools_use_the_public_api():
    """A tool may reach for a public subpackage, not for a private name."""
    for folder in ("models", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minigrad"):
                    private = [a.name for a in node.names if a.name.startswith("_")]
                    assert private == [], path
                    assert "._" not in (node.module or ""), path


def test_every_primitive_is_a_complete_row():
    for name, row in mg.PRIMITIVES.items():
        assert row.name == name
        assert row.kind is mg.Kind.LEAF or row.eval is not None
        assert row.symbol or row.kind in (mg.Kind.LEAF, mg.Kind.MARKER), name
        assert (row.kernel is not None) == (row.kind is mg.Kind.ELEMENTWISE), name


FUNCTIONS = """\
input parameter state constant scope Node Graph Update add sub mul div neg pow sqrt exp log
tanh abs maximum minimum where sum mean max matmul reshape transpose broadcast_to relu sigmoid
softmax log_softmax cross_entropy var conv2d max_pool2d avg_pool2d grad value_and_grad vjp jvp
evaluate compile to_inference gradcheck render save load track at_inference scalarize count"""

LAYERS = """Linear Conv2d BatchNorm LayerNorm InstanceNorm GroupNorm RMSNorm Dropout Sequential
batch_norm normalize"""


def test_public_names_of_the_design_are_there():
    assert [name for name in FUNCTIONS.split() if name not in mg.__all__] == []
    assert [name for name in LAYERS.split() if not hasattr(mg.nn, name)] == []
    assert [name for name in mg.__all__ if not hasattr(mg, name)] == []
