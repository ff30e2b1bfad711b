"""Time a gated network against the plain one, dense, masked and sliced, in one run."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.backbones.description import Backbone
from mmbas.costs.mac_count import count_macs
from mmbas.gates import Gate, force_gate_logits, named_gates
from mmbas.gates.recorder import forcing
from mmbas.measure.dense_run import LAYOUTS, Call, fastest
from mmbas.measure.outputs import relative_difference, tensors_of
from mmbas.sliced.sliced_backbone import SlicedBackbone

PARITY_BATCHES = 8
# Whatever torch's defaults are.
FLOAT: dict[str, Any] = dict(dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class Batch:
    """Images, shape (N, 3, H, W), and logits to force on the gates; None lets them decide."""

    images: Tensor
    logits: dict[str, Tensor] | None = None

    def to(self, target: str | torch.dtype) -> Batch:
        """The same on a device, or with images of a dtype; logits stay float32."""
        moved = not isinstance(target, torch.dtype)
        logits = self.logits
        if logits and moved:
            logits = {name: value.to(target) for name, value in logits.items()}
        return Batch(self.images.to(target), logits)


def random_gate_batches(
    model: nn.Module, shape: Sequence[int], *, open_fraction: float, vary: float
) -> Iterator[Batch]:
    """Noise images with random gates, fresh for every image, without end.

    Args:
        model: Holds the gates.
        shape: Shape of a batch, (N, 3, H, W).
        open_fraction: Average fraction of gates that are open. Gates that share a decision open
            and close together.
        vary: Each image and each gate network draws its own open fraction from ``open_fraction``
            +- this; below 0 all are closed, above 1 all open.
    """
    gates = named_gates(model)
    n = shape[0]
    while True:
        logits = {}
        for name, gate in gates.items():
            wanted = open_fraction + vary * (2 * torch.rand(n, 1, **FLOAT) - 1)
            drawn = (torch.rand(n, gate.num_gates, **FLOAT) < wanted).float() * 2 - 1
            logits[name] = drawn if gate.decisions is None else drawn[:, _followed(gate)]
        yield Batch(torch.randn(*shape, **FLOAT), logits)


def _followed(gate: Gate) -> Tensor:
    """The number of the gate that each gate follows, shape (G,)."""
    first_gates = torch.as_tensor(gate.decisions, device="cpu")
    numbers = torch.arange(gate.num_gates, device="cpu")
    decisions = torch.searchsorted(first_gates, numbers, right=True) - 1
    return first_gates[decisions.clamp(min=0)]


def caller(
    model: nn.Module, batches: Sequence[Batch], *, layout: str = "nchw", predict: bool = False
) -> Call:
    """A function that runs the model on the next batch each time it is called.

    Gates are looked for once, not in every call, which small networks would feel.

    Args:
        model: Model in evaluation mode.
        batches: Taken in turns.
        layout: Layout of the images in memory, a key of ``LAYOUTS``.
        predict: True to call ``model.predict``, which a user of the hosts calls, in place of
            the network alone.
    """
    gates = named_gates(model)
    run: Any = model.predict if predict else model
    rounds = itertools.cycle(
        (
            batch.images.to(memory_format=LAYOUTS[layout]),
            {gates[name]: logits for name, logits in (batch.logits or {}).items() if name in gates},
        )
        for batch in batches
    )

    @torch.inference_mode()
    def call() -> object:
        images, logits = next(rounds)
        with forcing(logits):
            return run(images)

    return call


def faster_layout(
    model: nn.Module, batches: Sequence[Batch], *, device: str = "cpu"
) -> tuple[str, Call]:
    """The memory layout in which a model with folded normalisation runs faster, and its caller."""
    calls = {
        layout: caller(copy.deepcopy(model).to(memory_format=memory_format), batches, layout=layout)
        for layout, memory_format in LAYOUTS.items()
    }
    best = fastest(calls, repeats=len(batches), device=device)
    return best, calls[best]


def total_macs(gated: nn.Module, plain: nn.Module, batches: Sequence[Batch]) -> tuple[float, float]:
    """MACs of a gated network and of the plain one for all batches together.

    Args:
        gated: Masked or sliced.
        plain: The same network without gates.
        batches: With images and their gates.
    """
    dense_of_shape: dict[torch.Size, int] = {}
    total = dense = 0.0
    with torch.inference_mode():
        for batch in batches:
            shape = batch.images.shape
            with force_gate_logits(gated, batch.logits or {}), count_macs(gated) as count:
                gated(batch.images)
            total += float(count.macs(len(batch.images)).sum())
            if shape not in dense_of_shape:
                with count_macs(plain) as count:
                    plain(batch.images)
                dense_of_shape[shape] = count.dense_macs(1)
            dense += dense_of_shape[shape]
    return total, dense


def realised_macs(sliced: nn.Module, batches: Sequence[Batch]) -> float:
    """MACs that a sliced network computes for all batches together.

    More than :func:`total_macs` counts where its path masks what gates have closed.
    """
    gates = named_gates(sliced)
    backbones = [module for module in sliced.modules() if isinstance(module, SlicedBackbone)]
    total = 0.0
    with torch.inference_mode():
        for batch in batches:
            num_images, _, height, width = batch.images.shape
            with force_gate_logits(sliced, batch.logits or {}), count_macs(sliced) as count:
                sliced(batch.images)
            total += float(count.macs(num_images).sum())
            masked = {gate for each in backbones for gate in each.masked_gates((height, width))}
            for name, outputs in count.gate_outputs.items():
                if gates[name] in masked:
                    total += sum(float((o.dense_macs - o.macs()).sum()) for o in outputs)
    return total


def max_rel_diff(model: nn.Module, other: nn.Module, batches: Sequence[Batch]) -> float:
    """Largest difference of two gated networks' outputs, relative to the largest output.

    Args:
        model: The reference.
        other: The same network, computed otherwise.
        batches: Only the first 8 are run.
    """
    worst = 0.0
    with torch.inference_mode():
        for batch in batches[:PARITY_BATCHES]:
            outputs = []
            for each in (model, other):
                with force_gate_logits(each, batch.logits or {}):
                    outputs.append(each(batch.images))
            worst = max(worst, relative_difference(outputs[1], outputs[0]))
    return worst


def truncated(backbone: Backbone, num_stages: int) -> Backbone:
    """Copy of a backbone that ends after ``num_stages`` stages."""
    backbone = copy.deepcopy(backbone)
    for name in backbone.stage_names[num_stages:]:
        delattr(backbone, name)
    backbone.stage_names = backbone.stage_names[:num_stages]
    backbone.out_indices = (num_stages - 1,)
    return backbone


def check_can_be_timed(model: nn.Module, images: Tensor) -> None:
    """Run a network once.

    Raises:
        ValueError: If it cannot be called with images alone, or returns no tensors.
    """
    try:
        with torch.inference_mode():
            outputs = model(images)
    except (TypeError, AttributeError, RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"expected a network that is called with images of shape {tuple(images.shape)} alone, "
            f"but {type(model).__name__} gives: {reason}"
        ) from error
    tensors_of(outputs)
