"""The notes: derived, proved, and refused when a statement is not true."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def derive(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "derive.py"), *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd,
    )  # fmt: skip


def test_the_note_on_batch_norm_ends_in_the_closed_form(tmp_path):
    done = derive("bn", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    note = (tmp_path / "bn.md").read_text()
    closed = (
        r"\bar{x} = \bar{c} + \frac{\bar{\mu}}{n} = \gamma \, r \, \left(u - M\!\left(u\right)"
        r" - M\!\left(u \, \hat{x}\right) \, \hat{x}\right)"
    )
    assert closed in note
    assert "A bias before the norm has no gradient." in note
    assert {p.name for p in tmp_path.iterdir()} == {
        "bn.md", "bn-raw.svg", "bn-simplified.svg",
    }  # fmt: skip
    assert "None" not in note


@pytest.mark.slow
def test_the_notes_in_the_repository_are_what_the_tool_writes(tmp_path):
    done = derive("--all", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for path in tmp_path.glob("*.md"):
        assert (ROOT / "tools" / "notes" / path.name).read_text() == path.read_text()


def test_a_normaliser_of_your_own_gets_a_note(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import minigrad as mg\n"
        "def power_norm(x):\n"
        "    g = mg.parameter('g', [1.0, 1.0, 1.0])\n"
        "    return g * x / mg.mean(mg.abs(x), 0)\n"
    )
    done = derive("mine.py:power_norm", "--shape", "N,3", "--out", "notes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"\bar{x}" in (tmp_path / "notes" / "power_norm.md").read_text()


@pytest.mark.parametrize(
    ("argument", "message"),
    [("nothing", "no note 'nothing'"), ("missing.py:f", "no note"), ("mine.py:g", "no function")],
)
def test_a_wrong_name_is_a_clear_error(tmp_path, argument, message):
    (tmp_path / "mine.py").write_text("def f(x):\n    return x\n")
    done = derive(argument, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_statement_that_is_not_true_is_not_written(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import derive as tool

    import minigrad as mg

    subject = tool.rms()
    false = tool.Claim("x is its mean", subject.x, mg.mean(subject.x, 0))
    wrong = tool.Subject(**{**vars_of(subject), "claims": (false,)})
    with pytest.raises(tool.NoteError, match="not shown: x is its mean"):
        tool.write("rms", wrong, tmp_path)
    assert not (tmp_path / "rms.md").exists()


def vars_of(subject):
    return {name: getattr(subject, name) for name in subject.__dataclass_fields__}
