"""The README's Python blocks run, one after the other, as a reader would type them."""

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def test_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)  # the reader's own session
    assert (tmp_path / "bn1.svg").stat().st_size > 1000


def test_commands_and_pictures_exist():
    text = README.read_text(encoding="utf-8")
    root = README.parent
    paths = re.findall(r"(?:python3?|\]\() ?((?:tools|models)/[\w/]+\.(?:py|svg|png))", text)
    assert len(paths) >= 6
    assert [path for path in paths if not (root / path).exists()] == []
