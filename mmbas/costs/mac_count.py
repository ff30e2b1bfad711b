"""The MAC counter.

MACs are the multiply-accumulates of convolutions and linear layers, those of the gates' own
networks included; see :mod:`mmbas.gates.conv_macs`. Biases, normalisation, activations, pooling
and resizing do not count, and neither do matrix products outside of such layers: modules that hold
other weights are named by :func:`uncounted_modules`.

What a closed channel saves: the output channel of the convolution before its gate and the input
channel of the convolution after it.

A gated backbone tells its costs in closed form. Other modules are counted by a forward hook, which
they keep, and which does nothing unless a count is going on in the same thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mmbas.costs.closed_costs import closed_costs, open_gates
from mmbas.gates import Gate, GateOutput, named_gates
from mmbas.gates.conv_macs import conv_macs, is_linear, linear_macs
from mmbas.gates.recorder import listening
from mmbas.gates.scoped import Scoped

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
_COUNTED = (_ConvNd, nn.Linear)


@dataclass(frozen=True)
class ImageCosts:
    """Costs of each of N images.

    Attributes:
        macs: Conditional MACs, shape (N,), float64.
        params: Parameters used, shape (N,), float64.
        gates: Mask of the gates that were open in any call, shape (N, all gates), bool.
        dense_macs: MACs per image with all gates open.
        dense_params: Parameters of the modules that were called.
    """

    macs: Tensor
    params: Tensor
    gates: Tensor
    dense_macs: int
    dense_params: int


class MACCount:
    """Costs of the forward passes inside :func:`count_macs`.

    Args:
        model: Model whose gates are counted.
        names: The modules to count, with their names.
    """

    def __init__(self, model: nn.Module, names: dict[nn.Module, str]) -> None:
        self._model = model
        self._names = names
        self._called: dict[Any, None] = {}
        self._macs: list[tuple[str, dict[str, int]]] = []  # of each call, by layer within a module
        self._outputs: dict[Gate, list[GateOutput]] = {}

    @property
    def module_macs(self) -> dict[str, int]:
        """Dense MACs by module name, summed over the batch and over all calls."""
        total: dict[str, int] = {}
        for module, macs_of in self._macs:
            for layer, macs in macs_of.items():
                name = f"{module}.{layer}".strip(".")
                total[name] = total.get(name, 0) + macs
        return total

    @property
    def gate_outputs(self) -> dict[str, list[GateOutput]]:
        """Outputs of all calls by gate name, in the order of the model."""
        names = _gate_names(self._model, self._outputs)
        return {name: self._outputs.get(gate, []) for gate, name in names.items()}

    def dense_macs(self, num_images: int, prefix: str = "") -> int:
        """MACs per image with all gates open, of the modules whose name begins with ``prefix``."""
        if not prefix:
            return sum(sum(macs_of.values()) for _, macs_of in self._macs) // max(num_images, 1)
        named = self.module_macs.items()
        return sum(macs for name, macs in named if name.startswith(prefix)) // max(num_images, 1)

    def dense_params(self) -> int:
        """Parameters of the modules that were called, with all gates open."""
        parameters: dict[nn.Parameter, None] = {}
        counted = 0
        for module in self._called:
            if _counts_itself(module):
                counted += module.num_params
            else:
                known = isinstance(module, (*_COUNTED, *_NORMS))
                own = module._parameters.values() if known else module.parameters()
                parameters.update(dict.fromkeys(each for each in own if each is not None))
        return counted + sum(parameter.numel() for parameter in parameters)

    def image_costs(self, num_images: int) -> ImageCosts:
        """Costs of each image.

        An image uses all parameters but the weights of convolutions between closed channels. A
        channel that is open in any call for an image (a window, a scale) is used.
        """
        dense_macs, dense_params = self.dense_macs(num_images), self.dense_params()
        outputs_of = [outputs for outputs in self.gate_outputs.values() if outputs]
        if not outputs_of:
            return ImageCosts(
                _constant(dense_macs, num_images),
                _constant(dense_params, num_images),
                torch.zeros(num_images, 0, dtype=torch.bool, device="cpu"),
                dense_macs,
                dense_params,
            )
        saved_macs = np.zeros(num_images)
        for call in range(max(map(len, outputs_of))):
            called = [outputs[call] for outputs in outputs_of if call < len(outputs)]
            gates = open_gates(called)
            closed = closed_costs(called, gates)
            saved_macs += closed[:, 0]
        if any(len(outputs) > 1 for outputs in outputs_of):
            merged = [_open_in_any(outputs) for outputs in outputs_of]
            gates = open_gates(merged)
            closed = closed_costs(merged, gates)
        macs, params = dense_macs - saved_macs, dense_params - closed[:, 1]
        return ImageCosts(
            torch.from_numpy(macs),
            torch.from_numpy(params),
            torch.from_numpy(gates),
            dense_macs,
            dense_params,
        )

    def macs(self, num_images: int) -> Tensor:
        """Conditional MACs of each image, shape (num_images,), float64."""
        return self.image_costs(num_images).macs

    def _add_gate(self, gate: Gate, output: GateOutput) -> None:
        self._outputs.setdefault(gate, []).append(output)

    def _add_module(self, module: Any, inputs: Tensor, output: Any) -> None:
        name = self._names.get(module)
        if name is None:  # of another model
            return
        self._called[module] = None
        if _counts_itself(module):
            self._macs.append((name, module.dense_module_macs(inputs.shape)))
        elif _is_counted(module):
            self._macs.append((name, {"": _layer_macs(module, inputs, output)}))


_COUNTS: Scoped[MACCount] = Scoped("mmbas_mac_counts")


@contextmanager
def count_macs(model: nn.Module) -> Iterator[MACCount]:
    """Count what ``model`` computes inside a ``with`` statement, in the same thread.

    Every call of a convolution or linear layer counts, so several forward passes for one image
    (sliding windows, scales, flips) are all in the result.

    A module with a method ``dense_module_macs(input_shape) -> dict[str, int]`` and an attribute
    ``num_params`` counts itself: for the shape of its input the dense MACs of the batch, by the
    names of its layers within it. Calls of these layers are not counted.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.costs import count_macs
        >>> backbone = GatedResNetCifar(20).eval()
        >>> with torch.no_grad(), count_macs(backbone) as count:
        ...     _ = backbone(torch.randn(2, 3, 32, 32))
        >>> count.dense_macs(2), count.macs(2).shape
        (40560384, torch.Size([2]))
    """
    count = MACCount(model, _hooked_modules(model))
    with _COUNTS.holding(count), listening(count._add_gate):
        yield count


def uncounted_modules(model: nn.Module) -> list[str]:
    """Names of modules with weights of their own that the counter does not know."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if _has_weights(module) and not isinstance(module, (*_COUNTED, *_NORMS))
    ]


def _has_weights(module: nn.Module) -> bool:
    """Tell whether a module holds parameters itself; read directly, as every count asks it."""
    parameters = module._parameters
    return bool(parameters) and any(each is not None for each in parameters.values())


def _is_counted(module: nn.Module) -> bool:
    """Tell whether the MACs of a module are counted."""
    return isinstance(module, _ConvNd) or is_linear(module)


def _counts_itself(module: nn.Module) -> bool:
    return hasattr(type(module), "dense_module_macs")


def _hooked_modules(model: nn.Module) -> dict[nn.Module, str]:
    """The modules that a count is told of, with their names; makes sure that they tell."""
    names: dict[nn.Module, str] = {}
    _find_counted(model, "", names)
    for module in names:
        if _tell_counts not in module._forward_hooks.values():
            module.register_forward_hook(_tell_counts, with_kwargs=True)
    return names


def drop_counting_hooks(model: nn.Module) -> None:
    """Take off the hooks that :func:`count_macs` has left on modules; it puts them on again."""
    for module in model.modules():
        for number, hook in list(module._forward_hooks.items()):
            if hook is _tell_counts:
                del module._forward_hooks[number]
                module._forward_hooks_with_kwargs.pop(number, None)


def _find_counted(module: nn.Module, name: str, names: dict[nn.Module, str]) -> None:
    """Add modules with weights, and modules that count the layers that they hold themselves."""
    if _counts_itself(module):
        names.setdefault(module, name)
        return
    if _has_weights(module) or _is_counted(module):
        names.setdefault(module, name)
    for child_name, child in module._modules.items():
        if child is not None:
            _find_counted(child, f"{name}.{child_name}" if name else child_name, names)


def _tell_counts(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """The hook of all counted modules."""
    counts = _COUNTS.values()
    if counts:
        inputs = args[0] if args else next(iter(kwargs.values()))
        for count in counts:
            count._add_module(module, inputs, output)


def _layer_macs(module: Any, inputs: Tensor, output: Tensor) -> int:
    """MACs of a convolution or linear layer for a whole batch."""
    if is_linear(module):
        return output.numel() // module.out_features * linear_macs(module)
    if isinstance(module, _ConvTransposeNd):
        return conv_macs(module, inputs.numel() // module.in_channels)
    return conv_macs(module, output.numel() // module.out_channels)


def _open_in_any(outputs: Sequence[GateOutput]) -> GateOutput:
    """One output whose gates are open where they are in any of several calls."""
    gates = torch.stack([output.gates for output in outputs]).amax(dim=0)
    return GateOutput(outputs[0].logits, gates, outputs[0].convs)


def _constant(value: int, num_images: int) -> Tensor:
    return torch.full((num_images,), float(value), dtype=torch.float64, device="cpu")


_names_of_model: WeakKeyDictionary[nn.Module, dict[Gate, str]] = WeakKeyDictionary()


def _gate_names(model: nn.Module, gates: dict[Gate, Any]) -> dict[Gate, str]:
    """The gates of ``model`` with their names, looked for again where ``gates`` has others."""
    names = _names_of_model.get(model)
    if names is None or not gates.keys() <= names.keys():
        names = {gate: name for name, gate in named_gates(model).items()}
        _names_of_model[model] = names
    return names
