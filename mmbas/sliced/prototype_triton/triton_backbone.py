"""A gated backbone on the GPU that computes open channels only, by Triton kernels.

The gating module runs first in each block and its decisions stay on the GPU: nothing waits for the
host, so a call can be captured in a CUDA graph (after one call with the same shape).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.backbones.description import describe
from mmbas.gates import Gate
from mmbas.gates.gate import replace_logits
from mmbas.sliced.prototype_triton.support import why_unsupported

if TYPE_CHECKING:
    from mmbas.sliced.prototype_triton.gated_block import GatedBlock


class TritonBackbone:
    """Runs a prepared backbone; equal to its masked forward pass.

    Args:
        backbone: Backbone in evaluation mode with folded norm layers, on a GPU (or on the
            CPU with ``TRITON_INTERPRET=1``). Its weights are put into channels_last; those of
            convolutions whose inputs alone are gated are held once more in another layout.
        way: ``'sliced'`` or ``'masked'`` for every block; None takes the faster one, measured
            block by block at the first call with a shape.

    Raises:
        ValueError: If the backbone is not supported, with the reason of :func:`why_unsupported`.
    """

    def __init__(self, backbone: nn.Module, *, way: str | None = None) -> None:
        reason = why_unsupported(backbone)
        if reason is not None:
            raise ValueError(f"expected a backbone for the Triton path, but {reason}")
        if way not in (None, "sliced", "masked"):
            raise ValueError(f"expected way 'sliced', 'masked' or None, but got {way!r}")
        # Only here: Triton is optional.
        from mmbas.sliced.prototype_triton.gated_block import GatedBlock

        self.backbone = backbone.to(memory_format=torch.channels_last)
        weight = next(backbone.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.description = describe(backbone)
        self._stages: list[list[tuple[nn.Module, GatedBlock | None]]] = [
            [
                (block.module, None if block.gate is None else GatedBlock(block, way))
                for block in blocks
            ]
            for blocks in self.description.stages
        ]

    @property
    def ways(self) -> list[dict[object, str]]:
        """Faster way of each gated block as measured, by input shape and precision."""
        gated = [gated for stage in self._stages for _, gated in stage if gated is not None]
        return [dict(block._ways) for block in gated]

    @torch.no_grad()
    def __call__(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Feature maps of the stages ``out_indices`` and the gate logits of each gated block.

        Args:
            x: Images, (N, 3, H, W), of the device and type of the weights at construction.
            forced_logits: Replacement of each gated block's logits, in order (its gate runs
                all the same); a tensor broadcasts to (N, G); None keeps them.

        Returns:
            Feature maps, (N, C, H', W') in channels_last, and logits, (N, G).

        Raises:
            ValueError: If x is on another device or of another type, or the number of
                forced_logits is wrong.
        """
        self._check(x, forced_logits)
        with torch.cuda.device_of(x):  # Triton launches on the current GPU
            return self._run(x, forced_logits)

    def _run(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        remaining = iter(forced_logits)
        out = self._stem(x.contiguous(memory_format=torch.channels_last))
        outs, logits = [], []
        for i, stage in enumerate(self._stages):
            for block, gated in stage:
                out = out.contiguous(memory_format=torch.channels_last)
                if gated is None:
                    out = block(out)
                    continue
                logits.append(_gate_logits(gated.block.gate, out, next(remaining)))
                out = gated(out, logits[-1])
            if i in self.description.out_indices:
                outs.append(out)
        return tuple(outs), logits

    def _check(self, x: Tensor, forced_logits: Sequence[Tensor | float | None]) -> None:
        weight = next(self.backbone.parameters())
        if (weight.device, weight.dtype) != (self.device, self.dtype):
            raise ValueError(
                f"expected weights on {self.device} in {self.dtype}, as at construction, but got "
                f"{weight.device} and {weight.dtype}; accelerate the model after moving it"
            )
        if (x.device, x.dtype) != (self.device, self.dtype):
            raise ValueError(
                f"expected images on {self.device} in {self.dtype}, as the weights, but got "
                f"{x.device} and {x.dtype}; move them with x.to(...)"
            )
        num_gated = sum(gated is not None for stage in self._stages for _, gated in stage)
        if len(forced_logits) != num_gated:
            raise ValueError(
                f"expected forced logits or None for {num_gated} gated blocks, but got "
                f"{len(forced_logits)}"
            )

    def _stem(self, x: Tensor) -> Tensor:
        """Layers before the stages."""
        for layer in self.description.stem:
            x = F.relu(layer.conv(x), inplace=True)
        return F.max_pool2d(x, 3, 2, 1) if self.description.max_pool else x


def _gate_logits(gate: Gate | None, x: Tensor, forced: Tensor | float | None) -> Tensor:
    assert gate is not None
    logits = gate.compute_logits(x)
    return logits if forced is None else replace_logits(logits, forced)
