"""Cost of shaping all norm layers of a ResNet-50, as a share of its training step.

Times interleaved steps of one process, with SGD, on random images of 224x224, and reports medians
of ratios to the plain step:

layer         one distribution for each layer, 4096 values each
channel       one for each channel, 4096 values each
all layers    as channel, with every layer in every step
all channels  as all layers, with every channel of a layer in every step

Unless the name says otherwise, 16 layers take turns in a step, and 32 channels of each layer.

Examples:
    python benchmarks/shaping_cost.py --threads 1 --batch-size 32 --rounds 5
    python benchmarks/shaping_cost.py --device cuda --batch-size 256
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torchvision.models import resnet50

from mmbas.cli.allocator import keep_freed_memory
from mmbas.cli.command_line import format_table, run_tool, set_threads, with_origin, write_json
from mmbas.losses import NormalPrior, ShapingLoss
from mmbas.measure.small_training import shaped_total
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio

FEATURES = ["**.bn?", "bn1", "**.downsample.1"]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer": dict(dim="layer"),
    "channel": dict(dim="channel"),
    "all layers": dict(dim="channel", max_features=None),
    "all channels": dict(dim="channel", max_features=None, max_channels=None),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--shape", type=int, default=224, help="height and width of the images")
    parser.add_argument("--max-values", type=int, default=4096)
    parser.add_argument("--settings", nargs="+", choices=[*SETTINGS][1:], default=[*SETTINGS][1:])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of the process instead of the clock's"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def step_of(name: str, args: argparse.Namespace) -> Callable[[], None]:
    """A training step of a network of its own."""
    torch.manual_seed(0)
    model = resnet50().to(args.device).train()
    shaping = {}
    if name != "plain":
        loss = ShapingLoss(
            features=FEATURES,
            prior=NormalPrior(),
            max_values=args.max_values,
            loss_weight=0.01,
            **SETTINGS[name],
        )
        shaping = {"norms": loss.bind(model).to(args.device)}
    images = torch.randn(args.batch_size, 3, args.shape, args.shape, device=args.device)
    labels = torch.randint(1000, (args.batch_size,), device=args.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        shaped_total(model, shaping, lambda: F.cross_entropy(model(images), labels)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def cpu_seconds(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Processor time of interleaved steps, which other processes on the machine disturb less."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if number > 0:  # the first round warms up
                seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    keep_freed_memory()
    steps = {name: step_of(name, args) for name in ["plain", *args.settings]}
    if args.cpu_time:
        seconds = cpu_seconds(steps, args.rounds)
    else:
        seconds = interleaved_seconds(steps, repeats=args.rounds, warmup=1, device=args.device)
    ratios = {name: median_ratio(seconds[name], seconds["plain"]) for name in args.settings}
    rows = [["plain", f"{median_ms(seconds['plain']):.0f}", ""]]
    rows += [
        [name, f"{median_ms(seconds[name]):.0f}", f"{100 * (ratio - 1):+.1f} %"]
        for name, ratio in ratios.items()
    ]
    print(format_table(["training step", "ms", "more than plain"], rows))
    result = {
        **{f"{name}_ms": median_ms(values) for name, values in seconds.items()},
        "ratios": ratios,
        "data": "random images",
        "seed": 0,
        **{name: getattr(args, name) for name in ("batch_size", "shape", "max_values", "rounds")},
        "device": args.device,
        "clock": "processor" if args.cpu_time else "wall",
    }
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
