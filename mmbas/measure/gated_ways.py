"""The gated network in each way that it can be run: masked, and sliced by each execution path."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmbas.measure.contenders import Batch, caller, faster_layout
from mmbas.measure.cpu_class import cpu_class
from mmbas.measure.dense_run import Call
from mmbas.sliced.accelerate import accelerate
from mmbas.sliced.folding import folded


@dataclass(frozen=True)
class GatedWays:
    """The ways that are ready to be timed, and why others are not.

    Attributes:
        calls: ``masked`` and the name of each path.
        masked: The network with all channels computed.
        sliced: The accelerated network of each path.
        left_out: Reason for which a path cannot run the network, by path.
        layout: Memory layout in which the masked network runs.
    """

    calls: dict[str, Call]
    masked: nn.Module
    sliced: dict[str, nn.Module]
    left_out: dict[str, str]
    layout: str

    @property
    def path(self) -> str:
        """The path that ``accelerate`` takes by itself, if it is among those timed."""
        return "native" if "native" in self.sliced else next(iter(self.sliced))


def gated_ways(
    gated: nn.Module, batches: Sequence[Batch], paths: Sequence[str], device: str
) -> GatedWays:
    """Prepare a gated network.

    Args:
        gated: Gated network in evaluation mode.
        batches: Batches that it is timed on, of its dtype and on its device.
        paths: Execution paths of the sliced network.
        device: Where it runs.

    Raises:
        ValueError: If no path can run the network.
    """
    sliced: dict[str, nn.Module] = {}
    left_out: dict[str, str] = {}
    for path in paths:
        if path == "native" and _is_emulated(batches[0].images):
            left_out[path] = "the CPU has no bfloat16 units that the kernels use"
            continue
        try:
            sliced[path] = accelerate(gated, path=path)
        except ValueError as error:
            left_out[path] = str(error)
    if not sliced:
        reasons = "; ".join(dict.fromkeys(left_out.values()))
        raise ValueError(f"expected a path that can run this network, but got none: {reasons}")
    masked = folded(gated)
    layout, masked_call = faster_layout(masked, batches, device=device)
    calls = {path: caller(model, batches) for path, model in sliced.items()}
    return GatedWays({"masked": masked_call, **calls}, masked, sliced, left_out, layout)


def of_dtype(
    gated: nn.Module, batches: Sequence[Batch], dtype: torch.dtype
) -> tuple[nn.Module, list[Batch]]:
    """A copy of the network, and its batches, in a dtype."""
    return copy.deepcopy(gated).to(dtype), [batch.to(dtype) for batch in batches]


def _is_emulated(images: Tensor) -> bool:
    """Tell if the native kernels would emulate the dtype of the images, which is for tests."""
    return images.dtype == torch.bfloat16 and cpu_class() not in ("amx_bf16", "avx512_bf16")
