"""What the command lines in ``tools/`` share."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader
from torch import nn

from mmbas.cli.environment import describe
from mmbas.gates import named_gates
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


def check_data_roots(config: Config, loaders: Sequence[str]) -> None:
    """Refuse a config whose data is not there, before anything is built.

    Args:
        config: With ``train_dataloader`` etc.
        loaders: Which of them are needed.

    Raises:
        ValueError: With the folder that does not exist and how to set another one.
    """
    for loader in loaders:
        dataset = (config.get(loader) or {}).get("dataset") or {}
        while "dataset" in dataset:
            dataset = dataset["dataset"]
        root = dataset.get("data_root")
        downloads = dataset.get("type", "").endswith(("CIFAR10", "CIFAR100"))
        if root and not downloads and "://" not in root and not Path(root).is_dir():
            raise ValueError(
                f"expected the data of {loader} in the folder {root}, but it does not exist; set "
                f"another with --cfg-options {loader}.dataset.data_root=FOLDER"
            )


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


def check_has_gates(model: nn.Module, path: str) -> None:
    """Refuse a checkpoint without the gates of ``model``: its gates would decide at random.

    ``model`` may be wrapped for several processes, and for a test with augmentations.

    Raises:
        ValueError: If it has none of their tensors.
    """
    inner: Any = model.module if is_model_wrapper(model) else model
    inner = inner.module if isinstance(inner, BaseTTAModel) else inner
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
    given = checkpoint.get("state_dict", checkpoint)
    gates = [
        f"{name}.{key}" for name, gate in named_gates(inner).items() for key in gate.state_dict()
    ]
    if gates and not any(key in given for key in gates):
        raise ValueError(
            f"expected a checkpoint with trained gates, but {path} has none of their {len(gates)} "
            f"tensors, e.g. {gates[0]}; use the config that it was trained with"
        )


def input_shape(config: Config, shape: Sequence[int] | None) -> tuple[int, int]:
    """Height and width of the images: ``shape`` if given, else the crop of the training pipeline.

    Raises:
        ValueError: If there is neither.
    """
    if shape:
        return (shape[0], shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    pipeline = ((config.get("train_dataloader") or {}).get("dataset") or {}).get("pipeline") or []
    for transform in reversed(pipeline):
        size = transform.get("crop_size") or (
            transform.get("scale") if transform["type"].endswith("RandomResizedCrop") else None
        )
        if size:
            return (size, size) if isinstance(size, int) else (size[0], size[1])
    raise ValueError(
        "expected a crop size in the config's training pipeline, but found none; give the image "
        "size with --shape HEIGHT WIDTH"
    )


def build_model(config: Config) -> nn.Module:
    """The config's model in evaluation mode, on the CPU."""
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(config.get("default_scope", "mmengine"))
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
    """The command line that is running, without ``--out-json FILE``, which no result depends on."""
    arguments = sys.argv[1:]
    if "--out-json" in arguments:
        position = arguments.index("--out-json")
        del arguments[position : position + 2]
    return " ".join(["python", os.path.relpath(sys.argv[0]), *arguments])


def write_json(path: str | None, result: dict[str, Any]) -> None:
    """Write ``result`` if a path is given, whole or not at all; of several processes the first."""
    if path is None or not is_main_process():
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    # Metrics of the hosts come as numpy scalars.
    partial.write_text(json.dumps(result, indent=2, default=float) + "\n", encoding="utf-8")
    partial.replace(target)


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


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; input that mmbas or the file system refuses is one line and exit code 2.

    Errors from anywhere else keep their traceback: they may be bugs.
    """
    try:
        main()
    except URLError as error:
        sys.stderr.write(
            f"error: expected a network to download what the config names, but got {error}; put "
            "the files in place first, see docs/data.md\n"
        )
        sys.exit(2)
    except (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        sys.stderr.write(
            f"error: expected a path to read or write, but got {error.filename}: {error.strerror}\n"
        )
        sys.exit(2)
    except (ValueError, TypeError, FloatingPointError) as error:
        if not _raised_by_mmbas(error):
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def _raised_by_mmbas(error: BaseException | None) -> bool:
    """Whether the error, or one that a registry wrapped, comes from a raise in this project."""
    folders = (Path(__file__).resolve().parents[1], Path(sys.argv[0]).resolve().parent)
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if frames and Path(frames[-1].filename).resolve().is_relative_to(folders[0]):
            return True
        if frames and Path(frames[-1].filename).resolve().parent == folders[1]:
            return True
        error = error.__cause__ or error.__context__
    return False
