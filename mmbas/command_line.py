"""What the command lines in ``tools/`` share."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from torch import nn

from mmbas.environment import describe

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
        if root and not downloads and not Path(root).is_dir():
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
    if not zipfile.is_zipfile(checked_file(path, "a checkpoint")):
        raise ValueError(
            f"expected a checkpoint at {path}, but the file is none, or was cut off while it was "
            "written; choose an earlier one"
        )
    return path


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
    command = " ".join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
    return {**result, "config": config, "command": command, **describe()}


def write_json(path: str | None, result: dict[str, Any]) -> None:
    """Write ``result`` if a path is given, whole or not at all."""
    if path is None:
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


def run_tool(main: Any) -> None:
    """Run a tool; wrong input is one line on stderr and exit code 2, not a traceback."""
    try:
        main()
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
