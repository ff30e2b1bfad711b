"""Time of a gated network and of the same without gates, in the fastest libraries, in one run.

torch eager     the network without gates, normalisation folded into the convolutions, the faster of
                the two memory layouts
torch compiled  the same by torch.compile with frozen weights (takes a minute to compile)
onnxruntime     the same exported to ONNX, in ONNX Runtime
openvino        the same in OpenVINO; libraries that are not installed are named
rival           another network without gates (--rival), e.g. a smaller one of about as many MACs
masked          the gated network with all channels computed and closed ones multiplied by 0
sliced          the gated network with open channels computed only, each execution path by itself
MAC ratio       average conditional MACs, gate networks included, over the MACs of the plain network
efficiency      time ratio / MAC ratio; 1 means that every closed channel saves its share of time

All take turns on the same images with as many threads, with fresh gates for every image. Each call
that counts follows one of the same network that does not, as in a loop of its own.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    counted,
    format_table,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import check_data_roots, input_shape
from mmbas.cli.trained_model import load_weights, with_preprocessor
from mmbas.compress.prediction import is_detector
from mmbas.gates import named_gates
from mmbas.measure.contenders import Batch, random_gate_batches
from mmbas.measure.cpu_class import has_bfloat16
from mmbas.measure.dense_runs import LIBRARIES, DenseSettings
from mmbas.measure.feature_network import FeatureNetwork
from mmbas.measure.inference_benchmark import Settings, measure
from mmbas.measure.onnx_twin import INT8


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/benchmark_inference.py configs/resnet20_bas_digits.py "
            "--checkpoint work_dirs/quickstart/epoch_40.pth",
            "python tools/benchmark_inference.py configs/resnet20_bas_cifar10.py "
            "--open-fraction 0.5 --vary 0.1 --threads 1",
            "python tools/benchmark_inference.py configs/resnet34_bas_imagenet.py "
            "--open-fraction 0.45 --shape 224 --threads 1 --rival configs/resnet18_imagenet.py",
            "python tools/benchmark_inference.py configs/pspnet_r50_bas_cityscapes.py "
            "--open-fraction 0.5 --shape 512 1024 --repeats 5 --libraries torch --no-compile",
        ],
    )
    gates = parser.add_mutually_exclusive_group(required=True)
    gates.add_argument("--checkpoint", help="trained gates deciding on the config's test images")
    gates.add_argument("--open-fraction", type=float, metavar="P", help="random gates, P open")
    parser.add_argument(
        "--vary",
        type=float,
        default=0.1,
        help="each image and layer draws its open fraction from P +- VARY (0.1)",
    )
    parser.add_argument("--batch-size", type=int, default=1, help="images per call (1)")
    parser.add_argument("--shape", nargs="+", type=int, metavar="SIZE", help="image height, width")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--repeats", type=int, default=50, help="counted calls of each (50)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "bfloat16", "float16"],
        help="of the gated network, its head included (float32)",
    )
    parser.add_argument(
        "--paths",
        nargs="+",
        default=["native", "torch"],
        choices=["native", "torch", "triton"],
        help="execution paths to time (native torch)",
    )
    parser.add_argument(
        "--libraries",
        nargs="+",
        default=list(LIBRARIES),
        choices=LIBRARIES,
        help="that run the network without gates (all)",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=["float32", "bfloat16", "float16", INT8],
        help="of the network without gates; default: float32, bfloat16 if the CPU has it, and "
        "--dtype; int8 is ONNX Runtime's static quantisation",
    )
    parser.add_argument("--no-compile", action="store_true", help="leave out torch compiled")
    parser.add_argument("--rival", metavar="CONFIG", help="another network, timed without gates")
    parser.add_argument("--per-stage", action="store_true", help="also time each stage by itself")
    args = parser.parse_args()
    check_args(parser, args)
    return args


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what cannot be measured."""
    if args.open_fraction is not None and not 0 <= args.open_fraction <= 1:
        parser.error(f"expected --open-fraction in [0, 1], but got {args.open_fraction}")
    if not args.vary >= 0:
        parser.error(f"expected --vary >= 0, but got {args.vary}")
    for name in ("batch_size", "repeats", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"expected --{name.replace('_', '-')} >= 1, but got {value}")
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(f"expected a device of this machine, but got {args.device}")
    if args.shape and (len(args.shape) > 2 or min(args.shape) < 1):
        parser.error(f"expected --shape as one or two sizes >= 1, but got {args.shape}")


def build_gated(config: Config, checkpoint: str | None) -> nn.Module:
    """The gated network in evaluation mode."""
    torch.manual_seed(0)
    # As the runner does: a checkpoint's gates must see normalised images.
    gated: nn.Module = MODELS.build(with_preprocessor(config).model)
    if not named_gates(gated):
        raise ValueError("expected a config with gates, but its network has none")
    if checkpoint:
        load_weights(gated, checkpoint)
    return gated.eval()


def timed_part(model: nn.Module) -> nn.Module:
    """The model, or of a detector what its gates can make faster, and says so."""
    if not is_detector(model):
        return model
    print("a detector: backbone and neck are timed, from an image to its feature maps")
    return FeatureNetwork(model).eval()


def test_batches(config: Config, model: Any, batch_size: int) -> Iterator[Batch]:
    """The config's test images as the model sees them, again and again."""
    check_data_roots(config, ["test_dataloader"])
    if not config.get("test_dataloader"):
        raise ValueError("expected test_dataloader in the config, but got none")
    loader = copy.deepcopy(config.test_dataloader)
    loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    loader.drop_last = True
    built = Runner.build_dataloader(loader)
    if len(built) == 0:
        raise ValueError(
            f"expected at least {batch_size} test images for a batch, but got {len(built.dataset)}"
        )
    for data in itertools.chain.from_iterable(itertools.repeat(built)):
        images = model.data_preprocessor(data)["inputs"]
        if not isinstance(images, Tensor):
            raise ValueError(
                f"expected test images of one size, stacked, but got {type(images).__name__}; "
                "use --batch-size 1, or noise images with --open-fraction"
            )
        yield Batch(images)


def make_batches(
    config: Config, model: nn.Module, timed: nn.Module, args: argparse.Namespace
) -> list[Batch]:
    """Make as many batches as there are counted calls: for a model, or for its timed part."""
    if args.checkpoint:
        source = test_batches(config, model, args.batch_size)
    else:
        source = random_gate_batches(
            timed,
            (args.batch_size, 3, *input_shape(config, args.shape)),
            open_fraction=args.open_fraction,
            vary=args.vary,
        )
    return list(itertools.islice(source, args.repeats))


def dense_settings(args: argparse.Namespace) -> DenseSettings:
    """Choice of the runs of the network without gates."""
    own = ["float32", "bfloat16"] if args.device != "cpu" or has_bfloat16() else ["float32"]
    # The gated network is always compared with torch in its own dtype.
    precisions = dict.fromkeys([*(args.precisions or own), args.dtype])
    return DenseSettings(tuple(precisions), tuple(args.libraries), not args.no_compile)


def build_rival(path: str) -> nn.Module:
    """The network of another config in evaluation mode, with random weights."""
    config = load_config(path)
    init_default_scope(config.get("default_scope") or "mmengine")
    rival: nn.Module = MODELS.build(config.model)
    return timed_part(rival.eval())


def realised(result: dict[str, Any]) -> str:
    """Share of the MACs that the path computes where that is more than what is counted."""
    ratio = result["realised_macs_ratio"]
    if ratio <= 1.001 * result["macs_ratio"]:
        return ""
    return f" counted, {ratio:.3f} computed by this path, which masks the rest"


def print_result(result: dict[str, Any], rival: str | None) -> None:
    height, width = result["shape"]
    print(
        f"batch {result['batch_size']}, {height}x{width}, {counted(result['threads'], 'thread')}, "
        f"{result['device']} ({result['cpu_class']}), gated in {result['dtype']}; "
        f"MAC ratio {result['macs_ratio']:.3f}{realised(result)}"
    )
    print(format_table(["", "ms", "sliced / it", "efficiency"], list(rows_of(result, rival))))
    print(
        f"sliced and masked differ by {result['max_rel_diff']:.1e} of the largest output; "
        f"accelerate(model) chooses the {result['path']} path"
    )
    for name, reason in result["left_out"].items():
        print(f"{name} left out: {reason}")
    if (result["ratio_best"] or 0) > 1:
        print(
            f"The network without gates is faster here, in {result['dense_best']}: use it, or "
            "fewer open gates."
        )
    for row in result.get("per_stage", []):
        print("  ".join(f"{key} {shown(value, 3)}" for key, value in row.items()))


def shown(value: object, digits: int = 2) -> str:
    """A cell of the table."""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def rows_of(result: dict[str, Any], rival: str | None) -> Iterator[list[str]]:
    """Rows of the table: name, ms, time ratio of the sliced network to it, efficiency."""
    for row in result["dense"]:
        efficiency = row["ratio"] / result["macs_ratio"]
        yield [row["name"], shown(row["ms"]), shown(row["ratio"]), shown(efficiency)]
    for row in result.get("rival", {}).get("dense", []):
        name = f"{Path(rival or '').stem}, {row['name']}"
        yield [name, shown(row["ms"]), shown(row["ratio"]), ""]
    masked = result["masked_ms"]
    yield ["masked", shown(masked), shown(result["sliced_ms"] / masked), ""]
    for path, figures in result["paths"].items():
        yield [f"sliced, {path}", shown(figures["sliced_ms"]), "", ""]
    if predict := result["predict"]:
        yield [
            "predict(), torch eager",
            shown(predict["dense_eager_ms"]),
            shown(predict["ratio"]),
            "",
        ]
        yield ["predict(), sliced, with costs", shown(predict["sliced_ms"]), "", ""]


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    if args.checkpoint:
        checked_checkpoint(args.checkpoint)
    set_threads(args.threads)
    init_default_scope(config.get("default_scope") or "mmengine")
    model = build_gated(config, args.checkpoint)
    gated = timed_part(model)
    batches = make_batches(config, model, gated, args)
    settings = Settings(
        repeats=args.repeats,
        paths=tuple(args.paths),
        dense=dense_settings(args),
        per_stage=args.per_stage,
        device=args.device,
        dtype=getattr(torch, args.dtype),
    )
    rival = build_rival(args.rival) if args.rival else None
    result = measure(gated, batches, settings, rival)
    if args.rival:
        result["rival"]["config"] = args.rival
    print_result(result, args.rival)
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
