"""A gated backbone run by the native kernels."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import Array, c_double, c_int32

import torch
from torch import Tensor, nn

from mmbas.backbones.description import Description, UnsupportedError
from mmbas.gates.gate import replace_logits
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.c_network import CNetwork
from mmbas.sliced.native.coverage import covered_description
from mmbas.sliced.native.library import chosen, get_library
from mmbas.sliced.native.structures import CallStruct, OptionsStruct, Type, address, pointers

# Types of weights and images that each precision takes.
TAKEN = {torch.float32: (torch.float32,), torch.bfloat16: (torch.float32, torch.bfloat16)}


def why_unsupported(backbone: nn.Module, dtype: torch.dtype = torch.float32) -> str | None:
    """Why the native kernels cannot run ``backbone`` here, as one clause; None if they can.

    The first call compiles the kernels, which takes seconds, unless the cache has them.

    Args:
        backbone: Any module.
        dtype: Precision of the kernels: float32 or bfloat16.
    """
    try:
        covered_description(backbone, dtypes=TAKEN[dtype])
        chosen(dtype)
    except (UnsupportedError, BuildError) as error:
        return str(error)
    return None


class NativeBackbone:
    """Runs a gated ResNet image by image, leaving out closed channels.

    In bfloat16, weights and feature maps are rounded, products are summed, and gates decided, in
    float32. The weights are copied and put in the kernels' order: later changes of ``backbone``
    have no effect. Calls from several Python threads at a time are safe.

    Args:
        backbone: A ``GatedResNet`` or ``GatedResNetCifar`` in evaluation mode on the CPU, its norms
            folded into the convolutions (:func:`mmbas.sliced.folding.fold_norms`); in float32, or
            for bfloat16 kernels in either.
        dtype: Precision of the kernels: float32 or bfloat16.
        unshared_bytes: Feature maps of float32 that take more share memory, which costs time to
            clear it; -1 is a bound that is seldom passed.

    Attributes:
        weight_bytes: Memory of the copied weights.
        kernels: Name of the kernels, such as ``'avx512'`` or ``'amx'``.

    Raises:
        ValueError: If :func:`why_unsupported` has a reason, or the kernels do not cover it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        unshared_bytes: int = -1,
    ) -> None:
        if reason := why_unsupported(backbone, dtype):
            raise ValueError(
                f"expected a backbone that the native kernels can run in {dtype}, but {reason}; "
                "use the path 'torch'"
            )
        self._dtypes = TAKEN[dtype]
        description = covered_description(backbone, dtypes=self._dtypes)
        self._library = get_library()
        self._num_gates = [gate.num_gates for gate in description.gates]
        self._num_outputs = len(description.out_indices)
        kernels = chosen(dtype)
        self._handle = self._create(description, OptionsStruct(kernels, unshared_bytes))
        self._destroyed = weakref.finalize(self, self._library.mmbas_backbone_destroy, self._handle)
        self.kernels = kernels.name.lower()
        self.weight_bytes: int = self._library.mmbas_backbone_weight_bytes(self._handle)

    def _create(self, description: Description, options: OptionsStruct) -> int:
        network = CNetwork(description)
        create = self._library.mmbas_backbone_create
        handle: int | None = create(ctypes.byref(network.struct), ctypes.byref(options))
        if not handle:
            raise ValueError(f"expected a backbone for the native kernels, but {self._error()}")
        return handle

    def __call__(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run images.

        Args:
            x: Images, shape (N, 3, H, W), on the CPU, in a type that the kernels take.
            forced_logits: Replacement of each gate's logits, in order, or None: a number or a
                tensor that broadcasts to (N, G). The gate networks run all the same.

        Returns:
            The feature maps of the stages ``out_indices``, each (N, C, H', W'), in the dtype of
            ``x``, in bfloat16 channels last; and the logits of each gate that decided, (N, G),
            float32.

        Raises:
            ValueError: If ``x`` or ``forced_logits`` are not as described.
        """
        return self._run(x, forced_logits)

    def describe_steps(self, size: tuple[int, int]) -> list[str]:
        """The steps that are computed one after the other for images of (H, W).

        Convolutions are described as ``'conv inputs 3x3 512->512 + 256, 7x7'``: the side that is
        gated (dense, outputs, inputs, both, image), kernel, channels, those of the shortcut that is
        added, size of the output. Other steps have one or two words.
        """
        text = ctypes.create_string_buffer(128)
        steps: list[str] = []
        describe = self._library.mmbas_backbone_describe_step
        while not describe(self._handle, *size, torch.get_num_threads(), len(steps), text, 128):
            steps.append(text.value.decode())
        return steps

    def time_steps(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> list[tuple[str, float]]:
        """Run one image and return each step's description and time in seconds."""
        steps = self.describe_steps((x.shape[2], x.shape[3]))
        seconds = (c_double * len(steps))()
        self._run(x, forced_logits, seconds)
        return list(zip(steps, seconds, strict=True))

    def roofline(self) -> tuple[float, float]:
        """Best rates of one thread of this machine now: MACs per second, and bytes per second.

        The first is measured with the kernels' operands in the first-level cache, the second by
        reading as much memory as the weights take.
        """
        macs, num_bytes = c_double(), c_double()
        self._library.mmbas_backbone_roofline(
            self._handle, ctypes.byref(macs), ctypes.byref(num_bytes)
        )
        return macs.value, num_bytes.value

    def _run(
        self,
        x: Tensor,
        forced_logits: Sequence[Tensor | float | None],
        seconds: Array[c_double] | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See :meth:`__call__`; ``seconds`` takes the time of each step."""
        self._check(x, forced_logits)
        # As few calls of torch as can be: after the kernels, nothing of it is in the caches.
        kind = Type.BFLOAT16 if x.dtype == torch.bfloat16 else Type.FLOAT32
        images = x.contiguous()
        num_images, _, height, width = images.shape
        logits = self._new_logits(num_images)
        forced = [
            None if value is None else _forced(own, value)
            for own, value in zip(logits, forced_logits, strict=True)
        ]
        outputs = [
            images.new_empty(self._output_shape(i, kind, num_images, height, width))
            for i in range(self._num_outputs)
        ]
        call = CallStruct(
            images=address(images, kind),
            num_images=num_images,
            height=height,
            width=width,
            type=kind,
            num_threads=torch.get_num_threads(),
            outputs=pointers(outputs, kind),
            logits=pointers(logits),
            forced=pointers(forced),
            step_seconds=None if seconds is None else ctypes.addressof(seconds),
        )
        if num_images and self._library.mmbas_backbone_run(self._handle, ctypes.byref(call)):
            raise ValueError(f"expected images that can be run, but {self._error()}")
        if kind == Type.BFLOAT16:
            outputs = [output.permute(0, 3, 1, 2) for output in outputs]
        return outputs, logits

    def _new_logits(self, num_images: int) -> list[Tensor]:
        """Memory for the logits of each gate, (N, G)."""
        sizes = [num_images * gates for gates in self._num_gates]
        memory = torch.empty(sum(sizes), dtype=torch.float32, device="cpu")
        return [
            part.view(num_images, gates)
            for part, gates in zip(memory.split(sizes), self._num_gates, strict=True)
        ]

    @property
    def workspace_bytes(self) -> int:
        """Memory for feature maps that is kept for the next calls."""
        kept: int = self._library.mmbas_backbone_workspace_bytes(self._handle)
        return kept

    def _check(self, x: Tensor, forced_logits: Sequence[Tensor | float | None]) -> None:
        if x.ndim != 4 or x.shape[1] != 3 or x.dtype not in self._dtypes or x.device.type != "cpu":
            names = " or ".join(str(dtype).removeprefix("torch.") for dtype in self._dtypes)
            raise ValueError(
                f"expected {names} images on the CPU of shape (N, 3, H, W), but got "
                f"{x.dtype} on {x.device} of shape {tuple(x.shape)}"
            )
        if 0 in x.shape[2:]:
            raise ValueError(f"expected at least one pixel, but got {tuple(x.shape)}")
        if len(forced_logits) != len(self._num_gates):
            raise ValueError(
                f"expected forced_logits for {len(self._num_gates)} gates, but got "
                f"{len(forced_logits)}"
            )

    def _output_shape(
        self, output: int, kind: Type, num_images: int, height: int, width: int
    ) -> tuple[int, int, int, int]:
        """Shape of an output in memory: float32 planes, or bfloat16 pixels."""
        shape = (c_int32 * 3)()
        self._library.mmbas_backbone_output_shape(
            self._handle, output, height, width, ctypes.byref(shape)
        )
        channels, height, width = shape
        if kind == Type.BFLOAT16:
            return num_images, height, width, channels
        return num_images, channels, height, width

    def _error(self) -> str:
        text: bytes = self._library.mmbas_backbone_last_error()
        return text.decode()


def _forced(logits: Tensor, value: Tensor | float) -> Tensor:
    """Forced logits as the kernels read them: contiguous, of the shape and type of ``logits``."""
    if isinstance(value, Tensor) and value.shape == logits.shape:
        return value.detach().to(logits).contiguous()
    return replace_logits(logits, value).contiguous()
