"""Which implementation runs a sliced backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from mmbas.backbones.description import Backbone

PATHS = ("auto", "native", "torch", "triton")


class Execution(Protocol):
    """What each implementation is: a function of the images and of what replaces gate logits."""

    def __call__(
        self, x: Tensor, forced_logits: Sequence[Tensor | float | None]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Run a batch.

        Args:
            x: Images, shape (N, 3, H, W).
            forced_logits: For each gated block what replaces its logits, or None.

        Returns:
            The feature maps of the stages ``out_indices``, and for each gated block its logits,
            shape (N, G), forced ones where they were forced.
        """
        ...


def choose_execution(backbone: Backbone, path: str) -> tuple[str, Execution, str]:
    """Prepare a backbone for a path.

    Args:
        backbone: In evaluation mode with folded normalisation.
        path: One of ``PATHS``.

    Returns:
        The path, never ``'auto'``; its implementation; and one line on why this one.

    Raises:
        ValueError: If the path does not exist or cannot run this backbone here.
    """
    if path not in PATHS:
        raise ValueError(f"expected path in {PATHS}, but got {path!r}")
    if path == "triton":
        return "triton", _triton(backbone), "Triton kernels, as asked for"
    reason = None if path == "torch" else why_not_native(backbone)
    if path == "native" and reason is not None:
        raise ValueError(f"expected a network for the native path, but {reason}; use path='torch'")
    if path == "torch" or reason is not None:
        from mmbas.sliced.torch_path import TorchBackbone

        why = "as asked for" if reason is None else f"since {reason}"
        return "torch", TorchBackbone(backbone), f"torch's own operators, {why}"
    from mmbas.sliced.native import NativeBackbone

    why = "as asked for" if path == "native" else "the fastest on this CPU"
    return "native", NativeBackbone(backbone), f"the native kernel, {why}"


def why_not_native(backbone: Backbone) -> str | None:
    """Why the native kernel cannot run a backbone here; None if it can."""
    try:
        from mmbas.sliced.native import why_unsupported
    except ImportError as error:
        return f"the native kernel cannot be imported ({error})"
    return why_unsupported(backbone)


def _triton(backbone: Backbone) -> Execution:
    from mmbas.sliced.triton import TritonBackbone, why_unsupported

    reason = why_unsupported(backbone)
    if reason is not None:
        raise ValueError(f"expected a network for the Triton path, but {reason}")
    return TritonBackbone(backbone)
