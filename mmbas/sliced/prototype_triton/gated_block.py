"""A residual block that runs its open channels only, or masked where that is faster."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbas.backbones.description import Block
from mmbas.sliced.prototype_triton.fastest import call_ms, fastest, timing_possible
from mmbas.sliced.prototype_triton.gated_conv import (
    GatedConv,
    OpenChannels,
    float32_precision,
    list_open_channels,
)


class GatedBlock:
    """Runs one gated block of a prepared backbone for given gate logits.

    Which of two ways is taken is measured at the first call with a shape and kept:

    - ``sliced``: each convolution computes the open channels of each image;
    - ``masked``: the block's own convolutions (cuDNN) compute all channels, closed ones are zeroed.

    So the choice rests on the gates of that first batch. In the interpreter it is ``sliced``.

    Args:
        block: Its norm layers folded into its convolutions.
        way: ``'sliced'`` or ``'masked'`` always; None measures.
    """

    def __init__(self, block: Block, way: str | None = None) -> None:
        self.block = block
        self.way = way
        self._ways: dict[object, str] = {}
        gated = block.gated
        self.convs = [
            GatedConv(conv, in_gated=before is not None, out_gated=after is not None)
            for conv, before, after in zip(block.convs, [None, *gated], [*gated, None], strict=True)
        ]

    def __call__(self, x: Tensor, logits: Tensor) -> Tensor:
        """Block output in channels_last for ``x``, (N, C, H, W) in channels_last.

        Args:
            x: The block's input.
            logits: Gate logits, (N, G).
        """
        shortcut = x if self.block.shortcut is None else self.block.shortcut.module(x)
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
        ways = {
            "sliced": lambda: self.sliced(x, shortcut, logits),
            "masked": lambda: self.masked(x, shortcut, logits),
        }
        if self.way is not None:
            return ways[self.way]()
        key = (x.shape, float32_precision())
        way = self._ways.get(key)
        if way is None:
            way = fastest(ways, call_ms) if timing_possible(x.device) else "sliced"
            self._ways[key] = way
        return ways[way]()

    def sliced(self, x: Tensor, shortcut: Tensor, logits: Tensor) -> Tensor:
        """The open channels only."""
        opened: list[OpenChannels | None] = [
            None if gated is None else list_open_channels(logits, gated)
            for gated in self.block.gated
        ]
        out = x.permute(0, 2, 3, 1)
        *inner, last = zip(self.convs, [None, *opened], [*opened, None], strict=True)
        for conv, before, after in inner:
            out = conv(out, in_open=before, out_open=after)
        conv, before, _ = last
        residual = shortcut.permute(0, 2, 3, 1)
        out = conv(out, in_open=before, out_open=None, residual=residual)
        return out.permute(0, 3, 1, 2)

    def masked(self, x: Tensor, shortcut: Tensor, logits: Tensor) -> Tensor:
        """All channels, closed ones zeroed."""
        gates = (logits > 0).to(x.dtype)
        *inner, last = self.block.convs
        for conv, gated in zip(inner, self.block.gated, strict=True):
            x = F.relu(conv(x), inplace=True)
            if gated is not None:
                x = x * gates[:, gated, None, None]
        return F.relu(last(x) + shortcut)
