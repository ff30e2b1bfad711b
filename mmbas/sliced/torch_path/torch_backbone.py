"""Sliced execution of a backbone with torch's own operators.

Feature maps are held as (N, H, W, C): a pixel's channels side by side, so that a matrix product
over the open channels of all pixels needs no copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbas.backbones.description import Backbone, Block, describe
from mmbas.blocks.gate_seats import tile_mask
from mmbas.gates import Decision
from mmbas.gates.conv_macs import conv_output_size
from mmbas.gates.gate import replace_logits
from mmbas.gates.gater import beginning
from mmbas.gates.memo import Memo
from mmbas.gates.recorder import Forced
from mmbas.sliced.torch_path.folded_gate import decision_function
from mmbas.sliced.torch_path.fused_ops import add_conv2d_relu_, conv2d
from mmbas.sliced.torch_path.open_channel_conv import OpenChannelConv, open_channels
from mmbas.sliced.torch_path.scratch import Scratch
from mmbas.sliced.torch_path.shortcut import shortcut_function

# Below this many dense MACs per image a block is computed densely and masked: choosing channels
# costs some calls of small operators per block, whatever its size. An estimate; between the blocks
# of CIFAR networks (1 to 5 M, nothing gained) and of ImageNet networks (200 M, gained) at batch 1.
MIN_SLICED_MACS = 20_000_000


class TorchBlock:
    """A residual block with folded normalisation.

    Args:
        block: Gated or plain, with folded normalisation.
        scratch: Memory for what is gathered in a call.
    """

    def __init__(self, block: Block, scratch: Scratch) -> None:
        self.gate = block.gate
        self.decide = decision_function(block.gate) if block.gate else None
        self.shortcut = shortcut_function(block.shortcut) if block.shortcut else None
        self._macs: Memo[tuple[int, int], int] = Memo()
        self.inner_gates = block.gated
        self.seats = block.seats
        seats = block.seats
        self.slices_channels = seats.outputs[-1] is None and seats.tiles is None
        self.convs = [
            OpenChannelConv(
                conv, gated_inputs=bool(inputs), gated_outputs=bool(outputs), scratch=scratch
            )
            for conv, inputs, outputs in zip(
                block.convs, [None, *self.inner_gates], [*self.inner_gates, None], strict=True
            )
        ]

    def __call__(self, x: Tensor, forced: Forced, *, keep_input: bool) -> tuple[Tensor, Tensor]:
        """Block output, shape (N, H', W', C'), and gate logits, shape (N, G).

        Args:
            x: Shape (N, H, W, C).
            forced: Replaces the logits.
            keep_input: True if ``x`` must not be overwritten.
        """
        x_nchw = x.permute(0, 3, 1, 2)
        decision = Decision(x.new_zeros(len(x), 0)) if self.decide is None else self.decide(x)
        logits = decision.logits
        if self.decide is not None and forced is not None:
            logits = replace_logits(logits, forced)
        if self.shortcut is not None:
            total = self.shortcut(x)
        else:
            total = x.clone() if keep_input else x
        if self.gate is None:
            self._add_masked(total, x_nchw, None)
        elif self.seats.branch is not None:
            self._add_open_images(total, x_nchw, logits > 0, decision.scales)
        elif self._slices((x.shape[1], x.shape[2])):
            for i, is_open in enumerate(logits > 0):
                scales = None if decision.scales is None else decision.scales[i]
                self._add_sliced(total[i], x[i], is_open, scales)
        else:
            self._add_masked(total, x_nchw, _factors(logits > 0, decision.scales))
        return total, logits

    def _slices(self, size: tuple[int, int]) -> bool:
        """Tell whether an image's open channels are computed alone, for a height and width."""
        return self.slices_channels and self._macs.get(size, self._dense_macs) >= MIN_SLICED_MACS

    def skips(self, size: tuple[int, int]) -> bool:
        """Tell whether what the gates close is not computed, for an input of that size."""
        return self.seats.branch is not None or self._slices(size)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for an input of height and width ``size``."""
        for conv in self.convs:
            size = conv.output_size(size)
        return size

    def _dense_macs(self, size: tuple[int, int]) -> int:
        """MACs of the convolutions for an image of height and width ``size``."""
        macs = 0
        for conv in self.convs:
            size = conv.output_size(size)
            macs += size[0] * size[1] * conv.conv.weight.numel()
        return macs

    def _add_masked(self, total: Tensor, x: Tensor, factors: Tensor | None) -> None:
        """Add the residual branch of a batch, all channels computed, and apply the last ReLU.

        Args:
            total: Shape (N, H', W', C'); holds the shortcut and becomes the block's output.
            x: Shape (N, C, H, W).
            factors: Factors of the block's gates, shape (N, G); None for all 1.
        """
        *inner, last = self.convs
        for i, conv in enumerate(inner):
            x = conv2d(x, conv.conv.weight, conv.dense_bias, **conv.geometry, relu=True)
            x = self._multiplied(i, x, factors)
        total = total.permute(0, 3, 1, 2)
        weight, bias, geometry = last.conv.weight, last.dense_bias, last.geometry
        seats = self.seats
        if factors is None or not (seats.outputs[-1] or seats.tiles or seats.branch):
            add_conv2d_relu_(total, x, weight, bias, **geometry)
        else:
            out = conv2d(x, weight, bias, **geometry, relu=False)
            total.add_(self._multiplied(len(inner), out, factors)).relu_()

    def _multiplied(self, index: int, x: Tensor, factors: Tensor | None) -> Tensor:
        """The output ``x`` of convolution ``index`` by the gates at it; in place."""
        if factors is None:
            return x
        seat = self.seats.outputs[index]
        if index == len(self.convs) - 1 and self.seats.branch is not None:
            seat = self.seats.branch
        if seat is not None:
            x = x.mul_(factors[:, seat, None, None])
        if self.seats.tiles is not None:
            tiles = factors[:, self.seats.tiles].to(x.dtype)
            x = x.mul_(tile_mask(tiles, self.seats.grid, x.shape[2:]))
        return x

    def _add_open_images(
        self, total: Tensor, x: Tensor, is_open: Tensor, scales: Tensor | None
    ) -> None:
        """Run the block for the images whose one gate is open; the others skip it."""
        factors = None if scales is None else scales.to(x.dtype)
        images = is_open[:, 0].nonzero()[:, 0]
        if len(images) == len(total):
            self._add_masked(total, x, factors)
            return
        if not len(images):
            run = total[:0]
        else:
            run = total[images]
            self._add_masked(run, x[images], None if factors is None else factors[images])
        if self.seats.merge == "branch":
            total.relu_()
        total[images] = run

    def _add_sliced(self, total: Tensor, x: Tensor, is_open: Tensor, scales: Tensor | None) -> None:
        """Add the residual branch of one image, only open channels computed, and apply ReLU."""
        *inner, last = self.convs
        inputs = None
        for conv, gated in zip(inner, self.inner_gates, strict=True):
            outputs = open_channels(is_open[gated]) if gated else None
            x = conv(x, inputs, outputs)
            if gated and scales is not None:
                factors = F.pad(scales[gated].to(x.dtype), (0, 1))  # with the zero channel
                x = x * (factors[:-1] if outputs is None else factors[outputs.outputs])
            inputs = outputs
        last.add_to(total, x, inputs)


def _factors(is_open: Tensor, scales: Tensor | None) -> Tensor:
    return is_open if scales is None else is_open * scales


class TorchBackbone:
    """A backbone that skips closed channels; any device and floating-point dtype.

    Args:
        backbone: Backbone in evaluation mode with folded norms. Its weights become channels_last.
    """

    def __init__(self, backbone: Backbone) -> None:
        backbone.to(memory_format=torch.channels_last)
        self.description = describe(backbone)
        self.scratch = Scratch()
        self.stages = [
            [TorchBlock(block, self.scratch) for block in stage]
            for stage in self.description.stages
        ]

    def __call__(
        self, x: Tensor, forced_logits: Sequence[Forced]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Run a batch; safe in several threads at once.

        Args:
            x: Images, shape (N, 3, H, W).
            forced_logits: Replacement of each gated block's logits, or None.

        Returns:
            The feature maps of the stages ``out_indices``, and for each gated block its logits.
        """
        with beginning(self.description.gater, x):
            return self._run(x, forced_logits)

    def _run(
        self, x: Tensor, forced_logits: Sequence[Forced]
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        x = self._stem(x.contiguous(memory_format=torch.channels_last))
        x = x.permute(0, 2, 3, 1).contiguous()
        outs: list[Tensor] = []
        all_logits: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage):
                forced = forced_logits[len(all_logits)] if block.gate else None
                returned = j == 0 and (i - 1) in self.description.out_indices
                x, logits = block(x, forced, keep_input=returned)
                if block.gate:
                    all_logits.append(logits)
            if i in self.description.out_indices:
                outs.append(x.permute(0, 3, 1, 2))
        return tuple(outs), all_logits

    def skipping(self, size: tuple[int, int]) -> list[bool]:
        """Tell of each gated block if what its gates close is left out, for images of that size."""
        for layer in self.description.stem:
            size = conv_output_size(layer.conv, size)
        if self.description.max_pool:
            size = -(-size[0] // 2), -(-size[1] // 2)
        skipping = []
        for block in (block for stage in self.stages for block in stage):
            if block.gate:
                skipping.append(block.skips(size))
            size = block.output_size(size)
        return skipping

    def _stem(self, x: Tensor) -> Tensor:
        """Layers before the first stage."""
        *layers, last = self.description.stem
        for layer in layers:
            x = F.relu(layer.conv(x), inplace=True)
        x = last.conv(x)
        if self.description.max_pool:
            # Before ReLU: they commute, and a quarter of the pixels remains.
            x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        return F.relu(x, inplace=True)
