"""Another budget for a trained network: all gate logits shifted by one number.

What a network costs in evaluation differs by a point or two of its MACs from what the target-MACs
loss saw in training, on augmented images and with the statistics of batches. One shift of all
logits corrects that, and moves a network that was trained for one budget to another near by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from scipy.optimize import brentq
from torch import nn

from mmbas.compress.chosen_images import Batch, evaluate
from mmbas.gates import named_gates

# Shifts are looked for between these bounds, the narrowest that contain one.
BOUNDS = (0.5, 4.0, 32.0)
SHIFT_TOLERANCE = 1e-3


def match_macs(model: Any, batches: Iterable[Batch], target: float) -> tuple[float, float]:
    """Shift the logits of all gates so that an average image costs ``target``; in place.

    Args:
        model: Model in evaluation mode; leaves ``macs`` on its data samples, as models with
            :class:`mmbas.models.GateLossMixin` do. Its gates have biases to move:
            :meth:`mmbas.gates.Gate.logit_biases`.
        batches: Batches for ``model.test_step``, iterated over some ten times. So a loader
            needs no memory for more than one of them; an iterator, which ends, is refused.
        target: Conditional MACs as a fraction of the dense MACs, in (0, 1).

    Returns:
        The shift of the logits, within 0.001 of the best, and the fraction that is reached.

    Raises:
        ValueError: If an argument is out of range or no shift reaches the target; the model is
            then as before.

    Example:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from mmbas.compress.match_macs import match_macs
        >>> from mmbas.registry import MODELS
        >>> model = MODELS.build(
        ...     dict(
        ...         type="mmbas.GatedImageClassifier",
        ...         backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
        ...         neck=dict(type="mmpretrain.GlobalAveragePooling"),
        ...         head=dict(type="mmpretrain.LinearClsHead", num_classes=10, in_channels=64),
        ...     )
        ... ).eval()
        >>> samples = [DataSample() for _ in range(64)]
        >>> batch = dict(inputs=torch.randn(64, 3, 32, 32), data_samples=samples)
        >>> shift, fraction = match_macs(model, [batch], target=0.5)
        >>> round(fraction, 1)
        0.5
    """
    if not 0 < target < 1:
        raise ValueError(f"expected target in (0, 1), but got {target}")
    if isinstance(batches, Iterator):
        raise ValueError(
            "expected batches that can be iterated over repeatedly, such as a data loader, but got "
            f"the iterator {type(batches).__name__}"
        )
    biases = _logit_biases(model)
    originals = [bias.detach().clone() for bias in biases]
    evaluator = Evaluator(dict(type="mmbas.ConditionalMACs"))

    @torch.no_grad()
    def fraction(shift: float) -> float:
        for bias, original in zip(biases, originals, strict=True):
            bias.copy_(original + shift)
        return float(evaluate(model, batches, evaluator)["macs/fraction"])

    for bound in BOUNDS:
        least, most = fraction(-bound), fraction(bound)
        if least <= target <= most:
            shift = brentq(
                lambda shift: fraction(shift) - target, -bound, bound, xtol=SHIFT_TOLERANCE
            )
            return shift, fraction(shift)
    fraction(0.0)
    raise ValueError(
        f"expected a target from {least:.3f} to {most:.3f}, which these gates can reach, but got "
        f"{target}"
    )


def _logit_biases(model: Any) -> list[nn.Parameter]:
    """The biases of all gates, each once."""
    gates = named_gates(model)
    fixed = [name for name, gate in gates.items() if not gate.logit_biases()]
    if fixed or not gates:
        raise ValueError(
            "expected gates whose logits have biases to shift, but got "
            + (f"{len(fixed)} without, such as {fixed[0]}" if fixed else "a model without gates")
        )
    return list(
        {id(bias): bias for gate in gates.values() for bias in gate.logit_biases()}.values()
    )
