"""docs/tutorial.md: its config, commands and code work as they are printed, on fewer images."""

import re
import runpy
import shlex
import sys

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")
pytest.importorskip("onnxruntime")

from source_tree import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FEWER_IMAGES = ["--num-train", "64", "--num-test", "30"]


def run_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    assert program == "python"
    if arguments[0] == "tools/make_digit_folders.py":
        arguments += FEWER_IMAGES
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(arguments[0], run_name="__main__")


@pytest.mark.slow
def test_the_tutorial_runs_as_printed(tmp_path, monkeypatch):
    for folder in ("tools", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    namespace = {}
    done = {"config": 0, "command": 0, "code": 0}
    try:
        for language, text in FENCE.findall(PAGE):
            if language == "python" and text.startswith("# my_images.py"):
                (tmp_path / "my_images.py").write_text(text, encoding="utf-8")
                done["config"] += 1
            elif language == "python":
                exec(compile(text, "tutorial", "exec"), namespace)
                done["code"] += 1
            elif language == "":
                for command in text.splitlines():
                    run_command(command, monkeypatch)
                    done["command"] += 1
    finally:
        torch.set_num_threads(threads)
    assert done == {"config": 1, "command": 9, "code": 1}
    work_dir = tmp_path / "work_dirs" / "my_images"
    for name in ("epoch_40.pth", "half.pth", "reduced.onnx", "gates/report.html"):
        assert (work_dir / name).is_file(), name
    assert namespace["result"]["pred_class"] in set("0123456789")
