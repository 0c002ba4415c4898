"""The drawing tool: what it writes, and how it answers a wrong question."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOL, MLP = ROOT / "tools" / "render_bn.py", ROOT / "models" / "mlp.py"


def run(*words, cwd):
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_it_draws_a_layer_with_gradients_and_values(tmp_path):
    found = run(
        MLP, "--region", "bn1", "--gradients", "--values", "--set", "hidden=(8,)", cwd=tmp_path
    )
    assert found.returncode == 0, found.stderr
    assert "digits" in found.stdout or "random numbers" in found.stdout
    assert found.stdout.endswith("picture bn1.svg\n")
    assert "γ · x̂" in (tmp_path / "bn1.svg").read_text(encoding="utf-8")


def test_it_draws_the_inference_graph_into_a_new_folder(tmp_path):
    found = run(MLP, "--region", "bn1", "--inference", "--out", "new/a.dot", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "running μ" in (tmp_path / "new" / "a.dot").read_text(encoding="utf-8")


def test_it_draws_the_simplified_gradient(tmp_path):
    found = run(MLP, "--region", "bn1", "--simplify", "--out", "a.txt", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    text = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert "dx = 1/√(σ² + ε) · γ · (u − mean(u) − mean(u · x̂) · x̂)" in text


def test_it_draws_training_and_inference_in_one_picture(tmp_path):
    found = run(MLP, "--region", "bn1", "--diff", "--out", "a.mmd", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "removed" in (tmp_path / "a.mmd").read_text(encoding="utf-8")


def test_it_opens_an_op_into_scalars(tmp_path):
    words = ["--set", "hidden=[2,2]", "--region", "bn1", "--zoom", "μ", "--out", "a.txt"]
    found = run(MLP, *words, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "μ[1]" in (tmp_path / "a.txt").read_text(encoding="utf-8")


def test_it_lists_the_regions(tmp_path):
    assert {"bn1", "linear1", "loss"} <= set(run(MLP, "--list", cwd=tmp_path).stdout.split())


def test_a_wrong_region_lists_the_regions(tmp_path):
    found = run(MLP, "--region", "bn9", cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr.startswith("render_bn.py: no scope 'bn9'; this graph has ")
    assert not list(tmp_path.iterdir())


def test_help_teaches_how_to_read_the_picture(tmp_path):
    told = run("--help", cwd=tmp_path).stdout
    assert "How to read the picture" in told
    assert "--gradients" in told
