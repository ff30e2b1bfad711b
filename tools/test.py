"""Test a checkpoint: the host's metrics and the average conditional MACs of the whole model."""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mmbas.analysis import draw_extremes, is_bgr
from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    load_config,
    parse_runner_args,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import (
    as_list,
    check_class_names,
    check_data_roots,
    class_names_asked_for,
    set_pipeline,
)
from mmbas.cli.launcher import join_processes
from mmbas.cli.trained_model import load_weights
from mmbas.hooks import RecalibrateNormsHook
from mmbas.registry import type_name
from mmbas.sliced import AccelerateHook


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/test.py configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth",
            "python tools/test.py configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth "
            "--save-macs macs.json --show-macs macs.png",
            "python tools/test.py configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth "
            "--sliced",
            "python tools/test.py configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth "
            "--recalibrate-norms 1000",
            "python tools/test.py configs/pspnet_r18_bas_street_scenes.py "
            "work_dirs/pspnet_r18_bas_street_scenes/iter_40.pth --tta",
        ],
    )
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--save-macs", metavar="FILE", help="write the MACs of each image as JSON")
    parser.add_argument(
        "--show-macs",
        metavar="PICTURE",
        help="draw the images with the highest and the lowest MACs (with --save-macs)",
    )
    parser.add_argument(
        "--num-images", type=int, default=4, metavar="K", help="images in each row of it (4)"
    )
    parser.add_argument(
        "--sliced",
        action="store_true",
        help="do not compute closed channels: the same predictions, sooner",
    )
    parser.add_argument(
        "--dtype",
        choices=["bfloat16"],
        help="with --sliced: let the backbone compute in bfloat16, gates in float32",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="multi-scale and flip test with the config's tta_pipeline; all passes count as MACs",
    )
    parser.add_argument(
        "--recalibrate-norms",
        type=int,
        metavar="N",
        help="gather the statistics of batch normalisation anew on N training images first, with "
        "the gates of evaluation",
    )
    return parse_runner_args(parser)


def augment(config: Config) -> None:
    """Test each image several times, as the config's ``tta_pipeline`` and ``tta_model`` say.

    Raises:
        ValueError: If the config has none.
    """
    missing = [key for key in ("tta_pipeline", "tta_model") if not config.get(key)]
    if missing:
        raise ValueError(
            f"expected {' and '.join(missing)} in the config for --tta, but got none; inherit "
            "them, as the segmentation configs do, or test without --tta"
        )
    set_pipeline(config.test_dataloader.dataset, config.tta_pipeline)
    config.model = {**config.tta_model, "module": config.model}


def save_macs(config: Config, path: str) -> None:
    """Let the evaluator write the MACs of each image."""
    evaluators = as_list(config.test_evaluator)
    others = [metric for metric in evaluators if type_name(metric) != "ConditionalMACs"]
    config.test_evaluator = [*others, dict(type="mmbas.ConditionalMACs", out_file=path)]


def with_accuracy(metrics: dict[str, Any]) -> dict[str, Any]:
    """Add ``accuracy`` as a fraction to MMPretrain's percentage."""
    top1 = metrics.get("accuracy/top1")
    return metrics if top1 is None else {"accuracy": top1 / 100, **metrics}


def draw_macs(config: Config, args: argparse.Namespace) -> None:
    """Draw the images with the highest and the lowest MACs, fewer if the data set has fewer.

    Args:
        config: Before ``--tta``: its images are single and whole.
        args: Arguments of the command line.
    """
    rows = json.loads(Path(args.save_macs).read_text(encoding="utf-8"))
    fractions = [row["fraction"] for row in rows]
    dataset = DATASETS.build(config.test_dataloader.dataset)
    k = min(args.num_images, len(fractions))
    draw_extremes(dataset, fractions, k=k, path=Path(args.show_macs), bgr=is_bgr(config))


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    join_processes(config, args.launcher)
    config.load_from = checked_checkpoint(args.checkpoint)
    default_dir = config.get("work_dir") or str(Path("work_dirs") / Path(args.config).stem)
    config.work_dir = args.work_dir or default_dir
    check_data_roots(config, ["test_dataloader"])
    if args.recalibrate_norms is not None:
        check_data_roots(config, ["train_dataloader"])
    if args.show_macs and not args.save_macs:
        raise ValueError("expected --save-macs FILE with --show-macs, but got none")
    if args.dtype and not args.sliced:
        raise ValueError("expected --sliced with --dtype, but got --dtype alone")
    if args.num_images < 1:
        raise ValueError(f"expected --num-images >= 1, but got {args.num_images}")
    if args.save_macs:
        save_macs(config, args.save_macs)
    single_pass = copy.deepcopy(config)
    if args.tta:
        augment(config)
    runner = Runner.from_cfg(config)
    # The runner loads it again, for its hooks, but only logs what does not fit.
    load_weights(runner.model, args.checkpoint)
    with class_names_asked_for():
        dataset = runner.test_loop.dataloader.dataset
    check_class_names(dataset, config.test_evaluator)
    if args.recalibrate_norms is not None:
        runner.register_hook(RecalibrateNormsHook(args.recalibrate_norms, at_test=True))
    if args.sliced:
        runner.register_hook(AccelerateHook(dtype=args.dtype), priority="LOWEST")
    metrics = runner.test()
    result = {**with_accuracy(metrics), "checkpoint": args.checkpoint}
    write_json(args.out_json, with_origin(result, args.config))
    if args.show_macs and is_main_process():
        draw_macs(single_pass, args)
    if is_main_process():
        for path in filter(None, (args.save_macs, args.show_macs)):
            print(f"written: {path}")


if __name__ == "__main__":
    run_tool(main)
