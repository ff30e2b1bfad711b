"""torchvision's operators for an mmcv without compiled ones, so that MMDetection runs on a CPU.

The maintained mmcv is pure Python, so that MMDetection has neither non-maximum suppression nor RoI
align there. A config asks for those of torchvision, which compute the same, with
``custom_imports = dict(imports=['mmbas.torchvision_operators'])``; a script imports this module
before any host. Where mmcv has its own operators nothing changes. Any other operator is an error
when it is called.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torchvision import ops

NAME = "mmcv._ext"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Positions of the boxes that are kept, by falling score.

    Args:
        boxes: Shape (N, 4): left, top, right, bottom.
        scores: Shape (N,).
        iou_threshold: A box goes that overlaps a better one by more than this.
        offset: Added to widths and heights, 0 or 1.
    """
    shift = torch.tensor([0, 0, offset, offset], dtype=boxes.dtype, device=boxes.device)
    kept: Tensor = ops.nms(boxes + shift, scores.to(boxes.dtype), iou_threshold)
    return kept


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    **options: Any,
) -> None:
    """Average the features inside each region into ``output``, shape (K, C, height, width).

    Args:
        features: Shape (N, C, H, W).
        rois: Shape (K, 5): number of the image, left, top, right, bottom.
        output: Filled in.
        argmax_y: Unused; of max pooling.
        argmax_x: Unused; of max pooling.
        options: mmcv's names: ``aligned_height``, ``aligned_width``, ``spatial_scale``,
            ``sampling_ratio``, ``pool_mode`` (1: average) and ``aligned``.
    """
    output.copy_(_roi_align(features, rois, options))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options: Any,
) -> None:
    """Fill in the gradient of :func:`roi_align_forward`, shape (N, C, H, W)."""
    # RoI align is linear in the features, so that its gradient is the same at any of them.
    features = torch.zeros_like(grad_input, requires_grad=True)
    with torch.enable_grad():
        pooled = _roi_align(features, rois, options)
    (gradient,) = torch.autograd.grad(pooled, features, grad_output)
    grad_input.copy_(gradient)


def _roi_align(features: Tensor, rois: Tensor, options: dict[str, Any]) -> Tensor:
    if options["pool_mode"] != 1:
        raise NotImplementedError(
            "expected RoI align to average, but got pool_mode='max', which torchvision has not; "
            "install an mmcv with compiled operators"
        )
    pooled: Tensor = ops.roi_align(
        features,
        rois.to(features.dtype),
        (options["aligned_height"], options["aligned_width"]),
        options["spatial_scale"],
        options["sampling_ratio"],
        options["aligned"],
    )
    return pooled


class _Operators(ModuleType):
    """Stands for ``mmcv._ext``: asked for an operator that torchvision has not, gives a refusal."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(
                f"expected an mmcv with compiled operators for {name}, but this one has none; "
                "install one, or choose a model that needs only NMS and RoI align"
            )

        return refuse


def register() -> bool:
    """Put torchvision's operators in the place of missing ones; whether they were missing.

    MMDetection looks for operators while it is imported, so it must not have been before.
    """
    if NAME in sys.modules or find_spec(NAME) is not None:
        return False
    if any(name.startswith("mmdet.models") for name in sys.modules):
        print_log(
            "mmdet was imported before mmbas.torchvision_operators and goes on without operators; "
            "import mmbas.torchvision_operators first",
            "current",
            logging.WARNING,
        )
    operators: Any = _Operators(NAME, __doc__)
    operators.__spec__ = ModuleSpec(NAME, loader=None)  # for those who ask if it is installed
    operators.nms = nms
    operators.roi_align_forward = roi_align_forward
    operators.roi_align_backward = roi_align_backward
    # What mmengine writes into the log about mmcv.
    operators.get_compiler_version = lambda: "none, torchvision's operators"
    operators.get_compiling_cuda_version = lambda: "none"
    sys.modules[NAME] = operators
    print_log("mmcv has no compiled operators: torchvision's NMS and RoI align are used", "current")
    return True


register()
