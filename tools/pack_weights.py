"""Pack a trained network for mmbas.load: its weights in float16, its model's config, its classes.

The file goes to mmbas/zoo/weights/NAME.pth and is a checkpoint like others: tools/test.py measures
what it reaches. The entry of the model in model-index.yml then gets Weights and Results.
"""

from __future__ import annotations

import argparse
import copy
import io
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mmbas.cli.command_line import (
    config_parser,
    load_config,
    run_tool,
    with_origin,
    write_json,
    write_whole,
)
from mmbas.cli.data_sets import input_shape
from mmbas.cli.trained_model import load_trained_model, read_checkpoint, with_preprocessor
from mmbas.zoo.networks import WEIGHTS

# What a model starts or learns from while it trains; a trained one has its own weights.
TRAINING_ONLY = ("init_cfg", "teacher")


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/pack_weights.py configs/resnet20_bas_digits.py "
            "work_dirs/quickstart/epoch_40.pth resnet20-bas-digits"
        ],
    )
    parser.add_argument("checkpoint", help="checkpoint of a training, which holds the class names")
    parser.add_argument("name", help="name for mmbas.load")
    return parser.parse_args()


def classes_of(checkpoint: str) -> tuple[str, ...]:
    """Names of the classes that a network was trained on."""
    classes = (read_checkpoint(checkpoint)["meta"].get("dataset_meta") or {}).get("classes")
    if not classes:
        raise ValueError(
            f"expected the names of the classes in {checkpoint}, as mmengine's training writes "
            "them, but it has none; pack the checkpoint of a training"
        )
    return tuple(classes)


def half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with every floating-point tensor in float16.

    Raises:
        ValueError: If a value is outside of its range.
    """
    packed = {
        key: value.half() if value.is_floating_point() else value for key, value in weights.items()
    }
    for key, value in packed.items():
        if not value.isfinite().all():
            raise ValueError(f"expected weights that float16 can hold, but {key} has others")
    return packed


def packed(config: Config, checkpoint: str) -> dict[str, Any]:
    """Content of the file: tensors, numbers and texts only."""
    config = copy.deepcopy(with_preprocessor(config))
    for key in TRAINING_ONLY:
        if key in config.model:
            config.model[key] = None
    weights = load_trained_model(config, checkpoint).cpu().state_dict()
    return {
        "default_scope": config.default_scope,
        "model": config.to_dict()["model"],
        "dataset_meta": {
            "classes": classes_of(checkpoint),
            "image_size": tuple(input_shape(config, None)),
        },
        "state_dict": half(weights),
    }


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    data = io.BytesIO()
    torch.save(packed(config, args.checkpoint), data)
    path = WEIGHTS / f"{args.name}.pth"
    write_whole(path, data.getbuffer())
    size = path.stat().st_size
    print(f"{path} ({size / 1e6:.2f} MB)")
    write_json(args.out_json, with_origin({"file": str(path), "bytes": size}, args.config))


if __name__ == "__main__":
    run_tool(main)
