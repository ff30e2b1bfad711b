"""Learn priors under a hyperprior, as in the authors' published example.

30 sets of 500 values are shaped to relaxed Bernoulli priors. Prob and temperature of each prior are
learned as well: the probs are shaped to the hyperprior Beta(3, 7), the temperatures have a price.
So every set finds its own sparsity, and the mean of the hyperprior, 0.3, is that of all sets.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbas.analysis.prior_animation import NUM_SHOWN, Frame, animate_priors
from mmbas.cli.command_line import run_tool, set_threads, with_origin, write_json
from mmbas.losses import BetaPrior, LearnedPrior, RelaxedBernoulliPrior, shaping_loss

EXAMPLES = """examples:
  python tools/learn_priors.py --out-json results/shaping-priors/learned.json \\
      --picture results/shaping-priors/learned.gif
  python tools/learn_priors.py --hyperprior 5 5 --steps 200
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=30, help="distributions (30)")
    parser.add_argument("--values", type=int, default=500, help="values of each (500)")
    parser.add_argument("--steps", type=int, default=350, help="steps of Adam (350)")
    parser.add_argument("--warmup", type=int, default=20, help="steps in which its rate rises (20)")
    parser.add_argument("--learning-rate", type=float, default=0.09)
    parser.add_argument(
        "--hyperprior", type=float, nargs=2, default=[3.0, 7.0], metavar=("A", "B"),
        help="shapes of the Beta distribution of the probs (3 7)",
    )  # fmt: skip
    parser.add_argument("--temperature-price", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--frames", type=int, default=36, help="frames of the picture (36)")
    parser.add_argument("--picture", metavar="GIF", help="animated picture to write")
    parser.add_argument("--out-json", metavar="FILE", help="write the result to FILE as JSON")
    return parser.parse_args()


def start_values(num_sets: int, num_values: int, seed: int) -> Tensor:
    """Logits in (-4, 4): narrow clusters around a random place for each set, (values, sets)."""
    random = np.random.default_rng(seed)
    places = random.uniform(size=num_sets)
    clusters = random.normal(places, 0.05, size=(num_values, num_sets)).clip(0, 1)
    return torch.tensor((2 * clusters - 1) * 4, dtype=torch.float32)


def learn(args: argparse.Namespace) -> tuple[dict[str, Any], list[Frame]]:
    """Train values and priors together.

    Returns:
        The losses of all steps and the final parameters; states of some steps.
    """
    logits = start_values(args.sets, args.values, args.seed).requires_grad_()
    prior = LearnedPrior(
        prior=RelaxedBernoulliPrior(prob=0.5, temperature=0.5),
        hyperpriors=dict(prob=BetaPrior(*args.hyperprior)),
        penalties=dict(temperature=args.temperature_price),
    )
    prior.reserve(args.sets)
    optimizer = torch.optim.Adam([logits, *prior.parameters()], lr=args.learning_rate)
    warmup = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / max(1, args.warmup))
    )
    shown = set(np.linspace(0, args.steps - 1, args.frames).round().astype(int).tolist())
    losses, hyper_losses, frames = [], [], []
    for step in range(args.steps):
        parameters = prior.parameters_now()
        distance = shaping_loss(logits.sigmoid(), prior).mean()
        hyper = prior.hyper_loss()
        penalty = args.temperature_price * parameters["temperature"].mean()
        losses.append(distance.item())
        hyper_losses.append((hyper - penalty).item())
        if step in shown:
            probs, temperatures = (parameters[n].detach() for n in ("prob", "temperature"))
            values = logits.detach().sigmoid()[:, :NUM_SHOWN]
            frames.append(Frame(step + 1, values.numpy(), probs.numpy(), temperatures.numpy()))
        optimizer.zero_grad()
        (distance + hyper).backward()
        optimizer.step()
        warmup.step()
    final = {name: each.tolist() for name, each in prior.parameters_now().items()}
    result = {
        "loss": losses,
        "hyper_loss": hyper_losses,
        "probs": final["prob"],
        "temperatures": final["temperature"],
        "means_of_values": logits.detach().sigmoid().mean(dim=0).tolist(),
    }
    return result, frames


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    if args.picture and args.sets < NUM_SHOWN:
        raise ValueError(f"expected at least {NUM_SHOWN} sets to draw, but got {args.sets}")
    result, frames = learn(args)
    a, b = args.hyperprior
    summary = {
        "mean_of_probs": float(np.mean(result["probs"])),
        "mean_of_hyperprior": a / (a + b),
        "std_of_probs": float(np.std(result["probs"])),
        "std_of_hyperprior": float(np.sqrt(a * b / (a + b) ** 2 / (a + b + 1))),
        "mean_of_values": float(np.mean(result["means_of_values"])),
        "mean_temperature": float(np.mean(result["temperatures"])),
        "last_loss": result["loss"][-1],
        "last_hyper_loss": result["hyper_loss"][-1],
    }
    for name, value in summary.items():
        print(f"{name:>20}  {value:.4g}")
    if args.picture:
        losses, hyper_losses = np.array(result["loss"]), np.array(result["hyper_loss"])
        animate_priors(frames, losses, hyper_losses, BetaPrior(a, b), args.picture)
    settings = {
        name: getattr(args, name)
        for name in ("sets", "values", "steps", "learning_rate", "hyperprior", "seed")
    }
    result = {"data": "random clusters", **settings, **summary, **result}
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
