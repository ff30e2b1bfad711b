"""Cost of the batch-shaping loss, forward and backward, against a sort and against scipy.

Times interleaved rounds of one process and reports medians:

- ``loss``: ``batch_shaping_loss`` of all gates of ResNet-34 for a batch of 256, with its gradient;
- ``sort``: ``torch.sort`` of the same tensor over the batch, alone;
- ``scipy``: appendix A of the paper written down with numpy and scipy.

Examples:
    python benchmarks/loss_cost.py --threads 1
    python benchmarks/loss_cost.py --threads 2 --rounds 30 --out-json loss_cost.json
    python benchmarks/loss_cost.py --device cuda
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import betainc, expit
from scipy.stats import beta
from torch import Tensor

from mmbas.cli.command_line import own_command, write_json
from mmbas.cli.environment import describe
from mmbas.losses import BetaPrior, batch_shaping_loss
from mmbas.measure.timing import interleaved_seconds, median_ms

A, B = 0.6, 0.4


def loss_and_gradient(logits: Tensor) -> Tensor:
    """The loss under test and its backward pass."""
    logits = logits.detach().requires_grad_()
    loss = batch_shaping_loss(logits, BetaPrior(A, B)).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient


def scipy_loss_and_gradient(logits: Tensor) -> Tensor:
    """Appendix A for all gates at once, on the CPU, from probs and back."""
    x = expit(logits.cpu().numpy())
    num_images = len(x)
    order = np.argsort(x, axis=0)
    x_sort = np.take_along_axis(x, order, axis=0)
    cdf, pdf = betainc(A, B, x_sort), beta.pdf(x_sort, A, B)
    error = np.arange(1, num_images + 1)[:, None] / (num_images + 1) - cdf
    gradient = np.empty_like(x)
    np.put_along_axis(gradient, order, -2 / num_images * pdf * error, axis=0)
    gradient *= x * (1 - x)
    return torch.from_numpy(gradient).to(logits.device)


def measure(num_images: int, num_gates: int, device: str, rounds: int) -> dict[str, Any]:
    """Medians in ms, their ratios, and how far both gradients differ."""
    generator = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(num_images, num_gates, generator=generator)).to(device)
    difference = loss_and_gradient(logits) - scipy_loss_and_gradient(logits)
    steps: dict[str, Callable[[], object]] = {
        "loss": lambda: loss_and_gradient(logits),
        "sort": lambda: torch.sort(logits, dim=0),
        "scipy": lambda: scipy_loss_and_gradient(logits),
    }
    seconds = interleaved_seconds(steps, repeats=rounds, warmup=1, device=device)
    medians = {name: median_ms(values) for name, values in seconds.items()}
    return {
        **{f"{name}_ms": value for name, value in medians.items()},
        "loss_to_sort": medians["loss"] / medians["sort"],
        "scipy_to_loss": medians["scipy"] / medians["loss"],
        "max_gradient_difference": difference.abs().max().item(),
    }


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--num-images", type=int, default=256, help="batch size N")
    parser.add_argument("--num-gates", type=int, default=3776, help="gates G of all layers")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds")
    parser.add_argument("--out-json", metavar="FILE", help="write the results here")
    return parser.parse_args()


def main() -> None:
    """Measure, print a table, and write JSON."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    result = measure(args.num_images, args.num_gates, args.device, args.rounds)
    print(f"N = {args.num_images}, G = {args.num_gates}, Beta({A}, {B}), {args.threads} thread(s)")
    for name in ("loss", "sort", "scipy"):
        print(f"{name:>6} {result[f'{name}_ms']:9.2f} ms")
    print(f"loss / sort  {result['loss_to_sort']:6.2f}")
    print(f"scipy / loss {result['scipy_to_loss']:6.1f}")
    print(f"largest difference of the gradients {result['max_gradient_difference']:.1e}")
    settings = {name: value for name, value in vars(args).items() if name != "out_json"}
    write_json(args.out_json, {**result, **settings, "command": own_command(), **describe()})


if __name__ == "__main__":
    main()
