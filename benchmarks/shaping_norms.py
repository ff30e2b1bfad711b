"""Can shaping to a normal distribution take the place of batch normalisation?

A plain network of ten convolutions is trained on scikit-learn's digits in four ways: with batch
normalisation after each convolution, with nothing, with every convolution's output shaped to
N(0, 1) channel by channel, and with both. Each is trained with several learning rates; the table
has the mean over seeds at each, and diverged runs count with the accuracy that they end with.

Examples:
    python benchmarks/shaping_norms.py --out-json results/shaping-norms/digits.json
    python benchmarks/shaping_norms.py --epochs 5 --seeds 0 --learning-rates 0.05
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbas.cli.command_line import format_table, run_tool, set_threads, with_origin, write_json
from mmbas.losses import NormalPrior, ShapingLoss
from mmbas.measure.small_training import (
    Schedule,
    Split,
    accuracy,
    digits,
    train_classifier,
)

METHODS = ("norms", "none", "shaping", "norms and shaping")
WIDTHS = (16, 16, 16, 32, 32, 32, 64, 64, 64, 64)


class PlainNet(nn.Module):
    """Ten 3x3 convolutions with ReLUs, without shortcuts; the map is halved where widths double."""

    def __init__(self, *, norms: bool) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        last = 3
        for width in WIDTHS:
            stride = 2 if width > last > 3 else 1
            self.convs.append(nn.Conv2d(last, width, 3, stride, padding=1, bias=not norms))
            self.norms.append(nn.BatchNorm2d(width) if norms else nn.Identity())
            last = width
        self.classifier = nn.Linear(last, 10)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (N, 10)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            images = norm(conv(images)).relu()
        return self.classifier(images.mean(dim=(2, 3)))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.02, 0.1])
    parser.add_argument("--loss-weight", type=float, default=1.0, help="of the shaping loss")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


@torch.no_grad()
def deviations(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Mean distance of the convolutions' outputs to mean 0 and standard deviation 1, in test."""
    shaping = ShapingLoss(features=["convs.*"], prior=NormalPrior(), max_channels=None).bind(model)
    with shaping.recording(model) as features:
        model(images)
    values = [sample.values for sample in features.values()]
    means = torch.cat([each.mean(dim=0).abs() for each in values])
    stds = torch.cat([(each.std(dim=0) - 1).abs() for each in values])
    return {"mean_off": means.mean().item(), "std_off": stds.mean().item()}


def run(
    method: str,
    learning_rate: float,
    seed: int,
    args: argparse.Namespace,
    data: Split,
) -> dict[str, Any]:
    """Train and test one network."""
    torch.manual_seed(seed)
    model = PlainNet(norms=method.startswith("norms"))
    shaping = {}
    if "shaping" in method:
        loss = ShapingLoss(
            features=["convs.*"],
            prior=NormalPrior(),
            loss_weight=args.loss_weight,
            max_values=512,
            max_channels=None,
            min_density=0.01,
        )
        shaping = {"normal": loss.bind(model)}
    train, test = data
    schedule = Schedule(args.epochs, learning_rate)
    last = train_classifier(model, train, schedule, shaping=shaping, seed=seed)
    model.eval()
    result = {
        "method": method,
        "learning_rate": learning_rate,
        "seed": seed,
        "accuracy": accuracy(model, test),
        "diverged": not np.isfinite(last),
        **(deviations(model, test.images) if np.isfinite(last) else {}),
    }
    print(" ".join(f"{key}={value}" for key, value in result.items()), flush=True)
    return result


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    data = digits(args.image_size)
    runs = []
    for seed in args.seeds:
        runs += [
            run(method, rate, seed, args, data)
            for rate in args.learning_rates
            for method in METHODS
        ]
        report(runs, args, data)


def report(
    runs: list[dict[str, Any]],
    args: argparse.Namespace,
    data: Split,
) -> None:
    """Print the mean accuracies of the runs so far, and write them all."""
    means: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    for method in METHODS:
        for rate in args.learning_rates:
            same = [r for r in runs if (r["method"], r["learning_rate"]) == (method, rate)]
            means[method][str(rate)] = float(np.mean([r["accuracy"] for r in same]))
    rows = [[name, *(f"{100 * v:.1f}" for v in values.values())] for name, values in means.items()]
    rates = [f"lr {rate:g}" for rate in args.learning_rates]
    print(format_table(["accuracy, %", *rates], rows), flush=True)
    result = {
        "data": "digits",
        "images": [len(part.images) for part in data],
        "image_size": args.image_size,
        "seed": args.seeds,
        "epochs": args.epochs,
        "loss_weight": args.loss_weight,
        "means": means,
        "runs": runs,
    }
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
