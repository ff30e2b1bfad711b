"""Count parameters and MACs of a config's model, stage by stage.

MACs are the multiply-accumulates of convolutions and linear layers, those of the gates included.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import torch
from mmengine.structures import BaseDataElement

from mmbas.cli.command_line import (
    build_model,
    config_parser,
    format_table,
    load_config,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import input_shape
from mmbas.compress.prediction import is_detector
from mmbas.costs.cost_table import Cost, cost_table
from mmbas.costs.mac_count import uncounted_modules


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/count_macs.py configs/resnet20_bas_cifar10.py",
            "python tools/count_macs.py configs/resnet20_bas_cifar10.py --open-fraction 0.5 "
            "--per-block",
            "python tools/count_macs.py configs/resnet34_bas_imagenet.py --count-pooling",
        ],
    )
    parser.add_argument(
        "--shape",
        nargs="+",
        type=int,
        metavar="SIZE",
        help="image height and width; default: the crop of the training pipeline",
    )
    parser.add_argument(
        "--open-fraction",
        type=float,
        default=1.0,
        metavar="P",
        help="MACs when each gate is open independently with probability P (default 1)",
    )
    parser.add_argument(
        "--count-pooling",
        action="store_true",
        help="count the additions of the gates' pooling as MACs of the gates, as the paper does",
    )
    parser.add_argument("--per-block", action="store_true", help="one row per block")
    return parser.parse_args()


def print_costs(costs: list[Cost], open_fraction: float) -> None:
    header = ["", "params", "dense MACs", "gate MACs", "gates/rest", "all closed"]
    header.append(f"{open_fraction:.0%} open")
    rows = [
        [
            cost.name,
            f"{cost.params:,}",
            f"{cost.dense_macs:,}",
            f"{cost.gate_macs:,}",
            f"{cost.gate_share:.4%}",
            f"{cost.closed_macs:,}",
            f"{cost.macs:,}",
        ]
        for cost in costs
    ]
    print(format_table(header, rows))


def data_samples(model: Any, size: tuple[int, int]) -> list[list[BaseDataElement]]:
    """The argument that a detector needs beside an image, which tells its size."""
    if not is_detector(model):
        return []
    sizes = dict.fromkeys(("ori_shape", "img_shape", "pad_shape", "batch_input_shape"), size)
    return [[BaseDataElement(metainfo={**sizes, "scale_factor": (1.0, 1.0)})]]


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    height, width = input_shape(config, args.shape)
    model = build_model(config)
    costs = cost_table(
        model,
        torch.zeros(1, 3, height, width),
        *data_samples(model, (height, width)),
        open_fraction=args.open_fraction,
        count_pooling=args.count_pooling,
        per_block=args.per_block,
    )
    print(f"{args.config}, {height}x{width}")
    if is_detector(model):
        print("what follows the features is counted for the proposals of a blank image")
    print_costs(costs, args.open_fraction)
    if args.open_fraction < 1:
        print(f"parameters used at {args.open_fraction:.0%} open: {costs[-1].open_params:,}")
    if uncounted := uncounted_modules(model):
        print(f"not counted: {', '.join(uncounted)}")
    result: dict[str, Any] = {
        **asdict(costs[-1]),
        "open_fraction": args.open_fraction,
        "shape": [height, width],
        "parts": [{**asdict(cost), "gate_share": cost.gate_share} for cost in costs[:-1]],
        "not_counted": uncounted,
    }
    del result["name"]
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
