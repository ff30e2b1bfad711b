"""Compares a sliced backbone with the original one on small random images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextvars import Context

import torch
from torch import Tensor, nn

from mmbas.backbones.gated_backbone import GatedBackbone
from mmbas.gates import Gate, force_gate_logits, named_gates, record_gate_outputs

# Not square, so that no axis can stand for the other; stages of stride 32 still see several pixels.
IMAGES = (2, 3, 40, 72)


def why_not_equal(original: nn.Module, sliced: nn.Module, *, rounded: bool = False) -> str | None:
    """One clause on where a sliced backbone differs from the original; None if nowhere.

    Two batches are run: one with random gates, and one in which the sliced backbone decides. In the
    second the original gets the same decisions, so that a logit near 0 cannot send the two apart,
    and its own logits are compared beside the feature maps.

    Args:
        original: With normalisation, in evaluation mode; weights without values (on the device
            ``'meta'``) cannot be compared and count as equal.
        sliced: Made from it.
        rounded: True if it computes in bfloat16, whatever its weights are.
    """
    if next(original.parameters()).is_meta:
        return None
    # In a context of its own: the caller may be recording or forcing gates at the moment. A copy,
    # since hooks are put on it, while other threads may run the original.
    return Context().run(_why_not_equal, copy.deepcopy(original), sliced, rounded)


@torch.no_grad()
def _why_not_equal(original: nn.Module, sliced: nn.Module, rounded: bool) -> str | None:
    weight = next(original.parameters())
    generator = torch.Generator("cpu").manual_seed(0)
    shape = parity_images(original)
    images = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(weight)
    exact = weight.dtype in (torch.float32, torch.float64) and weight.device.type == "cpu"
    # bfloat16 has 8 bits;
    tolerance = (
        1e-3 if exact and not rounded else 0.1
    )  # GPUs may round the factors of float32 to 10 bits
    gates = named_gates(original)
    random = {
        name: torch.randn(
            len(images), gate.num_gates, generator=generator, dtype=torch.float32, device="cpu"
        )
        for name, gate in gates.items()
    }
    with torch.autocast(weight.device.type, enabled=False):
        with force_gate_logits(sliced, random):
            actual = sliced(images)
        expected, _ = run_with_gates(original, images, random)
        if reason := _why_apart("feature maps with random gates", actual, expected, tolerance):
            return reason
        with record_gate_outputs(sliced) as records:
            actual = sliced(images)
        decided = {name: output.logits for name, (output,) in records.items()}
        expected, logits = run_with_gates(original, images, decided)
    return _why_apart(
        "gate logits",
        [decided[name] for name in gates],
        [logits[each] for each in gates.values()],
        tolerance,
    ) or _why_apart("feature maps", actual, expected, tolerance)


def parity_images(backbone: nn.Module) -> tuple[int, int, int, int]:
    """Shape of the images to compare with; tiles must fill their height and width."""
    multiple = backbone.size_multiple if isinstance(backbone, GatedBackbone) else 1
    return IMAGES if multiple == 1 else (IMAGES[0], IMAGES[1], multiple, 2 * multiple)


def run_with_gates(
    backbone: nn.Module, images: Tensor, forced: dict[str, Tensor]
) -> tuple[Sequence[Tensor], dict[Gate, Tensor]]:
    """Feature maps with forced gates, and the logits that the gates would have had."""
    logits: dict[Gate, Tensor] = {}

    def hook(gate: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(gate, Gate)
        logits[gate] = gate.compute_logits(inputs[0])

    gates = named_gates(backbone).values()
    handles = [gate.register_forward_pre_hook(hook) for gate in gates]
    try:
        with force_gate_logits(backbone, forced):
            outputs = backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, logits


def _why_apart(
    what: str, actual: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float
) -> str | None:
    if len(actual) != len(expected):
        return f"there are {len(actual)} {what} instead of {len(expected)}"
    for one, other in zip(actual, expected, strict=True):
        if one.shape != other.shape:
            return f"its {what} have the shape {tuple(one.shape)} instead of {tuple(other.shape)}"
        difference = _relative_difference(one.float(), other.float())
        if not difference <= tolerance:
            return f"its {what} differ by {difference:.2g} of the largest value"
    return None


def _relative_difference(actual: Tensor, expected: Tensor) -> float:
    """Largest difference by the largest expected value; equal where both are not finite."""
    finite = expected.isfinite()
    if not torch.equal(finite, actual.isfinite()):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = expected[finite].abs().max().clamp_min(1e-6)
    return float((actual - expected)[finite].abs().max() / largest)
