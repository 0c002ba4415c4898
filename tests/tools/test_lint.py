"""`tools/lint.py` on a model file of its own: places, exit status, messages, rewrites."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODEL = """\
import minigrad as mg

def build(batch="N", *, bias=True, one_pass=False):
    x, t = mg.input("x", (batch, 3)), mg.input("t", batch, "int64")
    h = mg.nn.Linear(4, bias=bias, name="fc")(x)
    if one_pass:
        with mg.scope("stats"):
            h = h / mg.sqrt(mg.mean(h * h, 0) - mg.mean(h, 0) ** 2 + 1e-5)
    h = mg.nn.BatchNorm(4, name="bn")(h)
    return mg.Graph([x, t], {"logits": h, "loss": mg.cross_entropy(h, t)})
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return str(path)


def run(*words):
    command = [sys.executable, str(ROOT / "tools" / "lint.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "200"})


def test_a_clean_model_has_status_0(model):
    done = run(model, "--bias", "False")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout


def test_a_finding_names_file_line_scope_reason_and_rewrite(model):
    done = run(model)
    assert done.returncode == 1, done.stderr
    assert "model.py:5: bias-before-norm: fc/bias changes no output" in done.stdout
    assert "(in fc)" in done.stdout
    assert '| h = mg.nn.Linear(4, bias=bias, name="fc")(x)' in done.stdout
    assert "Ioffe and Szegedy 2015" in done.stdout
    assert "rewrite: outputs and updates agree to" in done.stdout
    assert "1 found, 1 with a verified rewrite" in done.stdout


def test_one_rule_can_be_asked_and_its_rewrite_printed(model):
    done = run(model, "--one-pass", "True", "--rule", "one-pass-variance", "--diff")
    assert done.returncode == 1, done.stderr
    assert "model.py:8: one-pass-variance" in done.stdout
    assert "bias-before-norm" not in done.stdout
    added = [line for line in done.stdout.splitlines() if line.strip().startswith("+")]
    assert any("mean" in line for line in added)


def test_an_optimiser_is_looked_at_too(model):
    words = [model, "--bias", "False", "--optimiser", "adamw", "--with", "decay_all=True"]
    done = run(*words)
    assert done.returncode == 1, done.stderr
    for name in ("bn/gamma", "bn/beta"):
        assert f"every step shrinks {name}" in done.stdout
    assert run(*words[:5]).returncode == 0


@pytest.mark.parametrize(("words", "message"), [
    (["nothing.py"], "there is no model file nothing.py"),
    ([], "name a model file"),
    (["MODEL", "--rule", "taste"], "no rule 'taste'; there is one-pass-variance"),
    (["MODEL", "--optimiser", "sgd", "--with", "colour=red"], "unexpected keyword"),
    (["MODEL", "--colour", "red"], "build takes no option 'colour'"),
])  # fmt: skip
def test_a_bad_request_is_one_clear_line_and_status_2(model, words, message):
    done = run(*[model if word == "MODEL" else word for word in words])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_the_list_of_rules_teach():
    done = run("--help")
    assert done.returncode == 0
    for words in ("What lint is", "What a rewrite is", "--optimiser", "exit status"):
        assert words in done.stdout
    rules = run("--rules")
    assert rules.returncode == 0
    assert rules.stdout.count("why:") == 9
