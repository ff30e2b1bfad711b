"""Remove channels that never open and fold gates that always are open: a smaller network.

Writes a checkpoint and, beside it, the config that loads it. With --classes the result is a
specialist for images of these classes.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    format_table,
    load_config,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import as_list, check_data_roots, class_names, data_loader
from mmbas.cli.test_set import changes, evaluate_test_set
from mmbas.cli.trained_model import load_trained_model, read_checkpoint, save_checkpoint
from mmbas.compress.chosen_images import measure_open_rates, select_images
from mmbas.compress.reduction import Reduction, check_rates, reduce_model
from mmbas.registry import type_name


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
        help="images to measure the gates on: this part of the data, through the test pipeline "
        "(train)",
    )
    parser.add_argument(
        "--num-images",
        type=int,
        metavar="N",
        help="only so many of them, chosen at random but always the same",
    )
    parser.add_argument(
        "--min-rate",
        type=float,
        default=0.01,
        metavar="R",
        help="remove channels that are open for less than this fraction of these images, and those "
        "that never are (0.01; 0 changes nothing on these images)",
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
        help="measure and test with images of these classes only (names, or numbers from 0); "
        "in segmentation: with images that contain any of them",
    )
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Refuse, before minutes of measuring, what cannot be done or would overwrite an input."""
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
    """Numbers of the classes given by name or number; only numbers where no name is known."""
    if names is None:
        return None
    numbers = []
    for name in names:
        if name in known:
            numbers.append(list(known).index(name))
        elif name.isdigit() and (not known or int(name) < len(known)):
            numbers.append(int(name))
        else:
            choice = ", ".join(known) or "numbers from 0, since the data set names none"
            raise ValueError(f"expected a class in {choice}, but got {name}")
    return numbers


def reduced_config(config: Config, reduction: Reduction, checkpoint: Path) -> Config:
    """The config of the reduced network; training with it starts from the reduced checkpoint.

    It finds the checkpoint in its own folder, wherever that is: mmengine fills in ``fileDirname``.
    """
    reduced = copy.deepcopy(config)
    reduced.model.backbone.block_widths = reduction.block_widths
    for part in (reduced.model, reduced.model.backbone):
        # The weights that the original network started from do not fit.
        part.pop("pretrained", None)
        initialisations = as_list(part.get("init_cfg"))
        if any(map(loads_weights, initialisations)):
            part.init_cfg = [cfg for cfg in initialisations if not loads_weights(cfg)] or None
    if not reduction.has_gates and "gate_losses" in reduced.model:
        reduced.model.gate_losses = None
    reduced.load_from = "{{ fileDirname }}/" + checkpoint.name
    # Those of a config written by a training: the reduced network's is a new one, in its own place.
    reduced.resume = False
    reduced.pop("work_dir", None)
    return reduced


def loads_weights(init_cfg: object) -> bool:
    """Tell whether an initialisation loads a checkpoint."""
    return type_name(init_cfg) in ("Pretrained", "PretrainedInit")


def write_reduced(args: argparse.Namespace, config: Config, reduction: Reduction) -> Config:
    """Write checkpoint and config."""
    out = Path(args.out)
    text = reduced_config(config, reduction, out).pretty_text
    meta = {
        key: value
        for key, value in read_checkpoint(args.checkpoint)["meta"].items()
        if key in ("dataset_meta", "epoch", "iter")
    }
    save_checkpoint(out, meta={**meta, "cfg": text}, state_dict=reduction.state_dict)
    header = f"# {args.config} reduced by tools/reduce.py; its weights: {out.name}.\n"
    out.with_suffix(".py").write_text(header + text, encoding="utf-8")
    return load_config(str(out.with_suffix(".py")))


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    checked_checkpoint(args.checkpoint)
    check_args(args)
    check_data_roots(config, [f"{args.data}_dataloader", "test_dataloader"])
    model = load_trained_model(config, args.checkpoint)
    loader = data_loader(config, args.data, mixed=True)
    classes = class_numbers(args.classes, class_names(loader.dataset))
    images = select_images(loader, classes=classes, num_images=args.num_images)
    rates, num_images = measure_open_rates(model, images)
    reduction = reduce_model(model.cpu(), rates, min_rate=args.min_rate, max_rate=args.max_rate)
    before = evaluate_test_set(config, model.to(get_device()), classes)
    reduced = write_reduced(args, config, reduction)
    after = evaluate_test_set(reduced, load_trained_model(reduced, args.out), classes)
    print(
        f"{reduction.num_gates} gates: {reduction.num_removed} channels removed, "
        f"{reduction.num_folded} gates folded, by {num_images} images ({args.data})"
    )
    print(format_table(["test set", "before", "after"], changes(before, after)))
    print(f"written: {args.out}, and its config {Path(args.out).with_suffix('.py')}")
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
