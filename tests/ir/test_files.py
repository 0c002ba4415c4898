"""A file is there whole or not at all."""

import os
import stat

import pytest

from minigrad.ir.files import write_whole


def failing(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    (tmp_path / "page").write_text("old")
    monkeypatch.setattr(os, step, failing)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "page", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("page", "old")]


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "page", b"new")
    assert list(tmp_path.iterdir()) == []


def test_text_is_utf8_and_bytes_are_bytes(tmp_path):
    write_whole(tmp_path / "text", "μ\n")
    write_whole(str(tmp_path / "bytes"), b"\xff")
    assert (tmp_path / "text").read_bytes() == "μ\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\xff"


def test_a_mode_is_kept_and_a_new_file_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o600)
    write_whole(tmp_path / "new", "2")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
