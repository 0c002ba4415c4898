"""The page's tool: what it writes, and how it answers a wrong question."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL, MLP = ROOT / "tools" / "explore.py", ROOT / "models" / "mlp.py"


def run(*words, cwd, tool=TOOL):
    command = [sys.executable, str(tool), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_it_writes_one_file_and_says_where_the_values_come_from(tmp_path):
    found = run(MLP, "--set", "hidden=(8,)", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "values: " in found.stdout
    assert "page mlp.html" in found.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["mlp.html"]


@pytest.mark.slow
def test_it_shows_a_checkpoint_and_a_recording_that_training_wrote(tmp_path):
    train = ROOT / "tools" / "train.py"
    kept = ("--checkpoint", "a.safetensors", "--record", "new/a.npz", "--record-every", 20)
    done = run(MLP, "--epochs", 2, *kept, cwd=tmp_path, tool=train)
    assert done.returncode == 0, done.stderr
    assert "recording new/a.npz: 4 steps" in done.stdout
    found = run(
        MLP, "--state", "a.safetensors", "--record", "new/a.npz", "--data", "digits",
        "--out", "b/page.html", cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "64 examples of digits; weights of a.safetensors" in found.stdout
    assert '"batch_mean":' in (tmp_path / "b" / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing.py",), "there is no model file"),
        ((MLP, "--record", "no.npz"), "there is no such recording"),
        ((MLP, "--state", "no.safetensors"), "there is no such checkpoint"),
    ],
)
def test_a_wrong_question_is_answered_in_a_line(tmp_path, words, told):
    found = run(*words, cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("explore.py: ")
    assert told in found.stderr
    assert not list(tmp_path.iterdir())
