"""A backbone whose closed channels are not computed, in place of the one it was made from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.fx import Proxy
from torch.fx.experimental.proxy_tensor import get_innermost_proxy_mode

from mmbas.backbones.description import Backbone, describe
from mmbas.gates import GateOutput, named_gates
from mmbas.gates.recorder import all_forced_logits, is_recording, record_all
from mmbas.sliced.execution_path import NATIVE_PATHS, Execution, choose_execution
from mmbas.sliced.layer_hooks import UncalledLayers
from mmbas.sliced.torch_operator import register, sliced_backbone

_TRACED = (
    "expected an accelerated model to be run, but it is traced or transformed, which "
    "sees nothing of its kernels; export the model that it was made from with tools/export_onnx.py"
)


class SlicedBackbone(nn.Module):
    """Runs a gated backbone without computing closed channels; evaluation only.

    Modules keep their names, so gates are found, forced and recorded as in the original, and
    :func:`mmbas.costs.count_macs` gives the same counts. Calls from several threads are safe.

    Moving it (``.to(...)``, ``.half()``) prepares it anew for the new device and dtype. A copy or
    a pickle holds the backbone alone and is prepared when it is made or loaded. ``state_dict()``
    holds the weights with folded normalisation, which fit no other model: load checkpoints before
    :func:`mmbas.sliced.accelerate`.

    Args:
        backbone: Backbone in evaluation mode with folded normalisation; taken over, not copied.
        path: See :func:`mmbas.sliced.accelerate`.
        dtype: Type in which the native kernels compute; None is the one of the weights.
        num_params: Number of the backbone's parameters before its normalisation was folded.

    Attributes:
        path: The execution path in use: ``'native'``, ``'native_bf16'``, ``'torch'`` or
            ``'triton'``.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        path: str = "auto",
        dtype: torch.dtype | None = None,
        num_params: int,
    ) -> None:
        super().__init__()
        self._wanted_dtype = dtype
        self.num_params = num_params
        self._wanted_path = path
        self._backbone = (backbone,)  # in a tuple, so that its modules are not registered twice
        for name, module in backbone.named_children():
            self.add_module(name, module)
        super().train(False)
        # The public name of this method is not in torch 2.1.
        self._register_load_state_dict_pre_hook(_refuse_state_dict)
        self._prepare()

    def _prepare(self) -> None:
        """Choose the path and copy the weights into its layout."""
        (backbone,) = self._backbone
        parameter = next(backbone.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._gates = tuple(named_gates(backbone).values())
        self._uncalled_layers = UncalledLayers(backbone)
        self._number = register(self)
        self._execution: Execution
        self.path, self._execution, reason = choose_execution(
            backbone, self._wanted_path, self._wanted_dtype
        )
        print_log(f"sliced execution of {type(backbone).__name__}: {reason}", logger="current")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the stages ``out_indices`` for images ``x``, shape (N, 3, H, W).

        ``torch.compile`` and ``torch.export`` see one operator here.

        Raises:
            ValueError: If ``x`` has another device or dtype than the weights.
            RuntimeError: If the model is traced or transformed, or its layers have got hooks.
        """
        if torch.compiler.is_compiling():
            return tuple(sliced_backbone(x, self._number))
        return self.run(x)

    @torch.no_grad()
    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of real images; see ``forward``."""
        if torch.jit.is_tracing() or _is_traced(x):
            raise RuntimeError(_TRACED)
        self._uncalled_layers.check()
        if x.device != self._device or x.dtype != self._dtype:
            raise ValueError(
                f"expected images of {self._dtype} on {self._device}, as the weights are, but got "
                f"{x.dtype} on {x.device}; convert the images or move the model with .to(...)"
            )
        forced = all_forced_logits(self._gates)
        if self.path in NATIVE_PATHS:
            outs, logits = self._execution(x, forced)
        else:
            # torch 2.1 knows no autocast for meta tensors.
            with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
                outs, logits = self._execution(x, forced)
        if is_recording():
            self._record(x, logits)
        return tuple(outs)

    def empty_outputs(self, x: Tensor) -> list[Tensor]:
        """Tensors of the shapes of the feature maps, without computing these."""
        (backbone,) = self._backbone
        description = describe(backbone)
        height, width = x.shape[2:]
        strides = [layer.conv.stride[0] for layer in description.stem]
        strides += [2] * description.max_pool
        outputs = []
        for index, stage in enumerate(description.stages):
            for block in stage:
                strides += [conv.stride[0] for conv in block.convs]
            channels = stage[-1].convs[-1].out_channels
            if index in description.out_indices:
                outputs.append((channels, math.prod(strides)))
        # Halving twice, rounded up, is the same as dividing by four, rounded up.
        return [x.new_empty(len(x), c, -(-height // s), -(-width // s)) for c, s in outputs]

    def _record(self, x: Tensor, all_logits: Sequence[Tensor]) -> None:
        """Tell of each gate what its masked block would have told."""
        (backbone,) = self._backbone
        convs_of = backbone.costs((x.shape[2], x.shape[3])).gated_convs
        is_open = (torch.cat(list(all_logits), dim=1) > 0).to(x.dtype)  # at once: it counts
        gates_of = is_open.split([gate.num_gates for gate in self._gates], dim=1)
        record_all(
            (gate, GateOutput(logits, gates, convs_of[gate]))
            for gate, logits, gates in zip(self._gates, all_logits, gates_of, strict=True)
        )

    def masked_gates(self, size: tuple[int, int]) -> set[nn.Module]:
        """Gates whose closed channels or tiles are computed all the same, and multiplied by 0.

        The path of torch's own operators does so where it has nothing faster; the kernels never do.

        Args:
            size: Height and width of the images.
        """
        skipping: Any = getattr(self._execution, "skipping", None)
        if skipping is None:
            return set()
        pairs = zip(self._gates, skipping(size), strict=True)
        return {gate for gate, skips in pairs if not skips}

    def dense_module_macs(self, input_shape: Sequence[int]) -> dict[str, int]:
        """MACs with all gates open, by module; see :func:`mmbas.costs.count_macs`."""
        (backbone,) = self._backbone
        return backbone.dense_module_macs(input_shape)

    def train(self, mode: bool = True) -> SlicedBackbone:
        """Stay in evaluation mode.

        Raises:
            RuntimeError: If ``mode`` is True.
        """
        if mode:
            raise RuntimeError(
                "expected an accelerated model to be evaluated only, but got train(); train the "
                "model that it was made from"
            )
        return super().train(False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SlicedBackbone:
        super()._apply(fn, recurse)
        self._prepare()
        return self

    def __prepare_scriptable__(self) -> Any:
        """Refuse ``torch.jit.script``, which asks for this method.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(_TRACED)

    def __getstate__(self) -> dict[str, Any]:
        """All but what :meth:`_prepare` makes."""
        made = ("_execution", "_gates", "_uncalled_layers")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return f"path={self.path!r}"


def _is_traced(x: Any) -> bool:
    """Tell whether a tensor only stands for one, or all that is done with it is written down."""
    return (
        isinstance(x, FakeTensor | FunctionalTensor | Proxy)
        or is_functorch_wrapped_tensor(x)
        or get_innermost_proxy_mode() is not None
    )


def _refuse_state_dict(*_: object) -> None:
    raise RuntimeError(
        "expected no state dict for an accelerated model, whose weights hold the normalisation "
        "and are copied into another layout, but got one; load it into the model and accelerate "
        "that again"
    )
