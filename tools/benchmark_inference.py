"""Time inference of the plain and of the gated network in one run, with fresh gates per image.

dense eager     the network without gates, normalisation folded into the convolutions, the faster of
                the two memory layouts
dense compiled  the same by torch.compile with frozen weights (takes a minute to compile)
masked          the gated network with all channels computed and closed ones multiplied by 0
sliced          the gated network with open channels computed only, each execution path by itself
MAC ratio       average conditional MACs, gate networks included, over the MACs of the plain network
efficiency      time ratio / MAC ratio; 1 means that every closed channel saves its share of time
Each call that counts follows one of the same network that does not, as in a loop of its own.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    format_table,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import check_data_roots, input_shape
from mmbas.cli.trained_model import load_weights, with_preprocessor
from mmbas.gates import named_gates
from mmbas.measure.contenders import Batch, random_gate_batches
from mmbas.measure.inference_benchmark import Settings, measure


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/benchmark_inference.py configs/resnet20_bas_digits.py "
            "--checkpoint work_dirs/quickstart/epoch_40.pth",
            "python tools/benchmark_inference.py configs/resnet20_bas_cifar10.py "
            "--open-fraction 0.5 --vary 0.1 --threads 1",
            "python tools/benchmark_inference.py configs/pspnet_r50_bas_cityscapes.py "
            "--open-fraction 0.5 --shape 512 1024 --repeats 5 --no-compile",
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
        help="of weights and images (float32); the native path takes float32 only",
    )
    parser.add_argument(
        "--paths",
        nargs="+",
        default=["native", "torch"],
        choices=["native", "torch", "triton"],
        help="execution paths to time (native torch)",
    )
    parser.add_argument("--no-compile", action="store_true", help="leave out dense compiled")
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


def test_batches(config: Config, model: Any, batch_size: int) -> Iterator[Batch]:
    """The config's test images as the model sees them, again and again."""
    check_data_roots(config, ["test_dataloader"])
    loader = copy.deepcopy(config.test_dataloader)
    loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    loader.drop_last = True
    for data in itertools.chain.from_iterable(itertools.repeat(Runner.build_dataloader(loader))):
        yield Batch(model.data_preprocessor(data)["inputs"])


def make_batches(config: Config, model: nn.Module, args: argparse.Namespace) -> list[Batch]:
    """As many batches as there are counted calls."""
    if args.checkpoint:
        source = test_batches(config, model, args.batch_size)
    else:
        source = random_gate_batches(
            model,
            (args.batch_size, 3, *input_shape(config, args.shape)),
            open_fraction=args.open_fraction,
            vary=args.vary,
        )
    return list(itertools.islice(source, args.repeats))


def print_result(result: dict[str, Any]) -> None:
    height, width = result["shape"]
    print(
        f"batch {result['batch_size']}, {height}x{width}, {result['threads']} threads, "
        f"{result['device']} {result['dtype']}; MAC ratio {result['macs_ratio']:.3f}"
    )
    header = ["", "ms", "/ eager", "/ compiled", "efficiency", "against compiled"]
    print(format_table(header, [[name, *cells] for name, cells in rows_of(result)]))
    print(
        f"sliced and masked differ by {result['max_rel_diff']:.1e} of the largest output; "
        f"accelerate(model) chooses the {result['path']} path"
    )
    for name, reason in result["left_out"].items():
        print(f"{name} left out: {reason}")
    fastest_dense = min(filter(None, (result["dense_eager_ms"], result["dense_compiled_ms"])))
    if fastest_dense < result["sliced_ms"]:
        print("The dense network is faster here: use it, or fewer open gates.")
    for row in result.get("per_stage", []):
        print("  ".join(f"{key} {shown(value, 3)}" for key, value in row.items()))


def shown(value: object, digits: int = 2) -> str:
    """A cell of the table."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def rows_of(result: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Rows of the table: name and cells."""
    eager, compiled = result["dense_eager_ms"], result["dense_compiled_ms"]
    times = {"dense eager": eager, "dense compiled": compiled, "masked": result["masked_ms"]}
    for name, ms in times.items():
        if ms is not None:
            yield name, [shown(ms), shown(ms / eager), shown(compiled and ms / compiled), "", ""]
    keys = ("sliced_ms", "time_ratio_eager", "time_ratio_compiled")
    for path, figures in result["paths"].items():
        cells = [figures[key] for key in (*keys, "efficiency_eager", "efficiency_compiled")]
        yield f"sliced, {path}", [shown(cell) for cell in cells]


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    if args.checkpoint:
        checked_checkpoint(args.checkpoint)
    set_threads(args.threads)
    init_default_scope(config.get("default_scope") or "mmengine")
    gated = build_gated(config, args.checkpoint)
    batches = make_batches(config, gated, args)
    settings = Settings(
        repeats=args.repeats,
        paths=tuple(args.paths),
        compile_dense=not args.no_compile,
        per_stage=args.per_stage,
        device=args.device,
        dtype=getattr(torch, args.dtype),
    )
    result = measure(gated, batches, settings)
    print_result(result)
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
