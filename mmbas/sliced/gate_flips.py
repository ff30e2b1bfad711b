"""Counts the gates that a sliced backbone decides otherwise than the original one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmbas.gates import named_gates, record_gate_outputs
from mmbas.sliced.parity import run_with_gates


@dataclass(frozen=True)
class GateFlips:
    """Decisions on some images.

    Attributes:
        num_decisions: Images times gates.
        num_flips: Number of them that differ.
        largest_margin: Largest distance from 0 of the original's logit where they differ; 0 if
            they differ nowhere. Rounding flips only what is near 0.
    """

    num_decisions: int
    num_flips: int
    largest_margin: float


@torch.no_grad()
def count_gate_flips(original: nn.Module, sliced: nn.Module, images: Tensor) -> GateFlips:
    """Compare the gates of a sliced backbone with those of the original one.

    Each of the original's gates decides on a block input that the earlier decisions of the sliced
    backbone have led to, so that one flip does not count again in every later block.

    Args:
        original: Backbone in evaluation mode.
        sliced: Made from it by :func:`mmbas.sliced.accelerate`.
        images: Shape (N, 3, H, W).
    """
    with record_gate_outputs(sliced) as records:
        sliced(images)
    decided = {name: output.logits for name, (output,) in records.items()}
    _, logits = run_with_gates(original, images, decided)
    num_decisions, margins = 0, [0.0]
    num_flips = 0
    for name, gate in named_gates(original).items():
        own = logits[gate].float()
        flipped = (own > 0) != (decided[name].float() > 0)
        num_decisions += flipped.numel()
        num_flips += int(flipped.sum())
        margins += own[flipped].abs().tolist()
    return GateFlips(num_decisions, num_flips, max(margins))
