"""Several distributions and their learned priors while they are trained, as an animated picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.animation import FuncAnimation
from numpy.typing import NDArray

from mmbas.analysis.plot_style import BLUE, GREY, ORANGE, PAGE_DPI, new_figure, theme
from mmbas.losses import Prior, RelaxedBernoulliPrior

NUM_SHOWN = 6
FRAMES_PER_SECOND = 12


@dataclass(frozen=True)
class Frame:
    """State after some steps.

    Attributes:
        step: Number of steps.
        values: Values of the sets shown, shape (N, sets).
        probs: Learned parameter of each set, all of them.
        temperatures: Likewise.
    """

    step: int
    values: NDArray[np.float32]
    probs: NDArray[np.float32]
    temperatures: NDArray[np.float32]


def animate_priors(
    frames: Sequence[Frame],
    losses: NDArray[np.float64],
    hyper_losses: NDArray[np.float64],
    hyperprior: Prior,
    path: str | Path,
) -> None:
    """Write a GIF: CDFs of six sets, both losses, and the learned probs against their hyperprior.

    Args:
        frames: States to show, in order.
        losses: Loss of the priors after each step.
        hyper_losses: Loss of the hyperprior after each step.
        hyperprior: Distribution that the probs are shaped to.
        path: Name of the file.
    """
    settings: Any = theme(dark=False)
    with mpl.rc_context({**settings, "font.size": 8, "axes.titlesize": 8}):
        figure = new_figure(8.0, 4.2)
        grid = figure.subplot_mosaic("ABXX\nCDXX\nEFYY")
        at = torch.linspace(0.001, 0.999, 300)

        def draw(frame: Frame) -> None:
            share = np.arange(1, len(frame.values) + 1) / (len(frame.values) + 1)
            for number, key in enumerate("ABCDEF"):
                prob, temperature = frame.probs[number], frame.temperatures[number]
                prior = RelaxedBernoulliPrior(float(prob), float(temperature))
                axis = grid[key]
                axis.clear()
                axis.plot(np.sort(frame.values[:, number]), share, color=BLUE)
                axis.plot(at, prior.value_cdf_and_density(at)[0], color=ORANGE, ls="--")
                axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 1], yticks=[0, 1])
                axis.set_title(f"set {number + 1}: p {prob:.2f}, t {temperature:.2f}")
            for key in "XY":
                grid[key].clear()
            grid["X"].semilogy(losses[: frame.step], color=BLUE, label="loss of the priors")
            grid["X"].semilogy(hyper_losses[: frame.step], color=GREY, label="of the hyperprior")
            grid["X"].set(xlim=(0, len(losses)), xlabel="step")
            grid["X"].legend(frameon=False, loc="upper right")
            grid["Y"].hist(frame.probs, bins=20, range=(0, 1), density=True, color=BLUE, alpha=0.5)
            grid["Y"].plot(at, hyperprior.value_cdf_and_density(at)[1], color=ORANGE)
            grid["Y"].set(xlim=(0, 1), xlabel="learned probs of all sets", ylabel="density")

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        animation = FuncAnimation(figure, draw, frames=list(frames), init_func=lambda: None)
        animation.save(target, writer="pillow", fps=FRAMES_PER_SECOND, dpi=PAGE_DPI)
