"""Move a trained gated network to another average cost by one shift of all its gates.

The last step of the target-MACs recipe: what a network costs in evaluation differs by a point or
two from what its loss saw in training. No labels are used, and nothing is trained.
"""

from __future__ import annotations

import argparse

from mmengine.config import Config

from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    format_table,
    load_config,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import check_data_roots, data_loader
from mmbas.cli.test_set import changes, evaluate_test_set
from mmbas.cli.trained_model import load_trained_model, read_checkpoint, save_checkpoint
from mmbas.compress.chosen_images import ChosenImages
from mmbas.compress.match_macs import match_macs
from mmbas.registry import type_name


def parse_args() -> argparse.Namespace:
    run = "configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth"
    parser = config_parser(
        __doc__,
        examples=[
            f"python tools/match_macs.py {run} --target 0.5 --out work_dirs/quickstart/half.pth"
        ],
    )
    parser.add_argument("checkpoint", help="checkpoint file of a gated network")
    parser.add_argument(
        "--target",
        type=float,
        metavar="F",
        help="average MACs / dense MACs; default: the target of the config's target-MACs loss",
    )
    parser.add_argument("--out", required=True, metavar="FILE.pth", help="the shifted checkpoint")
    parser.add_argument(
        "--data",
        choices=["train", "val", "test"],
        default="train",
        help="images to measure the cost on: this part of the data, through the test pipeline "
        "(train)",
    )
    parser.add_argument(
        "--num-images",
        type=int,
        metavar="N",
        default=2000,
        help="so many of them, chosen at random but always the same (2000)",
    )
    return parser.parse_args()


def target_of(config: Config) -> float:
    """The target that the network was trained for."""
    for loss in (config.model.get("gate_losses") or {}).values():
        if type_name(loss) == "TargetMACsLoss":
            return float(loss["target"])
    raise ValueError("expected --target, since the config has no target-MACs loss, but got none")


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    target = target_of(config) if args.target is None else args.target
    checked_checkpoint(args.checkpoint)
    check_data_roots(config, [f"{args.data}_dataloader", "test_dataloader"])
    model = load_trained_model(config, args.checkpoint)
    before = evaluate_test_set(config, model)
    loader = data_loader(config, args.data, mixed=True)
    shift, reached = match_macs(model, ChosenImages(loader, args.num_images), target)
    after = evaluate_test_set(config, model)
    meta = {**read_checkpoint(args.checkpoint)["meta"], "logit_shift": shift}
    save_checkpoint(args.out, meta=meta, state_dict=model.cpu().state_dict())
    num_images = min(args.num_images, len(loader.dataset))
    print(
        f"{shift:+.3f} on all gate logits: {reached:.4f} of the MACs of {num_images} images "
        f"({args.data})"
    )
    print(format_table(["test set", "before", "after"], changes(before, after)))
    print(f"written: {args.out}, for the same config")
    result = {
        "target": target,
        "shift": shift,
        "macs/fraction": reached,
        "num_images": num_images,
        "before": before,
        "after": after,
        "checkpoint": args.checkpoint,
        "out": args.out,
    }
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
