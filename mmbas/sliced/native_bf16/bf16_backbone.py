"""A gated backbone run by the bfloat16 kernels."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import c_int32

import torch
from torch import Tensor, nn

from mmbas.backbones.description import UnsupportedError
from mmbas.gates.gate import replace_logits
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.coverage import covered_description
from mmbas.sliced.native_bf16.c_network import CNetwork
from mmbas.sliced.native_bf16.library import chosen, get_library
from mmbas.sliced.native_bf16.structures import CallStruct, pointers

DTYPES = (torch.float32, torch.bfloat16)


def why_unsupported(backbone: nn.Module) -> str | None:
    """Why the bfloat16 kernels cannot run ``backbone`` here, as one clause; None if they can.

    The first call compiles the kernels, which takes seconds, unless the cache has them.
    """
    try:
        covered_description(backbone, dtypes=DTYPES)
        chosen()
    except (UnsupportedError, BuildError) as error:
        return str(error)
    return None


class Bf16Backbone:
    """Runs a gated ResNet in bfloat16, image by image, leaving out closed channels.

    Weights and feature maps are rounded to bfloat16; products are summed, and gates decided, in
    float32. The weights are copied: later changes of ``backbone`` have no effect. Calls from
    several Python threads at a time are safe.

    Args:
        backbone: A ``GatedResNet`` or ``GatedResNetCifar`` in evaluation mode, in float32 or
            bfloat16, on the CPU, its norms folded into the convolutions.

    Attributes:
        weight_bytes: Memory of the copied weights.
        kernels: Name of the kernels: ``'amx'``, ``'avx512_bf16'`` or ``'portable'``.

    Raises:
        ValueError: If :func:`why_unsupported` has a reason, or the kernels do not cover it.
    """

    def __init__(self, backbone: nn.Module) -> None:
        if reason := why_unsupported(backbone):
            raise ValueError(
                f"expected a backbone that the bfloat16 kernels can run, but {reason}; leave out "
                "dtype='bfloat16'"
            )
        description = covered_description(backbone, dtypes=DTYPES)
        self._library = get_library()
        self._num_gates = [gate.num_gates for gate in description.gates]
        self._num_outputs = len(description.out_indices)
        kernels, network = chosen(), CNetwork(description)
        handle = self._library.mmbas_bf16_create(ctypes.byref(network.struct), kernels)
        if not handle:
            raise ValueError(f"expected a backbone for the bfloat16 kernels, but {self._error()}")
        self._handle = handle
        self._destroyed = weakref.finalize(self, self._library.mmbas_bf16_destroy, handle)
        self.kernels = kernels.name.lower()
        self.weight_bytes: int = self._library.mmbas_bf16_weight_bytes(handle)

    def __call__(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run images.

        Args:
            x: Images, shape (N, 3, H, W), float32 or bfloat16, on the CPU.
            forced_logits: Replacement of each gate's logits, in order, or None: a number or a
                tensor that broadcasts to (N, G). The gate networks run all the same.

        Returns:
            The feature maps of the stages ``out_indices``, each (N, C, H', W'), in the dtype of
            ``x``, and the logits of each gate that decided, (N, G), float32.

        Raises:
            ValueError: If ``x`` or ``forced_logits`` are not as described.
        """
        self._check(x, forced_logits)
        images = x.detach().to(torch.float32).contiguous()
        num_images, _, height, width = images.shape
        logits = [images.new_empty(num_images, gates) for gates in self._num_gates]
        forced = [
            None if value is None else replace_logits(own, value).contiguous()
            for own, value in zip(logits, forced_logits, strict=True)
        ]
        outputs = [
            images.new_empty(num_images, *self._output_shape(i, height, width))
            for i in range(self._num_outputs)
        ]
        call = CallStruct(
            images=images.data_ptr(),
            num_images=num_images,
            height=height,
            width=width,
            num_threads=torch.get_num_threads(),
            outputs=pointers(outputs),
            logits=pointers(logits),
            forced=pointers(forced),
        )
        if num_images and self._library.mmbas_bf16_run(self._handle, ctypes.byref(call)):
            raise ValueError(f"expected images that can be run, but {self._error()}")
        return [output.to(x.dtype) for output in outputs], logits

    def _check(self, x: Tensor, forced_logits: Sequence[Tensor | float | None]) -> None:
        if x.ndim != 4 or x.shape[1] != 3 or x.dtype not in DTYPES or x.device.type != "cpu":
            raise ValueError(
                "expected float32 or bfloat16 images on the CPU of shape (N, 3, H, W), but got "
                f"{x.dtype} on {x.device} of shape {tuple(x.shape)}"
            )
        if 0 in x.shape[2:]:
            raise ValueError(f"expected at least one pixel, but got {tuple(x.shape)}")
        if len(forced_logits) != len(self._num_gates):
            raise ValueError(
                f"expected forced_logits for {len(self._num_gates)} gates, but got "
                f"{len(forced_logits)}"
            )

    def _output_shape(self, output: int, height: int, width: int) -> tuple[int, ...]:
        shape = (c_int32 * 3)()
        self._library.mmbas_bf16_output_shape(
            self._handle, output, height, width, ctypes.byref(shape)
        )
        return tuple(shape)

    def _error(self) -> str:
        text: bytes = self._library.mmbas_bf16_last_error()
        return text.decode()
