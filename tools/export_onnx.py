"""Export a checkpoint to ONNX and check the file against torch.

A conditional network computes all channels there, so it is correct but not faster; export what
tools/reduce.py writes for a smaller and faster one. With --operator the backbone is one node that
computes open channels only; ONNX Runtime runs it with the library that the tool names. Input:
images as the data loader gives them, float32, 0 to 255, any batch size; normalisation is part of
the file.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    counted,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import innermost, input_shape
from mmbas.cli.trained_model import load_trained_model
from mmbas.compress.onnx_export import (
    OPSET,
    ExportedNetwork,
    export_onnx,
    max_relative_difference,
    open_session,
    require_packages,
)
from mmbas.compress.onnx_operator import export_with_operator
from mmbas.compress.prediction import is_segmentor
from mmbas.measure.timing import interleaved_seconds, median_ms
from mmbas.registry import type_name
from mmbas.sliced.native.library import library_path

TOLERANCE = 1e-4
BATCH_SIZES = (1, 7)


def parse_args() -> argparse.Namespace:
    call = (
        "python tools/export_onnx.py configs/resnet20_bas_digits.py "
        "work_dirs/quickstart/epoch_40.pth gated.onnx"
    )
    parser = config_parser(__doc__, examples=[call, f"{call} --gates", f"{call} --operator"])
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("out", metavar="FILE.onnx", help="file to write")
    parser.add_argument(
        "--gates", action="store_true", help="second output: which gates are open, (N, all gates)"
    )
    parser.add_argument(
        "--operator", action="store_true", help="backbone as one node, mmbas::GatedBackbone"
    )
    parser.add_argument(
        "--bfloat16", action="store_true", help="with --operator: let it compute in bfloat16"
    )
    parser.add_argument(
        "--shape",
        nargs="+",
        type=int,
        metavar="SIZE",
        help="image height and width; default: the crop of the training pipeline",
    )
    parser.add_argument("--threads", type=int, help="CPU threads, of both runtimes")
    parser.add_argument(
        "--repeats", type=int, default=20, metavar="N", help="timed calls of each runtime (20)"
    )
    return parser.parse_args()


def load_network(config: Config, args: argparse.Namespace) -> ExportedNetwork:
    image_size = input_shape(config, args.shape)
    checked_checkpoint(args.checkpoint)
    model = load_trained_model(config, args.checkpoint).cpu()
    return ExportedNetwork(model, image_size=image_size, with_gates=args.gates).eval()


def steps_outside(config: Config, network: ExportedNetwork) -> list[str]:
    """Steps of tools/test.py that are not in the file, which its user has to do too.

    Transforms of the test pipeline that only read or pack are left out.
    """
    dataset: Any = (config.get("test_dataloader") or {}).get("dataset") or {}
    names = [type_name(transform) for transform in innermost(dataset)[0].get("pipeline") or []]
    steps = [name for name in names if not name.startswith(("Load", "Pack"))]
    if steps and is_segmentor(network.model):
        steps.append("resizing of the logits to the size of the image before these")
    return steps


def checked_difference(
    masked: ExportedNetwork, session: Any, images: list[torch.Tensor], path: str
) -> float:
    """Largest relative difference of the file's outputs from torch's.

    Raises:
        ValueError: If it is too large, or no image could be compared.
    """
    checks = [max_relative_difference(masked, session, batch) for batch in images]
    difference, num_images = max(check[0] for check in checks), sum(check[1] for check in checks)
    if num_images == 0:
        raise ValueError(
            f"expected images whose gates are decided beyond rounding, but got none of "
            f"{sum(BATCH_SIZES)}; the file is not checked"
        )
    if not difference <= TOLERANCE:
        raise ValueError(
            f"expected ONNX Runtime within {TOLERANCE:g} of torch, but got {difference:.3g}; "
            f"{path} is not to be trusted"
        )
    return difference


def main() -> None:
    args = parse_args()
    require_packages("onnx", "onnxruntime")
    set_threads(args.threads)
    config = load_config(args.config, args.cfg_options)
    network = load_network(config, args)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    masked = copy.deepcopy(network) if args.operator else network
    operators = None
    if args.operator:
        export_with_operator(network, args.out, bfloat16=args.bfloat16)
        operators = library_path()
    else:
        export_onnx(network, args.out)
    session = open_session(args.out, operators=operators)
    torch.manual_seed(0)
    images = [torch.rand(size, 3, *network.image_size) * 255 for size in BATCH_SIZES]
    difference = checked_difference(masked, session, images, args.out)
    image = images[0]
    with torch.no_grad():
        seconds = interleaved_seconds(
            {
                "onnx_ms": lambda: session.run(None, {"images": image.numpy()}),
                "masked_ms": lambda: masked(image),
            },
            repeats=args.repeats,
        )
    times = {name: median_ms(values) for name, values in seconds.items()}
    megabytes = Path(args.out).stat().st_size / 1e6
    height, width = network.image_size
    print(
        f"{args.out}: opset {OPSET}, {height}x{width}, {megabytes:.1f} MB, within {difference:.1e} "
        f"of torch\none image, {counted(torch.get_num_threads(), 'thread')}: ONNX Runtime "
        f"{times['onnx_ms']:.2f} ms, torch (masked) {times['masked_ms']:.2f} ms\n"
        f"outputs: {', '.join(network.output_names)}; prediction: {network.prediction.rule}"
    )
    if operators:
        print(f"operator mmbas::GatedBackbone in {operators}: register_custom_ops_library")
    outside = steps_outside(config, network)
    if outside:
        print(f"not in the file, but in a test: {', '.join(outside)}")
    result = {
        **times,
        "max_rel_diff": difference,
        "megabytes": megabytes,
        "opset": OPSET,
        "shape": [height, width],
        "gates": args.gates,
        "operator_library": None if operators is None else str(operators),
        "outputs": network.output_names,
        "prediction": network.prediction.rule,
        "not_in_file": outside,
        "checkpoint": args.checkpoint,
        "out": args.out,
    }
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
