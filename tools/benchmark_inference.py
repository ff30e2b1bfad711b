"""Time inference of the plain and of the gated network in one run, with fresh gates per image.

dense_eager  the config's network with gate=None, normalisation folded into the convolutions, the
             faster of the two memory layouts
masked       the gated network with all channels computed and closed ones multiplied by 0
MAC ratio    average conditional MACs, gate networks included, over the MACs of the plain network
dense_compiled and sliced (closed channels not computed) are not built yet: null in the JSON.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch import Tensor, nn

from mmbas.command_line import (
    check_data_roots,
    check_has_gates,
    checked_checkpoint,
    config_parser,
    format_table,
    input_shape,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
)
from mmbas.gates import force_gate_logits, named_gates
from mmbas.measure import interleaved_seconds, median_ms, median_ratio
from mmbas.metrics import count_macs


@dataclass(frozen=True)
class Batch:
    """Images, shape (N, 3, H, W), and logits to force on the gates; None lets them decide."""

    images: Tensor
    logits: dict[str, Tensor] | None


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/benchmark_inference.py configs/resnet20_bas_digits.py "
            "--checkpoint work_dirs/quickstart/epoch_40.pth",
            "python tools/benchmark_inference.py configs/resnet20_bas_cifar10.py "
            "--open-fraction 0.5 --vary 0.1 --threads 1",
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
    args = parser.parse_args()
    if args.open_fraction is not None and not 0 <= args.open_fraction <= 1:
        parser.error(f"expected --open-fraction in [0, 1], but got {args.open_fraction}")
    return args


def build_pair(config: Config, checkpoint: str | None) -> tuple[nn.Module, nn.Module]:
    """The gated network and the plain one with the same weights, in evaluation mode."""
    torch.manual_seed(0)
    # As the runner does: a checkpoint's gates must see normalised images.
    config.model.setdefault("data_preprocessor", config.get("data_preprocessor"))
    gated: nn.Module = MODELS.build(config.model)
    if not named_gates(gated):
        raise ValueError("expected a config with gates, but its network has none")
    if checkpoint:
        check_has_gates(gated, checkpoint)
        load_checkpoint(gated, checkpoint, map_location="cpu", logger="silent")
    plain_config = copy.deepcopy(config.model)
    plain_config.backbone.gate = None
    plain_config.gate_losses = None
    plain: nn.Module = MODELS.build(plain_config)
    plain.load_state_dict(gated.state_dict(), strict=False)
    return gated.eval(), plain.eval()


def test_batches(config: Config, model: Any, args: argparse.Namespace) -> Iterator[Batch]:
    """The config's test images as the model sees them, again and again."""
    check_data_roots(config, ["test_dataloader"])
    loader = copy.deepcopy(config.test_dataloader)
    loader.update(batch_size=args.batch_size, num_workers=0, persistent_workers=False)
    loader.drop_last = True
    for data in itertools.chain.from_iterable(itertools.repeat(Runner.build_dataloader(loader))):
        yield Batch(model.data_preprocessor(data)["inputs"], None)


def random_batches(config: Config, model: nn.Module, args: argparse.Namespace) -> Iterator[Batch]:
    """Noise images with fresh random gates."""
    height, width = input_shape(config, args.shape)
    n = args.batch_size
    gates = named_gates(model)
    while True:
        logits = {}
        for name, gate in gates.items():
            wanted = args.open_fraction + args.vary * (2 * torch.rand(n, 1) - 1)
            logits[name] = (torch.rand(n, gate.num_gates) < wanted).float() * 2 - 1
        yield Batch(torch.randn(n, 3, height, width), logits)


def caller(
    model: nn.Module, batches: list[Batch], *, forced: bool = False, channels_last: bool = False
) -> Callable[[], Tensor]:
    """A function that runs the model on the next batch each time it is called."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = copy.deepcopy(model).to(memory_format=layout)
    rounds = itertools.cycle(
        Batch(batch.images.to(memory_format=layout), batch.logits) for batch in batches
    )

    @torch.inference_mode()
    def call() -> Tensor:
        batch = next(rounds)
        if not forced or batch.logits is None:
            return model(batch.images)
        with force_gate_logits(model, batch.logits):
            return model(batch.images)

    return call


def macs_ratio(gated: nn.Module, plain: nn.Module, batches: list[Batch]) -> float:
    """Average conditional MACs of the gated network over the plain network's MACs."""
    total = dense = 0.0
    with torch.inference_mode():
        for batch in batches:
            n = len(batch.images)
            with force_gate_logits(gated, batch.logits or {}), count_macs(gated) as count:
                gated(batch.images)
            total += float(count.macs(n).sum())
            with count_macs(plain) as count:
                plain(batch.images)
            dense += count.dense_macs(n) * n
    return total / dense


def max_rel_diff(gated: nn.Module, folded: nn.Module, batches: list[Batch]) -> float:
    """Largest difference that folding the normalisation makes, relative to the largest output."""
    worst = 0.0
    with torch.inference_mode():
        for batch in batches:
            outputs = []
            for model in (gated, folded):
                with force_gate_logits(model, batch.logits or {}):
                    outputs.append(model(batch.images))
            worst = max(
                worst, float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max())
            )
    return worst


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    gated, plain = build_pair(config, args.checkpoint)
    source = test_batches if args.checkpoint else random_batches
    batches = list(itertools.islice(source(config, gated, args), args.repeats))
    folded_gated, folded_plain = (fuse_conv_bn(copy.deepcopy(model)) for model in (gated, plain))
    functions = {
        "dense_nchw": caller(folded_plain, batches),
        "dense_nhwc": caller(folded_plain, batches, channels_last=True),
        "masked_nchw": caller(folded_gated, batches, forced=True),
        "masked_nhwc": caller(folded_gated, batches, forced=True, channels_last=True),
    }
    seconds = interleaved_seconds(functions, repeats=args.repeats)
    dense, masked = (
        min(("nchw", "nhwc"), key=lambda layout: median_ms(seconds[f"{kind}_{layout}"]))
        for kind in ("dense", "masked")
    )
    macs = macs_ratio(gated, plain, batches)
    time_ratio = median_ratio(seconds[f"masked_{masked}"], seconds[f"dense_{dense}"])
    return {
        "dense_eager_ms": median_ms(seconds[f"dense_{dense}"]),
        "dense_compiled_ms": None,
        "masked_ms": median_ms(seconds[f"masked_{masked}"]),
        "sliced_ms": None,
        "macs_ratio": macs,
        "time_ratio_eager": time_ratio,
        "time_ratio_compiled": None,
        "efficiency_eager": time_ratio / macs,
        "efficiency_compiled": None,
        "max_rel_diff": max_rel_diff(gated, folded_gated, batches),
        "path": "masked",
        "layouts": {"dense_eager": dense, "masked": masked},
        "threads": torch.get_num_threads(),
        "batch_size": args.batch_size,
        "shape": list(batches[0].images.shape[2:]),
        "repeats": args.repeats,
        "device": "cpu",
        "dtype": "float32",
    }


def print_result(result: dict[str, Any]) -> None:
    rows = [
        ["dense eager", f"{result['dense_eager_ms']:.2f}", "1.00", "1.00"],
        [
            "masked",
            f"{result['masked_ms']:.2f}",
            f"{result['time_ratio_eager']:.2f}",
            f"{result['macs_ratio']:.2f}",
        ],
    ]
    height, width = result["shape"]
    print(
        f"batch {result['batch_size']}, {height}x{width}, {result['threads']} threads, CPU float32"
    )
    print(format_table(["", "ms", "time ratio", "MAC ratio"], rows))
    print(f"largest relative difference to the unfolded network: {result['max_rel_diff']:.1e}")


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    if args.checkpoint:
        checked_checkpoint(args.checkpoint)
    set_threads(args.threads)
    init_default_scope(config.default_scope)
    result = measure(config, args)
    print_result(result)
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
