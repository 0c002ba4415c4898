"""`tools/gradcheck.py` on a model file of its own: verdict, exit status, messages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODEL = """
import dataclasses
import numpy as np
import minigrad as mg
from minigrad.primitives import PRIMITIVES

def build(batch="N", *, bias=False, wrong=False):
    x, t = mg.input("x", (batch, 3)), mg.input("t", batch, "int64")
    h = x @ mg.parameter("w", np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4))
    if bias:
        h = h + mg.parameter("bias", [0.0] * 4)
    h = mg.nn.BatchNorm(4, name="bn1")(h)
    tanh = PRIMITIVES["tanh"]
    if wrong:
        tanh = dataclasses.replace(tanh, vjp=lambda ct, y, x: (ct * (1 - y),))
    with mg.scope("act"):
        h = tanh(h)
    return mg.Graph([x, t], {"logits": h, "loss": mg.cross_entropy(h, t)})
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return str(path)


def run(*words):
    command = [sys.executable, str(ROOT / "tools" / "gradcheck.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "200"})


def test_a_right_model_passes_at_both_orders(model):
    done = run(model, "--order", "2", "--batch", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("x", "w", "bn1/gamma", "bn1/beta"):
        assert name in done.stdout
    assert "gradcheck passed: complex" in done.stdout


def test_a_wrong_rule_fails_and_is_named_with_scope_and_line(model):
    done = run(model, "--wrong", "True")
    assert done.returncode == 1
    assert "the vjp of tanh is wrong" in done.stdout
    assert "in act, model.py:17" in done.stdout


def test_a_bias_before_the_norm_is_refused_until_it_is_expected_to_be_zero(model):
    done = run(model, "--set", "bias=True")
    assert done.returncode == 1
    assert "zero in every direction" in done.stdout
    assert run(model, "--set", "bias=True", "--expect-zero", "bias").returncode == 0


@pytest.mark.parametrize(("words", "message"), [
    (["nothing.py"], "there is no model file nothing.py"),
    (["MODEL", "--colour", "red"], "build takes no option 'colour'; it takes bias, wrong"),
    (["MODEL", "--wrt", "v"], "nothing is called 'v'; there is x, t, "),
    (["MODEL", "--set", "bias"], "is not key=value"),
    (["MODEL", "--bias"], "option --bias needs a value"),
])  # fmt: skip
def test_a_bad_request_is_one_clear_line_and_status_2(model, words, message):
    done = run(*[model if word == "MODEL" else word for word in words])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_teaches():
    done = run("--help")
    assert done.returncode == 0
    for words in ("complex step", "Central differences", "batch norm", "--expect-zero"):
        assert words in done.stdout
