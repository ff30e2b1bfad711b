"""Arguments and errors of the command lines in ``tools/``."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from torch import nn

from mmbas.cli.environment import describe
from mmbas.hooks.checkpoint_file import is_whole_checkpoint

# mmbas uses nothing of mmcv.ops, so its absence is no news to a user.
warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")


def config_parser(description: str, *, examples: Sequence[str]) -> argparse.ArgumentParser:
    """Parser with ``config``, ``--cfg-options`` and ``--out-json``; examples follow the help."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override settings of the config, e.g. model.gate_losses.l0.loss_weight=0.1",
    )
    parser.add_argument("--out-json", metavar="FILE", help="write the result to FILE as JSON")
    return parser


def parse_runner_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse, with the arguments of a tool that starts a runner: work dir and job launcher."""
    parser.add_argument("--work-dir", help="logs and checkpoints; default work_dirs/CONFIG")
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torch.distributed.launch passes --local-rank; torchrun sets LOCAL_RANK itself.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Config file with overrides."""
    config = Config.fromfile(checked_file(path, "a config"))
    if options:
        config.merge_from_dict(options)
    return config


def checked_file(path: str, what: str) -> str:
    """The path, if the file exists.

    Raises:
        ValueError: If not.
    """
    if not Path(path).is_file():
        raise ValueError(f"expected {what} at {path}, but there is no such file")
    return path


def checked_checkpoint(path: str) -> str:
    """The path, if the file is a whole checkpoint.

    Raises:
        ValueError: If not.
    """
    if "://" in path:
        return path  # mmengine downloads it
    if not is_whole_checkpoint(checked_file(path, "a checkpoint")):
        raise ValueError(
            f"expected a checkpoint at {path}, but the file is none, or was cut off while it was "
            "written; choose an earlier one"
        )
    return path


def build_model(config: Config) -> nn.Module:
    """The config's model in evaluation mode, on the CPU."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(config.get("default_scope") or "mmengine")
    model: Any = MODELS.build(config.model)
    return model.eval()


def set_threads(threads: int | None) -> None:
    """Pin the number of CPU threads that torch computes with."""
    if threads is not None:
        torch.set_num_threads(threads)


def with_origin(result: dict[str, Any], config: str) -> dict[str, Any]:
    """The result with command, config, commit, versions and hardware."""
    return {**result, "config": config, "command": own_command(), **describe()}


def own_command() -> str:
    """The command line that is running, quoted so that a shell runs it again.

    ``--out-json FILE`` is left out, since no result depends on it.
    """
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--out-json=")]
    if "--out-json" in arguments:
        position = arguments.index("--out-json")
        del arguments[position : position + 2]
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *arguments])


def write_json(path: str | None, result: dict[str, Any]) -> None:
    """Write ``result`` if a path is given, whole or not at all; of several processes the first."""
    if path is None or not is_main_process():
        return
    # Metrics of the hosts come as numpy scalars.
    text = json.dumps(result, indent=2, default=float) + "\n"
    write_whole(path, text.encode("utf-8"))


def write_whole(path: str | Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all; makes its folder where it is missing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain-text table, first column left, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def counted(number: int, noun: str) -> str:
    """A number of things in words.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; what mmbas or the operating system refuses is one line and exit code 2.

    Errors from anywhere else keep their traceback: they may be bugs.
    """
    try:
        main()
    except URLError as error:
        _fail(
            f"expected a network to download what the config names, but got {error}; put the "
            "files in place first, see docs/data.md"
        )
    except OSError as error:
        _fail(_about_files(error))
    except (ValueError, TypeError, FloatingPointError) as error:
        if not _raised_by_mmbas(error):
            raise
        _fail(_message(error))
    except RuntimeError as error:
        if _NO_OPERATORS in str(error):
            _fail(
                f"expected an mmcv with compiled operators, but got {_last_line(error)}; for "
                "torchvision's NMS and RoI align add custom_imports=dict(imports=["
                "'mmbas.torchvision_operators']) to the config"
            )
        # torch reports failed writes without their number, a loader's worker as a text.
        if not any(sign in str(error) for sign in _WRITE_FAILURES):
            raise
        _fail(f"expected to write a file, but got {_last_line(error)}; is the disk full?")


# How the maintained MMDetection words that mmcv has no compiled operators.
_NO_OPERATORS = "requires mmcv to be compiled with ops"
# How torch words a full disk or quota: its writer of archives, the shared memory of a loader.
_WRITE_FAILURES = ("PytorchStreamWriter failed", "iostream error", "No space left on device")


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(2)


def _about_files(error: OSError) -> str:
    """One line about an error of the operating system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"expected space to write {error.filename or 'a file'}, but got {error.strerror}; free "
            "some, or write elsewhere"
        )
    if error.filename is None or error.strerror is None:
        return f"expected a path to read or write, but got {_last_line(error)}"
    return f"expected a path to read or write, but got {error.filename}: {error.strerror}"


def _last_line(error: Exception) -> str:
    """The last line of an error's text."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _is_from_worker(error: BaseException) -> bool:
    """Tell whether a loader's worker process had the error; then it holds a whole traceback."""
    return "in DataLoader worker process" in str(error).partition("\n")[0]


def _message(error: Exception) -> str:
    """Text of an error in one line."""
    if _is_from_worker(error):
        return _last_line(error).partition(": ")[2]
    return str(error)


def _raised_by_mmbas(error: BaseException | None) -> bool:
    """Tell whether this project raised the error, or one that a registry wrapped."""
    folders = (Path(__file__).resolve().parents[1], Path(sys.argv[0]).resolve().parent)
    while error is not None:
        if _is_from_worker(error):
            files = re.findall(r'^ *File "(.+)", line', str(error), flags=re.MULTILINE)
        else:
            files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if files and Path(files[-1]).resolve().is_relative_to(folders[0]):
            return True
        if files and Path(files[-1]).resolve().parent == folders[1]:
            return True
        error = error.__cause__ or error.__context__
    return False
