"""Export a checkpoint to one file that C programs run without Python, open channels only.

The file holds the network with its weights, for images of any size, how to normalise images, and
the names of the classes; docs/runtime-file.md describes it and include/mmbas.h the interface. A
segmentor's logits are those of its head: resizing them to the image and argmax are the caller's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmbas import __version__
from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
    write_whole,
)
from mmbas.cli.data_sets import innermost, input_shape
from mmbas.cli.trained_model import load_trained_model, read_checkpoint
from mmbas.compress.onnx_export import ExportedNetwork
from mmbas.compress.prediction import is_segmentor
from mmbas.compress.runtime_export import export_runtime, max_relative_difference
from mmbas.registry import type_name
from mmbas.sliced.native.runtime_file import Preparation
from mmbas.sliced.native.runtime_model import RuntimeModel

TOLERANCE = 1e-4
BATCH_SIZES = (1, 7)


def parse_args() -> argparse.Namespace:
    call = (
        "python tools/export_runtime.py configs/resnet20_bas_digits.py "
        "work_dirs/quickstart/epoch_40.pth gated.mmbas"
    )
    parser = config_parser(__doc__, examples=[call])
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("out", metavar="FILE.mmbas", help="file to write")
    parser.add_argument(
        "--shape",
        nargs="+",
        type=int,
        metavar="SIZE",
        help="image height and width of the check; default: the crop of the training pipeline",
    )
    parser.add_argument("--threads", type=int, help="CPU threads of the check")
    return parser.parse_args()


def reads_files(config: Config) -> bool:
    """Tell whether the loader decodes image files, which it does with blue first."""
    dataset: Any = (config.get("test_dataloader") or {}).get("dataset") or {}
    pipeline = innermost(dataset)[0].get("pipeline") or []
    return any(type_name(transform) == "LoadImageFromFile" for transform in pipeline)


def texts_of(args: argparse.Namespace, network: ExportedNetwork) -> dict[str, str]:
    meta = read_checkpoint(args.checkpoint)["meta"]
    classes = (meta.get("dataset_meta") or {}).get("classes") or ()
    texts = {
        "config": args.config,
        "version": __version__,
        "task": "segmentation" if is_segmentor(network.model) else "classification",
        "prediction": network.prediction.rule,
    }
    if classes:
        texts["classes"] = "\n".join(map(str, classes))
    return texts


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    config = load_config(args.config, args.cfg_options)
    image_size = input_shape(config, args.shape)
    checked_checkpoint(args.checkpoint)
    model = load_trained_model(config, args.checkpoint).cpu()
    network = ExportedNetwork(model, image_size=image_size)
    is_bgr = reads_files(config) != network.flip_channels
    mean, std = network.mean.flatten().tolist(), network.std.flatten().tolist()
    export = export_runtime(model, Preparation(mean, std, is_bgr), texts_of(args, network))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.out, export.content)
    runtime = RuntimeModel(args.out)
    torch.manual_seed(0)
    images = [torch.rand(size, 3, *image_size) * 255 for size in BATCH_SIZES]
    checks = []
    for batch in images:
        inputs = ((batch.flip(1) if is_bgr else batch) - network.mean) / network.std
        checks.append(max_relative_difference(model, runtime, batch, inputs))
    difference, num_images = max(check[0] for check in checks), sum(check[1] for check in checks)
    if num_images == 0:
        raise ValueError(
            f"expected images whose gates are decided beyond rounding, but got none of "
            f"{sum(BATCH_SIZES)}; the file is not checked"
        )
    if not difference <= TOLERANCE:
        raise ValueError(
            f"expected results within {TOLERANCE:g} of torch, but got {difference:.3g}; "
            f"{args.out} is not to be trusted"
        )
    megabytes = len(export.content) / 1e6
    print(
        f"{args.out}: {megabytes:.1f} MB, within {difference:.1e} of torch\n"
        f"{runtime.info.num_gates} gates, {runtime.info.num_classes} classes; "
        f"prediction: {network.prediction.rule}"
    )
    if export.why_no_head:
        print(f"the file has no head, since {export.why_no_head}")
    result = {
        "max_rel_diff": difference,
        "megabytes": megabytes,
        "shape": list(image_size),
        "head": export.has_head,
        "num_gates": runtime.info.num_gates,
        "num_classes": runtime.info.num_classes,
        "checkpoint": args.checkpoint,
        "out": args.out,
    }
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
