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

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from mmbas.costs.closed_costs import closed_costs
from mmbas.gates import Gate, GateOutput, named_gates
from mmbas.gates.conv_macs import conv_macs
from mmbas.gates.recorder import listening

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
_COUNTED = (_ConvNd, nn.Linear)


class MACCount:
    """What the forward passes inside :func:`count_macs` cost.

    Args:
        names: The modules to count, with their names.
        model: Model whose gates are counted.

    Attributes:
        module_macs: Dense MACs by module name, summed over the batch and over all calls.
    """

    def __init__(self, model: nn.Module, names: dict[nn.Module, str]) -> None:
        self.module_macs: dict[str, int] = defaultdict(int)
        self._model = model
        self._names = names
        self._called: dict[Any, None] = {}
        self._outputs: dict[Gate, list[GateOutput]] = {}

    @property
    def gate_outputs(self) -> dict[str, list[GateOutput]]:
        """By gate name, in the order of the model, the outputs of all calls."""
        names = _gate_names(self._model, self._outputs)
        return {name: self._outputs.get(gate, []) for gate, name in names.items()}

    def outputs_by_call(self) -> list[list[GateOutput]]:
        """The outputs of all gates of the model, call by call."""
        outputs_of = list(self.gate_outputs.values())
        num_calls = max(map(len, outputs_of), default=0)
        return [
            [outputs[call] for outputs in outputs_of if call < len(outputs)]
            for call in range(num_calls)
        ]

    def dense_macs(self, num_images: int, prefix: str = "") -> int:
        """MACs per image with all gates open, of the modules whose name begins with ``prefix``."""
        total = sum(macs for name, macs in self.module_macs.items() if name.startswith(prefix))
        return total // num_images

    def macs(self, num_images: int) -> Tensor:
        """Conditional MACs of each image, shape (num_images,), float64."""
        macs = _constant(self.dense_macs(num_images), num_images)
        for outputs in self.outputs_by_call():
            macs = macs - closed_costs(outputs)[:, 0]
        return macs

    def dense_params(self) -> int:
        """Parameters of the modules that were called, with all gates open."""
        parameters: dict[nn.Parameter, None] = {}
        counted = 0
        for module in self._called:
            if hasattr(module, "num_params"):
                counted += module.num_params
            else:
                known = isinstance(module, (*_COUNTED, *_NORMS))
                parameters.update(dict.fromkeys(module.parameters(recurse=not known)))
        return counted + sum(parameter.numel() for parameter in parameters)

    def params(self, num_images: int) -> Tensor:
        """Parameters that each image uses, shape (num_images,), float64.

        All of :meth:`dense_params` but the weights of convolutions between closed channels; a
        channel that is open in any call for an image (a window, a scale) is used.
        """
        params = _constant(self.dense_params(), num_images)
        outputs = [_any_call(outputs) for outputs in self.gate_outputs.values() if outputs]
        return params - closed_costs(outputs)[:, 1] if outputs else params

    def open_gates(self) -> Tensor:
        """Which gates were open, shape (N, all gates), bool; in any call if there were several."""
        per_gate = [
            _any_call(outputs).gates.detach() > 0
            for outputs in self.gate_outputs.values()
            if outputs
        ]
        if not per_gate:
            return torch.zeros(0, 0, dtype=torch.bool, device="cpu")
        return torch.cat(per_gate, dim=1)

    def _add_gate(self, gate: Gate, output: GateOutput) -> None:
        self._outputs.setdefault(gate, []).append(output)

    def _add_module(self, module: Any, inputs: Tensor, output: Any) -> None:
        name = self._names.get(module)
        if name is None:  # of another model
            return
        self._called[module] = None
        if hasattr(module, "dense_module_macs"):
            for layer, macs in module.dense_module_macs(inputs.shape).items():
                self.module_macs[f"{name}.{layer}" if name else layer] += macs
        elif isinstance(module, _COUNTED):
            self.module_macs[name] += _layer_macs(module, inputs, output)


_COUNTS: ContextVar[tuple[MACCount, ...]] = ContextVar("mmbas_mac_counts", default=())


@contextmanager
def count_macs(model: nn.Module) -> Iterator[MACCount]:
    """Count what ``model`` computes inside a ``with`` statement, in the same thread.

    Every call of a convolution or linear layer counts, so several forward passes for one image
    (sliding windows, scales, flips) are all in the result.

    A module with a method ``dense_module_macs(input_shape) -> dict[str, int]`` and an attribute
    ``num_params`` counts itself: for the shape of its input the dense MACs of the batch, by the
    names of its layers within it. Calls of these layers are not counted.
    """
    count = MACCount(model, _hooked_modules(model))
    token = _COUNTS.set((*_COUNTS.get(), count))
    try:
        with listening(count._add_gate):
            yield count
    finally:
        _COUNTS.reset(token)


def uncounted_modules(model: nn.Module) -> list[str]:
    """Names of modules with weights of their own that the counter does not know."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if _has_weights(module) and not isinstance(module, (*_COUNTED, *_NORMS))
    ]


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def _hooked_modules(model: nn.Module) -> dict[nn.Module, str]:
    """The modules that a count is told of, with their names; makes sure that they tell."""
    names: dict[nn.Module, str] = {}
    for module, name in _modules_to_hook(model, ""):
        names.setdefault(module, name)
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


def _modules_to_hook(module: nn.Module, name: str) -> Iterator[tuple[nn.Module, str]]:
    """Modules with weights, and modules that count the layers that they hold themselves."""
    if hasattr(module, "dense_module_macs"):
        yield module, name
        return
    if _has_weights(module):
        yield module, name
    for child_name, child in module.named_children():
        yield from _modules_to_hook(child, f"{name}.{child_name}" if name else child_name)


def _tell_counts(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """The hook of all counted modules."""
    counts = _COUNTS.get()
    if counts:
        inputs = args[0] if args else next(iter(kwargs.values()))
        for count in counts:
            count._add_module(module, inputs, output)


def _layer_macs(module: Any, inputs: Tensor, output: Tensor) -> int:
    """MACs of a convolution or linear layer for a whole batch."""
    if isinstance(module, nn.Linear):
        return output.numel() // module.out_features * module.weight.numel()
    if isinstance(module, _ConvTransposeNd):
        return conv_macs(module, inputs.numel() // module.in_channels)
    return conv_macs(module, output.numel() // module.out_channels)


def _any_call(outputs: Sequence[GateOutput]) -> GateOutput:
    """One output whose gates are open if they are in any call."""
    if len(outputs) == 1:
        return outputs[0]
    gates = torch.stack([output.gates.detach() for output in outputs]).amax(dim=0)
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
