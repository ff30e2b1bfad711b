"""Choice of the implementation that runs a sliced backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mmbas.backbones.description import Backbone

PATHS = ("auto", "native", "torch", "triton")
NATIVE_PATHS = ("native", "native_bf16")  # they do not compute with torch


class Execution(Protocol):
    """Type of each implementation: a function of the images and of forced gate logits."""

    def __call__(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run a batch.

        Args:
            x: Images, shape (N, 3, H, W).
            forced_logits: Replacement of each gated block's logits, or None.

        Returns:
            The feature maps of the stages ``out_indices``, and for each gated block its logits,
            shape (N, G), forced ones where they were forced.
        """
        ...


def choose_execution(
    backbone: Backbone, path: str, dtype: torch.dtype | None = None
) -> tuple[str, Execution, str]:
    """Prepare a backbone for a path.

    Args:
        backbone: Backbone in evaluation mode with folded normalisation.
        path: One of ``PATHS``.
        dtype: Type in which the native kernels compute; None is the one of the weights.

    Returns:
        The path, never ``'auto'``, or ``'native_bf16'``; its implementation; and one line on why
        this one.

    Raises:
        ValueError: If the path does not exist or cannot run this backbone here.
    """
    if path not in PATHS:
        raise ValueError(f"expected path in {PATHS}, but got {path!r}")
    weights = next(backbone.parameters())
    if dtype is not None and dtype != weights.dtype and path in ("torch", "triton"):
        raise ValueError(
            f"expected dtype={dtype} for the native kernels, but got path={path!r}, which computes "
            f"in the weights' {weights.dtype}; convert the model with .to({dtype})"
        )
    if path in ("auto", "native") and torch.bfloat16 in (dtype, weights.dtype):
        return _choose_bf16(backbone, path)
    return _choose_other(backbone, path)


def _choose_bf16(backbone: Backbone, path: str) -> tuple[str, Execution, str]:
    """The bfloat16 kernels; with ``'auto'`` another path where they cannot run."""
    execution, reason = _native(backbone, torch.bfloat16)
    if execution is not None:
        return "native_bf16", execution, "the native bfloat16 kernels, as asked for"
    if path == "native":
        raise ValueError(
            f"expected a network for the native bfloat16 kernels, but {reason}; use path='auto', "
            "which takes another path then"
        )
    path, other, why = _choose_other(backbone, path)
    return path, other, f"{why}; not the native bfloat16 kernels, since {reason}"


def _choose_other(backbone: Backbone, path: str) -> tuple[str, Execution, str]:
    if path == "triton":
        return "triton", _triton(backbone), "Triton kernels, as asked for"
    reason = None
    if path != "torch":
        native, reason = _native(backbone)
        if native is not None:
            why = "as asked for" if path == "native" else "the fastest on this CPU"
            return "native", native, f"the native kernel, {why}"
        if path == "native":
            raise ValueError(
                f"expected a network for the native path, but {reason}; use path='torch'"
            )
    from mmbas.sliced.torch_path import TorchBackbone

    why = "as asked for" if reason is None else f"since {reason}"
    return "torch", TorchBackbone(backbone), f"torch's own operators, {why}"


def why_not_native(backbone: Backbone) -> str | None:
    """Why the native kernel cannot run a backbone here; None if it can."""
    _, reason = _native(backbone)
    return reason


def _failure(error: Exception) -> str:
    first_line = str(error).partition("\n")[0]
    return f"the native kernel fails ({type(error).__name__}: {first_line[:200]})"


def _native(
    backbone: Backbone, dtype: torch.dtype = torch.float32
) -> tuple[Execution | None, str | None]:
    """The native implementation, or None and one clause on why there is none."""
    try:
        from mmbas.sliced.native import NativeBackbone, why_unsupported

        if reason := why_unsupported(backbone, dtype):
            return None, reason
        return NativeBackbone(backbone, dtype=dtype), None
    except Exception as error:  # noqa: BLE001 - whatever fails there, torch's operators can run
        return None, _failure(error)


def _triton(backbone: Backbone) -> Execution:
    from mmbas.sliced.prototype_triton import TritonBackbone, why_unsupported

    reason = why_unsupported(backbone)
    if reason is not None:
        raise ValueError(f"expected a network for the Triton path, but {reason}")
    return TritonBackbone(backbone)
