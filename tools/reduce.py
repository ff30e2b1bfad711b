"""Remove channels that never open and fold gates that always are open: a smaller network.

Writes a checkpoint and, beside it, the config that loads it. With --classes the result is a
specialist for images of these classes.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import CheckpointLoader

from mmbas.cli.command_line import (
    check_data_roots,
    check_has_gates,
    checked_checkpoint,
    config_parser,
    format_table,
    load_config,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.trained_model import changes, data_loader, evaluate_test_set, load_model
from mmbas.compress.chosen_images import measure_open_rates, select_images
from mmbas.compress.reduction import Reduction, check_rates, reduce_model


def parse_args() -> argparse.Namespace:
    call = "python tools/reduce.py configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth"
    parser = config_parser(
        __doc__,
        examples=[
            f"{call} --out work_dirs/quickstart/reduced.pth",
            f"{call} --out work_dirs/quickstart/even.pth --classes 0 2 4 6 8",
        ],
    )
    parser.add_argument("checkpoint", help="checkpoint file of a gated network")
    parser.add_argument(
        "--out", required=True, metavar="FILE.pth", help="reduced checkpoint; config: FILE.py"
    )
    parser.add_argument(
        "--data",
        choices=["train", "val", "test"],
        default="train",
        help="calibration images: this part of the data, through the test pipeline (train)",
    )
    parser.add_argument(
        "--num-images", type=int, metavar="N", help="calibrate with the first N images only"
    )
    parser.add_argument(
        "--min-rate",
        type=float,
        default=0.01,
        metavar="R",
        help="remove channels that are open for less than this fraction of the calibration images, "
        "and those that never are (0.01; 0 changes nothing on these images)",
    )
    parser.add_argument(
        "--max-rate",
        type=float,
        default=1.0,
        metavar="R",
        help="fold gates that are open for at least this fraction of them (1)",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="calibrate and test with images of these classes only (names, or numbers from 0); "
        "in segmentation: with images that contain any of them",
    )
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Refuse, before minutes of calibration, what cannot be done or would overwrite an input."""
    check_rates(args.min_rate, args.max_rate)
    if args.num_images is not None and args.num_images < 1:
        raise ValueError(f"expected --num-images >= 1, but got {args.num_images}")
    out = Path(args.out)
    if out.suffix != ".pth":
        raise ValueError(f"expected --out to end in .pth, but got {out}")
    for source, target in ((args.checkpoint, out), (args.config, out.with_suffix(".py"))):
        if Path(source).resolve() == target.resolve():
            raise ValueError(
                f"expected another --out than {out}, which would overwrite {source}; choose "
                "another name"
            )
    out.parent.mkdir(parents=True, exist_ok=True)


def class_numbers(names: Sequence[str] | None, known: Sequence[str]) -> list[int] | None:
    """Numbers of the classes given by name or number."""
    if names is None:
        return None
    numbers = []
    for name in names:
        if name in known:
            numbers.append(list(known).index(name))
        elif name.isdigit() and int(name) < len(known):
            numbers.append(int(name))
        else:
            raise ValueError(f"expected a class in {', '.join(known)}, but got {name}")
    return numbers


def reduced_config(config: Config, reduction: Reduction, checkpoint: Path) -> Config:
    """The config of the reduced network; training with it starts from the reduced checkpoint."""
    reduced = copy.deepcopy(config)
    reduced.model.backbone.block_widths = reduction.block_widths
    for part in (reduced.model, reduced.model.backbone):
        # The weights that the original network started from do not fit.
        part.pop("pretrained", None)
        init_cfg = part.get("init_cfg")
        if isinstance(init_cfg, dict) and init_cfg.get("type") == "Pretrained":
            part.pop("init_cfg")
    if not reduction.has_gates and "gate_losses" in reduced.model:
        reduced.model.gate_losses = None
    reduced.load_from = str(checkpoint)
    # Those of a config written by a training: the reduced network's is a new one, in its own place.
    reduced.resume = False
    reduced.pop("work_dir", None)
    return reduced


def write_reduced(args: argparse.Namespace, config: Config, reduction: Reduction) -> Config:
    """Write checkpoint and config."""
    out = Path(args.out)
    reduced = reduced_config(config, reduction, out)
    source = CheckpointLoader.load_checkpoint(args.checkpoint, map_location="cpu", logger="silent")
    meta = {
        key: value
        for key, value in source.get("meta", {}).items()
        if key in ("dataset_meta", "epoch", "iter")
    }
    meta["cfg"] = reduced.pretty_text
    torch.save({"meta": meta, "state_dict": reduction.state_dict}, out)
    header = f"# {args.config} reduced by tools/reduce.py; its weights: {out.name}.\n"
    out.with_suffix(".py").write_text(header + reduced.pretty_text, encoding="utf-8")
    return load_config(str(out.with_suffix(".py")))


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    checked_checkpoint(args.checkpoint)
    check_args(args)
    check_data_roots(config, [f"{args.data}_dataloader", "test_dataloader"])
    model = load_model(config, args.checkpoint)
    check_has_gates(model, args.checkpoint)
    loader = data_loader(config, args.data)
    classes = class_numbers(args.classes, loader.dataset.metainfo["classes"])
    images = select_images(loader, classes=classes, num_images=args.num_images)
    rates, num_images = measure_open_rates(model, images)
    reduction = reduce_model(model.cpu(), rates, min_rate=args.min_rate, max_rate=args.max_rate)
    before = evaluate_test_set(config, model.to(get_device()), classes)
    reduced = write_reduced(args, config, reduction)
    after = evaluate_test_set(reduced, load_model(reduced, args.out), classes)
    print(
        f"{reduction.num_gates} gates: {reduction.num_removed} channels removed, "
        f"{reduction.num_folded} gates folded, by {num_images} images ({args.data})"
    )
    print(format_table(["test set", "before", "after"], changes(before, after)))
    result = {
        "before": before,
        "after": after,
        "num_gates": reduction.num_gates,
        "num_removed": reduction.num_removed,
        "num_folded": reduction.num_folded,
        "num_calibration_images": num_images,
        "classes": classes,
        "checkpoint": args.checkpoint,
        "out": args.out,
    }
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
