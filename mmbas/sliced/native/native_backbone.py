"""A gated backbone run by the native kernels."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, c_int64, c_void_p, cast

import torch
from torch import Tensor, nn

from mmbas.backbones.description import UnsupportedError
from mmbas.gates.gate import replace_logits
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.coverage import covered_description
from mmbas.sliced.native.instruction_sets import InstructionSet, chosen
from mmbas.sliced.native.library import CallStruct, Library, address, get_library
from mmbas.sliced.native.packing import PackedWeights
from mmbas.sliced.native.plan import Plan, finish_plan
from mmbas.sliced.native.steps import draft_steps

MAX_PLANS = 4  # image sizes whose plans and workspaces are kept


def why_unsupported(backbone: nn.Module) -> str | None:
    """Why the native kernels cannot run ``backbone`` here, as one clause; None if they can.

    The first call compiles the kernels, which takes seconds, unless the cache has them.
    """
    try:
        covered_description(backbone)
        _chosen_library()
    except (UnsupportedError, BuildError) as error:
        return str(error)
    return None


def _chosen_library() -> Library:
    isa = chosen()
    if not isinstance(isa, InstructionSet):
        raise UnsupportedError(isa)
    return get_library(isa)


class _Workspaces:
    """The plan for one image size and the memory that is free to work in."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._free: list[Tensor] = []

    @contextmanager
    def borrow(self, count: int) -> Iterator[list[Tensor]]:
        """Memory for ``count`` workers; other Python threads meanwhile get other memory."""
        # list.pop and list.append are atomic.
        borrowed = []
        for _ in range(count):
            try:
                borrowed.append(self._free.pop())
            except IndexError:
                borrowed.append(_aligned_zeros(self.plan.workspace_floats))
        try:
            yield borrowed
        finally:
            self._free += borrowed


def _aligned_zeros(num_floats: int) -> Tensor:
    """Zeros that begin at a cache line."""
    memory = torch.zeros(num_floats + 16, dtype=torch.float32, device="cpu")
    return memory[-address(memory, torch.float32) % 64 // 4 :]


class NativeBackbone:
    """Runs a gated ResNet image by image, leaving out closed channels.

    The weights are copied and put in the kernels' order: later changes of ``backbone`` have no
    effect. Calls from several Python threads at a time are safe.

    Args:
        backbone: A ``GatedResNet`` or ``GatedResNetCifar`` in evaluation mode, in float32, on the
            CPU, its norms folded into the convolutions (:func:`mmbas.sliced.folding.fold_norms`).

    Attributes:
        weight_bytes: Memory of the copied weights.

    Raises:
        ValueError: If :func:`why_unsupported` has a reason.
    """

    def __init__(self, backbone: nn.Module) -> None:
        if reason := why_unsupported(backbone):
            raise ValueError(
                f"expected a backbone that the native kernels can run, but {reason}; use the path "
                "'torch'"
            )
        self._library = _chosen_library()
        self._description = covered_description(backbone)
        self._weights = PackedWeights(self._description, rows=self._library.rows)
        self._num_gates = [gate.num_gates for gate in self._description.gates]
        self._plans: OrderedDict[tuple[int, int, int], _Workspaces] = OrderedDict()
        self._lock = threading.Lock()
        self.weight_bytes = self._weights.num_bytes

    def __call__(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run images.

        Args:
            x: Images, shape (N, 3, H, W), float32, on the CPU.
            forced_logits: Replacement of each gate's logits, in order, or None: a number or a
                tensor that broadcasts to (N, G). The gate networks run all the same.

        Returns:
            The feature maps of the stages ``out_indices``, each (N, C, H', W'), and the logits of
            each gate that decided, (N, G).

        Raises:
            ValueError: If ``x`` or ``forced_logits`` are not as described.
        """
        self._check(x, forced_logits)
        x = x.detach().contiguous()
        num_images, _, height, width = x.shape
        logits = [_empty(num_images, gates) for gates in self._num_gates]
        forced = [
            None if value is None else replace_logits(own, value).contiguous()
            for own, value in zip(logits, forced_logits, strict=True)
        ]
        threads = torch.get_num_threads()
        workers = threads if num_images >= threads else 1
        workspaces = self._workspaces_for((height, width, 1 if workers > 1 else threads))
        plan = workspaces.plan
        outputs = [_empty(num_images, *shape) for shape in plan.output_shapes]
        if num_images == 0:
            return outputs, logits
        with workspaces.borrow(workers) as memory:
            call = _make_call(plan, x, outputs, logits, forced, memory, threads)
            self._library.handle.mmbas_run(plan.ops, len(plan.ops), ctypes.byref(call))
        return outputs, logits

    def _check(self, x: Tensor, forced_logits: Sequence[Tensor | float | None]) -> None:
        if x.ndim != 4 or x.shape[1] != 3 or x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(
                "expected float32 images on the CPU of shape (N, 3, H, W), but got "
                f"{x.dtype} on {x.device} of shape {tuple(x.shape)}"
            )
        if 0 in x.shape[2:]:
            raise ValueError(f"expected at least one pixel, but got {tuple(x.shape)}")
        if len(forced_logits) != len(self._num_gates):
            raise ValueError(
                f"expected forced_logits for {len(self._num_gates)} gates, but got "
                f"{len(forced_logits)}"
            )

    def _workspaces_for(self, key: tuple[int, int, int]) -> _Workspaces:
        """The plan and memory for images of (H, W) and so many threads per image."""
        with self._lock:
            if key not in self._plans:
                height, width, threads = key
                draft = draft_steps(self._description, self._weights, (height, width))
                self._plans[key] = _Workspaces(finish_plan(draft, threads=threads))
            self._plans.move_to_end(key)
            while len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
            return self._plans[key]


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _make_call(
    plan: Plan,
    x: Tensor,
    outputs: list[Tensor],
    logits: list[Tensor],
    forced: list[Tensor | None],
    memory: list[Tensor],
    threads: int,
) -> CallStruct:
    return CallStruct(
        images=address(x, torch.float32),
        image_stride=x[0].numel(),
        outputs=_pointers(outputs),
        output_strides=cast(
            (c_int64 * len(outputs))(*(output[0].numel() for output in outputs)), POINTER(c_int64)
        ),
        logits=_pointers(logits),
        forced=_pointers(forced),
        workspaces=_pointers(memory),
        lists_offset=plan.lists[0],
        list_stride=plan.lists[1],
        pools_offset=plan.pools[0],
        pool_stride=plan.pools[1],
        workspace_floats=plan.workspace_floats,
        num_images=len(x),
        num_threads=threads,
        num_workspaces=len(memory),
    )


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes._Pointer[c_void_p]:
    """C array of the tensors' addresses; null for None."""
    addresses = [None if tensor is None else address(tensor, torch.float32) for tensor in tensors]
    return cast((c_void_p * len(tensors))(*addresses), POINTER(c_void_p))
