"""The MAC counter.

MACs are the multiply-accumulates of convolutions and linear layers, those of the gates' own
networks included; see :mod:`mmbas.gates.conv_macs`. Biases, normalisation, activations, pooling
and resizing do not count, and neither do matrix products outside of such layers: modules that hold
other weights are named by :func:`uncounted_modules`.

What a closed channel saves: the output channel of the convolution before its gate and the input
channel of the convolution after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mmbas.gates.conv_macs import conv_macs
from mmbas.gates.gate import GateOutput, record_gate_outputs

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


class MACCount:
    """What the forward passes inside :func:`count_macs` cost.

    Attributes:
        module_macs: Dense MACs by module name, summed over the batch and over all calls.
        gate_outputs: By gate name, the outputs of all calls.
    """

    def __init__(self, gate_outputs: dict[str, list[GateOutput]]) -> None:
        self.module_macs: dict[str, int] = defaultdict(int)
        self.gate_outputs = gate_outputs

    def dense_macs(self, num_images: int, prefix: str = "") -> int:
        """MACs per image with all gates open, of the modules whose name begins with ``prefix``."""
        total = sum(macs for name, macs in self.module_macs.items() if name.startswith(prefix))
        return total // num_images

    def macs(self, num_images: int) -> Tensor:
        """Conditional MACs of each image, shape (num_images,), float64."""
        macs = torch.full((num_images,), float(self.dense_macs(num_images)), dtype=torch.float64)
        for outputs in self.gate_outputs.values():
            for output in outputs:
                macs -= output.dense_macs - output.macs().detach().cpu()
        return macs

    def open_gates(self) -> Tensor:
        """Which gates were open, shape (N, all gates), bool; in any call if there were several."""
        per_gate = [
            torch.stack([output.gates.detach() > 0 for output in outputs]).any(dim=0)
            for outputs in self.gate_outputs.values()
            if outputs
        ]
        return torch.cat(per_gate, dim=1) if per_gate else torch.zeros(0, 0, dtype=torch.bool)


@contextmanager
def count_macs(model: nn.Module) -> Iterator[MACCount]:
    """Count what ``model`` computes inside a ``with`` statement.

    Every call of a convolution or linear layer counts, so several forward passes for one image
    (sliding windows, scales, flips) are all in the result.

    A module with a method ``dense_module_macs(input_shape) -> dict[str, int]`` counts itself, since
    it computes without calling the layers that it holds: for the shape of its input the dense MACs
    of the batch, by the names of its layers within it. Calls of these layers are not counted.
    """
    with record_gate_outputs(model) as gate_outputs:
        count = MACCount(gate_outputs)
        handles = [
            module.register_forward_hook(_counting_hook(name, count))
            for name, module in _counted_modules(model)
        ]
        try:
            yield count
        finally:
            for handle in handles:
                handle.remove()


def uncounted_modules(model: nn.Module) -> list[str]:
    """Names of modules with weights of their own that the counter does not know."""
    known = (_ConvNd, nn.Linear, *_NORMS)
    return [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False)) and not isinstance(module, known)
    ]


def _counted_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers, and modules that count the layers they hold themselves."""
    own_account: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(own_account):
            continue
        if hasattr(module, "dense_module_macs"):
            own_account += (f"{name}." if name else "",)
            yield name, module
        elif isinstance(module, (_ConvNd, nn.Linear)):
            yield name, module


def _counting_hook(name: str, count: MACCount) -> Any:
    def hook(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if hasattr(module, "dense_module_macs"):
            for layer, macs in module.dense_module_macs(inputs[0].shape).items():
                count.module_macs[f"{name}.{layer}" if name else layer] += macs
            return
        if isinstance(module, nn.Linear):
            macs = output.numel() // module.out_features * module.weight.numel()
        elif isinstance(module, _ConvTransposeNd):
            macs = conv_macs(module, inputs[0].numel() // module.in_channels)
        else:
            macs = conv_macs(module, output.numel() // module.out_channels)
        count.module_macs[name] += macs

    return hook
