"""Test a checkpoint: the host's metrics and the average conditional MACs of the whole model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from mmbas.command_line import (
    check_data_roots,
    checked_checkpoint,
    config_parser,
    load_config,
    run_tool,
    with_origin,
    write_json,
)


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/test.py configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth",
        ],
    )
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="logs; default work_dirs/CONFIG")
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


def with_accuracy(metrics: dict[str, Any]) -> dict[str, Any]:
    """Add ``accuracy`` as a fraction to MMPretrain's percentage."""
    top1 = metrics.get("accuracy/top1")
    return metrics if top1 is None else {"accuracy": top1 / 100, **metrics}


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    config.load_from = checked_checkpoint(args.checkpoint)
    config.work_dir = args.work_dir or str(Path("work_dirs") / Path(args.config).stem)
    check_data_roots(config, ["test_dataloader"])
    metrics = Runner.from_cfg(config).test()
    result = {**with_accuracy(metrics), "checkpoint": args.checkpoint}
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
