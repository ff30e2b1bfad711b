"""Export a checkpoint to ONNX and check the file against torch.

A conditional network computes all channels there, so it is correct but not faster; export what
tools/reduce.py writes for a smaller and faster one. Input: images as the data loader gives them,
float32, 0 to 255, any batch size; normalisation is part of the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import input_shape
from mmbas.cli.trained_model import load_trained_model
from mmbas.compress.onnx_export import (
    OPSET,
    ExportedNetwork,
    export_onnx,
    max_relative_difference,
    open_session,
    require_packages,
)
from mmbas.measure.timing import interleaved_seconds, median_ms

TOLERANCE = 1e-4
BATCH_SIZES = (1, 7)


def parse_args() -> argparse.Namespace:
    call = (
        "python tools/export_onnx.py configs/resnet20_bas_digits.py "
        "work_dirs/quickstart/epoch_40.pth gated.onnx"
    )
    parser = config_parser(__doc__, examples=[call, f"{call} --gates"])
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("out", metavar="FILE.onnx", help="file to write")
    parser.add_argument(
        "--gates", action="store_true", help="second output: which gates are open, (N, all gates)"
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


def load_network(args: argparse.Namespace) -> ExportedNetwork:
    config = load_config(args.config, args.cfg_options)
    image_size = input_shape(config, args.shape)
    checked_checkpoint(args.checkpoint)
    model = load_trained_model(config, args.checkpoint).cpu()
    return ExportedNetwork(model, image_size=image_size, with_gates=args.gates).eval()


def main() -> None:
    args = parse_args()
    require_packages("onnx", "onnxruntime")
    set_threads(args.threads)
    network = load_network(args)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    export_onnx(network, args.out)
    session = open_session(args.out)
    torch.manual_seed(0)
    images = [torch.rand(size, 3, *network.image_size) * 255 for size in BATCH_SIZES]
    checks = [max_relative_difference(network, session, batch) for batch in images]
    difference, num_images = max(check[0] for check in checks), sum(check[1] for check in checks)
    if num_images == 0:
        raise ValueError(
            f"expected images whose gates are decided beyond rounding, but got none of "
            f"{sum(BATCH_SIZES)}; the file is not checked"
        )
    if not difference <= TOLERANCE:
        raise ValueError(
            f"expected ONNX Runtime within {TOLERANCE:g} of torch, but got {difference:.3g}; "
            f"{args.out} is not to be trusted"
        )
    image = images[0]
    with torch.no_grad():
        seconds = interleaved_seconds(
            {
                "onnx_ms": lambda: session.run(None, {"images": image.numpy()}),
                "masked_ms": lambda: network(image),
            },
            repeats=args.repeats,
        )
    times = {name: median_ms(values) for name, values in seconds.items()}
    megabytes = Path(args.out).stat().st_size / 1e6
    height, width = network.image_size
    print(
        f"{args.out}: opset {OPSET}, {height}x{width}, {megabytes:.1f} MB, within {difference:.1e} "
        f"of torch\none image, {torch.get_num_threads()} threads: ONNX Runtime "
        f"{times['onnx_ms']:.2f} ms, torch (masked) {times['masked_ms']:.2f} ms"
    )
    result = {
        **times,
        "max_rel_diff": difference,
        "megabytes": megabytes,
        "opset": OPSET,
        "shape": [height, width],
        "gates": args.gates,
        "checkpoint": args.checkpoint,
        "out": args.out,
    }
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
