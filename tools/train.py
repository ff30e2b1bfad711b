"""Train a model from a config, as in MMPretrain and MMSegmentation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmbas.cli.allocator import keep_freed_memory
from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    load_config,
    parse_runner_args,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import check_data_roots
from mmbas.cli.launcher import join_processes
from mmbas.hooks.checkpoint_file import (
    checkpoint_number,
    checkpoint_to_resume,
    record_checkpoint_to_resume,
)


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/train.py configs/resnet20_bas_digits.py",
            "python tools/train.py configs/resnet20_bas_cifar10.py "
            "--cfg-options model.gate_losses.l0.loss_weight=0.1",
            "python tools/train.py configs/resnet20_bas_cifar10.py --resume",
        ],
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="continue from a checkpoint; without one, from the newest whole one in the work dir",
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision: as in the hosts on a GPU, bfloat16 on a CPU",
    )
    return parse_runner_args(parser)


def merge_arguments(config: Config, args: argparse.Namespace) -> None:
    join_processes(config, args.launcher)
    if args.work_dir:
        config.work_dir = args.work_dir
    elif config.get("work_dir") is None:
        config.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    if args.amp and is_cuda_available():
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    elif args.amp:
        config.optim_wrapper.type = "mmbas.BFloat16OptimWrapper"
    if args.resume or (config.get("resume") and not config.get("load_from")):
        set_resume(config, args.resume or "auto")


def set_resume(config: Config, checkpoint: str) -> None:
    """Let the runner resume from ``checkpoint``, or for ``'auto'`` from the work dir's newest one.

    Without a checkpoint in the work dir, the training begins as the config says.

    Raises:
        ValueError: Before anything is written, if the checkpoint is not whole, or belongs to a
            later time than the end of the training.
    """
    auto = checkpoint == "auto"
    found = checkpoint_to_resume(config.work_dir) if auto else checked_checkpoint(checkpoint)
    config.resume = found is not None
    if found is None:
        return
    unit, number = checkpoint_number(found) or ("", 0)
    key = {"epoch": "max_epochs", "iter": "max_iters"}.get(unit, "")
    end = config.train_cfg.get(key)
    if end is not None and number > end:
        raise ValueError(
            f"expected a checkpoint of at most {unit} {end}, the end of the training, but got "
            f"{found}; set train_cfg.{key} higher, or choose another --work-dir"
        )
    # Without load_from the runner reads the file last_checkpoint, as in the hosts.
    config.load_from = None if auto else found
    if auto:
        record_checkpoint_to_resume(config.work_dir)


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    merge_arguments(config, args)
    check_data_roots(config, ["train_dataloader", "val_dataloader"])
    keep_freed_memory()
    # As in the hosts: runner_type="FlexibleRunner" is what FSDP and ZeRO need.
    runner: Any = RUNNERS.build(config) if "runner_type" in config else Runner.from_cfg(config)
    runner.train()
    result = {"work_dir": runner.work_dir, "iterations": runner.iter, "epochs": runner.epoch}
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
