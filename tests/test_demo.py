"""demo/classify.py: reads a picture, says what it is, and draws its open gates."""

import runpy
import sys

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("matplotlib")

from source_tree import ROOT

PICTURE = ROOT / "demo" / "digit.png"


def run_demo(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["demo/classify.py", *map(str, arguments)])
    runpy.run_path(str(ROOT / "demo" / "classify.py"), run_name="__main__")


def test_the_digit_is_a_three(monkeypatch, tmp_path, capsys):
    run_demo(monkeypatch, PICTURE, "--out", tmp_path / "new" / "gates.png")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "3"
    assert "of the gates are open" in lines[3]
    picture = (tmp_path / "new" / "gates.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_what_is_no_picture_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    for name, words in (("notes.txt", "the file is none"), ("none.png", "there is no such file")):
        with pytest.raises(SystemExit) as end:
            run_demo(monkeypatch, tmp_path / name)
        assert end.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: expected a picture at")
        assert words in error
