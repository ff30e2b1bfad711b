"""A convolution of one image that computes open output channels from open input channels only.

Weights are copied once into a layout from which those of the open channels are gathered by rows::

    gated outputs     (O + 1, kernel height, kernel width, I)      gather rows
    gated inputs      (kernel height, kernel width, I + 1, O)      gather rows
    both              (O + 1, kernel height, kernel width, I + 1)  gather rows, then in the rows

The additional channel is zero. Lists of open channels are filled up with it: those of a
convolution's outputs to multiples of 16, since the vector units compute no fewer anyway, those of
its inputs to multiples of 4. So oneDNN, which prepares itself anew for each shape that it meets
(0.3 to 0.5 ms), meets few. Where both are gated the shapes would multiply, and 1x1 convolutions
gain less: there the inputs are filled up to multiples of 16 too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.gates.conv_macs import conv_output_size
from mmbas.sliced.torch_path.fused_ops import add_conv2d_relu_, conv2d, linear
from mmbas.sliced.torch_path.scratch import Scratch

OUTPUT_MULTIPLE = 16
INPUT_MULTIPLE = 4

# Up to this many output positions a 3x3 convolution is faster as a matrix product of copied
# patches: F.conv2d reorders its weights in every call, 2 ms of 3.5 ms for 512 channels on 7x7.
MAX_PATCHES = 14 * 14


@dataclass(frozen=True)
class OpenChannels:
    """Indices of the open channels between two convolutions; index C is the zero channel.

    Attributes:
        outputs: Channels that the first convolution computes, shape (K,), K a multiple of 16 or 0.
        inputs: Channels that a 3x3 convolution without output gates reads, the first (L,), L a
            multiple of 4 or 0.
    """

    outputs: Tensor
    inputs: Tensor


def open_channels(is_open: Tensor) -> OpenChannels | None:
    """The open channels; None if all are computed.

    Args:
        is_open: Shape (C,), bool.
    """
    num_channels = len(is_open)
    indices = is_open.nonzero()[:, 0]
    count = len(indices)
    padded = _round_up(count, OUTPUT_MULTIPLE)
    if padded >= num_channels and count == num_channels:
        return None
    outputs = F.pad(indices, (0, padded - count), value=num_channels)
    return OpenChannels(outputs, outputs[: _round_up(count, INPUT_MULTIPLE)])


class OpenChannelConv:
    """One convolution with folded normalisation.

    Args:
        conv: Ungrouped, zero-padded.
        gated_inputs: True if a gate stands at its input channels.
        gated_outputs: True if a gate stands at its output channels.
        scratch: Where weights and patches are gathered.
    """

    def __init__(
        self, conv: nn.Conv2d, *, gated_inputs: bool, gated_outputs: bool, scratch: Scratch
    ) -> None:
        self.conv = conv
        self.scratch = scratch
        self.gated_inputs = gated_inputs
        self.gated_outputs = gated_outputs
        self.kernel_size = (conv.kernel_size[0], conv.kernel_size[1])
        self.stride = (conv.stride[0], conv.stride[1])
        self.padding = (int(conv.padding[0]), int(conv.padding[1]))
        self.dilation = (conv.dilation[0], conv.dilation[1])
        weight = conv.weight.detach().permute(0, 2, 3, 1)  # (O, kernel height, kernel width, I)
        if gated_inputs:
            weight = F.pad(weight, (0, 1))
        if gated_outputs:
            weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, 1))
        self.inputs_first = gated_inputs and not gated_outputs
        if self.inputs_first:
            weight = weight.permute(1, 2, 3, 0)
        self.weight = weight.contiguous()
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.first_rows = torch.arange(taps, device=weight.device)[:, None] * weight.shape[2]
        bias = conv.bias
        bias = weight.new_zeros(conv.out_channels) if bias is None else bias.detach()
        self.bias = F.pad(bias, (0, 1)) if gated_outputs else bias

    def __call__(
        self, x: Tensor, inputs: OpenChannels | None, outputs: OpenChannels | None
    ) -> Tensor:
        """``relu(conv(x))`` at the open output channels.

        Args:
            x: One image, shape (H, W, K), contiguous: the outputs of the convolution before.
            inputs: The open ones among its channels; None if there are all.
            outputs: Output channels to compute.

        Returns:
            Shape (H', W', number of output channels), contiguous.
        """
        size = self.output_size((x.shape[0], x.shape[1]))
        bias = self.dense_bias if outputs is None else self.bias[outputs.outputs]
        if inputs is not None:
            x = x[..., : len(self._taken(inputs))]
        if 0 in (x.shape[2], len(bias)):  # a convolution of nothing is its bias
            return bias.relu().expand(*size, len(bias)).contiguous()
        weight = self._gather(inputs, outputs)
        if (rows := self._rows(x, size)) is not None:
            return linear(rows, _matrix(weight), bias, relu=True).view(*size, len(bias))
        out = conv2d(_nchw(x), weight, bias, **self.geometry, relu=True)
        return out[0].permute(1, 2, 0).contiguous()

    def add_to(self, total: Tensor, x: Tensor, inputs: OpenChannels | None) -> None:
        """``total = relu(total + conv(x))`` in place, ``total`` of shape (H', W', O)."""
        size = self.output_size((x.shape[0], x.shape[1]))
        if inputs is not None:
            x = x[..., : len(self._taken(inputs))]
        if x.shape[2] == 0:
            total.add_(self.bias).relu_()
            return
        weight = self._gather(inputs, None)
        small = size[0] * size[1] <= MAX_PATCHES
        if small and (rows := self._rows(x, size)) is not None:
            out = linear(rows, _matrix(weight), self.bias, relu=False)
            total.add_(out.view_as(total)).relu_()
        else:
            weight = weight.contiguous(memory_format=torch.channels_last)
            add_conv2d_relu_(_nchw(total), _nchw(x), weight, self.bias, **self.geometry)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for an input of height and width ``size``."""
        return conv_output_size(self.conv, size)

    @property
    def dense_bias(self) -> Tensor:
        """Bias of all output channels, shape (O,)."""
        return self.bias[: self.conv.out_channels]

    @property
    def geometry(self) -> dict[str, tuple[int, int]]:
        """Stride, padding and dilation by name."""
        return dict(stride=self.stride, padding=self.padding, dilation=self.dilation)

    def _gather(self, inputs: OpenChannels | None, outputs: OpenChannels | None) -> Tensor:
        """Weights of the open channels, shape (O, I, kernel height, kernel width), not copied."""
        if inputs is None and outputs is None:
            return self.conv.weight
        if self.inputs_first and inputs is not None:
            height, width, _, num_outputs = self.weight.shape
            indices = self.first_rows + self._taken(inputs)
            rows = self._select("weight", self.weight.view(-1, num_outputs), indices)
            return rows.view(height, width, -1, num_outputs).permute(3, 2, 0, 1)
        weight = self.weight[: self.conv.out_channels]
        if outputs is not None:
            weight = self._select("rows", self.weight.flatten(1), outputs.outputs)
            weight = weight.view(-1, *self.weight.shape[1:])
        if self.gated_inputs:
            weight = self._gather_in_rows(weight, inputs)
        return weight.permute(0, 3, 1, 2)

    def _gather_in_rows(self, weight: Tensor, inputs: OpenChannels | None) -> Tensor:
        if inputs is None:
            return weight[..., : self.conv.in_channels].contiguous()
        rows = weight.view(-1, weight.shape[3])
        columns = self._taken(inputs).expand(len(rows), -1)
        # Not index_select, which takes columns with one thread only.
        out = torch.gather(rows, 1, columns, out=self.scratch.take("weight", columns.shape, rows))
        return out.view(*weight.shape[:3], columns.shape[1])

    def _taken(self, inputs: OpenChannels) -> Tensor:
        """Indices of the input channels that are taken."""
        few_shapes = self.gated_outputs or self.kernel_size == (1, 1)
        return inputs.outputs if few_shapes else inputs.inputs

    def _select(self, name: str, source: Tensor, indices: Tensor) -> Tensor:
        """Rows of a matrix, in memory that the next call overwrites."""
        indices = indices.view(-1)
        out = self.scratch.take(name, (len(indices), source.shape[1]), source)
        return torch.index_select(source, 0, indices, out=out)

    def _rows(self, x: Tensor, size: tuple[int, int]) -> Tensor | None:
        """Inputs for the weights at each output position; None where F.conv2d is faster."""
        height, width = size
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            x = x[:: self.stride[0], :: self.stride[1]]
            return x.reshape(height * width, x.shape[2])
        if height * width > MAX_PATCHES:
            return None
        channels = x.shape[2]
        x = F.pad(x, (0, 0, self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
        row = x.shape[1] * channels
        steps = (self.stride[0] * row, self.stride[1] * channels)
        taps = (self.dilation[0] * row, self.dilation[1] * channels, 1)
        patches = x.as_strided((*size, *self.kernel_size, channels), (*steps, *taps))
        return (
            self.scratch.take("patches", patches.shape, x).copy_(patches).view(height * width, -1)
        )


def _nchw(x: Tensor) -> Tensor:
    """One image, shape (H, W, C), as a channels_last batch, shape (1, C, H, W)."""
    return x[None].permute(0, 3, 1, 2)  # the other order gives strides that torch takes for NCHW


def _matrix(weight: Tensor) -> Tensor:
    """Weights, shape (O, I, kernel height, kernel width), as (O, taps times I)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
