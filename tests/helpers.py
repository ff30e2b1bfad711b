"""Command lines run by tests, and a config that trains in seconds."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, init_default_scope
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
DIGITS = "configs/resnet20_bas_digits.py"

TINY = f"""
_base_ = "{CONFIGS}/resnet20_bas_digits.py"
train_dataloader = dict(batch_size=8, dataset=dict(indices=32))
val_dataloader = dict(batch_size=16, dataset=dict(indices=40))
test_dataloader = dict(batch_size=16, dataset=dict(indices=40))
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=3))
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])  # TensorBoard imports slowly
"""


@HOOKS.register_module()
class KillHook(Hook):
    """Ends the process at once, as the kernel does when memory runs out.

    Args:
        iteration: After how many iterations.
    """

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.iteration:
            os.kill(os.getpid(), 9)


def write_config(folder: Path, lines: str = "", *, name: str = "tiny.py") -> Path:
    """A config in ``folder``: 3 epochs of 4 iterations, with ``lines`` merged into it."""
    (folder / "base.py").write_text(TINY, encoding="utf-8")
    path = folder / name
    path.write_text(f'_base_ = "base.py"\n{lines}\n', encoding="utf-8")
    return path


def write_checkpoint(config: Path, path: Path) -> nn.Module:
    """The config's model in evaluation mode, freshly initialised, and a checkpoint of it."""
    model = build_model(config)
    torch.save({"meta": {}, "state_dict": model.state_dict()}, path)
    return model


def build_model(config: Path | str) -> Any:
    """The config's model in evaluation mode, with random weights; half of its gates are open."""
    loaded = Config.fromfile(config)
    init_default_scope(loaded.default_scope)
    torch.manual_seed(0)
    model = MODELS.build({**loaded.model, "data_preprocessor": dict(loaded.data_preprocessor)})
    model.init_weights()
    return model.eval()


Completed = subprocess.CompletedProcess[str]


def end_worker() -> None:
    """Ends one of several processes once all of them are here.

    torch 2.1 holds the interpreter's lock in ``destroy_process_group`` and waits for threads of
    gloo that may want it.
    """
    dist.barrier()
    os._exit(0)


def run_tool(name: str, *arguments: str | Path, expect: int | None = 0) -> Completed:
    """Run ``tools/<name>.py`` as a user does, in a process of its own, on one thread.

    Args:
        name: Of the tool.
        arguments: Of its command line.
        expect: Its exit code; None accepts any.
    """
    path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, f"tools/{name}.py", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path.strip(os.pathsep)},
        capture_output=True,
        text=True,
        check=False,
    )
    return _checked(result, expect)


def call_tool(
    name: str, *arguments: str | Path, expect: int | None = 0, folder: Path = ROOT
) -> Completed:
    """As :func:`run_tool`, but inside this process: importing everything takes seconds.

    Args:
        folder: Where it runs, one with a folder ``tools``.
    """
    argv = [f"tools/{name}.py", *map(str, arguments)]
    stdout, stderr = io.StringIO(), io.StringIO()
    code, before, threads = 0, Path.cwd(), torch.get_num_threads()
    try:
        os.chdir(folder)
        torch.set_num_threads(1)
        with (
            mock.patch.object(sys, "argv", argv),
            mock.patch.dict(os.environ),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    return _checked(Completed(argv, code, stdout.getvalue(), stderr.getvalue()), expect)


def _checked(result: Completed, expect: int | None) -> Completed:
    if expect is not None:
        assert result.returncode == expect, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def json_of(
    run: Callable[..., Completed], name: str, *arguments: str | Path, out: Path
) -> dict[str, Any]:
    """The result that a tool writes with ``--out-json``."""
    run(name, *arguments, "--out-json", out)
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def error_of(name: str, *arguments: str | Path, run: Callable[..., Completed] = call_tool) -> str:
    """The one line that a tool gives for wrong input, last and without a traceback."""
    result = run(name, *arguments, expect=2)
    assert "Traceback" not in result.stderr, result.stderr[-3000:]
    lines = result.stderr.strip().splitlines()
    errors = [line for line in lines if "error: " in line]
    assert len(errors) == 1, result.stderr[-3000:]
    assert lines[-1] == errors[0]
    return errors[0]


def assert_help_shows_examples(name: str) -> None:
    """``-h`` exits with 0 and ends with commands to copy, whose configs exist."""
    text = call_tool(name, "-h").stdout
    examples = text.split("examples:\n", 1)[1].split("\n")
    commands = [line.split() for line in examples if line.strip()]
    assert commands
    for command in commands:
        assert command[:2] == ["python", f"tools/{name}.py"]
        assert (ROOT / command[2]).is_file(), command[2]
    assert "--cfg-options" in text
    assert "--out-json" in text


def assert_origin(result: dict[str, Any], name: str, config: Path | str) -> None:
    """A result says how to get it again."""
    assert result["command"].startswith(f"python tools/{name}.py ")
    assert result["config"] == str(config)
    assert set(result) >= {"commit", "versions", "hardware"}
    assert torch.__version__.startswith(result["versions"]["torch"])
    assert result["hardware"]["threads"] == 1
